"""How the nodes of a program call each other on any engine: a call sends bytes and returns bytes.

An engine serves `Server.call` of each node and gives the others a `Channel` to it. A `Remote` over a
channel is used like the node itself: `counter.get_counts()`. Every wait ends with the node's `Stop`, and
none blocks the thread that handles signals.
"""

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import TimeoutError as NotYet
from typing import Any
from typing import Protocol

import cloudpickle

_LOOK_SECONDS = 0.2  # between checks of the stop during a call
_CONNECT_SECONDS = 0.05  # between checks whether the other node listens
_RETRY_SECONDS = 0.02  # if a node is not ready yet
_LOST_SECONDS = 10.0  # after a failed call, for the launcher to end this node
# Python's switch interval between threads: a call to a busy learner waits that long several times.
SWITCH_SECONDS = 5e-4
NO_ARGUMENTS = pickle.dumps(())  # of a call
_READY, _NOT_READY, _RAISED = 0, 1, 2
_PARENT_SECONDS = 0.5
# Environment variables of a node's process, set by its launcher: the launcher's process id, and a descriptor
# for the secret that it hands over, which no file may hold.
LAUNCHER, HANDED = 'CULMEN_LAUNCHER', 'CULMEN_HANDED'
_HANDED_BYTES = 4096  # at most


class Stopped(Exception):
    """A wait has ended because the program ends."""


class RemoteError(RuntimeError):
    """A method of another node raised; the message holds its traceback."""


class Stop:
    """Whether a node should end. Threads share one; in a separate process SIGTERM sets it."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._of_process = False

    def __call__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Asks for the end."""
        self._event.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Waits this long, or until the end is requested. Returns: whether it is requested."""
        return self._event.wait(seconds)

    def sleep(self, seconds: float) -> None:
        """Waits this long. Raises: Stopped, if the end is requested."""
        if self._event.wait(seconds):
            raise Stopped

    def install(self) -> None:
        """Makes a process that a launcher started obey only the launcher; elsewhere does nothing.

        SIGTERM comes from the launcher and sets the stop. SIGINT is ignored: it reaches all processes of a
        terminal, and the launcher handles it. When the launcher is gone, the process ends at once.
        """
        if not self._of_process:
            return
        sys.setswitchinterval(SWITCH_SECONDS)
        signal.signal(signal.SIGTERM, lambda number, frame: self.set())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        launcher = int(os.environ[LAUNCHER])

        def watch() -> None:
            while os.getppid() == launcher:
                time.sleep(_PARENT_SECONDS)
            os._exit(1)

        threading.Thread(target=watch, name='parent', daemon=True).start()

    def __reduce__(self) -> Any:
        return _stop_of_process, ()


_OF_PROCESS: list[Stop] = []


def _stop_of_process() -> Stop:
    if not _OF_PROCESS:
        stop = Stop()
        stop._of_process = True
        _OF_PROCESS.append(stop)
    return _OF_PROCESS[0]


_TAKEN: list[bytes] = []


def take_handed() -> bytes:
    """What the launcher handed to this process. The descriptor is read once and closed."""
    if not _TAKEN:
        descriptor = int(os.environ.pop(HANDED))
        _TAKEN.append(os.read(descriptor, _HANDED_BYTES))
        os.close(descriptor)
    return _TAKEN[0]


def dumps(value: Any) -> bytes:
    """A value for `pickle.loads` in another process.

    Classes are pickled by name, which is fast; those that have no importable name (from a notebook or a
    script) are pickled whole.
    """
    try:
        return pickle.dumps(value, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError):
        return cloudpickle.dumps(value, protocol=5)


class Server:
    """What an engine serves for a node: its methods by name, as soon as the node exists."""

    def __init__(self) -> None:
        self._node: Any = None
        self._there = threading.Event()

    def open(self, node: Any) -> None:
        """Lets calls reach the node from now on."""
        self._node = node
        self._there.set()

    def call(self, name: str, payload: bytes | memoryview) -> bytes:
        """Calls the node's method with pickled arguments; returns a pickled answer."""
        if not self._there.wait(_LOOK_SECONDS):
            return dumps((_NOT_READY, None))
        try:
            if name.startswith('_'):
                raise AttributeError(f'a node shows its public methods alone, got {name!r}.')
            return dumps((_READY, getattr(self._node, name)(*pickle.loads(payload))))
        except Stopped:
            return dumps((_NOT_READY, None))
        except (Exception, SystemExit):
            return dumps((_RAISED, traceback.format_exc()))


