"""Writes the files of a checkpoint, and checks each against its checksum when it is read.

A manifest lists the files of a checkpoint and the files of rows that it needs, with the size and checksum
of each, and ends with a checksum of itself.
"""

import contextlib
import json
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from culmen.components import files
from culmen.components.files import DamagedError

FORMAT = 2
_FORMAT_WITHOUT_SEAL = 1  # its manifest has no checksum; the rest is the same
MANIFEST, STATE, ARRAYS, PYTHON, ROWS, TABLE = (
    'manifest.json',
    'state.json',
    'arrays',
    'python.pickle',
    'rows',
    'table',
)
_FILE = re.compile(rf'{STATE}|{ARRAYS}|{PYTHON}|{TABLE}/[^/\0]+')
_SEGMENT = re.compile(r'\d{12,}-\d{12,}')


class DamagedCheckpointError(DamagedError):
    """Files of a checkpoint differ from what was written."""


class UnknownFormatError(DamagedCheckpointError):
    """A checkpoint of another version of Culmen."""


class Manifest(NamedTuple):
    """The list of a checkpoint's files."""

    files: dict[str, dict[str, int]]  # bytes and crc32 by name
    segments: list[dict[str, Any]]  # files of rows: file, start, stop, bytes, crc32; or lost: true


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest.

    Raises: DamagedCheckpointError that names it; UnknownFormatError that names the format.
    """
    with damaged(path), files.reading(path):
        data = path.read_bytes()
        manifest = files.unseal(data)
        if manifest is None:
            manifest = json.loads(data)
            if manifest['format'] != _FORMAT_WITHOUT_SEAL or 'crc32' in manifest:
                raise DamagedCheckpointError(f'{path} is not what was written.')
        elif manifest['format'] != FORMAT:
            raise UnknownFormatError(
                f'{path} has format {manifest["format"]!r:.20}; this version of Culmen reads formats '
                f'{_FORMAT_WITHOUT_SEAL} and {FORMAT}.'
            )
        for name, written in manifest['files'].items():
            if not _FILE.fullmatch(name) or name in (f'{TABLE}/.', f'{TABLE}/..'):
                raise ValueError(f'{name!r:.40} is no file of a checkpoint')
            _check_written(written)
        for segment in manifest['rows']:
            if not _SEGMENT.fullmatch(segment['file']):
                raise ValueError(f'{segment["file"]!r:.40} is no file of rows')
            _check_counts(segment['start'], segment['stop'] - segment['start'])
            if not segment.get('lost'):
                _check_written(segment)
        if not manifest['files'].keys() >= {STATE, ARRAYS}:
            raise ValueError(f'{STATE} and {ARRAYS} must be among its files')
        return Manifest(manifest['files'], manifest['rows'])


def write_manifest(path: Path, manifest: Manifest, number: int) -> None:
    """Writes a manifest. Args: number: of the checkpoint."""
    content = {
        'format': FORMAT,
        'number': number,
        'files': manifest.files,
        'rows': manifest.segments,
    }
    write_bytes(path, files.seal(content))


def _check_written(written: Mapping[str, Any]) -> None:
    _check_counts(written['bytes'], written['crc32'])


def _check_counts(*values: Any) -> None:
    for value in values:
        if type(value) is not int or value < 0:
            raise ValueError(f'{value!r:.40} must be a number from 0 on')


class damaged(contextlib.AbstractContextManager[None]):
    """Turns a DamagedError raised inside into a DamagedCheckpointError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, DamagedError) and not isinstance(error, DamagedCheckpointError):
            raise DamagedCheckpointError(str(error)) from error


class _Writer:
    """Writes a file to disk, and computes its size and checksum."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, 'wb')
        self.written = {'bytes': 0, 'crc32': 0}

    def __enter__(self) -> '_Writer':
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            with contextlib.suppress(OSError):  # data that a full disk refused: already reported
                self._file.close()

    def write(self, data: Any) -> None:
        self._file.write(data)
        self.written['bytes'] += len(data)
        self.written['crc32'] = zlib.crc32(data, self.written['crc32'])


def write_bytes(path: Path, data: bytes) -> dict[str, Any]:
    """Writes a file. Returns: its bytes and crc32."""
    with _Writer(path) as writer:
        writer.write(data)
    return writer.written


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Writes arrays in NumPy's format, one after another; the first one holds the names of the others.

    Returns: bytes and crc32 of the file.
    """
    with _Writer(path) as writer:
        for array in (np.array(list(arrays), dtype=str), *arrays.values()):
            np.lib.format.write_array(writer, array, allow_pickle=False)
    return writer.written


def read_arrays(path: Path, num_rows: int | None = None) -> dict[str, NDArray[Any]]:
    """The inverse of `write_arrays`. Takes no more memory than the file has bytes.

    Args: num_rows: that each array must have; None: any number.
    Raises: DamagedCheckpointError that names the file.
    """
    with damaged(path), files.reading(path), open(path, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        names = files.read_array(file, size)
        if names.ndim != 1 or names.dtype.kind != 'U':
            raise ValueError('it must begin with the names of its arrays')
        arrays = {}
        for name in names.tolist():
            array = arrays[name] = files.read_array(file, size - file.tell())
            if num_rows is not None and array.shape[:1] != (num_rows,):
                raise ValueError(f'{name} must have {num_rows} rows, got shape {array.shape}')
        return arrays


def check(path: Path, written: Mapping[str, Any]) -> None:
    """Checks a file against its entry in a manifest. Raises: DamagedCheckpointError that names it."""
    with damaged(path), files.reading(path):
        if path.stat().st_size != written['bytes'] or files.crc32(path) != written['crc32']:
            raise DamagedCheckpointError(
                f'{path} is not what was written: {written["bytes"]} bytes.'
            )


def sync(directory: Path) -> None:
    """Makes a rename durable, if the system allows opening folders."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
