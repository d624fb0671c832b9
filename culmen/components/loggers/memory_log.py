"""Keeps rows in memory, for runs that write nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from culmen.components.loggers.base import Row
from culmen.components.loggers.base import check_columns
from culmen.components.loggers.base import unknown_columns
from culmen.components.loggers.base import widened

if TYPE_CHECKING:
    import pandas as pd


class MemoryLog:
    """Keeps rows in memory. It has the methods of a CsvLog and gives the same data frame."""

    def __init__(self, columns: Sequence[str] | None = None) -> None:
        """Args: columns: the header, which `set_columns` may replace while there are no rows."""
        self._columns = check_columns(columns or ())
        self._known = frozenset(self._columns)
        self._rows: list[tuple[Any, ...]] = []

    @property
    def columns(self) -> tuple[str, ...]:
        """The header."""
        return self._columns

    def set_columns(self, columns: Sequence[str]) -> None:
        """Replaces the header while there are no rows; afterwards it must be the same."""
        columns = check_columns(columns)
        if self._rows and columns != self._columns:
            raise ValueError(
                f'the log has rows of the columns {list(self._columns)}, got {list(columns)}.'
            )
        self._columns, self._known = columns, frozenset(columns)

    def write(self, row: Row) -> None:
        """Adds a row; the first one may add columns to the header.

        Raises: ValueError for a column that is not in the header.
        """
        if not self._known.issuperset(row):
            if self._rows:
                raise unknown_columns('the log', row, self._columns)
            self.set_columns(widened(self._columns, row))
        self._rows.append(tuple([_plain(row.get(name)) for name in self._columns]))

    def poll(self) -> None:
        """Nothing waits here."""

    def flush(self) -> None:
        """Nothing waits here."""

    def position(self) -> int:
        """The number of rows so far."""
        return len(self._rows)

    def checksum(self) -> int:
        """0: no other process can change these rows."""
        return 0

    def cut(self, position: int, checksum: int | None = None) -> None:
        """Removes the rows after `position`."""
        del self._rows[position:]

    def dataframe(self) -> 'pd.DataFrame':
        """All rows so far."""
        import pandas as pd

        return pd.DataFrame(self._rows, columns=list(self._columns))

    def close(self) -> None:
        """Does nothing: the rows stay readable."""


def _plain(value: Any) -> Any:
    # A scalar of JAX would hold a device's memory for as long as the log lives.
    value = value.item() if hasattr(value, 'item') else value
    return int(value) if isinstance(value, bool) else value