class Pending(Protocol):
    """A call in progress, like a `concurrent.futures.Future`. Only one thread uses it."""

    def result(self, timeout: float | None = None) -> bytes:
        """The answer. Raises: `concurrent.futures.TimeoutError` if it does not come in time."""
        ...

    def done(self) -> bool:
        """Whether `result` would return or raise at once."""
        ...

    def cancel(self) -> object:
        """Gives up the answer."""
        ...


class Channel(Protocol):
    """An engine's way to another node's `Server.call`."""

    def listens(self) -> bool:
        """Whether the other node can be reached."""
        ...

    def start(self, name: str, payload: bytes) -> Pending:
        """Begins a call, which is made at most once. Never waits."""
        ...


class Remote:
    """A handle to another node: its methods can be called with positional arguments.

    Thread-safe. Counts its calls, their bytes in both directions and their seconds.
    """

    def __init__(self, name: str, channel: Channel, stop: Stop) -> None:
        """Args: name: of the node, for errors; channel: to it; stop: ends every wait."""
        self._name = name
        self._channel = channel
        self._stop = stop
        self._connected = False
        self._calls = 0
        self._bytes = 0
        self._seconds = 0.0

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith('_'):
            raise AttributeError(method)

        def call(*args: Any) -> Any:
            return self._call(method, args)

        return call

    def _call(self, method: str, args: tuple[Any, ...]) -> Any:
        begin = time.perf_counter()
        while not self._connected:
            self._connected = self._channel.listens()
            if not self._connected:
                self._stop.sleep(_CONNECT_SECONDS)
        payload = dumps(args)
        while True:
            answer = self._wait(method, self._channel.start(method, payload))
            state, value = pickle.loads(answer)
            if state != _NOT_READY:
                break
            self._stop.sleep(_RETRY_SECONDS)
        self._calls += 1
        self._bytes += len(payload) + len(answer)
        self._seconds += time.perf_counter() - begin
        if state == _RAISED:
            raise RemoteError(f'{method} of node {self._name} raised:\n{value}')
        return value

    def _wait(self, method: str, pending: Pending) -> bytes:
        while not self._stop():
            try:
                return pending.result(timeout=_LOOK_SECONDS)
            except NotYet:
                continue
            except Exception as error:
                # The supervisor knows why, and ends this node; its own failure must not hide the cause.
                if self._stop.wait(_LOST_SECONDS):
                    break
                raise ConnectionError(
                    f'node {self._name} does not answer {method}: {error}'
                ) from error
        pending.cancel()
        raise Stopped

    def traffic(self) -> dict[str, float]:
        """Totals over all calls so far."""
        return {'calls': self._calls, 'bytes': self._bytes, 'seconds': self._seconds}


class Asking:
    """Calls a method of another node again and again without waiting, for callers that must not block."""

    def __init__(self, method: str, channel: Channel, seconds: float) -> None:
        """Args: method: without arguments; channel: to the node; seconds: between two calls."""
        self._method = method
        self._channel = channel
        self._seconds = seconds
        self._pending: Pending | None = None
        self._listens = False
        self._next = 0.0
        self.answer: Any = None  # the newest

    def poll(self) -> Any:
        """Continues the calls. Returns: the newest answer; None before the first."""
        now = time.monotonic()
        if self._pending is not None:
            if self._pending.done():
                state, value = _READY, None
                with contextlib.suppress(Exception):  # the supervisor sees a node that is gone
                    state, value = pickle.loads(self._pending.result())
                if state == _READY and value is not None:
                    self.answer = value
                self._pending = None
        elif now >= self._next:
            self._next = now + self._seconds
            self._listens = self._listens or self._channel.listens()
            if self._listens:
                self._pending = self._channel.start(self._method, NO_ARGUMENTS)
        return self.answer
