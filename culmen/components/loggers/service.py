"""Hands rows to a service in a thread, so that a run never waits for it and never fails by it."""

import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from culmen.components.loggers.base import Row

_MOST_ROWS = 100_000  # that wait; the oldest are dropped
_BATCH_SECONDS = 1.0  # between two calls of a service


class Sent(NamedTuple):
    """A row on its way to a service."""

    label: str
    row: Mapping[str, Any]
    time: float  # seconds since the epoch


class ServiceLog:
    """The sink of a service: a subclass opens it, sends rows and finishes it, all in one thread.

    `write` only puts the row into a queue. `close` waits until the service has all rows, at most
    `close_seconds`. Where the service fails, one line on standard error says so and no more rows are sent:
    the run goes on, and its CSV files have every row. Nothing is opened before the first row.
    """

    service = 'the service'

    def __init__(self, close_seconds: float = 60.0) -> None:
        """Args: close_seconds: that `close` waits for the service."""
        self._close_seconds = close_seconds
        self._waiting: deque[Sent] = deque()
        self._thread: threading.Thread | None = None
        self._wake: threading.Event | None = None  # made with the thread: a sink must pickle before
        self._closing = False
        self._failed = False
        self._lost = 0

    def write(self, label: str, row: Row) -> None:
        """Takes a row of the log `label`, without waiting."""
        if self._failed:
            return
        if self._thread is None:
            self._closing, self._wake = False, threading.Event()
            self._thread = threading.Thread(target=self._run, name=self.service, daemon=True)
            self._thread.start()
        if len(self._waiting) >= _MOST_ROWS:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(Sent(label, dict(row), time.time()))

    def flush(self) -> None:
        """Does nothing: a checkpoint does not wait for a service, and the CSV files have every row."""

    def close(self) -> None:
        """Waits until the service has all rows, and finishes it."""
        thread, self._thread = self._thread, None
        if thread is None or self._wake is None:
            return
        self._closing = True
        self._wake.set()
        thread.join(self._close_seconds)
        lost = self._lost + len(self._waiting)
        if thread.is_alive() or (lost and not self._failed):
            self._say(f'did not take {lost:,} rows in {self._close_seconds:g} seconds')

    def _open(self) -> None:
        """Opens the service."""

    def _send(self, rows: Sequence[Sent]) -> None:
        """Sends rows, in their order."""
        raise NotImplementedError

    def _finish(self) -> None:
        """Finishes what `_open` has opened."""

    def _run(self) -> None:
        assert self._wake is not None
        try:
            self._open()
            try:
                while True:
                    closing = self._closing  # before the queue is looked at: no row comes after it
                    rows = [self._waiting.popleft() for _ in range(len(self._waiting))]
                    if rows:
                        self._send(rows)
                    if closing and not self._waiting:
                        break
                    self._wake.wait(_BATCH_SECONDS)
            finally:
                self._finish()
        except Exception as error:
            self._failed = True
            self._waiting.clear()
            self._say(f'takes no more rows: {type(error).__name__}: {error}')

    def _say(self, text: str) -> None:
        print(
            f'culmen: {self.service} {text}; the CSV files of the run have every row.',
            file=sys.stderr,
        )
