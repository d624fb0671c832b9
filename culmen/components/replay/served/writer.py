"""The writer, which an actor holds to write the streams of its lanes to a server's tables."""

import collections
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.served.connection import Connection
from culmen.components.replay.served.layout import Columns
from culmen.components.replay.served.layout import RowLayout
from culmen.components.replay.served.rules import check_tables
from culmen.components.replay.served.written import Written
from culmen.components.replay.stream.gates import Doorkeeper
from culmen.components.replay.stream.gates import Gatekeeper
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.windows import Items
from culmen.core.experience import Experience
from culmen.core.rules import largest_version
from culmen.core.types import Lanes
from culmen.core.types import Nest
from culmen.core.types import TimeStep
from culmen.core.types import Version


class ServedWriter:
    """Writes the streams of an actor's lanes, and makes items of their windows.

    Waits inside `observe` and `act` while a limiter blocks inserts, until `stop()` is True. Not
    thread-safe.
    """

    def __init__(
        self,
        experience: Experience,
        row_spec: RowSpec,
        lanes: Lanes,
        connection: Connection,
        *,
        flush_period: int = 16,
        first_windows: Mapping[str, NDArray[Any]] | None = None,
        single_writer: bool = False,
        tell_ended: Callable[[dict[str, int]], None] | None = None,
        gates: Gatekeeper | None = None,
    ) -> None:
        """Begins to write.

        Args:
            experience: a Replay, a Queue, or a dict of them.
            row_spec: of the stream.
            lanes: the B lanes of this actor.
            connection: to the server; its `stop()` ends every wait.
            flush_period: ticks between flushes; windows of a Queue, and all windows of a single writer,
                are flushed at once.
            first_windows: int[B] by table name, the first window number of each lane, from a reader's
                `next_windows`; None: 0.
            single_writer: True in one process: items keep the order of the stream instead of the order
                of arrival, and the writer's state is part of checkpoints.
            tell_ended: of the reader; called after a tick in which episodes ended, once its items are stored.
                Needed where a Replay has `by_tick`.
            gates: decide which lanes begin an episode; a single writer asks by itself. Needed where lanes
                wait at FIRST.
        Raises: ValueError for a Dataset, and for an unknown path in `Window.fields`, `ends` or `first`.
        """
        self._lanes = np.asarray(lanes.index, np.int64)
        num_lanes = len(self._lanes)
        self._rows = RowLayout(experience, row_spec, self._lanes)
        self._experience = experience
        self._tables = [
            Written(name, table, self._rows, lanes, (first_windows or {}).get(name), single_writer)
            for name, table in check_tables(experience).items()
        ]
        self._connection = connection
        self._flush_period = flush_period
        self._tell_ended = tell_ended
        self._by_tick = [table for table in self._tables if table.by_tick]
        self._max_length = max(table.window.length for table in self._tables)
        self._writers = connection.open_writers(self._lanes.tolist(), self._max_length + 1)
        self._histories: list[Any] = [None] * num_lanes
        self._newest: collections.deque[Columns] = collections.deque(maxlen=self._max_length + 1)
        self._keeps_rows = single_writer or any(
            table.priority is not None for table in self._tables
        )
        self._is_open = False
        self._pending: set[int] = set()  # lanes with items that may not be stored yet
        self._since_flush = 0
        self.needed_version: Version = self._needed()  # required of the parameters that act next
        # Whether the action on the open row has to come after all updates that are due now: a window of a
        # Replay with max_lag begins here, or has become an item since the last action.
        self.awaits_updates = False
        self._gates = gates
        self._asks = single_writer
        self._door = Doorkeeper(experience, self._lanes, lanes.total)
        self.held: NDArray[np.bool_] | None = None  # as of a Writer

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
        if self._door.is_needed:
            self._door.observe(step_type)
        at_once = False
        for table in self._tables:
            items = table.cutter.observe(step_type)
            at_once |= self._insert(table, items, is_open=True)
            table.cutter.read_timestep(timestep)
            table.begin_windows(step_type)
        self.needed_version = self._needed()
        awaits = [table.awaits_updates() for table in self._tables]
        self.awaits_updates = any(awaits)
        self._flush_if_due(at_once)

    def act(self, action: Nest, extras: Nest, version: Version) -> None:
        """Closes the rows; windows that LAST cuts short become items.

        Args:
            action, extras: of B lanes, leaves [B, ...].
            version: updates that made the parameters that acted; of several rules, of each.
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
        if self._door.is_needed:
            self._door.close()
            if self._asks:
                self.ask_gates(version)
        if self._by_tick and self._by_tick[0].cutter.has_ended and self.flush():
            assert self._tell_ended is not None, 'the updates of a tick need a reader that is told'
            self._tell_ended({table.name: table.take_untold() for table in self._by_tick})

    def ask_gates(self, version: Version) -> None:
        """Asks which lanes at FIRST begin their episodes, and sets `held`, where lanes have to wait.

        Args: version: of the params that act next, at least.
        """
        if self._door.is_needed and self._gates is not None:
            self.held = self._door.ask(self._gates, version)

    def _append(self, columns: Columns, is_open: bool) -> None:
        for lane, writer in enumerate(self._writers):
            row = {name: column[lane] for name, column in columns.items()}
            writer.append(row, partial_step=is_open)
        if self._keeps_rows:
            if is_open:
                self._newest.append(columns)
            else:
                self._newest[-1] = self._newest[-1] | columns

    def _insert(self, table: Written, items: Items | None, is_open: bool) -> bool:
        """Makes items. Returns: whether they have to be stored at once."""
        if items is None:
            return False
        table.has_new = True
        if self._door.is_needed:
            self._door.add(table.name, items.lane)
        priorities = table.priorities(items, self._newest, is_open)
        for lane, length, priority in zip(items.lane.tolist(), items.length.tolist(), priorities):
            history = self._histories[lane]
            if history is None:
                history = self._histories[lane] = self._writers[lane].history
            columns = table.layout.columns(history, length, is_open)
            self._writers[lane].create_item(table.server_name, float(priority), columns)
            self._pending.add(lane)
        return table.at_once

    def _flush_if_due(self, at_once: bool) -> None:
        if self._pending and (at_once or self._since_flush >= self._flush_period):
            self.flush()

    def _needed(self) -> Version:
        needed = {table.name: table.needed_version for table in self._tables}
        return largest_version(self._experience, needed)

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
            **({'door': self._door.get_state()} if self._door.is_needed else {}),
        }

    def set_state(
        self, state: dict[str, Any], next_windows: Mapping[str, NDArray[Any]] | None = None
    ) -> None:
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
            of_table = (next_windows or {}).get(table.name)
            table.set_state(state['tables'][table.name], of_table)
        if self._door.is_needed:
            self._door.set_state(state['door'])
        self.needed_version = self._needed()
