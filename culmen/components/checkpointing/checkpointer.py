"""Writes and reads the checkpoints of a run.

    checkpoints/000000010000/   manifest.json: sizes and checksums, its own too; written last
                                state.json, arrays: plain values and arrays, no pickle
                                python.pickle: environments; opened by a resuming run alone
                                table/: of a table that writes itself (Reverb)
    checkpoints/rows/           rows of a table by tick, shared by the checkpoints that need them

A folder appears under its name when it is whole. Rows of a table never change, so each checkpoint
adds those since the last. Files are written by a thread: training waits only while state is copied.
Whatever is wrong with a checkpoint, the one before it is used; one that lost rows, or its table, alone is
used without them.
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
    state: Any  # what `save` was given
    python: Any  # unpickled, or None where it was not asked for
    rows: Iterator[
        tuple[int, dict[str, NDArray[Any]]]
    ]  # (start tick, arrays) of the table, in order
    table: Path | None = None  # the folder of a table that wrote itself
    lost: tuple[tuple[int, int], ...] = ()  # [start, stop) of ticks whose rows are gone
    lost_table: bool = False  # a table wrote itself, and what it wrote is damaged
    losses: tuple[str, ...] = ()  # what was found to be lost now, a sentence a file


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
        """Saves a checkpoint, in a thread; `poll`, `wait` or the next call reports its errors.

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
        """Does not wait. Raises: the error of the last save, once it has failed."""
        if self._error is not None:
            self.wait()

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
        """Removes all but the newest checkpoints, and rows that none of the rest needs."""
        names = self.names()
        for name in names[: -self._keep]:
            shutil.rmtree(self._directory / name, ignore_errors=True)
        needed = set()
        for path in self._directory.glob(f'[!.]*/{MANIFEST}'):
            try:
                segments = disk.read_manifest(path).segments
            except DamagedCheckpointError:
                return  # which rows it needs is not known, so all stay
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
        """The newest checkpoint that can be used, or None where there is none; later ones are removed.

        A damaged one is passed over with a warning, for the one before it.

        Args:
            python: whether to open the pickle too.
            trust: whether to open it whoever may have written it.
            on_lost_rows: whether a checkpoint of which only rows are damaged is used without them ('drop')
                or passed over ('refuse').
        Raises: DamagedCheckpointError that says of each checkpoint what is wrong; UnknownFormatError;
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
        """The newest checkpoint that can be used, its pickle and its rows left alone. Removes nothing.

        A damaged one is passed over with a warning, for the one before it.

        Raises: FileNotFoundError without any; otherwise as `restore`.
        """
        while True:
            names = self.names()
            try:
                return self._newest(self.read)
            except DamagedCheckpointError:
                # Beside a run that goes on: those that were read may have left for newer ones.
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
            name: which.
            python: whether to open the pickle too.
            rows: whether to check the files of rows, and what a table wrote itself. Without it `lost` is what
                was known when the checkpoint was saved.
            trust: whether to open a pickle whoever may have written it.
        Raises: DamagedCheckpointError that names the file; UnknownFormatError; UntrustedError that names a
            file which somebody else could have written, where the pickle is asked for.
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
        """(ticks of damaged files of rows, whether the table's own are damaged, a sentence for each)."""
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
        """Removes what was saved after the checkpoint that a run goes on from."""
        for later in self.names():
            if later > name:
                shutil.rmtree(self._directory / later, ignore_errors=True)
        for path in self._directory.glob('.*'):
            shutil.rmtree(path, ignore_errors=True)
