"""All logs of a run: a stream of rows for each label, in files or in memory, and more sinks."""

import os
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from culmen.components.files import expanded
from culmen.components.loggers.base import COLUMNS
from culmen.components.loggers.base import SECONDS
from culmen.components.loggers.base import Row
from culmen.components.loggers.base import Sink
from culmen.components.loggers.base import steps_of
from culmen.components.loggers.csv_log import CsvLog
from culmen.components.loggers.csv_log import read_csv
from culmen.components.loggers.memory_log import MemoryLog

if TYPE_CHECKING:
    import pandas as pd


class Logs(Mapping[str, 'pd.DataFrame']):
    """The logs of a run by label; a mapping from labels to data frames.

        logs = Logs('runs/catch/logs')
        logs.set_columns('learner', ['actor_steps', 'learner_steps', 'loss', 'td_error'])
        logs.write('actor', {'actor_steps': 9, 'episode_return': 1.0, ...})
        logs['actor']                                  # a pandas DataFrame

    A column `seconds` is filled here: the seconds of wall clock since the logs were opened, and those before
    the checkpoint from which the run goes on.

    Files of an earlier run are kept until this one begins: at `set_state`, which cuts them back to a
    checkpoint, or at the first row. Only one thread at a time may use it.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        columns: Mapping[str, Sequence[str]] = COLUMNS,
        sinks: Sequence[Sink] = (),
        flush_every: float = 1.0,
    ) -> None:
        """Args:
        directory: of the files `<label>.csv`; None: rows stay in memory.
        columns: the header of each label.
        sinks: receive every row too.
        flush_every: seconds that rows may wait in memory.
        """
        self._logs: dict[str, CsvLog | MemoryLog] = {
            label: MemoryLog(names)
            if directory is None
            else CsvLog(expanded(directory) / f'{label}.csv', names, flush_every)
            for label, names in columns.items()
        }
        self._sinks = list(sinks)
        self._steps = 0  # of the latest row
        self._began = time.monotonic()

    def set_columns(self, label: str, columns: Sequence[str]) -> None:
        """Fixes the header of a label, before its first row."""
        self._logs[label].set_columns(columns)

    def write(self, label: str, row: Row) -> None:
        """Writes a row of `label`."""
        if SECONDS in self._logs[label].columns:
            row = {**row, SECONDS: self._seconds()}
        self._logs[label].write(row)
        self._steps = max(self._steps, steps_of(row))
        for sink in self._sinks:
            sink.write(label, row)

    def poll(self) -> None:
        """Flushes rows that have waited for `flush_every` seconds. Loops call this now and then."""
        for log in self._logs.values():
            log.poll()

    def flush(self) -> None:
        """Writes all rows to their files, and flushes the sinks."""
        for each in (*self._logs.values(), *self._sinks):
            each.flush()

    def get_state(self) -> dict[str, Any]:
        """The position of each log, for a checkpoint."""
        self.flush()
        return {
            'positions': {label: log.position() for label, log in self._logs.items()},
            'checksums': {label: log.checksum() for label, log in self._logs.items()},
            'actor_steps': self._steps,
            SECONDS: self._seconds(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Resumes from a checkpoint: removes rows written after it.

        Warns of a file that lacks rows from before it, or whose rows have changed.
        """
        checksums = state.get('checksums', {})
        for label, log in self._logs.items():
            log.cut(int(state['positions'].get(label, 0)), checksums.get(label))
        self._steps = int(state['actor_steps'])
        self._began = time.monotonic() - float(state.get(SECONDS, 0.0))
        for sink in self._sinks:
            resume = getattr(sink, 'resume', None)
            if resume is not None:
                resume(self._steps)

    def close(self) -> None:
        """Closes all logs and sinks, even if one of them fails, and then raises the first error."""
        error: Exception | None = None
        for each in (*self._logs.values(), *self._sinks):
            try:
                each.close()
            except Exception as caught:
                error = error or caught
        self._sinks = []
        if error is not None:
            raise error

    def _seconds(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def __getitem__(self, label: str) -> 'pd.DataFrame':
        return self._logs[label].dataframe()

    def __iter__(self) -> Iterator[str]:
        return iter(self._logs)

    def __len__(self) -> int:
        return len(self._logs)


class LogFiles(Mapping[str, 'pd.DataFrame']):
    """The logs in a folder by label, each read when it is asked for. Writes nothing."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Args: directory: of `<label>.csv` files."""
        self._directory = expanded(directory)

    def __getitem__(self, label: str) -> 'pd.DataFrame':
        if label not in list(self):
            raise KeyError(label)
        return read_csv(self._directory / f'{label}.csv')

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in self._directory.glob('*.csv')))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f'LogFiles({str(self._directory)!r}: {", ".join(self)})'
