"""Recordings: the streams of a run in a folder, a row a time step, for `Dataset` to read.

    spec.json                                        the run, its lanes, dtype and shape of each leaf
    lane-0000/000000000000-000000001024.npz          rows [0, 1024) of lane 0, arrays by path

A launcher puts the recorder beside the table that its actor writes to. Rows reach the disk a shard at
a time, at each checkpoint and at the end; a shard appears under its name when it is whole. What was
recorded after a checkpoint is cut where a run goes on from it. Knows nothing of windows.
"""

import json
import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from culmen.components import files
from culmen.components.files import check_writable
from culmen.components.files import expanded
from culmen.components.replay.in_process.rows import Arrays
from culmen.components.replay.in_process.rows import Rows
from culmen.components.replay.stream.row_spec import Leaf
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.core.checks import check_range
from culmen.core.types import Nest
from culmen.core.types import TimeStep
from culmen.core.workers import Writer

SPEC = 'spec.json'
FORMAT = 1
_ROWS_OF_A_SHARD = 1024
_MOST_ROWS_OF_A_SHARD = 2**16
_SHARD = re.compile(r'(\d{12})-(\d{12})\.npz')


class Shard(NamedTuple):
    """A file of rows [start, stop) of a lane."""

    path: Path
    start: int
    stop: int


class Writers:
    """Several writers as one: a table and a recorder, say."""

    def __init__(self, *writers: Writer) -> None:
        """Args: writers: each hears of every step."""
        self._writers = writers

    def observe(self, timestep: TimeStep) -> None:
        """Tells each."""
        for writer in self._writers:
            writer.observe(timestep)

    def act(self, action: Nest, extras: Nest, version: int) -> None:
        """Tells each."""
        for writer in self._writers:
            writer.act(action, extras, version)


