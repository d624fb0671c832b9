"""The reader: what a learner holds of the Reverb tables. There is one in a program."""

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.reverb.engine import Connection
from culmen.components.replay.reverb.layout import ItemLayout
from culmen.components.replay.reverb.layout import RowLayout
from culmen.components.replay.reverb.priorities import RawPriorities
from culmen.components.replay.reverb.server import Lead
from culmen.components.replay.reverb.server import check_tables
from culmen.components.replay.reverb.server import is_ordered
from culmen.components.replay.reverb.server import split_lead
from culmen.components.replay.reverb.server import table_name
from culmen.components.replay.stream.rate import Rate
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import mirror
from culmen.core.experience import table_label
from culmen.core.experience import unmirror
from culmen.core.types import Sample
from culmen.core.workers import Draw

Columns = list[NDArray[Any]]  # of an item


class ReverbReader:
    """Draws batches that are due, and only then: it never waits for a limiter. Not safe between threads."""

    def __init__(
        self,
        experience: Experience,
        row_spec: RowSpec,
        num_lanes: int,
        address: str,
        *,
        lead: Lead = None,
        stop: Callable[[], bool] | None = None,
        info: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        """Connects, and takes up the counts of the server.

        Args:
            experience: a Replay, a Queue, or a dict of them.
            row_spec: of the stream.
            num_lanes: of the whole program.
            address: of the server.
            lead: as the server has it.
            stop: no wait outlives it; None where the server is in this process.
            info: of the server, where it is in this process.
        Raises: ValueError for a Dataset, and for an unknown path in `Window.ends` or `first`;
            ConnectionError where nobody listens at the address.
        """
        self._experience = experience
        specs = check_tables(experience)
        rows = RowLayout(row_spec, 1)
        self._connection = Connection(address, stop)
        self._info = info or self._connection.info
        self._num_lanes = num_lanes
        self._tables: dict[str, _OfQueue | _OfAll | _OfReplay] = {}
        for name, table in specs.items():
            layout = ItemLayout(rows, table.window)
            common = (layout, self._connection)
            if isinstance(table, Queue):
                self._tables[name] = _OfQueue(name, table, *common, num_lanes)
                continue
            assert isinstance(table, Replay)
            if table.draw == 'all':
                self._tables[name] = _OfAll(name, table, *common, lead)
            else:
                self._tables[name] = _OfReplay(name, table, *common)
        self._counts = self._info()
        for read in self._tables.values():
            read.begin(self._counts[read.reverb_name])

    def due(self, updates: int = 1) -> bool:
        """Whether so many further updates are due in every table.

        Raises: ConnectionError where the server is gone, unless `stop()` came first.
        """
        try:
            self._look(updates)
            return self._due(updates)
        except ConnectionError:
            if self._connection.stopped:
                return False
            raise

    def _due(self, updates: int) -> bool:
        counts = self._counts
        return all(table.due(updates, counts[table.reverb_name]) for table in self._tables.values())

    def _look(self, updates: int) -> None:
        """Asks for the counts of the server, unless those known say that so many updates are due."""
        # Inserts only grow, so that what was due stays due; items of other tables leave when drawn.
        replays = all(isinstance(table, _OfReplay) for table in self._tables.values())
        if not (replays and self._due(updates)):
            self._counts = self._info()

    def draw(self) -> Draw:
        """Draws a batch for one update from every table.

        Returns: the items' keys [B], and a Sample in memory of its own; dicts of them for a dict of tables.
        Raises: RuntimeError where none is due; ConnectionError where the server is gone.
        """
        self._look(1)
        drawn = {
            name: table.draw(self._counts[table.reverb_name])
            for name, table in self._tables.items()
        }
        keys = {name: keys for name, (keys, _) in drawn.items()}
        samples = {name: sample for name, (_, sample) in drawn.items()}
        return Draw(mirror(self._experience, keys), mirror(self._experience, samples))

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        """Writes raw priorities of drawn items; those that have left are passed over.

        Args:
            keys: of a draw.
            priorities: float[B], finite and at least 0, or None; mirrors the experience.
        Raises: ValueError that names the table, for priorities that a uniform table or a Queue is
            given, and for those out of range; ConnectionError where the server is gone.
        """
        if priorities is None:
            return
        of_tables = unmirror(self._experience, keys)
        for name, of_table in unmirror(self._experience, priorities).items():
            if name not in self._tables:
                known = list(self._tables)
                raise ValueError(f'priorities must be of the tables {known}, got {name!r}.')
            if of_table is not None:
                self._tables[name].update_priorities(of_tables[name], of_table)

    @property
    def largest_priorities(self) -> dict[str, float]:
        """The largest raw priority ever given, by table name: writers give it to new items."""
        return {
            name: table.raw.largest for name, table in self._tables.items() if table.raw is not None
        }

    def next_windows(self) -> NDArray[Any]:
        """int64[lanes of the program]: of each the number of the first window that is not stored.

        From these the writers of a restored program count. Takes up what waits in the server; zeros
        where no Queue goes by these numbers.
        """
        counts = self._info()
        numbers = np.zeros(self._num_lanes, np.int64)
        for table in self._tables.values():
            if isinstance(table, _OfQueue):
                numbers = np.maximum(numbers, table.next_windows(counts[table.reverb_name]))
        return numbers

    def get_state(self) -> dict[str, Any]:
        """What the server does not keep, and how many items that has: arrays and plain values."""
        counts = self._info()
        return {
            name: {**table.get_state(), 'stored': int(counts[table.reverb_name].current_size)}
            for name, table in self._tables.items()
        }

    def set_state(self, state: dict[str, Any], lost: bool = False) -> int:
        """Goes on from `get_state`, on a server that was restored with it.

        Args: lost: what the server had is lost, and it is a new one: its tables fill as at the beginning.
        Returns: how many items are lost.
        """
        if list(state) != list(self._tables):
            known = list(self._tables)
            raise ValueError(f"checkpoint field 'tables' must have {known}, got {list(state)}.")
        for name, table in self._tables.items():
            table.set_state(state[name], lost)
        return sum(int(each.get('stored', 0)) for each in state.values()) if lost else 0

    def close(self) -> None:
        """Lets go of the server."""
        self._connection.end()


class _OfReplay:
    """Items that Reverb draws, many times."""

    def __init__(
        self, name: str, replay: Replay, layout: ItemLayout, connection: Connection
    ) -> None:
        self.reverb_name = table_name(name)
        self._where = table_label(name)
        self._batch_size = replay.batch_size
        self._rate = Rate.of(replay)
        self._layout = layout
        self._connection = connection
        self._draws = 0
        self.raw = RawPriorities(name, replay) if replay.prioritised else None

    def begin(self, info: Any) -> None:
        self._draws = info.rate_limiter_info.sample_stats.completed // self._batch_size

    def due(self, updates: int, info: Any) -> bool:
        inserted = info.rate_limiter_info.insert_stats.completed
        return self._rate.due(inserted, self._draws + updates)

    def draw(self, info: Any) -> tuple[NDArray[Any], Sample]:
        if not self.due(1, info):
            raise RuntimeError(f'draw was called on {self._where}, and none was due.')
        items = self._connection.sample(self.reverb_name, self._batch_size)
        self._draws += 1
        keys = np.array([item[0] for item in items], np.uint64)
        probability = np.array([item[1] for item in items], np.float32)
        steps, version = self._layout.assemble([item[5:] for item in items])
        return keys, Sample(steps, probability, np.array(items[0][2], np.int32), version)

    def update_priorities(self, keys: NDArray[Any], priorities: Any) -> None:
        if self.raw is None:
            raise ValueError(
                f'{self._where} is uniform (priority_exponent 0) and takes no priorities: the '
                f'update must return None for it.'
            )
        raw = self.raw.check(priorities, len(keys))
        self.raw.see(float(raw.max()))
        self._connection.update_priorities(self.reverb_name, dict(zip(keys.tolist(), raw.tolist())))

    def get_state(self) -> dict[str, Any]:
        return {
            'draws': self._draws,
            'largest_priority': None if self.raw is None else self.raw.largest,
        }

    def set_state(self, state: dict[str, Any], lost: bool) -> None:
        if not lost:  # the rate is of the items that the server has counted
            self._draws = int(state['draws'])
        if self.raw is not None:
            self.raw.see(float(state['largest_priority']))


class _Drained:
    """Items that leave the server when they are drawn, the smallest of its order first."""

    raw: RawPriorities | None = None

    def __init__(self, name: str, layout: ItemLayout, connection: Connection, kind: str) -> None:
        self.reverb_name = table_name(name)
        self._where = table_label(name)
        self._kind = kind
        self._layout = layout
        self._connection = connection

    def begin(self, info: Any) -> None:
        pass

    def _take(self, num: int) -> list[tuple[int, Columns]]:
        """(place in the order, columns) of so many items, which must be there."""
        if num < 1:
            return []
        drawn = self._connection.sample(self.reverb_name, num)
        return [(int(item[3]), item[5:]) for item in drawn]

    def update_priorities(self, keys: NDArray[Any], priorities: Any) -> None:
        raise ValueError(
            f'{self._where} {self._kind} and takes no priorities: the update must return None for it.'
        )


class _OfQueue(_Drained):
    """Windows drawn once.

    In order of arrival they wait in the server. In order of their numbers (`number * lanes + lane`)
    those that have come wait here, since an early one of a fast lane is held back.
    """

    def __init__(
        self, name: str, queue: Queue, layout: ItemLayout, connection: Connection, num_lanes: int
    ) -> None:
        super().__init__(name, layout, connection, 'is a Queue')
        self._num_lanes = num_lanes
        self._batch_size = num_lanes if queue.batch_size is None else queue.batch_size
        self._ordered = is_ordered(queue)
        self._waiting: dict[int, Columns] = {}
        self._next = 0  # the place of the window drawn next
        self._reach = 0  # the first place, from there on, whose window has not come

    def due(self, updates: int, info: Any) -> bool:
        num = updates * self._batch_size
        if not self._ordered:
            return num <= int(info.current_size)
        if self._reach < self._next + num:
            self._drain(info)
        return self._reach >= self._next + num

    def _drain(self, info: Any) -> None:
        self._waiting.update(self._take(int(info.current_size)))
        while self._reach in self._waiting:
            self._reach += 1

    def draw(self, info: Any) -> tuple[NDArray[Any], Sample]:
        size = len(self._waiting) + int(info.current_size)
        if not self.due(1, info):
            raise RuntimeError(f'draw was called on {self._where}, a Queue, and none was due.')
        num = self._batch_size
        places = range(self._next, self._next + num)
        if self._ordered:
            items = [self._waiting.pop(place) for place in places]
        else:
            items = [columns for _, columns in self._take(num)]
        self._next += num
        steps, version = self._layout.assemble(items)
        sample = Sample(steps, np.ones(num, np.float32), np.array(size, np.int32), version)
        return np.array(places, np.int64), sample

    def next_windows(self, info: Any) -> NDArray[Any]:
        if not self._ordered:
            return np.zeros(self._num_lanes, np.int64)
        self._drain(info)
        lanes = np.arange(self._num_lanes)
        # Of each lane the first place from `next` on that is its own.
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


class _OfAll(_Drained):
    """The newest items, all of them in every batch. They wait here, and cross from the server once."""

    def __init__(
        self, name: str, replay: Replay, layout: ItemLayout, connection: Connection, lead: Lead
    ) -> None:
        super().__init__(name, layout, connection, 'is uniform (priority_exponent 0)')
        self._capacity = replay.capacity
        self._rate = Rate.of(replay)
        self._lead, _ = split_lead(replay, lead, self._where)
        self._items: collections.deque[Columns] = collections.deque(maxlen=replay.capacity)
        self._inserted = 0
        self._draws = 0

    def due(self, updates: int, info: Any) -> bool:
        self._drain(info)
        return self._rate.due(self._inserted, self._draws + updates)

    def _drain(self, info: Any) -> None:
        """Takes what has come, as far as its lead goes: what is left makes the actors wait."""
        waiting = int(info.current_size)
        taken = 0
        while taken < waiting and self._rate.may_insert(
            self._inserted + taken + 1, self._draws, self._lead
        ):
            taken += 1
        self._items.extend(columns for _, columns in self._take(taken))
        self._inserted += taken

    def draw(self, info: Any) -> tuple[NDArray[Any], Sample]:
        self._drain(info)
        size = len(self._items)
        if not size:
            raise RuntimeError(f'draw was called on an empty table, {self._where}: none was due.')
        self._draws += 1
        steps, version = self._layout.assemble(self._items, self._capacity)
        keys = np.full(self._capacity, -1, np.int64)
        keys[:size] = np.arange(self._inserted - size, self._inserted)
        probability = np.zeros(self._capacity, np.float32)
        probability[:size] = 1.0 / size
        return keys, Sample(steps, probability, np.array(size, np.int32), version)

    def get_state(self) -> dict[str, Any]:
        return {
            'inserted': self._inserted,
            'draws': self._draws,
            'items': _pack(dict(enumerate(self._items))),
        }

    def set_state(self, state: dict[str, Any], lost: bool) -> None:
        self._inserted = int(state['inserted'])
        self._draws = int(state['draws'])
        self._items.clear()
        self._items.extend(columns for _, columns in _unpack(state['items']))


def _pack(items: dict[int, Columns]) -> dict[str, Any]:
    """Items as few arrays, however many they are: by column, the rows of all one after another."""
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
