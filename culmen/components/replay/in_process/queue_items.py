"""Items that are drawn once, in order: those of a Queue in the in-process table."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.in_process.items import AreLost
from culmen.components.replay.in_process.items import Drawn
from culmen.components.replay.in_process.items import saved_array
from culmen.components.replay.stream.priorities import none_taken
from culmen.components.replay.stream.windows import Items
from culmen.components.replay.stream.windows import may_be_short
from culmen.core.experience import Queue
from culmen.core.experience import table_label


class QueueItems:
    """Items that are drawn once, in order; none is removed before.

    Without a batch size, a batch is the oldest item of every lane, by lane. With one, it is the first items
    by (tick of the last step, lane, start).
    """

    def __init__(self, name: str, queue: Queue, num_lanes: int) -> None:
        """Args: name: of the table, '' for a single one."""
        self._where = table_label(name)
        self._queue = queue
        self._num_lanes = num_lanes
        self._of_every_lane = queue.batch_size is None
        self._batch_size = num_lanes if queue.batch_size is None else queue.batch_size
        self._length = queue.window.length
        self._may_be_short = may_be_short(queue.window)
        self._waiting = np.zeros((3, 0), np.int64)  # number, code, length
        self._inserted = 0
        self._of_tick = 0  # items of this tick that still wait

    def insert(self, items: Items, priorities: NDArray[Any] | None) -> None:
        num = len(items.start)
        new = np.empty((3, num), np.int64)
        new[0] = np.arange(self._inserted, self._inserted + num)
        new[1] = items.start * self._num_lanes + items.lane
        new[2] = items.length
        self._waiting = np.concatenate([self._waiting, new], axis=1)
        self._inserted += num
        self._of_tick += num

    def close_tick(self, has_ended: bool) -> None:
        del has_ended
        num = min(self._of_tick, self._waiting.shape[1])
        self._of_tick = 0
        if num > 1 and not self._of_every_lane and self._may_be_short:
            # Whole windows were inserted before those that LAST cut short: sort them together.
            newest = self._waiting[:, -num:]
            order = np.lexsort((newest[1], newest[1] % self._num_lanes))
            newest[1:] = newest[1:, order]

    def due(self, updates: int) -> bool:
        if not self._of_every_lane:
            return updates * self._batch_size <= self._waiting.shape[1]
        if updates * self._batch_size > self._waiting.shape[1]:
            return False
        of_lane = np.bincount(self._waiting[1] % self._num_lanes, minlength=self._num_lanes)
        return bool(of_lane.min() >= updates)

    def draw(self) -> Drawn:
        if not self.due(1):
            raise RuntimeError(f'draw was called on {self._where}, a Queue, and none was due.')
        size = self._waiting.shape[1]
        if self._of_every_lane:
            picked = np.unique(self._waiting[1] % self._num_lanes, return_index=True)[1]
        else:
            picked = np.arange(self._batch_size)
        numbers, codes, lengths = self._waiting[:, picked]
        self._waiting = np.delete(self._waiting, picked, axis=1)
        return Drawn(
            numbers,
            codes,
            lengths if self._may_be_short else None,
            np.ones(len(picked), np.float32),
            size,
        )

    def update_priorities(self, numbers: NDArray[Any], priorities: Any) -> None:
        if priorities is not None:
            raise ValueError(none_taken(self._where, self._queue))

    def oldest_end(self) -> int | None:
        if not self._waiting.shape[1]:
            return None
        return int((self._waiting[1] // self._num_lanes + self._waiting[2]).min())

    def get_state(self) -> dict[str, Any]:
        return {
            'inserted': self._inserted,
            'of_tick': self._of_tick,
            'waiting': self._waiting.copy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self._inserted = int(state['inserted'])
        self._of_tick = int(state['of_tick'])
        num = np.shape(state.get('waiting', ()))[-1:]
        self._waiting = saved_array(self._where, state, 'waiting', (3, *num)).astype(np.int64)

    def drop(self, are_lost: AreLost) -> int:
        lost = are_lost(self._waiting[1], self._waiting[2])
        if self._of_tick:
            self._of_tick -= int(lost[-self._of_tick :].sum())
        self._waiting = self._waiting[:, ~lost]
        return int(lost.sum())
