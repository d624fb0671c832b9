"""Reads files that another user may have written. Anything wrong with a file raises a DamagedError.

Checkpoints and recordings are read with these functions. Sizes are checked before memory is allocated, and a
pickle is opened only if no other user can have written it.
"""

import contextlib
import json
import math
import os
import re
import stat
import warnings
import zlib
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import BinaryIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LOCK = '.lock'  # in a folder while a run writes to it

# What to do if only files of rows are damaged: go on without them, or refuse.
OnLostRows = Literal['drop', 'refuse']

# The checksum is the last field, and covers all bytes before it.
_SEAL = re.compile(rb', "crc32": "([0-9a-f]{8})"\}')
_SEAL_BYTES = len(b', "crc32": "00000000"}')


class DamagedError(ValueError):
    """A file differs from what was written, or is not of the right kind. The message names it."""


class UntrustedError(PermissionError):
    """Another user could have written a file that may run code. The message names it."""


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns any error inside into a DamagedError that names the file."""
    try:
        yield
    except (DamagedError, UntrustedError):
        raise
    except OSError as error:
        raise DamagedError(f'{path} can not be read: {error.strerror or error}.') from error
    except Exception as error:  # hostile content may raise anything
        text = ' '.join(str(error).split())[:200].rstrip('.')
        raise DamagedError(f'{path} is damaged: {type(error).__name__}: {text}.') from error


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a mapping in JSON. Raises: DamagedError that names the file."""
    with reading(path):
        value = json.loads(Path(path).read_bytes())
        if not isinstance(value, dict):
            raise DamagedError(f'{path} is damaged: it must hold a mapping, got {value!r:.40}.')
    return value


def seal(value: Mapping[str, Any]) -> bytes:
    """JSON that ends with a checksum of all bytes before it. Args: value: not empty."""
    text = json.dumps(value)[:-1].encode()
    return text + b', "crc32": "%08x"}' % zlib.crc32(text)


def unseal(data: bytes) -> dict[str, Any] | None:
    """The sealed mapping without its checksum; None if the checksum is missing or wrong."""
    text, end = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    match = _SEAL.fullmatch(end)
    if match is None or int(match[1], 16) != zlib.crc32(text):
        return None
    value: dict[str, Any] = json.loads(text + b'}')
    return value


def read_array(
    file: BinaryIO, limit: int, dtype: Any = None, shape: tuple[int, ...] | None = None
) -> NDArray[Any]:
    """Reads an array in NumPy's format, without pickle.

    Args:
        file: at the array's beginning.
        limit: bytes that the array may take: the rest of the file.
        dtype, shape: that it must have; None: any.
    Raises: ValueError before memory is allocated; EOFError if the file ends within the array.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f'version {version} of the format of arrays is unknown')
    header = np.lib.format.read_array_header_1_0
    if version == (2, 0):
        header = np.lib.format.read_array_header_2_0
    found, by_columns, kind = header(file)
    if kind.hasobject or kind.names is not None or kind.subdtype is not None or kind.itemsize == 0:
        raise ValueError(f'arrays must be of plain numbers, got {kind}')
    if (dtype is not None and kind != dtype) or (shape is not None and found != shape):
        raise ValueError(f'an array must be {dtype}{[*(shape or ())]}, got {kind}{[*found]}')
    if any(size < 0 for size in found) or math.prod(found) * kind.itemsize > limit:
        raise ValueError(f'an array of {kind}{[*found]} is larger than its file')
    array: NDArray[Any] = np.empty(found[::-1] if by_columns else found, kind)
    into: Any = file
    rest = array.reshape(-1).view(np.uint8).data if array.size else memoryview(b'')
    while rest:
        taken = into.readinto(rest)
        if not taken:
            raise EOFError(f'{len(rest)} bytes of an array are missing')
        rest = rest[taken:]
    return array.T if by_columns else array


def crc32(path: str | os.PathLike[str]) -> int:
    """The checksum of a file."""
    checksum = 0
    with open(path, 'rb') as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return checksum


def read_trusted(path: Path, *, trust: bool) -> bytes:
    """Reads the bytes of a file that may run code, if no other user can have written them.

    File and folder must belong to the user and must not be writable by everyone. In a sticky folder such as
    /tmp, where users can remove only their own files, a file is safe. Folders above are not checked.

    Args: trust: whether to read it in any case.
    Raises: UntrustedError that names the file or the folder. Warns if a group may write.
    """
    with open(path, 'rb') as file:
        if not trust and hasattr(os, 'getuid'):
            _check_writers(path, os.fstat(file.fileno()))
            _check_writers(path.parent, path.parent.stat())
        return file.read()


def _check_writers(path: Path, status: os.stat_result) -> None:
    user = os.getuid()
    sticky = stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX)
    sticky &= status.st_uid in (user, 0)  # the folder's owner may remove files in it
    if status.st_uid != user and not sticky:
        who = f'belong to the user who resumes (uid {user}), got uid {status.st_uid}'
    elif status.st_mode & stat.S_IWOTH and not sticky:
        who = f'be writable by its owner alone, got mode {stat.filemode(status.st_mode)}'
    else:
        if status.st_mode & stat.S_IWGRP and not sticky:
            warnings.warn(
                f'{path} may be written by its group (gid {status.st_gid}), who could have a resumed '
                f'run do anything in your name.',
                stacklevel=4,
            )
        return
    raise UntrustedError(
        f'{path} must {who}: a resumed run unpickles environments, which may run any code. --trust '
        f'(trust=True) opens it all the same.'
    )
