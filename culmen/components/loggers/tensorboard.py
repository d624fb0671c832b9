"""Writes rows as TensorBoard scalars."""

import importlib.util
import os
import time
from typing import Any

from culmen.components.files import expanded
from culmen.components.loggers.base import Row
from culmen.components.loggers.base import steps_of


class TensorBoardLog:
    """Writes every column of every row as a scalar `<label>/<column>` at the row's actor steps or, in a run
    without actors, at its learner steps. Where a run has several environments, it is
    `<label>/<environment>/<column>`.

    Nothing is written before the first row. When a run resumes, TensorBoard is told to drop scalars from
    after the checkpoint.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Args: directory: of the event files.

        Raises: ImportError that says what to install, if tensorboardX is missing.
        """
        if importlib.util.find_spec('tensorboardX') is None:
            raise ImportError("TensorBoard logs need tensorboardX: pip install 'culmen[logging]'.")
        self._directory = expanded(directory)
        self._purge_step: int | None = None
        self._file: Any = None
        self._flush_at = 0.0

    def resume(self, steps: int) -> None:
        """Makes TensorBoard drop the scalars of later steps; called before the first row."""
        self.close()
        self._purge_step = steps + 1

    def write(self, label: str, row: Row) -> None:
        """Writes a row of the log `label`."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        if self._file is None:
            self._file = self._open()
        named = row.get('environment')
        prefix = label if named is None else f'{label}/{named}'
        values = [
            Summary.Value(tag=f'{prefix}/{name}', simple_value=float(value))
            for name, value in row.items()
            if name not in ('actor_steps', 'environment') and value is not None
        ]
        now = time.time()
        step = steps_of(row)
        self._file.write_event(Event(wall_time=now, step=step, summary=Summary(value=values)))
        if now >= self._flush_at:
            self.flush()

    def flush(self) -> None:
        """Writes all rows it still holds."""
        if self._file is not None:
            self._file.flush()
            self._flush_at = time.time() + _FLUSH_SECONDS

    def close(self) -> None:
        """Writes all rows it still holds, and closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> Any:
        # SummaryWriter would start two threads and a queue between processes.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.event_pb2 import SessionLog

        self._directory.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads a folder's files in the order of their names, which only have seconds. The
        # suffix separates the files of a run from those of its continuation, and keeps their order.
        file = EventsWriter(str(self._directory / 'events'), f'.{self._purge_step or 0:012d}')
        if self._purge_step is not None:
            start = SessionLog(status=SessionLog.START)
            file.write_event(Event(wall_time=time.time(), step=self._purge_step, session_log=start))
        return file


_FLUSH_SECONDS = 2.0
