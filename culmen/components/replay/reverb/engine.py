"""Access to Reverb: its import, and calls that end when its server is gone.

Only this file imports Reverb. Nothing here depends on the content of tables.
"""

import contextlib
import os
import queue
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.served.connection import Sampled
from culmen.components.replay.served.connection import Stored

_INSTALL = "pip install 'culmen[launchpad]' (Python 3.10 on Linux x86-64)"
_WAIT_SECONDS = 0.2  # between checks of stop() during a wait
_PROBE_AFTER = 1.0  # seconds of waiting before it checks that the server lives
_LIMIT_SECONDS = 5  # for requests that a server answers at once
_CUT_SECONDS = 60.0  # for which a machine that can't be reached may come back


def load() -> Any:
    """Imports Reverb, and silences its warnings and TensorFlow's output meanwhile.

    Raises: ImportError that says what installs it.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            import reverb
            import reverb.errors
            import reverb.platform.default.checkpointers

            _leave_gpus_alone(sys.modules.get('tensorflow'))
    except ImportError as error:
        raise ImportError(
            f"replay='reverb' needs the package dm-reverb, which can't be imported here ({error}): "
            f'{_INSTALL}'
        ) from error
    return reverb


def _leave_gpus_alone(tensorflow: Any) -> None:
    """Hides GPUs from TensorFlow, which Reverb uses and which would take all their memory."""
    if tensorflow is not None:
        with contextlib.suppress(RuntimeError):  # TensorFlow is already in use: leave it
            tensorflow.config.set_visible_devices([], 'GPU')


def require_reverb() -> None:
    """Raises: ImportError that says what installs Reverb, if it can't be imported."""
    load()


def as_stored(info: Mapping[str, Any]) -> dict[str, Stored]:
    """What Reverb's `TableInfo` of each table says."""
    return {
        name: Stored(
            int(each.current_size),
            int(each.rate_limiter_info.insert_stats.completed),
            int(each.rate_limiter_info.sample_stats.completed),
        )
        for name, each in info.items()
    }


