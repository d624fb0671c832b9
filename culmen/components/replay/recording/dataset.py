"""Recorded streams as a table, for `Dataset`. No actor writes to it; a learner draws from it.

A source is a folder that a `Recorder` wrote, or a callable that returns an iterator of Streams. All its rows
are kept in memory, and stored, gathered and cut into windows as in the in-process table. Windows are drawn
uniformly with replacement, by random numbers that depend only on (seed, count of draws). So a checkpoint
needs only the learner's count for a Dataset.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.dispatch import Packed
from culmen.components.files import OnLostRows
from culmen.components.files import expanded
from culmen.components.replay.in_process.gather import Gather
from culmen.components.replay.recording.sources import read_callable
from culmen.components.replay.recording.sources import read_folder
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.windows import Cutter
from culmen.components.replay.stream.windows import may_be_short
from culmen.core.experience import Dataset
from culmen.core.experience import Experience
from culmen.core.experience import mirror
from culmen.core.experience import recorded
from culmen.core.experience import table_label
from culmen.core.experience import unmirror
from culmen.core.workers import Draw
from culmen.core.workers import Reader

_BLOCK = 64  # draws that share one generator


class DatasetReader:
    """Draws from the Datasets of an experience, together with the table that actors write to.

    With a dict of tables, each gives a batch at every draw. Datasets are always due.
    """

    def __init__(
        self,
        experience: Experience,
        row_spec: RowSpec,
        seed: int,
        table: Reader | None = None,
        on_lost_rows: OnLostRows = 'drop',
    ) -> None:
        """Reads all sources into memory.

        Args:
            experience: of an agent.
            row_spec: of the experiment's stream. A source may have more extras.
            seed: of the draws; each Dataset of a dict has its own random numbers.
            table: of `live(experience)`, if that is not None.
            on_lost_rows: whether a recording with damaged files of rows is read without them, with a
                warning ('drop'), or refused.
        Raises: DamagedError that names a file; ValueError that names a source and what is wrong: it is
            missing, a leaf differs or has a value that no loop accepts (NaN, a discount out of [0, 1], an
            action out of range), or it has no window.
        """
        self._experience = experience
        self._table = table
        self._datasets = {
            name: _OneDataset(name, dataset, row_spec, seed, on_lost_rows)
            for name, dataset in recorded(experience).items()
        }
        self._draws = 0

    def due(self, updates: int = 1) -> bool:
        """Whether this many further updates are due in the table that actors write to."""
        return self._table is None or self._table.due(updates)

    def draw(self) -> Draw:
        """Draws a batch for one update from every table.

        Returns: the items' numbers and a Packed Sample; dicts of them for a dict of tables.
        """
        drawn = {name: each.draw(self._draws) for name, each in self._datasets.items()}
        self._draws += 1
        keys: dict[str, Any] = {name: numbers for name, (numbers, _) in drawn.items()}
        samples: dict[str, Any] = {name: sample for name, (_, sample) in drawn.items()}
        if self._table is not None:
            of_table = self._table.draw()
            assert isinstance(of_table.samples, dict)
            keys |= of_table.keys
            samples |= of_table.samples
        return Draw(mirror(self._experience, keys), mirror(self._experience, samples))

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        """Passes priorities to the table that actors write to.

        Raises: ValueError that names a Dataset, if it is given priorities.
        """
        if priorities is None:
            return
        of_tables = unmirror(self._experience, priorities)
        for name in self._datasets:
            if of_tables.pop(name, None) is not None:
                where = table_label(name)
                raise ValueError(f'{where} is a Dataset and takes no priorities.')
        if self._table is not None:
            numbers = unmirror(self._experience, keys)
            self._table.update_priorities(
                {name: numbers[name] for name in of_tables if name in numbers}, of_tables
            )

    def seek(self, draws: int) -> None:
        """Continues after this many draws, which is the number of the learner's updates."""
        self._draws = draws


class _OneDataset:
    """The rows and the windows of one Dataset."""

    def __init__(
        self,
        name: str,
        dataset: Dataset,
        row_spec: RowSpec,
        seed: int,
        on_lost_rows: OnLostRows,
    ) -> None:
        self._batch_size = dataset.batch_size
        self._place = (seed, zlib.crc32(name.encode()))
        if isinstance(dataset.source, str):
            where = f'Dataset.source {dataset.source}'
            rows, streams = read_folder(where, expanded(dataset.source), row_spec, on_lost_rows)
        else:
            where = f'Dataset.source {getattr(dataset.source, "__qualname__", dataset.source)}'
            rows, streams = read_callable(where, dataset.source(), row_spec)
        starts, lengths = [], []
        for begin, step_type in streams:
            # After a gap, the first stacks need frames that are lost.
            ages = rows.ages(begin + np.arange(len(step_type)))
            for start, length in _cut(dataset, step_type):
                if ages[start] <= start:
                    starts.append(begin + start)
                    lengths.append(length)
        if not starts:
            raise ValueError(f'{where} has no window of length {dataset.window.length}.')
        self._starts = np.array(starts, np.int64)
        self._lengths = np.array(lengths, np.int64) if may_be_short(dataset.window) else None
        self._gather = Gather(
            rows,
            dataset.window,
            with_lengths=self._lengths is not None,
            with_probability=False,
        )
        self._block_number = -1
        self._block = np.empty((0, 0), np.int64)

    def draw(self, count: int) -> tuple[NDArray[Any], Packed]:
        number, offset = divmod(count, _BLOCK)
        if number != self._block_number:
            sequence = np.random.SeedSequence((*self._place, number))
            generator = np.random.Generator(np.random.Philox(sequence))
            self._block = generator.integers(0, len(self._starts), (_BLOCK, self._batch_size))
            self._block_number = number
        numbers = self._block[offset].copy()
        lengths = None if self._lengths is None else self._lengths[numbers]
        return numbers, self._gather(self._starts[numbers], lengths, None, len(self._starts))


def _cut(dataset: Dataset, step_type: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """(start, transitions) of the windows of one stream, in the order in which they appear."""
    cutter = Cutter(dataset.window, num_lanes=1)
    for each in step_type.reshape(-1, 1):
        for items in (cutter.observe(each), cutter.act()):
            if items is not None:
                yield from zip(items.start.tolist(), items.length.tolist())
