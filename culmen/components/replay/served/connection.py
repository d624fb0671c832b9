"""What a writer and a reader need of the server that keeps their tables: the interface of a connection."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from typing import Protocol

from numpy.typing import NDArray

Columns = Sequence[NDArray[Any]]  # of an item: uint8[rows, bytes] each


class Stored(NamedTuple):
    """What a server has of a table."""

    size: int  # items now
    inserted: int  # items ever
    sampled: int  # items drawn ever


class Sampled(NamedTuple):
    """Items that a server has given."""

    keys: NDArray[Any]  # integers[N]
    probabilities: NDArray[Any]  # float32[N], as drawn
    size: int  # items in the table before the draw
    priorities: NDArray[Any]  # float64[N]
    items: Sequence[Columns]  # N


class LaneWriter(Protocol):
    """Sends the rows of one lane, and items of the newest of them."""

    history: Any  # by column, an object that is sliced by rows; the newest row is the last

    def append(self, row: dict[str, Any], partial_step: bool) -> None:
        """Opens a row, or adds columns to the open one. Args: partial_step: whether more columns come."""
        ...

    def create_item(self, table: str, priority: float, columns: Any) -> None:
        """Makes an item of slices of the history."""
        ...


class Connection(Protocol):
    """The way to a server. Its waits end when `stop()` is True or the server is gone."""

    @property
    def stopped(self) -> bool:
        """Whether `stop()` returns True."""
        ...

    def open_writers(self, lanes: Sequence[int], rows: int) -> Sequence[LaneWriter]:
        """A writer for each lane. Args: lanes: over the program; rows: that items may have."""
        ...

    def flush(self, writer: Any) -> bool:
        """Waits until the items of a writer are stored. Returns: False if `stop()` came first.

        Raises: ConnectionError if the server is gone.
        """
        ...

    def close(self, writer: Any) -> None:
        """Closes a writer."""
        ...

    def stored(self) -> Mapping[str, Stored]:
        """What there is, by the server's names of the tables. Raises: ConnectionError if it is gone."""
        ...

    def sample(self, table: str, num: int) -> Sampled:
        """Draws `num` items, which must be due. Raises: ConnectionError if the server is gone."""
        ...

    def update_priorities(self, table: str, keys: NDArray[Any], priorities: NDArray[Any]) -> None:
        """Sets raw priorities by key. Raises: ConnectionError if the server is gone."""
        ...

    def end(self) -> None:
        """Releases what the connection holds."""
        ...
