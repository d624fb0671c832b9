"""The folder of a server's checkpoint: written completely or not at all, and measured."""

import contextlib
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

Files = dict[str, dict[str, int]]  # bytes and crc32 by name


@contextlib.contextmanager
def saving(folder: Path) -> Iterator[Path]:
    """Gives a folder beside the wanted one, which takes its place if nothing fails.

    Args: folder: a new one.
    Raises: OSError that names the folder.
    """
    temporary = folder.with_name(f'.{folder.name}-{os.getpid()}')
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        yield temporary
        os.replace(temporary, folder)
    except OSError as error:
        raise OSError(
            error.errno or 0, f'could not save the replay: {error.strerror}', str(folder)
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def measure(folder: Path) -> Files:
    """Bytes and crc32 of every file in a folder."""
    return {path.name: _measure_file(path) for path in sorted(folder.iterdir())}


def _measure_file(path: Path) -> dict[str, int]:
    checksum = size = 0
    with open(path, 'rb') as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
            size += len(block)
    return {'bytes': size, 'crc32': checksum}
