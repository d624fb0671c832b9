"""Writes and reads the checkpoints of a run.

    checkpoints/000000010000/   manifest.json: sizes and checksums, written last
                                state.json, arrays: plain values and arrays, no pickle
                                python.pickle: environments; opened by a resuming run alone
                                table/: of a table that writes itself (Reverb)
    checkpoints/rows/           rows of a table by tick, shared by the checkpoints that need them

A folder appears under its name when it is whole. Rows of a table never change, so each checkpoint
adds those since the last. Files are written by a thread: training waits only while state is copied.
"""

import contextlib
import json
import os
import pickle
import shutil
import threading
import warnings
import zlib
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from culmen.components.checkpointing import trees
from culmen.components.paths import expanded

_FORMAT = 1
_MANIFEST, _STATE, _ARRAYS, _PYTHON, _ROWS, _TABLE = (
    'manifest.json',
    'state.json',
    'arrays',
    'python.pickle',
    'rows',
    'table',
)


class DamagedCheckpointError(RuntimeError):
    """A checkpoint's files are not what was written."""


class Saved(NamedTuple):
    """A checkpoint as read."""

    name: str
    state: Any  # what `save` was given
    python: Any  # unpickled, or None where it was not asked for
    rows: Iterator[
        tuple[int, dict[str, NDArray[Any]]]
    ]  # (start tick, arrays) of the table, in order
    table: Path | None = None  # the folder of a table that wrote itself


