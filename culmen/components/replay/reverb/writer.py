"""The writer, which an actor holds to write the streams of its lanes to Reverb tables."""

import collections
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.reverb.engine import Connection
from culmen.components.replay.reverb.history import History
from culmen.components.replay.reverb.layout import Columns
from culmen.components.replay.reverb.layout import ItemLayout
from culmen.components.replay.reverb.layout import RowLayout
from culmen.components.replay.reverb.server import check_tables
from culmen.components.replay.reverb.server import is_ordered
from culmen.components.replay.reverb.server import table_name
from culmen.components.replay.stream.priorities import RawPriorities
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.starts import make_cutter
from culmen.components.replay.stream.windows import Items
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import Table
from culmen.core.experience import Window
from culmen.core.experience import table_label
from culmen.core.types import FIRST
from culmen.core.types import Lanes
from culmen.core.types import Nest
from culmen.core.types import TimeStep


class ReverbWriter:
    """Writes the streams of an actor's lanes, and makes items of their windows.

    Waits inside `observe` and `act` while a limiter blocks inserts, until `stop()` is True. Not
    thread-safe.
    """

    def __init__(
        self,
        experience: Experience,
        row_spec: RowSpec,
        lanes: Lanes,
        address: str,
        *,
        stop: Callable[[], bool] | None = None,
        flush_period: int = 16,
        first_windows: NDArray[Any] | None = None,
        single_writer: bool = False,
        tell_ended: Callable[[dict[str, int]], None] | None = None,
    ) -> None:
        """Connects.

        Args:
            experience: a Replay, a Queue, or a dict of them.
            row_spec: of the stream.
            lanes: the B lanes of this actor.
            address: of the server.
            stop: ends every wait when it returns True.
            flush_period: ticks between flushes; windows of a Queue, and all windows of a single writer,
                are flushed at once.
            first_windows: int[B], the first window number of each lane, from a reader's `next_windows`;
                None: 0.
            single_writer: True in one process: items keep the order of the stream instead of the order
                of arrival, and the writer's state is part of checkpoints.
            tell_ended: of the reader; called after a tick in which episodes ended, once its items are stored.
                Needed where a Replay has `by_tick`.
        Raises: ValueError for a Dataset, and for an unknown path in `Window.fields`, `ends` or `first`.
        """
        self._lanes = np.asarray(lanes.index, np.int64)
        num_lanes = len(self._lanes)
        self._rows = RowLayout(experience, row_spec, self._lanes)
        self._tables = [
            _Written(name, table, self._rows, lanes, first_windows, single_writer)
            for name, table in check_tables(experience).items()
        ]
        self._connection = Connection(address, stop)
        self._flush_period = flush_period
        self._tell_ended = tell_ended
        self._by_tick = [table for table in self._tables if table.by_tick]
        self._max_length = max(table.window.length for table in self._tables)
        self._writers = [self._new_writer() for _ in range(num_lanes)]
        self._histories: list[Any] = [None] * num_lanes
        self._newest: collections.deque[Columns] = collections.deque(maxlen=self._max_length + 1)
        self._keeps_rows = single_writer or any(
            table.priority is not None for table in self._tables
        )
        self._is_open = False
        self._pending: set[int] = set()  # lanes with items that may not be stored yet
        self._since_flush = 0
        self.needed_version = 0  # required of the parameters that act next
        # Whether the action on the open row has to come after all updates that are due now: a window of a
        # Replay with max_lag begins here, or has become an item since the last action.
        self.awaits_updates = False

    def _new_writer(self) -> Any:
        return self._connection.client.trajectory_writer(
            num_keep_alive_refs=self._max_length + 1, validate_items=False
        )

    # The stream.

    def observe(self, timestep: TimeStep) -> None:
        """Opens a row in every lane; windows that end here become items.

        Args:
            timestep: of B lanes, leaves [B, ...].
        Raises: ValueError that names a leaf that does not fit; RuntimeError if `act` is due;
            ConnectionError if the server is gone.
        """
        if self._is_open:
            raise RuntimeError('observe was called twice: a tick is observe, then act.')
        self._append(self._rows.open(timestep), is_open=True)
        self._is_open = True
        step_type = np.asarray(timestep.step_type)
        at_once = False
        for table in self._tables:
            items = table.cutter.observe(step_type)
            at_once |= self._insert(table, items, is_open=True)
            table.cutter.read_timestep(timestep)
            table.begin_windows(step_type)
        self.needed_version = max(table.needed_version for table in self._tables)
        awaits = [table.awaits_updates() for table in self._tables]
        self.awaits_updates = any(awaits)
        self._flush_if_due(at_once)

    def act(self, action: Nest, extras: Nest, version: int) -> None:
        """Closes the rows; windows that LAST cuts short become items.

        Args:
            action, extras: of B lanes, leaves [B, ...].
            version: updates that made the parameters that acted.
        Raises: ValueError that names a leaf that does not fit; RuntimeError if `observe` is due;
            ConnectionError if the server is gone.
        """
        if not self._is_open:
            raise RuntimeError('act was called before observe: a tick is observe, then act.')
        self._append(self._rows.close(action, extras, version), is_open=False)
        self._is_open = False
        at_once = False
        for table in self._tables:
            table.cutter.read_decision(action, extras)
            at_once |= self._insert(table, table.cutter.act(), is_open=False)
        self._since_flush += 1
        self._flush_if_due(at_once)
        if self._by_tick and self._by_tick[0].cutter.has_ended and self.flush():
            assert self._tell_ended is not None, 'the updates of a tick need a reader that is told'
            self._tell_ended({table.name: table.take_untold() for table in self._by_tick})

    def _append(self, columns: Columns, is_open: bool) -> None:
        for lane, writer in enumerate(self._writers):
            row = {name: column[lane] for name, column in columns.items()}
            writer.append(row, partial_step=is_open)
        if self._keeps_rows:
            if is_open:
                self._newest.append(columns)
            else:
                self._newest[-1] = self._newest[-1] | columns

    def _insert(self, table: '_Written', items: Items | None, is_open: bool) -> bool:
        """Makes items. Returns: whether they have to be stored at once."""
        if items is None:
            return False
        table.has_new = True
        priorities = table.priorities(items, self._newest, is_open)
        for lane, length, priority in zip(items.lane.tolist(), items.length.tolist(), priorities):
            history = self._histories[lane]
            if history is None:
                history = self._histories[lane] = self._writers[lane].history
            columns = table.layout.columns(history, length, is_open)
            self._writers[lane].create_item(table.reverb_name, float(priority), columns)
            self._pending.add(lane)
        return table.at_once

    def _flush_if_due(self, at_once: bool) -> None:
        if self._pending and (at_once or self._since_flush >= self._flush_period):
            self.flush()

    def flush(self) -> bool:
        """Waits until all items are stored. Returns: False if `stop()` came first.

        Raises: ConnectionError if the server is gone.
        """
        for lane in sorted(self._pending):
            if not self._connection.flush(self._writers[lane]):
                return False
            self._pending.discard(lane)
        self._since_flush = 0
        return True

    def set_largest_priorities(self, largest: Mapping[str, float]) -> None:
        """Sets the largest raw priorities so far, by table name, as a reader reports them."""
        for table in self._tables:
            if table.raw is not None and table.name in largest:
                table.raw.see_one(largest[table.name])

    def close(self) -> None:
        """Stores the remaining items, unless `stop()` is True, and closes. A second call does nothing.

        Raises: ConnectionError if the server is gone.
        """
        try:
            self.flush()
        finally:
            writers, self._writers = self._writers, []
            self._histories = []
            self._pending.clear()
            for writer in writers:
                self._connection.close(writer)

    # Checkpoints, of a single writer.

    def get_state(self) -> dict[str, Any]:
        """The cutters, the counts and the rows that windows still need, as arrays and plain values."""
        return {
            'is_open': self._is_open,
            'rows': [{name: column.copy() for name, column in row.items()} for row in self._newest],
            'tables': {table.name: table.get_state() for table in self._tables},
        }

    def set_state(self, state: dict[str, Any], next_windows: NDArray[Any] | None = None) -> None:
        """Restores the result of `get_state`, in a writer that has not written anything.

        Args: next_windows: of a reader, if the server's tables are lost: window numbers continue from these.
        """
        self._is_open = bool(state['is_open'])
        before = {'before', *(leaf.path for leaf in self._rows.before.large)}
        for i, row in enumerate(state['rows']):
            is_open = self._is_open and i == len(state['rows']) - 1
            self._append({name: row[name] for name in row if name in before}, is_open=True)
            if not is_open:
                after = {name: row[name] for name in row if name not in before}
                self._append(after, is_open=False)
        for table in self._tables:
            table.set_state(state['tables'][table.name], next_windows)
        self.needed_version = max(table.needed_version for table in self._tables)


