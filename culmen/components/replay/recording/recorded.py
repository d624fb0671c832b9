"""The windows of a Dataset, cut from its rows, and the random numbers by which they are drawn.

Both are the same in every launcher: a host's reader gathers windows from NumPy arrays, a compiled loop from
arrays on the device.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.files import OnLostRows
from culmen.components.replay.recording.sources import read_source
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.starts import StartCutter
from culmen.components.replay.stream.windows import Cutter
from culmen.components.replay.stream.windows import may_be_short
from culmen.core.experience import Dataset

_BLOCK = 64  # draws that share one generator


class Recorded:
    """All rows of a Dataset, in memory, and its windows in the order in which they appear.

    Attributes:
        rows: one stream after another, as if of one lane.
        starts: int64[N], the first row of each window.
        lengths: int64[N], transitions of each window; None: all are whole.
    """

    def __init__(
        self,
        dataset: Dataset,
        row_spec: RowSpec,
        on_lost_rows: OnLostRows = 'drop',
        with_frames: bool = True,
    ) -> None:
        """Reads the source. Args and Raises: as `read_source`; ValueError if there is no window."""
        where, self.rows, streams = read_source(dataset, row_spec, on_lost_rows, with_frames)
        self.dataset = dataset
        starts, lengths = [], []
        for begin, step_type in streams:
            # After a gap, the first stacks need frames that are lost.
            ages = self.rows.ages(begin + np.arange(len(step_type)))
            for start, length in self._cut(begin, step_type):
                if ages[start] <= start:
                    starts.append(begin + start)
                    lengths.append(length)
        if not starts:
            window = dataset.window
            at = '' if window.start is None else f' that begins where {window.start} is True'
            raise ValueError(f'{where} has no window of length {window.length}{at}.')
        self.starts = np.array(starts, np.int64)
        self.lengths = np.array(lengths, np.int64) if may_be_short(dataset.window) else None

    def _cut(self, begin: int, step_type: NDArray[Any]) -> Iterator[tuple[int, int]]:
        """(start, transitions) of the windows of one stream, in the order in which they appear."""
        window = self.dataset.window
        cutter = Cutter(window, 1) if window.start is None else StartCutter(window, 1)
        for row, each in enumerate(step_type.reshape(-1, 1), begin):
            observed = cutter.observe(each)
            if isinstance(cutter, StartCutter):
                cutter.mark(self.rows.record[window.start][row : row + 1])
            for items in (observed, cutter.act()):
                if items is not None:
                    yield from zip(items.start.tolist(), items.length.tolist())

    def __len__(self) -> int:
        """The number of windows, N."""
        return len(self.starts)


class Draws:
    """The random numbers of a Dataset's draws, which depend only on (seed, name, count of draws)."""

    def __init__(self, name: str, seed: int, batch_size: int) -> None:
        """Args: name: of the table. seed: of the experiment's tables. batch_size: numbers of a draw."""
        self._place = (seed, zlib.crc32(name.encode()))
        self._batch_size = batch_size
        self._held: tuple[int, NDArray[Any]] = (-1, np.empty((0, 0)))

    def integers(self, count: int, limit: int) -> NDArray[Any]:
        """int64[B], uniform in [0, limit). Args: count: draws before this one."""
        block, offset = divmod(count, _BLOCK)
        if self._held[0] != block:
            numbers = self._generator(block).integers(0, limit, (_BLOCK, self._batch_size))
            self._held = block, numbers
        return self._held[1][offset].copy()

    def fractions(self, count: int) -> NDArray[Any]:
        """float64[B], uniform in [0, 1). Args: count: draws before this one."""
        block, offset = divmod(count, _BLOCK)
        if self._held[0] != block:
            self._held = block, self._generator(block).random((_BLOCK, self._batch_size))
        return self._held[1][offset]

    def _generator(self, block: int) -> np.random.Generator:
        sequence = np.random.SeedSequence((*self._place, block))
        return np.random.Generator(np.random.Philox(sequence))
