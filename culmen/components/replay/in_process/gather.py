"""Gathers windows from the rows of the in-process table into a batch.

The small leaves of all windows take one copy of records. Stacks are assembled here from frames, each stored
once. A batch has memory of its own.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.dispatch import Packed
from culmen.components.replay.in_process.rows import Rows
from culmen.components.replay.stream.batch import BatchLayout
from culmen.core.experience import Window


class Gather:
    """Windows of one kind, gathered from rows as a batch."""

    def __init__(
        self,
        rows: Rows,
        window: Window,
        *,
        with_lengths: bool,
        with_probability: bool,
        recorded: bool = False,
        rule: int = 0,
    ) -> None:
        """Plans where each leaf is read.

        Args:
            rows: to gather from.
            window: the kind of window; its `ends` and `first` are checked.
            with_lengths: whether windows may be short or padding.
            with_probability: whether draws have probabilities; otherwise each is 1 / size.
            recorded: whether the rows are of a recording, which has no lanes of this run.
            rule: the place of the rule whose updates a sample's version counts.
        """
        self._rows = rows
        self._length = window.length
        self._steps = np.arange(window.length + 1)
        # [N, length + 1] of the last N: NumPy takes twice as long to broadcast along a short axis.
        self._offsets = np.empty((0, window.length + 1), np.int64)
        self._windows = self._offsets
        self._with_lengths = with_lengths
        self._with_probability = with_probability
        one_lane = -1 if recorded else 0 if rows.num_lanes == 1 else None
        self._has_lanes = one_lane is None
        self._layout = BatchLayout(
            rows.row_spec,
            rows.fields,
            window,
            with_lengths=with_lengths,
            with_probability=with_probability,
            rule=rule,
            lane=one_lane,
        )
        self._large = [
            (plan.path, plan.times, rows.leaves[plan.path].num_frames)
            for plan in self._layout.large
        ]

    def __call__(
        self,
        codes: NDArray[Any],
        lengths: NDArray[Any] | None,
        probability: NDArray[Any] | None,
        size: int,
    ) -> Packed:
        """Gathers windows into new memory.

        Args:
            codes: int64[N], of their first rows.
            lengths: integers[N], in transitions; None: all are whole.
            probability: float32[N]; not read if `with_probability` is False.
            size: items in the table.
        Returns: a Sample, packed.
        """
        rows = self._rows
        # Before the rings wrap around, a code is the index of its row.
        base = codes if rows.next_tick < rows.num_ticks else codes % len(rows.words)
        if lengths is None:
            if len(base) != len(self._offsets):
                shape = (len(base), self._length + 1)
                self._offsets = np.broadcast_to(self._steps * rows.num_lanes, shape).copy()
                self._windows = np.broadcast_to(np.arange(len(base))[:, None], shape).copy()
            at = base[self._windows] + self._offsets
        else:
            # Beyond its end a short window repeats its last row.
            at = base[:, None] + np.minimum(self._steps, lengths[:, None]) * rows.num_lanes
        words = rows.words.take(at, axis=0, mode='wrap')
        if self._has_lanes:
            self._layout.set_lanes(words, codes % rows.num_lanes)
        arrays = [words, np.array(size, np.int32)]
        if self._with_lengths:
            if lengths is None:
                lengths = np.full(len(codes), self._length)
            arrays.append(lengths.astype(np.int32))
        if self._with_probability:
            assert probability is not None
            arrays.append(probability)
        for path, times, num_frames in self._large:
            rows_at = at if times is None else at[:, times]
            if num_frames == 1:
                arrays.append(rows.flat[path].take(rows_at, axis=0, mode='wrap'))
            else:
                arrays.append(self._stacks(path, num_frames, rows_at))
        return Packed(arrays, self._layout)

    def _stacks(self, path: str, num_frames: int, at: NDArray[Any]) -> NDArray[Any]:
        """Stacks of frames [N, T, ..., k], as a view, which a device reads as fast as other arrays."""
        rows = self._rows
        age = rows.record['age'].take(at, mode='wrap')
        back = np.minimum(np.arange(num_frames - 1, -1, -1), age[:, :, None])  # not before FIRST
        at = at[:, :, None] - back * rows.num_lanes
        frames = np.moveaxis(rows.flat[path].take(at, axis=0, mode='wrap'), 2, -2)
        return frames.reshape(*frames.shape[:-2], -1)
