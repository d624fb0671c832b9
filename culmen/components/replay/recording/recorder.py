"""The recorder writes the streams of a run to a folder, one row for each time step, for a `Dataset`.

A launcher has its actor write to the recorder and to the table. Rows reach the disk a shard at a time, at
each checkpoint and at the end. When a run resumes from a checkpoint, rows recorded after it are removed.
`files.py` describes the folder. Nothing here depends on windows.
"""

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components import files
from culmen.components.files import check_writable
from culmen.components.files import expanded
from culmen.components.replay.in_process.rows import Arrays
from culmen.components.replay.in_process.rows import Rows
from culmen.components.replay.recording.files import MOST_ROWS_OF_A_SHARD
from culmen.components.replay.recording.files import ROWS_OF_A_SHARD
from culmen.components.replay.recording.files import SPEC
from culmen.components.replay.recording.files import lane_folder
from culmen.components.replay.recording.files import naming_errors
from culmen.components.replay.recording.files import read_spec
from culmen.components.replay.recording.files import shards
from culmen.components.replay.recording.files import spec_data
from culmen.components.replay.recording.files import write_shard
from culmen.components.replay.recording.files import write_spec
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.core.checks import check_range
from culmen.core.rules import total
from culmen.core.types import Nest
from culmen.core.types import TimeStep
from culmen.core.types import Version
from culmen.core.workers import Writer


class Writers:
    """Joins several writers into one, for example a table and a recorder."""

    def __init__(self, *writers: Writer) -> None:
        """Args: writers: each receives every step."""
        self._writers = writers

    @property
    def held(self) -> NDArray[np.bool_] | None:
        """bool[B]: lanes that any of them holds at FIRST; None: none."""
        held = [writer.held for writer in self._writers]
        return next((each for each in held if each is not None), None)

    def observe(self, timestep: TimeStep) -> None:
        """Tells each."""
        for writer in self._writers:
            writer.observe(timestep)

    def act(self, action: Nest, extras: Nest, version: Version) -> None:
        """Tells each."""
        for writer in self._writers:
            writer.act(action, extras, version)


class Recorder:
    """Writes the stream of each lane to a folder.

    If an observation stacks frames, each frame is stored once. The last time step of a run, which has no
    action, is a row too, with action and extras 0 and version -1.
    """

    held = None  # it holds no lane

    def __init__(
        self,
        directory: str | os.PathLike[str],
        row_spec: RowSpec,
        num_lanes: int,
        run: Mapping[str, Any],
        rows_of_a_shard: int = ROWS_OF_A_SHARD,
    ) -> None:
        """Makes a recorder. Call `begin` or `set_state` before the first step.

        Args:
            directory: of the recording.
            row_spec: of the stream.
            num_lanes: B.
            run: identifies the run for `check_recording`; saved in spec.json.
            rows_of_a_shard: rows of a full file, at most 65,536.
        Raises: ValueError if `rows_of_a_shard` is larger.
        """
        check_range('rows_of_a_shard', rows_of_a_shard, 1, MOST_ROWS_OF_A_SHARD)
        self._directory = expanded(directory)
        self._rows = Rows(row_spec, num_lanes, rows_of_a_shard)
        self._written = 0  # the first tick that is not on disk
        self._begun = False
        self._spec = spec_data(row_spec.leaves, run, num_lanes, rows_of_a_shard)

    def begin(self) -> None:
        """Starts from the beginning: removes what an earlier attempt of this run left."""
        with naming_errors(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            for lane in range(self._rows.num_lanes):
                shutil.rmtree(self._lane(lane), ignore_errors=True)
                self._lane(lane).mkdir()
        write_spec(self._directory, self._spec)
        self._begun = True

    def observe(self, timestep: TimeStep) -> None:
        """Opens a row in every lane. Raises: ValueError that names a leaf that does not fit."""
        self._rows.open(timestep)

    def act(self, action: Nest, extras: Nest, version: Version) -> None:
        """Closes the rows. Raises: as `observe`; OSError that names a file."""
        self._rows.close(action, extras, total(version))
        if self._rows.next_tick - self._written == self._rows.num_ticks:
            self.flush()

    def flush(self) -> None:
        """Writes all closed rows. Raises: OSError that names a file."""
        start, stop = self._written, self._rows.next_tick
        if stop > start:
            self._save(start, self._rows.read(start, stop))
            self._written = stop

    def close(self) -> None:
        """Writes all rows, including the open one."""
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
        """The position of the recording, for a checkpoint. All rows before it are on disk."""
        self.flush()
        state: dict[str, Any] = {'next_tick': self._rows.next_tick}
        if self._rows.is_open:
            tick = self._rows.next_tick
            state['open_row'] = self._rows.read(tick, tick + 1, of_open_row=True)
        return state

    def set_state(self, state: Mapping[str, Any] | None, *, drop: bool = False) -> None:
        """Resumes from a checkpoint: removes rows recorded after it.

        Args:
            state: the result of `get_state`; None: the checkpoint has none.
            drop: whether to go on, with a warning, if files of rows before the checkpoint are missing.
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
        return lane_folder(self._directory, lane)

    def _save(self, start: int, arrays: Arrays) -> None:
        for lane in range(self._rows.num_lanes):
            of_lane = {path: leaf[:, lane] for path, leaf in arrays.items()}
            write_shard(self._lane(lane), start, of_lane)


def check_recording(
    directory: str | os.PathLike[str], run: Mapping[str, Any], resumed: bool
) -> None:
    """Refuses a folder that this run can't record to. Writes nothing.

    Args:
        directory: of the recording.
        run: as for the Recorder.
        resumed: whether the run has a checkpoint to resume from.
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
