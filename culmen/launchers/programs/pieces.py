"""Files that travel between machines in pieces, over calls."""

from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path

_PIECE = 1 << 22  # bytes


def read_piece(folder: Path, name: str, offset: int) -> bytes:
    """The bytes of a file of a folder from an offset on, as many as a call carries.

    Raises: ValueError for a name that is no file directly in the folder.
    """
    if name not in {path.name for path in folder.iterdir() if path.is_file()}:
        raise ValueError(f'{folder} has no file {name!r}.')
    with open(folder / name, 'rb') as file:
        file.seek(offset)
        return file.read(_PIECE)


def sizes(folder: Path) -> dict[str, int]:
    """The bytes of each file of a folder."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}


def copy(files: Mapping[str, int], read: Callable[[str, int], bytes], folder: Path) -> None:
    """Copies files to a new folder.

    Args:
        files: their bytes, by name.
        read: reads a piece, as `read_piece`.
        folder: is made.
    Raises: OSError if a file ends too early.
    """
    folder.mkdir(parents=True)
    for name, size in files.items():
        with open(folder / name, 'xb') as file:
            while file.tell() < size:
                piece = read(name, file.tell())
                if not piece:
                    raise OSError(f'{name} has ended after {file.tell()} of {size} bytes.')
                file.write(piece)