class Connection:
    """A client of one server. Its waits end when `stop()` is True or the server is gone.

    A server is gone if its machine refuses connections. One that can't be reached is waited for, for a
    minute: the network may be cut, and what was sent arrives when it is back.
    """

    def __init__(self, address: str, stop: Callable[[], bool] | None = None) -> None:
        """Connects.

        Args:
            address: 'host:port' or '[IPv6]:port'.
            stop: ends every wait when it returns True; None: never.
        """
        self.address = address
        self._reverb = load()
        self.client = self._reverb.Client(address)
        self._stop = stop
        self._worker: _Worker | None = None
        self._cut_at: float | None = None  # when the server could not be reached first

    @property
    def stopped(self) -> bool:
        """Whether `stop()` returns True."""
        return self._stop is not None and self._stop()

    def check_alive(self) -> None:
        """Raises: ConnectionError if no server listens at the address, or it is out of reach for too long."""
        host, _, port = self.address.rpartition(':')
        now = time.monotonic()
        try:
            where = (host.strip('[]'), int(port))
            socket.create_connection(where, timeout=_PROBE_AFTER).close()
        except OSError as error:
            self._cut_at = self._cut_at or now
            refused = isinstance(error, ConnectionRefusedError)
            if refused or now - self._cut_at >= _CUT_SECONDS:
                raise ConnectionError(f'the Reverb server at {self.address} is gone.') from error
        else:
            self._cut_at = None

    def _is_cut(self) -> bool:
        """Whether the server can't be reached, and may come back."""
        try:
            self.check_alive()
        except ConnectionError:
            return False
        return self._cut_at is not None

    def flush(self, writer: Any) -> bool:
        """Waits until the items of a trajectory writer are stored. Returns: False if `stop()` came first.

        Raises: ConnectionError if the server is gone.
        """
        probe_at = time.monotonic() + _PROBE_AFTER
        while True:
            # After a stop it flushes what is accepted at once, and does not wait at later ticks.
            milliseconds = 1 if self.stopped else int(1000 * _WAIT_SECONDS)
            try:
                writer.flush(timeout_ms=milliseconds)
                return True
            except self._reverb.errors.DeadlineExceededError:
                if self.stopped:
                    return False
                if time.monotonic() >= probe_at:
                    self.check_alive()
                    probe_at = time.monotonic() + _PROBE_AFTER
            except RuntimeError as error:
                raise ConnectionError(
                    f'the Reverb server at {self.address} took no items: {error}.'
                ) from error

    def close(self, writer: Any) -> None:
        """Closes a trajectory writer. If its server is gone this may take long, so a thread does it."""
        thread = threading.Thread(target=writer.close, name='reverb-close', daemon=True)
        thread.start()
        thread.join(_LIMIT_SECONDS)

    def open_writers(self, lanes: Sequence[int], rows: int) -> list[Any]:
        """A trajectory writer for each lane. Args: lanes: over the program; rows: that items may have."""
        return [
            self.client.trajectory_writer(num_keep_alive_refs=rows, validate_items=False)
            for _ in lanes
        ]

    def stored(self) -> dict[str, Stored]:
        """What there is, by Reverb's names of the tables. Raises: ConnectionError if the server is gone."""
        return as_stored(self.info())

    def info(self) -> dict[str, Any]:
        """The server's `TableInfo` of every table. Raises: ConnectionError if the server is gone."""
        while True:
            try:
                return dict(self.client.server_info(timeout=_LIMIT_SECONDS))
            except Exception as error:
                if self.stopped or not self._is_cut():
                    raise ConnectionError(
                        f'the Reverb server at {self.address} is gone.'
                    ) from error

    def sample(self, table: str, num: int) -> Sampled:
        """Draws `num` items, which must be due.

        Raises: ConnectionError if the server is gone.
        """
        # Reverb's client draws items one by one; a sampler with a buffer is three times as fast.
        sampler = self.client._client.NewSampler(table, num, num)

        def draw() -> list[list[Any]]:
            return [sampler.GetNextTrajectory() for _ in range(num)]

        # Each is [key, probability, size, priority, times, *columns].
        drawn = list(self.call(draw))
        return Sampled(
            np.array([item[0] for item in drawn], np.uint64),
            np.array([item[1] for item in drawn], np.float32),
            int(drawn[0][2]),
            np.array([item[3] for item in drawn]),
            [item[5:] for item in drawn],
        )

    def update_priorities(self, table: str, keys: NDArray[Any], priorities: NDArray[Any]) -> None:
        """Sets raw priorities by key. Raises: ConnectionError if the server is gone."""
        new = dict(zip(keys.tolist(), priorities.tolist()))
        self.call(lambda: self.client.mutate_priorities(table, new))

    def end(self) -> None:
        """Ends the thread of calls, if there is one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    def call(self, function: Callable[[], Any]) -> Any:
        """Makes a call that would wait forever if the server is lost.

        Raises: ConnectionError if the server is gone; what the call raises.
        """
        if self._stop is None:  # The server is in this process and lives as long as the caller.
            return function()
        if self._worker is None:
            self._worker = _Worker()
        done = self._worker.submit(function)
        since = time.monotonic()
        while not done.wait(_WAIT_SECONDS):
            waited = time.monotonic() - since
            if waited > _PROBE_AFTER:
                self._leave_worker_if_gone()
            if self.stopped and waited > _LIMIT_SECONDS:
                self._worker = None
                raise ConnectionError(f'the Reverb server at {self.address} does not answer.')
        return self._worker.result()

    def _leave_worker_if_gone(self) -> None:
        try:
            self.check_alive()
        except ConnectionError:
            self._worker = None  # It waits forever; a daemon keeps no process alive.
            raise


class _Worker:
    """A daemon thread that makes one call at a time."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._done = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name='reverb-calls', daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[], Any]) -> threading.Event:
        self._done.clear()
        self._calls.put(function)
        return self._done

    def end(self) -> None:
        self._calls.put(None)
        self._thread.join(_LIMIT_SECONDS)

    def result(self) -> Any:
        result, error = self._result, self._error
        self._result = self._error = None
        if error is not None:
            raise error
        return result

    def _run(self) -> None:
        while (function := self._calls.get()) is not None:
            try:
                self._result = function()
            except BaseException as error:
                self._error = error
            del function
            self._done.set()
