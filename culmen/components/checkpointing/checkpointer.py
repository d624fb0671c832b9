"""Writes and reads the checkpoints of a run.

    checkpoints/000000010000/   manifest.json: sizes and checksums, also its own; written last
                                state.json, arrays: plain values and arrays, no pickle
                                python.pickle: environments; opened only by a run that resumes
                                table/: files of a table that saves itself (Reverb)
    checkpoints/rows/           rows of a table by tick, shared by the checkpoints that need them

A folder gets its name when it is complete. Rows of a table never change, so each checkpoint adds only the
rows since the last one. A thread writes the files: training waits only while state is copied.
If a checkpoint is damaged, the one before it is used. If only rows or the table of a checkpoint are lost, it
is used without them.
"""

import json
import os
import pickle
import shutil
import threading
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import NamedTuple

from numpy.typing import NDArray

from culmen.components import files
from culmen.components.checkpointing import disk
from culmen.components.checkpointing import trees
from culmen.components.checkpointing.disk import ARRAYS
from culmen.components.checkpointing.disk import MANIFEST
from culmen.components.checkpointing.disk import PYTHON
from culmen.components.checkpointing.disk import ROWS
from culmen.components.checkpointing.disk import STATE
from culmen.components.checkpointing.disk import TABLE
from culmen.components.checkpointing.disk import DamagedCheckpointError
from culmen.components.checkpointing.disk import Manifest
from culmen.components.checkpointing.disk import UnknownFormatError
from culmen.components.files import OnLostRows
from culmen.components.files import expanded


class Saved(NamedTuple):
    """A checkpoint as read."""

    name: str
    state: Any  # as given to `save`
    python: Any  # unpickled, or None if not requested
    rows: Iterator[
        tuple[int, dict[str, NDArray[Any]]]
    ]  # (start tick, arrays) of the table, in order
    table: Path | None = None  # the folder of a table that saved itself
    lost: tuple[tuple[int, int], ...] = ()  # [start, stop) of ticks whose rows are gone
    lost_table: bool = False  # whether the files of a table that saved itself are damaged
    losses: tuple[str, ...] = ()  # losses found now, one sentence per file


