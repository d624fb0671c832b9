"""Items that are kept and drawn many times: those of a Replay in the in-process table."""

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.in_process.fractions import Fractions
from culmen.components.replay.in_process.items import AreLost
from culmen.components.replay.in_process.items import Drawn
from culmen.components.replay.in_process.items import saved_array
from culmen.components.replay.in_process.sum_tree import SumTree
from culmen.components.replay.stream.priorities import RawPriorities
from culmen.components.replay.stream.priorities import none_taken
from culmen.components.replay.stream.rate import Rate
from culmen.components.replay.stream.windows import Items
from culmen.components.replay.stream.windows import may_be_short
from culmen.core.experience import Replay
from culmen.core.experience import table_label


class ReplayItems:
    """Items that are kept and drawn many times; the oldest are removed first.

    With priorities, an item has the weight `priority ** exponent` and is drawn with a probability of its
    weight over the sum of all weights. New items get the largest raw priority so far, at least 1. An item of
    priority 0 is never drawn, unless all are 0: then draws are uniform.
    """

    def __init__(self, name: str, replay: Replay, num_lanes: int, seed: int) -> None:
        """Args: name: of the table, '' for a single one. seed: of the experiment's tables."""
        self._where = table_label(name)
        self._replay = replay
        self._capacity = replay.capacity
        self._num_lanes = num_lanes
        self._length = replay.window.length
        self._rate = Rate.of(replay)
        sequence = np.random.SeedSequence((seed, zlib.crc32(name.encode())))
        self._fractions = Fractions(sequence, replay.batch_size)
        self._all = replay.draw == 'all'
        self._size = np.zeros(
            ()
        )  # of the last draw: NumPy multiplies by an array faster than by an int
        self._inserted = 0  # the number of the next item
        self._first = 0  # the smallest number in use
        self._uncounted = 0  # numbers that the rate does not count
        self._draws = 0
        self._allowed = 0  # draws that the rate allows, counted from the beginning
        self._ends = 0  # ticks in which episodes ended, from min_size items on
        self._codes = np.zeros(self._capacity, np.int64)
        self._lengths = np.zeros(self._capacity, np.int32) if may_be_short(replay.window) else None
        self._tree: SumTree | None = None
        if replay.prioritised:
            self._tree = SumTree(self._capacity)
            self._raw = np.zeros(self._capacity, np.float32)
            self._priorities = RawPriorities(self._where, replay)

    @property
    def size(self) -> int:
        """Items in the table."""
        size = self._inserted - self._first
        return size if size < self._capacity else self._capacity

    def insert(self, items: Items, priorities: NDArray[Any] | None) -> None:
        codes = items.start
        if self._num_lanes > 1:
            codes = codes * self._num_lanes + items.lane
        raw, weights = None, None
        if priorities is not None:
            raw = self._priorities.check(priorities, len(codes))
            weights = self._priorities.weights(raw)
        begin = 0
        while begin < len(codes):
            slot = self._inserted % self._capacity
            num = min(len(codes) - begin, self._capacity - slot)
            end = begin + num
            self._codes[slot : slot + num] = codes[begin:end]
            if self._lengths is not None:
                self._lengths[slot : slot + num] = items.length[begin:end]
            if self._tree is not None:
                if raw is None or weights is None:
                    self._raw[slot : slot + num] = self._priorities.largest
                    weight: Any = self._priorities.largest_weight
                    weight = weight if num == 1 else np.full(num, weight)
                    self._tree.set_range(slot, weight)
                else:
                    self._raw[slot : slot + num] = raw[begin:end]
                    self._tree.set_range(slot, weights[begin:end])
            self._inserted += num
            begin = end
        self._allow()
        if raw is not None:
            self._priorities.see(raw)

    def _allow(self) -> None:
        empty = self._inserted == self._first
        self._allowed = 0 if empty else self._rate.updates(self._inserted - self._uncounted)

    def close_tick(self, has_ended: bool) -> None:
        if has_ended and self._replay.by_tick:
            self._ends += self._inserted - self._uncounted >= max(self._replay.min_size, 1)

    def due(self, updates: int) -> bool:
        if self._replay.by_tick:
            return self._inserted > self._first and self._draws + updates <= self._ends
        return self._draws + updates <= self._allowed

    def draw(self) -> Drawn:
        size = self.size
        if not size:
            raise RuntimeError(f'draw was called on an empty table, {self._where}: none was due.')
        oldest = self._inserted - size
        self._draws += 1
        if self._all:
            numbers = np.arange(oldest, self._inserted)
            slots = numbers % self._capacity
            probability = np.full(size, 1.0 / size, np.float32)
        elif self._tree is None:
            # From 53 random bits, so uniform up to size / 2^53; faster than `integers`.
            self._size[()] = size
            numbers = (self._fractions.draw() * self._size).astype(np.int64)
            slots = numbers
            if oldest:
                slots = numbers + oldest % self._capacity
                numbers += oldest
            probability = None
        else:
            slots, probability = self._draw_by_weight(self._tree, size)
            numbers = slots
            if oldest:
                numbers = slots + (oldest - oldest % self._capacity)
                numbers += (numbers < oldest) * self._capacity
        # Before the ring wraps around, slots are indices.
        codes = self._codes.take(slots, mode='wrap') if oldest else self._codes[slots]
        lengths = None if self._lengths is None else self._lengths.take(slots, mode='wrap')
        return Drawn(numbers, codes, lengths, probability, size)

    def _draw_by_weight(self, tree: SumTree, size: int) -> tuple[NDArray[Any], NDArray[Any]]:
        fractions = self._fractions.draw()
        found = tree.find(fractions)
        if found is None:
            slots = (fractions * size).astype(np.int64)
            return slots, np.full(len(slots), 1.0 / size, np.float32)
        return found[0], found[1].astype(np.float32)

    def update_priorities(self, numbers: NDArray[Any], priorities: Any) -> None:
        if priorities is None:
            return
        if self._tree is None:
            raise ValueError(none_taken(self._where, self._replay))
        raw = self._priorities.check(priorities, len(numbers))
        weights = self._priorities.weights(raw)
        self._priorities.see(raw)
        slots = numbers % self._capacity
        oldest = self._inserted - self.size
        if oldest:
            here = numbers >= oldest
            if not here.all():
                slots, raw, weights = slots[here], raw[here], weights[here]
        self._raw[slots] = raw
        self._tree.set(slots, weights)

    def oldest_end(self) -> int | None:
        if not self.size:
            return None
        slot = (self._inserted - self.size) % self._capacity
        length = self._length if self._lengths is None else int(self._lengths[slot])
        return int(self._codes[slot]) // self._num_lanes + length

    def get_state(self) -> dict[str, Any]:
        size = self.size
        state: dict[str, Any] = {
            'inserted': self._inserted,
            'first': self._first,
            'uncounted': self._uncounted,
            'draws': self._draws,
            'ends': self._ends,
            'generator': self._fractions.get_state(),
            'codes': self._codes[:size].copy(),
        }
        if self._lengths is not None:
            state['lengths'] = self._lengths[:size].copy()
        if self._tree is not None:
            state['priorities'] = self._raw[:size].copy()
            state['weights'] = self._tree.leaves[:size].copy()
            state['largest_priority'] = self._priorities.largest
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        self._inserted = int(state['inserted'])
        self._first = int(state.get('first', 0))
        self._uncounted = int(state.get('uncounted', 0))
        self._draws = int(state['draws'])
        self._ends = int(state.get('ends', 0))
        self._fractions.set_state(state['generator'])
        self._allow()
        size = self.size
        self._codes[:size] = saved_array(self._where, state, 'codes', (size,))
        if self._lengths is not None:
            self._lengths[:size] = saved_array(self._where, state, 'lengths', (size,))
        if self._tree is not None:
            self._raw[:size] = saved_array(self._where, state, 'priorities', (size,))
            self._tree.restore(saved_array(self._where, state, 'weights', (size,)))
            self._priorities.restore(state['largest_priority'])

    def drop(self, are_lost: AreLost) -> int:
        size = self.size
        slots = np.arange(self._inserted - size, self._inserted) % self._capacity
        codes = self._codes[slots]
        lengths = np.full(size, self._length) if self._lengths is None else self._lengths[slots]
        slots = slots[~are_lost(codes, lengths)]
        kept, dropped = len(slots), size - len(slots)
        if not dropped:
            return 0
        self._codes[:kept] = self._codes[slots]
        if self._lengths is not None:
            self._lengths[:kept] = self._lengths[slots]
        if self._tree is not None:
            self._raw[:kept] = self._raw[slots]
            self._tree.restore(self._tree.leaves[slots])
        # With fewer than min_size items left, the table waits until it has them, as at the beginning.
        counted, least = self._inserted - self._uncounted, max(self._replay.min_size, 1)
        if kept < least:
            counted = max(counted, least) - (least - kept)
        # Numbers continue at the next one with slot 0, so that older keys refer to no present item.
        self._first = -(-self._inserted // self._capacity) * self._capacity
        self._inserted = self._first + kept
        self._uncounted = self._inserted - counted
        self._allow()
        return dropped
