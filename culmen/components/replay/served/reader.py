"""The reader, which a learner holds to draw from a server's tables. A program has one."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.served.connection import Connection
from culmen.components.replay.served.connection import Stored
from culmen.components.replay.served.items import AllItems
from culmen.components.replay.served.items import QueuedItems
from culmen.components.replay.served.items import SampledItems
from culmen.components.replay.served.layout import ItemLayout
from culmen.components.replay.served.layout import RowLayout
from culmen.components.replay.served.rules import Lead
from culmen.components.replay.served.rules import check_tables
from culmen.components.replay.stream.joining import divide_priorities
from culmen.components.replay.stream.joining import join_draws
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.core.experience import LONE
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import RuleExperience
from culmen.core.experience import rules_of
from culmen.core.experience import tables
from culmen.core.experience import within
from culmen.core.workers import Draw
from culmen.core.workers import Reader
from culmen.core.workers import TableCounts


class ServedReader:
    """Draws batches only when they are due, so it never waits for a limiter. Not thread-safe."""

    def __init__(
        self,
        experience: Experience,
        row_spec: RowSpec,
        num_lanes: int,
        connection: Connection,
        *,
        lead: Lead = None,
        stored: Callable[[], Mapping[str, Stored]] | None = None,
    ) -> None:
        """Reads the counts of the server.

        Args:
            experience: a Replay, a Queue, or a dict of them.
            row_spec: of the stream.
            num_lanes: of the whole program.
            connection: to the server; its `stop()` ends every wait.
            lead: as for the server.
            stored: a faster way to what `Connection.stored` gives; None: there is none.
        Raises: ValueError for a Dataset, and for an unknown path in `Window.fields`, `ends` or `first`;
            ConnectionError if the server is gone.
        """
        check_tables(experience)
        rows = RowLayout(experience, row_spec, np.zeros(1, np.int32))
        self._connection = connection
        self._stored = stored or connection.stored
        self._num_lanes = num_lanes
        self._tables: dict[str, _Read] = {}
        self._readers: dict[str, _RuleReader] = {}
        counts = self._stored()
        for place, (rule, of_rule) in enumerate(rules_of(experience).items()):
            own: dict[str, _Read] = {}
            for name, table in tables(of_rule).items():
                assert isinstance(table, Replay | Queue)
                common = (ItemLayout(rows, table, place), self._connection)
                full = within(rule, name)
                if isinstance(table, Queue):
                    own[name] = QueuedItems(full, table, *common, num_lanes)
                elif table.draw == 'all':
                    own[name] = AllItems(full, table, *common, lead)
                else:
                    own[name] = SampledItems(full, table, *common)
                own[name].begin(counts[own[name].server_name])
                self._tables[full] = own[name]
            self._readers[rule] = _RuleReader(of_rule, own, self._connection, self._stored)

    def reader(self, rule: str) -> Reader:
        """The side from which a rule's updates read: the tables of that rule. A lone rule has the name ''."""
        return self._readers[rule]

    def due(self, updates: int = 1) -> bool:
        """Whether this many further updates of a lone rule are due in every table.

        Raises: ConnectionError if the server is gone, unless `stop()` came first.
        """
        return self.reader(LONE).due(updates)

    def tell_ended(self, items: Mapping[str, int]) -> None:
        """Counts a tick of an actor in which episodes ended, in tables with `by_tick`.

        Other threads may call this. Updates that it makes due have all items stored before the call.

        Args: items: that this actor has stored since its last call, by table name.
        """
        for name, num in items.items():
            table = self._tables[name]
            assert isinstance(table, AllItems)
            table.tell_ended(num)

    def draw(self) -> Draw:
        """Draws a batch for one update of a lone rule from every table.

        Returns: the items' keys [B], and a Packed Sample; dicts of them for a dict of tables.
        Raises: RuntimeError if none is due; ConnectionError if the server is gone.
        """
        return self.reader(LONE).draw()

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        """Sets raw priorities of items that a lone rule has drawn. Skips items that have been removed.

        Args:
            keys: of a draw.
            priorities: float[B], finite and at least 0, or None; mirrors the experience.
        Raises: ValueError that names the table, for priorities of a uniform table or a Queue, and for
            priorities out of range; ConnectionError if the server is gone.
        """
        self.reader(LONE).update_priorities(keys, priorities)

    @property
    def largest_priorities(self) -> dict[str, float]:
        """The largest raw priority so far, by table name; writers give it to new items."""
        return {
            name: table.raw.largest for name, table in self._tables.items() if table.raw is not None
        }

    def next_windows(self) -> dict[str, NDArray[Any]]:
        """For each Queue, by table name: the number of each lane's first window that is not stored.

        The writers of a restored program count from these numbers. Fetches what waits in the server.
        Returns: int64[lanes of the program]; zeros where a Queue does not use such numbers.
        """
        counts = self._stored()
        return {
            name: table.next_windows(counts[table.server_name])
            for name, table in self._tables.items()
            if isinstance(table, QueuedItems)
        }

    def arrived(self) -> dict[str, int]:
        """How many windows of each Queue have arrived ever, by table name, for `Gates`."""
        counts = self._stored()
        return {
            name: table.arrived(counts[table.server_name])
            for name, table in self._tables.items()
            if isinstance(table, QueuedItems)
        }

    def counts(self) -> dict[str, TableCounts]:
        """How full each table is, and what has gone through it, by table name.

        Raises: ConnectionError if the server is gone.
        """
        counts = self._stored()
        return {name: each.counts(counts[each.server_name]) for name, each in self._tables.items()}

    def get_state(self) -> dict[str, Any]:
        """What the server does not keep, and its number of items, as arrays and plain values."""
        counts = self._stored()
        return {
            name: {**table.get_state(), 'stored': int(counts[table.server_name].size)}
            for name, table in self._tables.items()
        }

    def set_state(self, state: dict[str, Any], lost: bool = False) -> int:
        """Restores the result of `get_state`, with a server that was restored from the same checkpoint.

        Args: lost: whether the server's tables are lost and fill from the beginning.
        Returns: how many items are lost.
        """
        if list(state) != list(self._tables):
            known = list(self._tables)
            raise ValueError(f"checkpoint field 'tables' must have {known}, got {list(state)}.")
        for name, table in self._tables.items():
            table.set_state(state[name], lost)
        return sum(int(each.get('stored', 0)) for each in state.values()) if lost else 0

    def close(self) -> None:
        """Closes the connection."""
        self._connection.end()