class Checkpointer:
    """Keeps the newest checkpoints of a run in a folder."""

    def __init__(self, directory: str | os.PathLike[str], keep: int = 2) -> None:
        """Args: directory: of the checkpoints, made with the first one; keep: how many to keep."""
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
        """Saves a checkpoint in a thread. `poll`, `wait` or the next call raises its errors.

        Args:
            number: orders checkpoints; the actor steps.
            state: dicts, lists, plain values and arrays, which must not change afterwards.
            python: values that need pickle.
            table: has `live_ticks() -> (first, next)` and `read_rows(start, stop)`, by which the rows since
                the last checkpoint are read now; or has `checkpoint(folder) -> {file: {bytes, crc32}}`, by
                which it saves itself to a new folder now; None: no table.
            name: of a separate folder that is never deleted; None: the folder is named by the number.
        Raises: the error of the previous save: OSError that names its file.
        """
        self.wait()
        pickled = pickle.dumps(python, protocol=4) if python is not None else None
        apart, name = name is not None, name or f'{number:012d}'
        shutil.rmtree(self._temporary(name), ignore_errors=True)
        chunk, of_table = None, {}
        if hasattr(table, 'checkpoint'):
            written = table.checkpoint(self._temporary(name) / TABLE)
            of_table = {f'{TABLE}/{file}': each for file, each in written.items()}
        else:
            chunk = self._new_rows(table)
        job = lambda: self._write(name, number, state, pickled, chunk, of_table, apart)
        self._thread = threading.Thread(
            target=self._run, args=(job,), name='checkpoint', daemon=False
        )
        self._thread.start()

    def poll(self) -> None:
        """Raises the error of the last save, if it has failed by now. Does not wait."""
        if self._error is not None:
            self.wait()

    def wait(self) -> None:
        """Waits until the last save is on disk. Raises: its error."""
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
            written = {
                **of_table,
                STATE: disk.write_bytes(temporary / STATE, trees.dumps(plain).encode()),
                ARRAYS: disk.write_arrays(temporary / ARRAYS, arrays),
            }
            if pickled is not None:
                written[PYTHON] = disk.write_bytes(temporary / PYTHON, pickled)
            disk.write_manifest(temporary / MANIFEST, Manifest(written, segments), number)
            if final.exists():
                shutil.rmtree(final)
            os.replace(temporary, final)
            disk.sync(self._directory)
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
            folder = self._directory / ROWS
            folder.mkdir(parents=True, exist_ok=True)
            file = f'{start:012d}-{stop:012d}'
            temporary = folder / f'.{file}'
            try:
                written = disk.write_arrays(temporary, rows)
                os.replace(temporary, folder / file)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            segments.append({'file': file, 'start': start, 'stop': stop, **written})
        return segments

    def _prune(self) -> None:
        """Removes all but the newest checkpoints, and rows that none of these needs."""
        names = self.names()
        for name in names[: -self._keep]:
            shutil.rmtree(self._directory / name, ignore_errors=True)
        needed = set()
        for path in self._directory.glob(f'[!.]*/{MANIFEST}'):
            try:
                segments = disk.read_manifest(path).segments
            except DamagedCheckpointError:
                return  # the rows it needs are unknown, so all are kept
            needed |= {segment['file'] for segment in segments if not segment.get('lost')}
        for path in (self._directory / ROWS).glob('[!.]*'):
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

    def restore(
        self, *, python: bool = True, trust: bool = False, on_lost_rows: OnLostRows = 'drop'
    ) -> Saved | None:
        """The newest usable checkpoint, or None if there is none. Removes later ones.

        If a checkpoint is damaged, this warns and uses the one before it.

        Args:
            python: whether to open the pickle too.
            trust: whether to open it even if another user may have written it.
            on_lost_rows: whether a checkpoint with damage only to rows is used without them ('drop') or
                skipped ('refuse').
        Raises: DamagedCheckpointError that says what is wrong with each checkpoint; UnknownFormatError;
            UntrustedError that names a file.
        """

        def read(name: str) -> Saved:
            saved = self.read(name, python=python, rows=True, trust=trust)
            if saved.losses and on_lost_rows == 'refuse':
                raise DamagedCheckpointError(f'{" ".join(saved.losses)} Its rows are lost.')
            return saved

        if not self.names():
            return None
        saved = self._newest(read)
        segments = disk.read_manifest(self._directory / saved.name / MANIFEST).segments
        self._segments = [
            {**segment, 'lost': True}
            if (segment['start'], segment['stop']) in saved.lost
            else segment
            for segment in segments
        ]
        self._forget_after(saved.name)
        return saved

    def read_newest(self) -> Saved:
        """The newest usable checkpoint, without its pickle and rows. Removes nothing.

        If a checkpoint is damaged, this warns and uses the one before it.

        Raises: FileNotFoundError if there is none; otherwise as `restore`.
        """
        while True:
            names = self.names()
            try:
                return self._newest(self.read)
            except DamagedCheckpointError:
                # A run may be writing here: newer checkpoints may have replaced those just read.
                if names == self.names():
                    raise

    def _newest(self, read: Callable[[str], Saved]) -> Saved:
        names, reasons = self.names(), []
        if not names:
            raise FileNotFoundError(f'{self._directory} holds no checkpoint.')
        for name in reversed(names):
            try:
                return read(name)
            except UnknownFormatError:
                raise
            except DamagedCheckpointError as error:
                reasons.append(str(error))
                if name != names[0]:
                    warnings.warn(f'{error} The checkpoint before it is used.', stacklevel=4)
        raise DamagedCheckpointError(
            f'every checkpoint in {self._directory} is damaged: {" ".join(reasons)}'
        )

    def read(
        self, name: str, *, python: bool = False, rows: bool = False, trust: bool = False
    ) -> Saved:
        """Reads a checkpoint.

        Args:
            name: of the checkpoint.
            python: whether to open the pickle too.
            rows: whether to check the files of rows and of a table that saved itself. If not, `lost` is what
                was known when the checkpoint was saved.
            trust: whether to open a pickle even if another user may have written it.
        Raises: DamagedCheckpointError that names the file; UnknownFormatError; UntrustedError that names a
            file that another user could have written, if the pickle is requested.
        """
        folder = self._directory / name
        manifest = disk.read_manifest(folder / MANIFEST)
        for file, written in manifest.files.items():
            if not file.startswith(f'{TABLE}/') and (python or file != PYTHON):
                disk.check(folder / file, written)
        path = folder / STATE
        with disk.damaged(path), files.reading(path):
            state = trees.join(json.loads(path.read_bytes()), disk.read_arrays(folder / ARRAYS))
        objects, path = None, folder / PYTHON
        if python and PYTHON in manifest.files:
            with disk.damaged(path), files.reading(path):
                objects = pickle.loads(files.read_trusted(path, trust=trust))
        lost, lost_table, losses = self._losses(folder, manifest) if rows else ([], False, [])
        known = [(each['start'], each['stop']) for each in manifest.segments if each.get('lost')]
        segments = [
            each for each in manifest.segments if (each['start'], each['stop']) not in known + lost
        ]
        wrote_itself = any(file.startswith(f'{TABLE}/') for file in manifest.files)
        return Saved(
            name,
            state,
            objects,
            self._read_rows(segments),
            folder / TABLE if wrote_itself and not lost_table else None,
            tuple(sorted(known + lost)),
            lost_table,
            tuple(losses),
        )

    def _losses(
        self, folder: Path, manifest: Manifest
    ) -> tuple[list[tuple[int, int]], bool, list[str]]:
        """(ticks of damaged files of rows, whether the table's own files are damaged, a sentence each)."""
        lost, lost_table, losses = [], False, []
        for segment in manifest.segments:
            if segment.get('lost'):
                continue
            path = self._directory / ROWS / segment['file']
            try:
                disk.check(path, segment)
            except DamagedCheckpointError as error:
                lost.append((segment['start'], segment['stop']))
                losses.append(str(error))
        for file, written in manifest.files.items():
            if file.startswith(f'{TABLE}/'):
                try:
                    disk.check(folder / file, written)
                except DamagedCheckpointError as error:
                    lost_table = True
                    losses.append(str(error))
        return lost, lost_table, losses

    def _read_rows(
        self, segments: list[dict[str, Any]]
    ) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        for segment in segments:
            path = self._directory / ROWS / segment['file']
            yield (
                segment['start'],
                disk.read_arrays(path, segment['stop'] - segment['start']),
            )

    def _forget_after(self, name: str) -> None:
        """Removes checkpoints later than the one that a run resumes from."""
        for later in self.names():
            if later > name:
                shutil.rmtree(self._directory / later, ignore_errors=True)
        for path in self._directory.glob('.*'):
            shutil.rmtree(path, ignore_errors=True)
