"""Expands paths, and checks early whether a folder can be written."""

import os
import tempfile
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path whose `~` is the user's home, as in a shell."""
    return Path(os.path.expanduser(path))


def check_writable(what: str, folder: Path) -> None:
    """Refuses a folder that can't be made or written to. Leaves nothing behind.

    Args:
        what: purpose of the folder, for the error: 'workdir'.
        folder: existing or not.
    Raises: ValueError that names the folder, and the path that is in its way.
    """
    nearest = folder.absolute()
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not nearest.is_dir():
        why = 'a link that leads nowhere' if nearest.is_symlink() else 'no folder'
        raise ValueError(f'{what} {folder} can not be made: {nearest} is {why}.')
    try:
        # Permissions are not enough: mounts of other hosts and read-only disks need a real attempt.
        tempfile.TemporaryDirectory(prefix='.culmen-', dir=nearest).cleanup()
    except OSError as error:
        raise ValueError(
            f'{what} {folder} can not be written, since {nearest} can not: {error.strerror}.'
        ) from error