_Read = QueuedItems | AllItems | SampledItems


class _RuleReader:
    """The tables of one rule, as its updates read them."""

    def __init__(
        self,
        experience: RuleExperience,
        own: dict[str, _Read],
        connection: Connection,
        stored: Callable[[], Mapping[str, Stored]],
    ) -> None:
        self._experience = experience
        self._tables = own
        self._connection = connection
        self._stored = stored
        self._counts = stored()

    def due(self, updates: int = 1) -> bool:
        try:
            self._look(updates)
            return self._due(updates)
        except ConnectionError:
            if self._connection.stopped:
                return False
            raise

    def _due(self, updates: int) -> bool:
        counts = self._counts
        return all(table.due(updates, counts[table.server_name]) for table in self._tables.values())

    def _look(self, updates: int) -> None:
        """Asks the server for its counts, unless the known counts already make this many updates due."""
        # Counts of inserts only grow, so a due update stays due; other tables lose the items they draw.
        replays = all(isinstance(table, SampledItems) for table in self._tables.values())
        if not (replays and self._due(updates)):
            self._counts = self._stored()

    def draw(self) -> Draw:
        self._look(1)
        counts = self._counts
        return join_draws(
            self._experience,
            {name: table.draw(counts[table.server_name]) for name, table in self._tables.items()},
        )

    def update_priorities(self, keys: Any, priorities: Any) -> None:
        for name, of_table, raw in divide_priorities(
            self._experience, self._tables, keys, priorities
        ):
            self._tables[name].update_priorities(of_table, raw)
