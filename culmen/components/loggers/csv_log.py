"""Writes rows to a CSV file that can be cut back to the position of a checkpoint."""

import contextlib
import os
import time
import warnings
import zlib
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from culmen.components.files import crc32
from culmen.components.files import expanded
from culmen.components.files import reading
from culmen.components.loggers.base import Row
from culmen.components.loggers.base import check_columns
from culmen.components.loggers.base import unknown_columns
from culmen.components.loggers.base import widened

if TYPE_CHECKING:
    import pandas as pd


class CsvLog:
    """Appends rows to a CSV file. Floats are written so that they read back bit for bit.

    The file exists with its header from the start. Rows of an earlier run stay until this log begins:
    `cut(position)` continues after them, and the first row (or `flush`) replaces them. Rows reach the
    file after at most a second, as long as `write` or `poll` is called.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: Sequence[str] | None = None,
        flush_every: float = 1.0,
    ) -> None:
        """Args:
        path: of the file; missing folders are made.
        columns: the header, which `set_columns` may replace while there are no rows.
        flush_every: seconds that rows may wait in memory.
        """
        self._path = expanded(path)
        self._columns = check_columns(columns or ())
        self._known = frozenset(self._columns)
        self._flush_every = flush_every
        self._flush_at = 0.0
        self._pending: list[str] = []
        self._begun = False
        self._header_size = 0
        self._size = 0  # bytes of complete rows in the file, with the header
        self._checksum = 0  # of these bytes
        self._failed = False
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            self._start_anew()

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._path

    @property
    def columns(self) -> tuple[str, ...]:
        """The header."""
        return self._columns

    @property
    def _has_rows(self) -> bool:
        return self._begun and bool(self._pending or self._size > self._header_size)

    def set_columns(self, columns: Sequence[str]) -> None:
        """Replaces the header while there are no rows; afterwards it must be the same.

        Raises: ValueError that names the file, if it has rows with another header.
        """
        columns = check_columns(columns)
        if columns == self._columns:
            return
        if self._has_rows:
            raise ValueError(
                f'{self._path} has rows of the columns {list(self._columns)}, got {list(columns)}.'
            )
        self._columns, self._known = columns, frozenset(columns)
        self._start_anew()

    def write(self, row: Row) -> None:
        """Adds a row; columns that it lacks stay blank. The first row may add columns to the header.

        Raises: ValueError for a column that is not in the header; OSError that names the file, if the
            disk is full.
        """
        if not self._known.issuperset(row):
            if self._has_rows:
                raise unknown_columns(str(self._path), row, self._columns)
            self.set_columns(widened(self._columns, row))
        self._pending.append(','.join([_cell(row.get(name)) for name in self._columns]))
        self.poll()

    def poll(self) -> None:
        """Flushes if rows have waited for `flush_every` seconds; otherwise costs little."""
        if self._pending and time.monotonic() >= self._flush_at:
            self.flush()

    def flush(self) -> None:
        """Writes all rows to the file. Raises: OSError that names the file."""
        if not self._begun:
            self._start_anew()
        if self._pending:
            self._append('\n'.join(self._pending).encode() + b'\n')
        self._flush_at = time.monotonic() + self._flush_every

    def position(self) -> int:
        """Bytes of rows in the file without the header, after a flush."""
        self.flush()
        return self._size - self._header_size

    def checksum(self) -> int:
        """CRC-32 of the header and the rows in the file, after a flush."""
        self.flush()
        return self._checksum

    def cut(self, position: int, checksum: int | None = None) -> None:
        """Continues in an existing file at a `position()`, and removes later rows.

        Args: checksum: the `checksum()` at that position; warns if that of the file differs.
        """
        self._pending = []
        if position == 0 or not self._path.exists():
            self._start_anew()
            self._warn_if_short(position)
            return
        header, self._size = _cut(self._path, position)
        self._header_size = len(header)
        self._checksum = crc32(self._path)
        found = tuple(header.decode().rstrip('\n').split(','))
        if found[: len(self._columns)] != self._columns[: len(found)]:
            raise ValueError(f'{self._path} must have the columns {self._columns}, got {found}.')
        # A file of an earlier version may lack the last columns; it continues without them.
        self._known = frozenset((*found, *self._columns))
        self._columns = found
        self._begun = True
        self._warn_if_short(position)
        whole = self._size == self._header_size + position
        if whole and checksum is not None and checksum != self._checksum:
            warnings.warn(
                f'{self._path} has been changed: its rows up to the checkpoint are not those that this '
                f'run wrote.',
                stacklevel=2,
            )

    @staticmethod
    def truncate(path: str | os.PathLike[str], position: int) -> None:
        """Removes a file's rows after a `position()`."""
        _cut(expanded(path), position)

    def dataframe(self) -> 'pd.DataFrame':
        """All rows so far."""
        self.flush()
        return read_csv(self._path)

    def close(self) -> None:
        """Flushes. Does not raise an error again that was raised before."""
        try:
            self.flush()
        except OSError:
            if not self._failed:
                raise

    def _start_anew(self) -> None:
        self._begun = True
        waiting, self._pending = self._pending, []
        with self._errors():
            self._path.write_bytes(b'')
        self._size = self._checksum = 0
        if self._columns:
            self._append(','.join(self._columns).encode() + b'\n')
        self._header_size = self._size
        self._pending = waiting

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        # Unbuffered, so that it is known how much was written, even when the disk is full.
        with self._errors(), open(self._path, 'r+b', buffering=0) as file:
            file.seek(self._size)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            finally:
                # All rows, or those that fitted: a partial row is removed, and the others wait.
                whole = data.rfind(b'\n', 0, len(data) - len(rest)) + 1
                self._size += whole
                self._checksum = zlib.crc32(memoryview(data)[:whole], self._checksum)
                del self._pending[: data.count(b'\n', 0, whole)]
                file.truncate(self._size)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failed = True
            number = error.errno or 0
            raise OSError(number, os.strerror(number), str(self._path)) from error

    def _warn_if_short(self, position: int) -> None:
        missing = position - (self._size - self._header_size)
        if missing > 0:
            warnings.warn(
                f'{self._path} lacks {missing} bytes of rows that it had at the checkpoint.',
                stacklevel=3,
            )


def read_csv(path: str | os.PathLike[str]) -> 'pd.DataFrame':
    """Reads a log as a data frame, floats bit for bit as written. Ignores an incomplete last row.

    Raises: DamagedError that names the file, if it is not a log.
    """
    import io

    import pandas as pd

    with reading(path):
        text = expanded(path).read_bytes()
        text = text[: text.rfind(b'\n') + 1]
        if not text:
            return pd.DataFrame()
        return pd.read_csv(io.BytesIO(text), float_precision='round_trip')


def _cell(value: Any) -> str:
    if value is None:
        return ''
    if type(value) is float or type(value) is int:
        return repr(value)
    if isinstance(value, str):  # the name of an environment
        return value
    value = value.item() if hasattr(value, 'item') else value  # NumPy's and JAX's scalars
    return repr(int(value)) if isinstance(value, int) else repr(float(value))


def _cut(path: Path, position: int) -> tuple[bytes, int]:
    """Cuts a file; returns its header and its size."""
    with open(path, 'r+b') as file:
        header = file.readline()
        size = min(len(header) + position, file.seek(0, os.SEEK_END))
        # The position of a checkpoint is between two rows, but a damaged file may end within one.
        tail = max(len(header), size - (1 << 16))
        file.seek(tail)
        whole = tail + file.read(size - tail).rfind(b'\n') + 1
        file.truncate(whole)
    return header, whole
