"""How the nodes of a program call each other on any engine: a call sends bytes and returns bytes.

An engine serves `Server.call` of each node and gives the others a `Channel` to it. A `Remote` over a
channel is used like the node itself: `counter.get_counts()`. Every wait ends with the node's `Stop`, and
none blocks the thread that handles signals.

Where nodes are restarted, a `Remote` is patient: if its connection is lost, it waits until the node listens
again, and repeats the call. The node remembers its last answer to each caller, so that a call whose answer
was lost is not made twice. One that has been restarted has forgotten it, with what the call had done.
"""

import contextlib
import itertools
import pickle
import secrets
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import TimeoutError as NotYet
from typing import Any
from typing import Protocol

import cloudpickle

from culmen.launchers.programs.stops import Stop
from culmen.launchers.programs.stops import Stopped

_LOOK_SECONDS = 0.2  # between checks of the stop during a call
_CONNECT_SECONDS = 0.05  # between checks whether the other node listens
_RETRY_SECONDS = 0.02  # if a node is not ready yet
_LOST_SECONDS = 10.0  # after a failed call, for the launcher to end this node
NO_ARGUMENTS = pickle.dumps(())  # of a call
_READY, _NOT_READY, _RAISED = 0, 1, 2
READS = 'get_'  # begins the names of methods that change nothing, which may be called again
_CALLERS = 4096  # whose last answer a node remembers


class RemoteError(RuntimeError):
    """A method of another node raised; the message holds its traceback."""


class NotReady(Exception):
    """A node can not answer yet: the caller asks again, and does not wait within the call."""


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
        self._lock = threading.Lock()
        self._answers: dict[str, _Answer] = {}  # the last to each caller that may ask again

    def open(self, node: Any) -> None:
        """Lets calls reach the node from now on."""
        self._node = node
        self._there.set()

    def call(self, name: str, payload: bytes | memoryview) -> bytes:
        """Calls the node's method with pickled arguments; returns a pickled answer.

        Args: name: of the method, and for a call that a patient caller may repeat: ' CALLER NUMBER'.
        """
        if not self._there.wait(_LOOK_SECONDS):
            return dumps((_NOT_READY, None))
        method, _, mark = name.partition(' ')
        if not mark:
            return self._make(method, payload)[1]
        caller, _, number = mark.partition(' ')
        last = self._last(caller)
        with last.lock:
            if last.number != number:
                state, answer = self._make(method, payload)
                if state == _NOT_READY:
                    return answer
                last.number, last.answer = number, answer
            return last.answer

    def _last(self, caller: str) -> '_Answer':
        with self._lock:
            last = self._answers.pop(caller, None) or _Answer()
            self._answers[caller] = last  # the callers of the newest calls come last
            if len(self._answers) > _CALLERS:
                del self._answers[next(iter(self._answers))]
            return last

    def _make(self, method: str, payload: bytes | memoryview) -> tuple[int, bytes]:
        try:
            if method.startswith('_'):
                raise AttributeError(f'a node shows its public methods alone, got {method!r}.')
            return _READY, dumps((_READY, getattr(self._node, method)(*pickle.loads(payload))))
        except (NotReady, Stopped):
            return _NOT_READY, dumps((_NOT_READY, None))
        except (Exception, SystemExit):
            return _RAISED, dumps((_RAISED, traceback.format_exc()))


class _Answer:
    """The last answer to a caller."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.number = ''
        self.answer = b''


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

    def __init__(self, name: str, channel: Channel, stop: Stop, *, patient: bool = False) -> None:
        """Makes a handle.

        Args:
            name: of the node, for errors.
            channel: to it.
            stop: ends every wait.
            patient: whether to repeat a call whose connection is lost, once the node listens again.
        """
        self._name = name
        self._channel = channel
        self._stop = stop
        self._patient = patient
        self._caller = secrets.token_hex(8)
        self._numbers = itertools.count(1)
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
        self._connect()
        payload = dumps(args)
        name = method
        if self._patient and not method.startswith(READS):
            # A thread makes one call at a time.
            name = f'{method} {self._caller}-{threading.get_ident()} {next(self._numbers)}'
        while True:
            answer = self._wait(method, self._channel.start(name, payload))
            if answer is None:
                self._connected = False
                self._stop.sleep(_CONNECT_SECONDS)
                self._connect()
                continue
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

    def _connect(self) -> None:
        """Waits until the node listens."""
        while not self._connected:
            self._connected = self._channel.listens()
            if not self._connected:
                self._stop.sleep(_CONNECT_SECONDS)

    def _wait(self, method: str, pending: Pending) -> bytes | None:
        """The answer. Returns: None, for a patient caller, if the connection is lost."""
        with self._stop.calling(self._name):
            while not self._stop.is_set():
                try:
                    return pending.result(timeout=_LOOK_SECONDS)
                except NotYet:
                    continue
                except Exception as error:
                    if self._patient:
                        return None
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


def ask(channel: Channel, method: str, seconds: float = 2.0) -> Any:
    """Calls a method without arguments. Returns: the answer; None if none comes in time."""
    with contextlib.suppress(Exception):  # what is wrong with the node is its supervisor's business
        state, value = pickle.loads(channel.start(method, NO_ARGUMENTS).result(seconds))
        return value if state == _READY else None
    return None


def call_once(channel: Channel, method: str, args: tuple[Any, ...], seconds: float) -> Any:
    """Calls a method of another node once, and gives up after some time.

    Raises: ConnectionError if the node can't be reached or gives no answer in time; RemoteError if the method
        raised.
    """
    pending = channel.start(method, dumps(args))
    try:
        state, value = pickle.loads(pending.result(seconds))
    except NotYet:
        pending.cancel()
        raise ConnectionError(f'no answer came within {seconds:g} seconds.') from None
    if state == _NOT_READY:
        raise ConnectionError('it is not ready yet.')
    if state == _RAISED:
        raise RemoteError(f'{method} raised:\n{value}')
    return value


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
