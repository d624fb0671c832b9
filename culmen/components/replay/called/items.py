"""The items of one table of a `CalledServer`: which there is room for, and which are drawn.

An item is slices of columns, each a list of rows of bytes, which items share. `SampledTable` keeps its items
and draws them many times; `DrainedTable` gives each item once.
"""

import heapq
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.called.connection import Drawn
from culmen.components.replay.in_process.replay_items import ReplayItems
from culmen.components.replay.served.connection import Stored
from culmen.components.replay.served.rules import Lead
from culmen.components.replay.served.rules import lead_of
from culmen.components.replay.served.rules import may_wait
from culmen.components.replay.stream.rate import Rate
from culmen.components.replay.stream.windows import Items
from culmen.core.experience import Replay
from culmen.core.experience import Table
from culmen.core.experience import table_label

Item = Sequence[Sequence[bytes]]  # by slice: its rows
State = tuple[dict[str, Any], list[Item]]  # arrays and plain values; the items, the oldest first


class SampledTable:
    """Items that are kept and drawn many times: what `ReplayItems` numbers, with its content."""

    def __init__(self, name: str, replay: Replay, lead: Lead, seed: int) -> None:
        """Args: name: of the table, '' for a single one; lead: as for a server; seed: of the draws."""
        self._items = ReplayItems(name, replay, 1, seed)
        self._prioritised = replay.prioritised
        self._batch_size = replay.batch_size
        self._rate = Rate.of(replay)
        self._lead = lead_of(replay, lead, table_label(name))
        self._contents: list[Item | None] = [None] * replay.capacity
        self._inserted = 0
        self._draws = 0

    def has_room(self) -> bool:
        """Whether an item may be stored now."""
        return self._rate.may_insert(self._inserted + 1, self._draws, self._lead)

    def insert(self, item: Item, priority: float) -> None:
        """Stores an item; the oldest makes room."""
        one = np.zeros(1, np.int64)
        raw = np.array([priority], np.float32) if self._prioritised else None
        self._contents[self._inserted % len(self._contents)] = item
        self._items.insert(Items(one, one, one), raw)
        self._inserted += 1

    def stored(self) -> Stored:
        """What there is."""
        return Stored(self._items.size, self._inserted, self._draws * self._batch_size)

    def draw(self, num: int) -> Drawn:
        """Draws a batch. Raises: RuntimeError if the table is empty; ValueError for another number."""
        if num != self._batch_size:
            raise ValueError(f'a batch of {self._batch_size} is drawn, got {num}.')
        drawn = self._items.draw()
        self._draws += 1
        found = [self._contents[n] for n in (drawn.numbers % len(self._contents)).tolist()]
        probability = drawn.probability
        if probability is None:
            probability = np.full(num, 1.0 / drawn.size, np.float32)
        return Drawn(drawn.numbers, probability, drawn.size, np.zeros(num), joined(found))

    def set_priorities(self, keys: NDArray[Any], priorities: NDArray[Any]) -> None:
        """Sets raw priorities by key."""
        self._items.update_priorities(keys, priorities)

    def get_state(self) -> State:
        """All of it, for a checkpoint."""
        size, capacity = self._items.size, len(self._contents)
        oldest = self._inserted - size
        contents = [self._contents[n % capacity] for n in range(oldest, self._inserted)]
        return self._items.get_state(), contents  # type: ignore[return-value]

    def set_state(self, state: dict[str, Any], items: list[Item]) -> None:
        """Restores the result of `get_state`."""
        self._items.set_state(state)
        self._inserted, self._draws = int(state['inserted']), int(state['draws'])
        capacity = len(self._contents)
        for number, item in enumerate(items, self._inserted - len(items)):
            self._contents[number % capacity] = item


class DrainedTable:
    """Items that are given once, the smallest priority first; of the same, in order of arrival."""

    def __init__(self, table: Table, num_lanes: int, lead: Lead) -> None:
        """Args: table: of the experience; num_lanes: of the program; lead: as for a server."""
        self._may_wait = may_wait(table, num_lanes, lead)
        self._heap: list[tuple[float, int, Item]] = []
        self._inserted = 0

    def has_room(self) -> bool:
        """Whether an item may be stored now."""
        return not self._heap or len(self._heap) + 1 <= self._may_wait

    def insert(self, item: Item, priority: float) -> None:
        """Stores an item."""
        heapq.heappush(self._heap, (priority, self._inserted, item))
        self._inserted += 1

    def stored(self) -> Stored:
        """What there is."""
        return Stored(len(self._heap), self._inserted, self._inserted - len(self._heap))

    def draw(self, num: int) -> Drawn:
        """Takes items out. Raises: RuntimeError if there are not as many."""
        size = len(self._heap)
        if num > size:
            raise RuntimeError(f'{num} items were asked for, and {size} wait.')
        taken = [heapq.heappop(self._heap) for _ in range(num)]
        return Drawn(
            np.array([number for _, number, _ in taken]),
            np.ones(num, np.float32),
            size,
            np.array([priority for priority, _, _ in taken], np.float64),
            joined([item for _, _, item in taken]),
        )

    def set_priorities(self, keys: NDArray[Any], priorities: NDArray[Any]) -> None:
        """Raises: ValueError: such items have none that could change."""
        raise ValueError('items that are drawn once have no priorities to set.')

    def get_state(self) -> State:
        """All of it, for a checkpoint."""
        waiting = sorted(self._heap)
        state = {
            'inserted': self._inserted,
            'places': np.array([priority for priority, _, _ in waiting], np.float64),
            'numbers': np.array([number for _, number, _ in waiting], np.int64),
        }
        return state, [item for _, _, item in waiting]

    def set_state(self, state: dict[str, Any], items: list[Item]) -> None:
        """Restores the result of `get_state`."""
        self._inserted = int(state['inserted'])
        places, numbers = state['places'].tolist(), state['numbers'].tolist()
        self._heap = list(zip(places, numbers, items, strict=True))


def joined(items: Sequence[Any]) -> list[tuple[NDArray[Any], bytes]]:
    """For each column: how many rows each item has, and the rows of all items in turn."""
    return [
        (
            np.fromiter(map(len, column), np.int64, len(column)),
            b''.join(itertools.chain.from_iterable(column)),
        )
        for column in zip(*items, strict=True)
    ]