class Checkpointer:
    """Keeps the newest checkpoints of a run in a folder."""

    def __init__(self, directory: str | os.PathLike[str], keep: int = 2) -> None:
        """Args: directory: of the checkpoints, made when the first is saved; keep: how many stay."""
        self._directory = expanded(directory)
        self._keep = keep
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._segments: list[dict[str, Any]] = []  # files of rows that the next checkpoint may need

    # Saving.

    def save(
        self,
        number: int,
        state: Any,
        python: Any = None,
        table: Any = None,
        *,
        name: str | None = None,
    ) -> None:
        """Saves a checkpoint, in a thread; `wait` or the next call reports its errors.

        Args:
            number: orders checkpoints: actor steps.
            state: dicts, lists, plain values and arrays, which must not change afterwards.
            python: what only pickle can hold.
            table: with `live_ticks() -> (first, next)` and `read_rows(start, stop)`, whose rows since the
                last checkpoint are read now; or with `checkpoint(folder) -> {file: {bytes, crc32}}`,
                which writes itself to a new folder now; None: no table.
            name: of the folder, kept apart from the numbered ones and never deleted; None: from the number.
        Raises: the error of the save before, OSError naming its file.
        """
        self.wait()
        pickled = pickle.dumps(python, protocol=4) if python is not None else None
        apart, name = name is not None, name or f'{number:012d}'
        shutil.rmtree(self._temporary(name), ignore_errors=True)
        chunk, files = None, {}
        if hasattr(table, 'checkpoint'):
            written = table.checkpoint(self._temporary(name) / _TABLE)
            files = {f'{_TABLE}/{file}': each for file, each in written.items()}
        else:
            chunk = self._new_rows(table)
        job = lambda: self._write(name, number, state, pickled, chunk, files, apart)
        self._thread = threading.Thread(
            target=self._run, args=(job,), name='checkpoint', daemon=False
        )
        self._thread.start()

    def wait(self) -> None:
        """Waits until the last save is on the disk. Raises: its error."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, job: Any) -> None:
        try:
            job()
        except BaseException as error:
            self._error = error

    def _new_rows(self, table: Any) -> tuple[int, int, dict[str, NDArray[Any]] | None] | None:
        """(first live tick, start of the new rows, the new rows)."""
        if table is None:
            return None
        first, stop = table.live_ticks()
        saved = max((segment['stop'] for segment in self._segments), default=first)
        start = max(first, saved)
        return first, start, table.read_rows(start, stop) if stop > start else None

    def _temporary(self, name: str) -> Path:
        return self._directory / f'.{name}-{os.getpid()}'

    def _write(
        self,
        name: str,
        number: int,
        state: Any,
        pickled: bytes | None,
        chunk: Any,
        of_table: Mapping[str, Any],
        apart: bool,
    ) -> None:
        final = self._directory / name
        temporary = self._temporary(name)
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            segments = self._write_rows(chunk)
            plain, arrays = trees.split(state)
            files = {
                **of_table,
                _STATE: _write_bytes(temporary / _STATE, trees.dumps(plain).encode()),
                _ARRAYS: _write_arrays(temporary / _ARRAYS, arrays),
            }
            if pickled is not None:
                files[_PYTHON] = _write_bytes(temporary / _PYTHON, pickled)
            manifest = {'format': _FORMAT, 'number': number, 'files': files, 'rows': segments}
            _write_bytes(temporary / _MANIFEST, json.dumps(manifest).encode())
            if final.exists():
                shutil.rmtree(final)
            os.replace(temporary, final)
            _sync(self._directory)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            where = error.filename or temporary
            raise OSError(
                error.errno or 0, f'could not save a checkpoint: {error.strerror}', str(where)
            ) from error
        self._segments = segments
        if not apart:
            self._prune()

    def _write_rows(self, chunk: Any) -> list[dict[str, Any]]:
        if chunk is None:
            return []
        first, start, rows = chunk
        segments = [segment for segment in self._segments if segment['stop'] > first]
        if rows is not None:
            stop = start + len(next(iter(rows.values())))
            folder = self._directory / _ROWS
            folder.mkdir(parents=True, exist_ok=True)
            file = f'{start:012d}-{stop:012d}'
            temporary = folder / f'.{file}'
            try:
                written = _write_arrays(temporary, rows)
                os.replace(temporary, folder / file)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            segments.append({'file': file, 'start': start, 'stop': stop, **written})
        return segments

    def _prune(self) -> None:
        """Removes all but the newest checkpoints, and rows that none of the rest needs."""
        names = self.names()
        for name in names[: -self._keep]:
            shutil.rmtree(self._directory / name, ignore_errors=True)
        needed = set()
        for path in self._directory.glob(f'[!.]*/{_MANIFEST}'):
            try:
                needed |= {segment['file'] for segment in json.loads(path.read_text())['rows']}
            except (OSError, ValueError, KeyError):
                return  # a damaged manifest: which rows it needs is not known, so all stay
        for path in (self._directory / _ROWS).glob('[!.]*'):
            if path.name not in needed:
                path.unlink(missing_ok=True)

    # Reading.

    def names(self) -> list[str]:
        """The numbered checkpoints, oldest first."""
        if not self._directory.is_dir():
            return []
        return sorted(
            path.name for path in self._directory.iterdir() if path.name.isdigit() and path.is_dir()
        )

    def restore(self) -> Saved | None:
        """The newest checkpoint that is whole, python state included, or None where there is none.

        A damaged one is passed over with a warning.

        Raises: PermissionError where a file belongs to another user; DamagedCheckpointError where
            every checkpoint is damaged.
        """
        names = self.names()
        for name in reversed(names):
            try:
                saved = self.read(name, python=True)
            except DamagedCheckpointError as error:
                warnings.warn(f'{error} The checkpoint before it is used.', stacklevel=2)
                continue
            self._segments = self._manifest(name)['rows']
            self._forget_after(name)
            return saved
        if names:
            raise DamagedCheckpointError(f'every checkpoint in {self._directory} is damaged.')
        return None

    def read(self, name: str | None = None, *, python: bool = False) -> Saved:
        """Reads a checkpoint.

        Args:
            name: which; None: the newest.
            python: whether to check the files of rows and to open the pickle too.
        Raises: FileNotFoundError without any; DamagedCheckpointError that names the file;
            PermissionError that names a file of another user, where the pickle is asked for.
        """
        if name is None:
            names = self.names()
            if not names:
                raise FileNotFoundError(f'{self._directory} holds no checkpoint.')
            name = names[-1]
        folder = self._directory / name
        manifest = self._manifest(name)
        for file, written in manifest['files'].items():
            _check(folder / file, written)
        if python:
            for segment in manifest['rows']:
                _check(self._directory / _ROWS / segment['file'], segment)
        state = trees.join(
            json.loads((folder / _STATE).read_text()), _read_arrays(folder / _ARRAYS)
        )
        objects = None
        if python and _PYTHON in manifest['files']:
            _check_owner(
                self._directory,
                folder,
                *(folder / file for file in (_MANIFEST, *manifest['files'])),
            )
            objects = pickle.loads((folder / _PYTHON).read_bytes())
        table = folder / _TABLE
        return Saved(
            name,
            state,
            objects,
            self._read_rows(manifest['rows']),
            table if table.is_dir() else None,
        )

    def _read_rows(
        self, segments: list[dict[str, Any]]
    ) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        for segment in segments:
            yield segment['start'], _read_arrays(self._directory / _ROWS / segment['file'])

    def _manifest(self, name: str) -> dict[str, Any]:
        path = self._directory / name / _MANIFEST
        try:
            manifest = json.loads(path.read_text())
            if manifest['format'] != _FORMAT:
                raise DamagedCheckpointError(
                    f'{path} must have format {_FORMAT}, got {manifest["format"]}.'
                )
            return dict(manifest)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedCheckpointError(
                f'{path} is damaged: {type(error).__name__}: {error}.'
            ) from error

    def _forget_after(self, name: str) -> None:
        """Removes what was saved after the checkpoint that a run goes on from."""
        for later in self.names():
            if later > name:
                shutil.rmtree(self._directory / later, ignore_errors=True)
        for path in self._directory.glob('.*'):
            shutil.rmtree(path, ignore_errors=True)


class _Writer:
    """Writes a file to the disk, and knows its size and checksum."""

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
            with contextlib.suppress(OSError):  # of what a full disk did not take, reported already
                self._file.close()

    def write(self, data: Any) -> None:
        self._file.write(data)
        self.written['bytes'] += len(data)
        self.written['crc32'] = zlib.crc32(data, self.written['crc32'])


def _write_bytes(path: Path, data: bytes) -> dict[str, Any]:
    with _Writer(path) as writer:
        writer.write(data)
    return writer.written


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Arrays in NumPy's own format, one after another; the first holds the names of the others."""
    with _Writer(path) as writer:
        for array in (np.array(list(arrays), dtype=str), *arrays.values()):
            np.lib.format.write_array(writer, array, allow_pickle=False)
    return writer.written


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with open(path, 'rb') as file:
            names = np.lib.format.read_array(file, allow_pickle=False)
            return {str(name): np.lib.format.read_array(file, allow_pickle=False) for name in names}
    except (OSError, ValueError) as error:
        raise DamagedCheckpointError(f'{path} is damaged: {error}.') from error


def _crc32(path: Path) -> int:
    checksum = 0
    with open(path, 'rb') as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _check(path: Path, written: Mapping[str, Any]) -> None:
    try:
        good = path.stat().st_size == written['bytes'] and _crc32(path) == written['crc32']
    except OSError as error:
        raise DamagedCheckpointError(f'{path} can not be read: {error.strerror}.') from error
    if not good:
        raise DamagedCheckpointError(f'{path} is not what was written: {written["bytes"]} bytes.')


def _check_owner(*paths: Path) -> None:
    if not hasattr(os, 'getuid'):
        return
    for path in paths:
        owner = path.stat().st_uid
        if owner != os.getuid():
            raise PermissionError(
                f'{path} must belong to the user who resumes (uid {os.getuid()}), got uid {owner}: '
                f'a resumed run unpickles the environments in it.'
            )


def _sync(directory: Path) -> None:
    """Makes a rename last, where the system lets folders be opened."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
