"""The items that the reader draws from a table, and when a draw is due.

`SampledItems` stay in the server, which draws them many times. `QueuedItems` are drawn once and then removed.
`AllItems` are the newest items, all in every batch.
"""

import collections
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.dispatch import Packed
from culmen.components.replay.served.connection import Columns
from culmen.components.replay.served.connection import Connection
from culmen.components.replay.served.connection import Stored
from culmen.components.replay.served.layout import ItemLayout
from culmen.components.replay.served.rules import Lead
from culmen.components.replay.served.rules import is_ordered
from culmen.components.replay.served.rules import split_lead
from culmen.components.replay.served.rules import table_name
from culmen.components.replay.stream.batch import pad
from culmen.components.replay.stream.priorities import RawPriorities
from culmen.components.replay.stream.priorities import none_taken
from culmen.components.replay.stream.rate import Rate
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import table_label
from culmen.core.workers import TableCounts


class SampledItems:
    """Items that the server draws, many times."""

    def __init__(
        self, name: str, replay: Replay, layout: ItemLayout, connection: Connection
    ) -> None:
        self.server_name = table_name(name)
        self._where = table_label(name)
        self._replay = replay
        self._batch_size = replay.batch_size
        self._rate = Rate.of(replay)
        self._layout = layout
        self._connection = connection
        self._draws = 0
        self.raw = RawPriorities(self._where, replay) if replay.prioritised else None

    def begin(self, now: Stored) -> None:
        # A reader that has ended may have drawn a part of a batch, which counts as one.
        self._draws = -(-now.sampled // self._batch_size)

    def counts(self, now: Stored) -> TableCounts:
        return TableCounts(now.size, now.inserted, self._draws * self._batch_size)

    def due(self, updates: int, now: Stored) -> bool:
        inserted = now.inserted
        return self._rate.due(inserted, self._draws + updates)

    def draw(self, now: Stored) -> tuple[NDArray[Any], Packed]:
        if not self.due(1, now):
            raise RuntimeError(f'draw was called on {self._where}, and none was due.')
        drawn = self._connection.sample(self.server_name, self._batch_size)
        self._draws += 1
        return drawn.keys, self._layout.assemble(drawn.items, drawn.probabilities, drawn.size)

    def update_priorities(self, keys: NDArray[Any], priorities: Any) -> None:
        if self.raw is None:
            raise ValueError(none_taken(self._where, self._replay))
        raw = self.raw.check(priorities, len(keys))
        self.raw.see(raw)
        self._connection.update_priorities(self.server_name, keys, raw)

    def get_state(self) -> dict[str, Any]:
        return {
            'draws': self._draws,
            'largest_priority': None if self.raw is None else self.raw.largest,
        }

    def set_state(self, state: dict[str, Any], lost: bool) -> None:
        if not lost:  # the rate counts the items that the server has counted
            self._draws = int(state['draws'])
        if self.raw is not None:
            self.raw.see_one(float(state['largest_priority']))


class _DrainedItems:
    """Items that are removed from the server when they are drawn, in the server's order."""

    raw: RawPriorities | None = None

    def __init__(
        self, name: str, table: Replay | Queue, layout: ItemLayout, connection: Connection
    ) -> None:
        self.server_name = table_name(name)
        self._where = table_label(name)
        self._table = table
        self._layout = layout
        self._connection = connection

    def begin(self, now: Stored) -> None:
        pass

    def _take(self, num: int) -> list[tuple[int, Columns]]:
        """(place in the order, columns) of `num` items, which must be there."""
        if num < 1:
            return []
        drawn = self._connection.sample(self.server_name, num)
        return list(zip(drawn.priorities.astype(np.int64).tolist(), drawn.items))

    def update_priorities(self, keys: NDArray[Any], priorities: Any) -> None:
        raise ValueError(none_taken(self._where, self._table))


class QueuedItems(_DrainedItems):
    """Windows that are drawn once.

    In order of arrival, they wait in the server. In order of their numbers (`number * lanes + lane`), they
    wait here, since an early window of a fast lane is held back.
    """

    def __init__(
        self, name: str, queue: Queue, layout: ItemLayout, connection: Connection, num_lanes: int
    ) -> None:
        super().__init__(name, queue, layout, connection)
        self._num_lanes = num_lanes
        self._batch_size = num_lanes if queue.batch_size is None else queue.batch_size
        self._ordered = is_ordered(queue, num_lanes)
        self._waiting: dict[int, Columns] = {}
        self._next = 0  # the place of the next window to draw
        self._reach = 0  # the first place from `_next` on whose window has not arrived

    def counts(self, now: Stored) -> TableCounts:
        waiting = len(self._waiting) + now.size
        return TableCounts(waiting, self._next + waiting, self._next)

    def due(self, updates: int, now: Stored) -> bool:
        num = updates * self._batch_size
        if not self._ordered:
            return num <= now.size
        if self._reach < self._next + num:
            self._drain(now)
        return self._reach >= self._next + num

    def _drain(self, now: Stored) -> None:
        self._waiting.update(self._take(now.size))
        while self._reach in self._waiting:
            self._reach += 1

    def draw(self, now: Stored) -> tuple[NDArray[Any], Packed]:
        size = len(self._waiting) + now.size
        if not self.due(1, now):
            raise RuntimeError(f'draw was called on {self._where}, a Queue, and none was due.')
        num = self._batch_size
        places = range(self._next, self._next + num)
        if self._ordered:
            items = [self._waiting.pop(place) for place in places]
        else:
            items = [columns for _, columns in self._take(num)]
        self._next += num
        batch = self._layout.assemble(items, np.ones(num, np.float32), size)
        return np.array(places, np.int64), batch

    def arrived(self, now: Stored) -> int:
        """How many windows have arrived ever, where they are drawn in order of arrival."""
        return self._next + now.size

    def next_windows(self, now: Stored) -> NDArray[Any]:
        if not self._ordered:
            return np.zeros(self._num_lanes, np.int64)
        self._drain(now)
        lanes = np.arange(self._num_lanes)
        # For each lane, its first place from `next` on.
        first = self._next + (lanes - self._next) % self._num_lanes
        numbers = (first - lanes) // self._num_lanes
        for place in self._waiting:
            lane = place % self._num_lanes
            numbers[lane] = max(numbers[lane], place // self._num_lanes + 1)
        return numbers

    def get_state(self) -> dict[str, Any]:
        return {'next': self._next, 'waiting': _pack(self._waiting)}

    def set_state(self, state: dict[str, Any], lost: bool) -> None:
        self._next = self._reach = int(state['next'])
        self._waiting = dict(_unpack(state['waiting']))
        while self._reach in self._waiting:
            self._reach += 1


class AllItems(_DrainedItems):
    """The newest items, all in every batch. They are fetched from the server once, and kept here."""

    def __init__(
        self, name: str, replay: Replay, layout: ItemLayout, connection: Connection, lead: Lead
    ) -> None:
        super().__init__(name, replay, layout, connection)
        self._capacity = replay.capacity
        self._batch_size = replay.batch_size
        self._rate = Rate.of(replay)
        self._lead, _ = split_lead(replay, lead, self._where)
        self._items: collections.deque[Columns] = collections.deque(maxlen=replay.capacity)
        self._inserted = 0
        self._draws = 0
        self._by_tick = replay.by_tick
        self._min_size = max(replay.min_size, 1)
        self._lock = threading.Lock()
        self._told = 0  # items, of which `tell_ended` has told
        self._ends = 0  # ticks in which episodes ended, from min_size items on

    def tell_ended(self, items: int) -> None:
        """Counts a tick of an actor in which episodes ended. Several threads may call this.

        Args: items: that this actor has stored since its last call.
        """
        with self._lock:
            self._told += items
            self._ends += self._told >= self._min_size

    def counts(self, now: Stored) -> TableCounts:
        waiting = now.size
        sampled = self._draws * self._batch_size
        return TableCounts(len(self._items), self._inserted + waiting, sampled)

    def due(self, updates: int, now: Stored) -> bool:
        self._drain(now)
        if self._by_tick:
            return bool(self._items) and self._draws + updates <= self._ends
        return self._rate.due(self._inserted, self._draws + updates)

    def _drain(self, now: Stored) -> None:
        """Fetches new items up to the lead. The rest stay in the server and make the actors wait."""
        waiting = now.size
        taken = 0
        while taken < waiting and self._rate.may_insert(
            self._inserted + taken + 1, self._draws, self._lead
        ):
            taken += 1
        self._items.extend(columns for _, columns in self._take(taken))
        self._inserted += taken

    def draw(self, now: Stored) -> tuple[NDArray[Any], Packed]:
        self._drain(now)
        size = len(self._items)
        if not size:
            raise RuntimeError(f'draw was called on an empty table, {self._where}: none was due.')
        self._draws += 1
        batch = self._layout.assemble(self._items, np.full(size, 1.0 / size, np.float32), size)
        keys = np.full(self._capacity, -1, np.int64)
        keys[:size] = np.arange(self._inserted - size, self._inserted)
        return keys, pad(batch, self._capacity)

    def get_state(self) -> dict[str, Any]:
        return {
            'inserted': self._inserted,
            'draws': self._draws,
            'told': self._told,
            'ends': self._ends,
            'items': _pack(dict(enumerate(self._items))),
        }

    def set_state(self, state: dict[str, Any], lost: bool) -> None:
        self._inserted = int(state['inserted'])
        self._draws = int(state['draws'])
        self._told = int(state.get('told', 0))
        self._ends = int(state.get('ends', 0))
        self._items.clear()
        self._items.extend(columns for _, columns in _unpack(state['items']))


def _pack(items: dict[int, Columns]) -> dict[str, Any]:
    """Packs any number of items into few arrays: for each column, the rows of all items in turn."""
    columns = list(zip(*items.values()))
    return {
        'places': np.fromiter(items, np.int64, len(items)),
        'columns': [
            {
                'rows': np.array([len(data) for data in column], np.int64),
                'data': np.concatenate(column),
            }
            for column in columns
        ],
    }


def _unpack(state: dict[str, Any]) -> list[tuple[int, Columns]]:
    columns = [
        np.split(column['data'], np.cumsum(column['rows'])[:-1]) for column in state['columns']
    ]
    return [
        (place, [column[i] for column in columns])
        for i, place in enumerate(state['places'].tolist())
    ]