class Recorder:
    """Writes the stream of each lane to a folder.

    Of an observation that stacks frames each frame is stored once. The time step that a run ends on,
    on which nobody acted, is a row too, with action and extras 0 and version -1.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        row_spec: RowSpec,
        num_lanes: int,
        run: Mapping[str, Any],
        rows_of_a_shard: int = _ROWS_OF_A_SHARD,
    ) -> None:
        """Makes a recorder; `begin` or `set_state` comes before the first step.

        Args:
            directory: where to.
            row_spec: of the stream.
            num_lanes: B.
            run: names the run, for `check_recording`; goes into spec.json.
            rows_of_a_shard: of a full file, at most 65,536.
        Raises: ValueError for more.
        """
        check_range('rows_of_a_shard', rows_of_a_shard, 1, _MOST_ROWS_OF_A_SHARD)
        self._directory = expanded(directory)
        self._rows = Rows(row_spec, num_lanes, rows_of_a_shard)
        self._written = 0  # the first tick that is not on the disk
        self._begun = False
        self._spec = {
            'format': FORMAT,
            'run': dict(run),
            'lanes': num_lanes,
            'rows_of_a_shard': rows_of_a_shard,
            'leaves': {path: leaf_data(leaf) for path, leaf in self._rows.leaves.items()},
        }

    def begin(self) -> None:
        """Starts anew: what an earlier attempt of this run left is removed."""
        with _named_errors(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            for lane in range(self._rows.num_lanes):
                shutil.rmtree(self._lane(lane), ignore_errors=True)
                self._lane(lane).mkdir()
            _write(self._directory / SPEC, json.dumps(self._spec, indent=2).encode() + b'\n')
        self._begun = True

    def observe(self, timestep: TimeStep) -> None:
        """Opens a row in every lane. Raises: ValueError that names a leaf that does not fit."""
        self._rows.open(timestep)

    def act(self, action: Nest, extras: Nest, version: int) -> None:
        """Closes the rows. Raises: as `observe`; OSError that names a file."""
        self._rows.close(action, extras, version)
        if self._rows.next_tick - self._written == self._rows.num_ticks:
            self.flush()

    def flush(self) -> None:
        """Writes all closed rows. Raises: OSError that names a file."""
        start, stop = self._written, self._rows.next_tick
        if stop > start:
            self._save(start, self._rows.read(start, stop))
            self._written = stop

    def close(self) -> None:
        """Writes all rows, the open one too."""
        if not self._begun:
            return
        self.flush()
        if self._rows.is_open:
            tick = self._rows.next_tick
            row = self._rows.read(tick, tick + 1, of_open_row=True)
            for path in self._rows.paths():
                if path not in row:
                    leaf = self._rows.leaves.get(path)
                    shape, dtype = ((), np.dtype(np.int32)) if leaf is None else leaf[1:3]
                    row[path] = np.zeros((1, self._rows.num_lanes, *shape), dtype)
            row['version'] -= 1
            self._save(tick, row)

    def get_state(self) -> dict[str, Any]:
        """Where the recording stands, for a checkpoint; what stands before it is on the disk."""
        self.flush()
        state: dict[str, Any] = {'next_tick': self._rows.next_tick}
        if self._rows.is_open:
            tick = self._rows.next_tick
            state['open_row'] = self._rows.read(tick, tick + 1, of_open_row=True)
        return state

    def set_state(self, state: Mapping[str, Any] | None, *, drop: bool = False) -> None:
        """Goes on from a checkpoint: rows that were recorded after it are cut off.

        Args:
            state: of `get_state`; None: the checkpoint has none.
            drop: whether to go on, with a warning, where files of rows before it are gone.
        Raises: ValueError that names what is missing.
        """
        if state is None:
            raise ValueError(
                f'{self._directory} can not record this run: it was begun without a recording.'
            )
        next_tick = int(state['next_tick'])
        for lane in range(self._rows.num_lanes):
            for shard in shards(self._lane(lane)):
                if shard.start >= next_tick:
                    shard.path.unlink()
            reached = sum(shard.stop - shard.start for shard in shards(self._lane(lane)))
            if reached != next_tick:
                lacks = (
                    f'{self._lane(lane)} must hold the {next_tick} rows recorded up to the '
                    f'checkpoint, got {reached}.'
                )
                if not drop or reached > next_tick:
                    raise ValueError(lacks)
                self._lane(lane).mkdir(parents=True, exist_ok=True)
                warnings.warn(f'{lacks} The recording goes on without the others.', stacklevel=2)
        open_row = state.get('open_row')
        if open_row is not None:
            self._rows.write(next_tick, open_row, of_open_row=True)
        self._rows.restart(next_tick, open_row is not None)
        self._written = next_tick
        self._begun = True

    def _lane(self, lane: int) -> Path:
        return self._directory / f'lane-{lane:04d}'

    def _save(self, start: int, arrays: Arrays) -> None:
        stop = start + len(arrays['step_type'])
        for lane in range(self._rows.num_lanes):
            of_lane = {path: leaf[:, lane] for path, leaf in arrays.items()}
            with _named_errors(self._lane(lane)):
                _write(self._lane(lane) / f'{start:012d}-{stop:012d}.npz', of_lane)


def check_recording(
    directory: str | os.PathLike[str], run: Mapping[str, Any], resumed: bool
) -> None:
    """Refuses a folder that this run can not record to. Writes nothing.

    Args:
        directory: where to.
        run: as for the Recorder.
        resumed: whether the run has a checkpoint to go on from.
    Raises: ValueError that names the folder and what it holds.
    """
    folder = expanded(directory)
    if (folder / SPEC).exists():
        if read_spec(folder)['run'] != json.loads(json.dumps(run)):
            raise ValueError(f'{folder} holds the recording of another run; choose another folder.')
    elif folder.exists() and (not folder.is_dir() or {*os.listdir(folder)} - {files.LOCK}):
        raise ValueError(f'a recording needs a new or empty folder, or its own, got {folder}.')
    elif resumed:
        raise ValueError(f'{folder} can not record this run: it was begun without a recording.')
    check_writable('recording', folder)


def read_spec(directory: Path) -> dict[str, Any]:
    """What spec.json of a recording says.

    Raises: ValueError that names the folder where there is none, or not one that can be read.
    """
    path = directory / SPEC
    if not path.exists():
        raise ValueError(f'{directory} holds no recording: there is no {SPEC} in it.')
    with files.reading(path):
        spec = files.read_json(path)
        if spec['format'] != FORMAT or not isinstance(spec['run'], dict):
            raise ValueError(f'format {spec["format"]!r:.40} is not {FORMAT}')
        spec.setdefault('rows_of_a_shard', _ROWS_OF_A_SHARD)
        check_range('rows_of_a_shard', int(spec['rows_of_a_shard']), 1, _MOST_ROWS_OF_A_SHARD)
        for name, leaf in spec['leaves'].items():
            sizes = [*leaf['shape'], leaf.get('num_frames', 1)]
            if any(type(size) is not int or size < 0 for size in sizes):
                raise ValueError(f'the shape of {name!r:.40} must be of numbers from 0 on')
            if np.dtype(str(leaf['dtype'])).hasobject:
                raise ValueError(f'the dtype of {name!r:.40} must be of numbers')
        return spec


def shards(lane: Path) -> list[Shard]:
    """The files of a lane, in order."""
    found = [(_SHARD.fullmatch(path.name), path) for path in lane.glob('[!.]*')]
    return sorted(
        (Shard(path, int(match[1]), int(match[2])) for match, path in found if match),
        key=lambda shard: shard.start,
    )


def read_shard(
    shard: Shard, leaves: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
) -> dict[str, NDArray[Any]]:
    """Arrays [stop - start, ...] by path; takes no more memory than these.

    Args: leaves: dtype and shape of a row of each that is read.
    Raises: DamagedError that names the file.
    """
    num_rows, arrays = shard.stop - shard.start, {}
    with files.reading(shard.path), zipfile.ZipFile(shard.path) as archive:
        for path, (dtype, shape) in leaves.items():
            info = archive.getinfo(f'{path}.npy')
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f'{path} must be stored or deflated')
            size = num_rows * int(np.prod(shape, dtype=object)) * dtype.itemsize
            with archive.open(info) as member:
                array = files.read_array(member, size, shape=(num_rows, *shape))  # type: ignore[arg-type]
                if member.read(1):  # reading to the end compares the checksum
                    raise ValueError(f'{path} has more than its {num_rows} rows')
            # NumPy's files know no bfloat16 and its like: their bits come as bytes without a name.
            unnamed = array.dtype.kind == 'V' and array.dtype.itemsize == dtype.itemsize
            if array.dtype != dtype and not unnamed:
                raise ValueError(f'{path} must be {dtype}, got {array.dtype}')
            arrays[path] = array
    return arrays


def leaf_data(leaf: Leaf) -> dict[str, Any]:
    """A leaf as spec.json has it."""
    frames = {} if leaf.num_frames == 1 else {'num_frames': leaf.num_frames}
    return {'dtype': leaf.dtype.name, 'shape': list(leaf.shape), **frames}


class _named_errors:
    """Names the file, or the folder, of an OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, OSError):
            where = str(error.filename or self._path)
            message = f'could not record: {error.strerror or error}'
            raise OSError(error.errno or 0, message, where) from error


def _write(path: Path, content: bytes | Arrays) -> None:
    temporary = path.with_name(f'.{path.name}-{os.getpid()}')
    try:
        with open(temporary, 'wb') as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                np.savez_compressed(file, **content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
