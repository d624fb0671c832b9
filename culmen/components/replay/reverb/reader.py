"""The reader: what a learner holds of the Reverb tables. There is one in a program."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.reverb.engine import Connection
from culmen.components.replay.reverb.items import AllItems
from culmen.components.replay.reverb.items import QueuedItems
from culmen.components.replay.reverb.items import SampledItems
from culmen.components.replay.reverb.layout import ItemLayout
from culmen.components.replay.reverb.layout import RowLayout
from culmen.components.replay.reverb.server import Lead
from culmen.components.replay.reverb.server import check_tables
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import mirror
from culmen.core.experience import unmirror
from culmen.core.workers import Draw


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
        self._tables: dict[str, QueuedItems | AllItems | SampledItems] = {}
        for name, table in specs.items():
            assert isinstance(table, Replay | Queue)
            layout = ItemLayout(rows, table)
            common = (layout, self._connection)
            if isinstance(table, Queue):
                self._tables[name] = QueuedItems(name, table, *common, num_lanes)
                continue
            if table.draw == 'all':
                self._tables[name] = AllItems(name, table, *common, lead)
            else:
                self._tables[name] = SampledItems(name, table, *common)
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
        replays = all(isinstance(table, SampledItems) for table in self._tables.values())
        if not (replays and self._due(updates)):
            self._counts = self._info()

    def draw(self) -> Draw:
        """Draws a batch for one update from every table.

        Returns: the items' keys [B], and a Packed Sample; dicts of them for a dict of tables.
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
            if isinstance(table, QueuedItems):
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
