"""The connection of a writer or a reader to a `CalledServer`, here or in another process."""

import secrets
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.served.connection import Sampled
from culmen.components.replay.served.connection import Stored


class Slice(NamedTuple):
    """Rows of a column, counted from the first that a writer has sent."""

    column: str
    begin: int
    end: int


class NewItem(NamedTuple):
    """An item for a server."""

    table: str
    priority: float
    place: int  # of its lane in the writer
    slices: Sequence[Slice]


class NewRows(NamedTuple):
    """Rows of all lanes of a writer for a server."""

    keep: int  # rows before the newest of which later items may be made
    begins: Mapping[str, int]  # by column: the number of its first row here
    rows: Mapping[str, Sequence[Sequence[bytes]]]  # by column and lane


class Drawn(NamedTuple):
    """Items from a server, with their columns joined."""

    keys: NDArray[Any]  # int64[N]
    probabilities: NDArray[Any]  # float32[N]
    size: int
    priorities: NDArray[Any]  # float64[N]
    columns: Sequence[
        tuple[NDArray[Any], bytes]
    ]  # rows of each item int64[N], and those of all in turn


class Serves(Protocol):
    """The methods of a `CalledServer` that a connection calls; those of a handle to another process too."""

    def put(self, first: int, session: str, new: NewRows, items: Sequence[NewItem]) -> int:
        """Takes rows and items of a writer. Returns: how many of its items wait, until there is room."""
        ...

    def await_room(self, first: int, session: str) -> int:
        """Waits for a moment until items of a writer are stored. Returns: how many still wait."""
        ...

    def get_stored(self) -> Mapping[str, Stored]:
        """What there is, by table."""
        ...

    def draw(self, table: str, num: int) -> Drawn:
        """Draws items."""
        ...

    def set_priorities(self, table: str, keys: NDArray[Any], priorities: NDArray[Any]) -> None:
        """Sets raw priorities by key."""
        ...


class CalledConnection:
    """Writes to a `CalledServer` and draws from it (culmen.components.replay.served.Connection).

    Each row is sent once, when an item needs it or a later one may, however many items have it.
    """

    def __init__(self, server: Serves, stop: Callable[[], bool] | None = None) -> None:
        """Args: server: the object itself, or a handle to it; stop: ends every wait when it returns True."""
        self._server = server
        self._stop = stop

    @property
    def stopped(self) -> bool:
        """Whether `stop()` returns True."""
        return self._stop is not None and self._stop()

    def open_writers(self, lanes: Sequence[int], rows: int) -> list['_LaneWriter']:
        """A writer for each lane. Args: lanes: over the program; rows: that items may have."""
        outbox = _Outbox(lanes, rows)
        return [_LaneWriter(outbox, place) for place in range(len(lanes))]

    def flush(self, writer: '_LaneWriter') -> bool:
        """Waits until the items of all lanes are stored. Returns: False if `stop()` came first."""
        outbox = writer.outbox
        if outbox.items:
            outbox.waiting = self._server.put(outbox.first, outbox.session, *outbox.take())
        while outbox.waiting:
            if self.stopped:
                return False
            outbox.waiting = self._server.await_room(outbox.first, outbox.session)
        return True

    def close(self, writer: '_LaneWriter') -> None:
        """Nothing: the server forgets a writer when another has its lanes."""

    def stored(self) -> Mapping[str, Stored]:
        """What there is, by the server's names of the tables."""
        return self._server.get_stored()

    def sample(self, table: str, num: int) -> Sampled:
        """Draws `num` items, which must be due."""
        drawn = self._server.draw(table, num)
        columns = [_split(counts, data) for counts, data in drawn.columns]
        items = list(zip(*columns, strict=True))
        return Sampled(drawn.keys, drawn.probabilities, drawn.size, drawn.priorities, items)

    def update_priorities(self, table: str, keys: NDArray[Any], priorities: NDArray[Any]) -> None:
        """Sets raw priorities by key; items that are gone are skipped."""
        self._server.set_priorities(table, keys, priorities)

    def end(self) -> None:
        """Nothing is held."""


def _split(counts: NDArray[Any], data: bytes) -> Sequence[NDArray[Any]]:
    """A column of each item, uint8[rows, bytes]."""
    total = int(counts.sum())
    rows = np.frombuffer(data, np.uint8).reshape(total, -1)
    if len(counts) * counts[0] == total and (counts == counts[0]).all():
        return list(rows.reshape(len(counts), int(counts[0]), rows.shape[1]))
    return np.split(rows, np.cumsum(counts)[:-1])


class _Outbox:
    """What a writer of several lanes has not sent yet."""

    def __init__(self, lanes: Sequence[int], keep: int) -> None:
        self.first = int(lanes[0])
        self.session = secrets.token_hex(8)  # one that is started again begins anew
        self.waiting = 0  # items that the server has, and has not stored
        self.items: list[NewItem] = []
        self._keep = keep
        self._num_lanes = len(lanes)
        self._begins: dict[str, int] = {}
        self._rows: dict[str, list[list[bytes]]] = {}

    def append(self, place: int, column: str, row: int, data: bytes) -> None:
        """Adds a row of a column. Args: place: of the lane; row: its number."""
        if column not in self._rows:
            self._begins[column] = row
            self._rows[column] = [[] for _ in range(self._num_lanes)]
        of_lanes = self._rows[column]
        of_lanes[place].append(data)
        # Without an item nothing is sent, and rows that are too old for one are dropped.
        if (
            place == self._num_lanes - 1
            and not self.items
            and len(data_of := of_lanes[place]) > (2 * self._keep)
        ):
            too_many = len(data_of) - self._keep
            self._begins[column] += too_many
            for of_lane in of_lanes:
                del of_lane[:too_many]

    def take(self) -> tuple[NewRows, list[NewItem]]:
        """All that is here, which is then empty."""
        new, items = NewRows(self._keep, self._begins, self._rows), self.items
        self._begins, self._rows, self.items = {}, {}, []
        return new, items


class _LaneWriter:
    """Writes the rows and items of one lane (culmen.components.replay.served.connection.LaneWriter)."""

    def __init__(self, outbox: _Outbox, place: int) -> None:
        self.outbox = outbox
        self.history = _History()
        self._place = place
        self._is_open = False

    def append(self, row: Mapping[str, NDArray[Any]], partial_step: bool) -> None:
        if not self._is_open:
            self.history.rows += 1
        self._is_open = partial_step
        for column, data in row.items():
            self.outbox.append(self._place, column, self.history.rows - 1, data.tobytes())

    def create_item(self, table: str, priority: float, columns: Sequence[Slice]) -> None:
        self.outbox.items.append(NewItem(table, priority, self._place, columns))


class _History:
    """The rows of a lane, of which items are made: slices of it are numbers of rows."""

    def __init__(self) -> None:
        self.rows = 0  # the open one too

    def __getitem__(self, column: str) -> '_Column':
        return _Column(column, self.rows)


class _Column(NamedTuple):
    name: str
    rows: int

    def __getitem__(self, rows: Any) -> Any:
        assert isinstance(rows, slice), 'an item has slices of its columns'
        begin, end, _ = rows.indices(self.rows)
        return Slice(self.name, begin, end)