class _Written:
    """The state of a writer for one table."""

    def __init__(
        self,
        name: str,
        table: Table,
        rows: RowLayout,
        lanes: Lanes,
        first_windows: NDArray[Any] | None,
        single_writer: bool,
    ) -> None:
        self.name = name
        self.reverb_name = table_name(name)
        self.window: Window = table.window
        self._lanes = np.asarray(lanes.index, np.int64)
        self._total = int(lanes.total)
        num_lanes = len(self._lanes)
        self.cutter = make_cutter(table.window, num_lanes, rows.row_spec)
        assert isinstance(table, Replay | Queue)
        self.layout = ItemLayout(rows, table)
        self._is_lag_bounded = isinstance(table, Replay) and table.max_lag is not None
        self.at_once = single_writer or isinstance(table, Queue) or self._is_lag_bounded
        self.by_tick = isinstance(table, Replay) and table.by_tick
        self._untold = 0  # items since the last `take_untold`
        self.has_new = False  # whether a window has become an item since the last action
        self.raw: RawPriorities | None = None
        self.priority = None
        self._order: Callable[[Items], Any] = self._by_arrival
        self._bound: int | None = None
        self._batch_size = 1
        if isinstance(table, Replay):
            if table.prioritised:
                self.raw = RawPriorities(table_label(name), table)
                self.priority = table.priority
            elif table.draw == 'all' and single_writer:
                self._order = self._by_insertion
        elif isinstance(table, Queue):
            self._batch_size = self._total if table.batch_size is None else table.batch_size
            if is_ordered(table):
                self._order = self._by_window
                self._bound = min(
                    table.max_size,
                    table.max_size if table.max_staleness is None else table.max_staleness,
                )
            elif single_writer:
                self._order = self._by_stream
        self.needed_version = 0
        # Counts for each lane: windows that became items, and windows begun.
        start = np.zeros(num_lanes, np.int64) if first_windows is None else first_windows
        self._emitted = np.array(start, np.int64)
        self._begun = self._emitted.copy()
        self._inserted = 0

    def priorities(self, items: Items, rows: Any, is_open: bool) -> Any:
        """Reverb's priorities of new items: raw priorities, or places in the order of a queue."""
        num = len(items.lane)
        self._untold += num
        if self.raw is None:
            order = self._order(items)
            np.add.at(self._emitted, items.lane, 1)
            self._inserted += num
            return order
        if self.priority is None:
            return np.full(num, self.raw.largest)
        histories = {lane: History(rows, lane) for lane in np.unique(items.lane).tolist()}
        of_items = [
            self.layout.columns(histories[lane], length, is_open)
            for lane, length in zip(items.lane.tolist(), items.length.tolist())
        ]
        batch = self.layout.assemble(of_items, np.ones(num, np.float32), num).unpack()
        return self.raw.check(np.asarray(self.priority(batch.steps)), num)

    def take_untold(self) -> int:
        """How many items were made since the last call."""
        untold, self._untold = self._untold, 0
        return untold

    def _by_arrival(self, items: Items) -> Any:
        return np.zeros(len(items.lane))

    def _by_insertion(self, items: Items) -> Any:
        return self._inserted + np.arange(len(items.lane))

    def _by_stream(self, items: Items) -> Any:
        """Orders items by the tick of the last step, then by lane and start."""
        length = self.window.length
        end = items.start + items.length
        return (end * self._total + self._lanes[items.lane]) * (length + 1) + length - items.length

    def _by_window(self, items: Items) -> Any:
        """Orders items by the number of the window in its lane, then by lane."""
        before = np.zeros(len(items.lane), np.int64)
        seen: collections.Counter[int] = collections.Counter()
        for i, lane in enumerate(items.lane.tolist()):
            before[i] = seen[lane]
            seen[lane] += 1
        return (self._emitted[items.lane] + before) * self._total + self._lanes[items.lane]

    def begin_windows(self, step_type: NDArray[Any]) -> None:
        """Counts the windows that begin at the open row, and sets the version needed to act on it."""
        if self._bound is None:
            return
        state, begins = self.cutter.get_state(), self.cutter.may_begin()
        since = state['tick'] - state['origin']
        # An interruption drops open windows, which then begin again.
        interrupted = (step_type == FIRST) & (since == 0)
        self._begun[interrupted] = self._emitted[interrupted]
        if begins.any():
            # A window's own place gives the update that it is for. The first place of its number would
            # make staleness larger by one if a batch is not a multiple of the lanes.
            places = self._begun[begins] * self._total + self._lanes[begins]
            needed = int(places.max()) // self._batch_size - self._bound
            self.needed_version = max(self.needed_version, needed)
        self._begun[begins] += 1

    def awaits_updates(self) -> bool:
        """Whether a hand-off is due before the action on the open row, in a Replay with max_lag."""
        if not self._is_lag_bounded:
            return False
        has_new, self.has_new = self.has_new, False
        return has_new or bool(self.cutter.may_begin().any())

    def get_state(self) -> dict[str, Any]:
        return {
            'cutter': self.cutter.get_state(),
            'emitted': self._emitted.copy(),
            'begun': self._begun.copy(),
            'inserted': self._inserted,
            'needed_version': self.needed_version,
            'untold': self._untold,
            'largest_priority': None if self.raw is None else self.raw.largest,
        }

    def set_state(self, state: dict[str, Any], next_windows: NDArray[Any] | None) -> None:
        self.cutter.set_state(state['cutter'])
        self._emitted = np.array(state['emitted'], np.int64)
        self._begun = np.array(state['begun'], np.int64)
        if next_windows is not None and self._order == self._by_window:
            self._begun += next_windows - self._emitted
            self._emitted = np.array(next_windows, np.int64)
        self._inserted = int(state['inserted'])
        self._untold = int(state.get('untold', 0))
        self.needed_version = int(state['needed_version'])
        if self.raw is not None:
            self.raw.see_one(float(state['largest_priority']))
