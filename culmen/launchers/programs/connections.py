"""Calls between processes over `multiprocessing.connection`: an engine's way to `Server.call`.

A node serves an address: here the path of a Unix socket, but (host, port) works too, of IPv4 or IPv6. Before
anything else is read, both sides prove that they know the program's key, so only data from the program's own
nodes is unpickled. A connection carries one call at a time; concurrent calls take several connections.
"""

import contextlib
import os
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from multiprocessing import AuthenticationError
from multiprocessing import connection as connections
from typing import Any
from typing import TypeAlias

from culmen.launchers.programs.remote import Pending
from culmen.launchers.programs.remote import Server
from culmen.launchers.programs.stops import take_handed

Address: TypeAlias = str | tuple[str, int]  # a path, or a host and a port
# Or what gives it at each connection, and raises a ConnectionError while it is not known.
Whereabouts: TypeAlias = Address | Callable[[], Address]

_KEY_BYTES = 32
_GREETING_SECONDS = 10.0  # for a new connection to prove that it knows the key
_PROBE_SECONDS = 0.2  # for a connection that only checks whether a node listens
_BACKLOG = 128
_AT_ONCE = 16_384  # bytes that a socket accepts without waiting for the other side
_CONNECT_SECONDS = 5.0  # for a connection to another machine
_QUIET_SECONDS = 20  # after which a machine that does not react counts as cut off
_END_SECONDS = 1.0  # for the calls that are being answered when a service ends
_AGAIN_SECONDS = 0.1  # until the next try, if no connection can be accepted


class Key:
    """The secret that only the nodes of a program know.

    Its pickle does not contain the secret: the launcher hands it to a node's process by a descriptor.
    """

    def __init__(self, value: bytes | None = None) -> None:
        """Args: value: the secret of an existing key; None: a new one."""
        self.value = secrets.token_bytes(_KEY_BYTES) if value is None else value

    def __reduce__(self) -> Any:
        return _key_of_process, ()


def _key_of_process() -> Key:
    return Key(take_handed())


class Service:
    """Serves a node at an address to callers that know the key, each connection in a thread."""

    def __init__(
        self,
        server: Server,
        address: Address,
        key: Key,
        *,
        greeting_seconds: float = _GREETING_SECONDS,
    ) -> None:
        """Starts to listen.

        Args:
            server: of the node.
            address: where to listen; a socket's path has to be in a folder that only this user can access.
            key: of the program.
            greeting_seconds: for a new connection to prove that it knows the key.
        Raises: OSError if the address can't be used.
        """
        self._server = server
        self._address = address
        self._key = key
        self._seconds = greeting_seconds
        if isinstance(address, str):
            # A node that was killed leaves its socket behind; nobody else has a path in this folder.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address)
        self._listener = connections.Listener(address, _family(address), _BACKLOG)
        self._open: dict[connections.Connection, threading.Thread] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._accept, name='connections', daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        # The listener has no key: with one, a single silent connection would block all others.
        while not self._closed:
            try:
                connection = self._listener.accept()
                _tune(connection, self._address)
            except OSError:  # too many open files, or a caller that left at once
                time.sleep(_AGAIN_SECONDS)
                continue
            thread = threading.Thread(
                target=self._serve, args=(connection,), name='connection', daemon=True
            )
            with self._lock:
                self._open[connection] = thread
                thread.start()
        with contextlib.suppress(OSError):  # the folder of the socket may be gone
            self._listener.close()

    def _serve(self, connection: connections.Connection) -> None:
        try:
            if not self._closed and self._greet(connection):
                while True:
                    request = connection.recv_bytes()
                    end = request.index(b'\0')
                    payload = memoryview(request)[end + 1 :]
                    connection.send_bytes(self._server.call(request[:end].decode(), payload))
        except (OSError, EOFError):
            pass  # the caller has gone
        finally:
            with self._lock:
                self._open.pop(connection, None)
                connection.close()

    def _greet(self, connection: connections.Connection) -> bool:
        """Whether the caller proves that it knows the key. Closes the connection if that takes too long."""
        limit = threading.Timer(self._seconds, _hang_up, [connection])
        limit.daemon = True
        limit.start()
        try:
            connections.deliver_challenge(connection, self._key.value)
            connections.answer_challenge(connection, self._key.value)
        except Exception:  # what it sent was not an answer
            return False
        finally:
            limit.cancel()
            limit.join()
        return True

    def close(self) -> None:
        """Ends all connections and waits for their threads; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        with self._lock:
            threads = list(self._open.values())
            for connection in self._open:
                _hang_up(connection)
        # Only a new connection wakes a thread that waits in `accept`.
        with contextlib.suppress(OSError):
            _connect(self._address).close()
        self._thread.join(_PROBE_SECONDS)
        # A thread that outlived its service would keep the node, and let go of its arrays at any time.
        until = time.monotonic() + _END_SECONDS
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0.0))


class Line:
    """A Channel to a node that a `Service` serves. Thread-safe."""

    def __init__(self, address: Whereabouts, key: Key) -> None:
        """Args: address: of the node; key: of the program."""
        self._where = address
        self._key = key
        self._idle: list[_Wire] = []

    def listens(self) -> bool:
        """Whether the node is listening."""
        try:
            address = self._find()
            with _connect(address) as probe:
                # A tunnel accepts for a node that is not there yet: only a node asks for the key at once.
                return isinstance(address, str) or bool(_greeting(probe))
        except OSError:
            return False

    def _find(self) -> Address:
        return self._where() if callable(self._where) else self._where

    def start(self, name: str, payload: bytes) -> Pending:
        """Begins a call, which is made at most once. Never waits."""
        request = b'%s\0%s' % (name.encode(), payload)
        try:
            wire = self._idle.pop()
        except IndexError:
            wire = None
        if wire is not None and len(request) <= _AT_ONCE:
            try:
                wire.connection.send_bytes(request)
            except OSError as error:
                failed: Future[_Wire] = Future()
                failed.set_exception(_lost(error))
                return _Call(self._idle, sending=failed)
            return _Call(self._idle, wire)
        # Connecting takes two steps of the other side, and a long request may have to wait for it.
        sending: Future[_Wire] = Future()
        threading.Thread(
            target=self._send, args=(wire, request, sending), name='sending', daemon=True
        ).start()
        return _Call(self._idle, sending=sending)

    def _send(self, wire: '_Wire | None', request: bytes, sending: 'Future[_Wire]') -> None:
        try:
            if wire is None:
                wire = _Wire(_open(self._find(), self._key))
            wire.connection.send_bytes(request)
        except Exception as error:
            sending.set_exception(_lost(error))
        else:
            sending.set_result(wire)


class _Wire:
    """A connection with a fast check for incoming data."""

    def __init__(self, connection: connections.Connection) -> None:
        self.connection = connection
        self._poll = select.poll()  # `Connection.poll` would make one each time
        self._poll.register(connection.fileno(), select.POLLIN)

    def has_answer(self, seconds: float | None) -> bool:
        return bool(self._poll.poll(None if seconds is None else 1000 * seconds))


class _Call:
    """A call in progress. The thread that asks for its answer reads it."""

    def __init__(
        self,
        idle: list[_Wire],
        wire: _Wire | None = None,
        sending: 'Future[_Wire] | None' = None,
    ) -> None:
        self._idle = idle
        self._wire = wire
        self._sending = sending

    def result(self, timeout: float | None = None) -> bytes:
        if self._sending is not None:
            self._wire, self._sending = self._sending.result(timeout), None
        assert self._wire is not None, 'an answer is read once'
        if not self._wire.has_answer(timeout):
            raise NotYet
        wire, self._wire = self._wire, None
        try:
            answer = wire.connection.recv_bytes()
        except (OSError, EOFError) as error:
            raise _lost(error) from error
        self._idle.append(wire)
        return answer

    def done(self) -> bool:
        if self._sending is not None:
            if not self._sending.done():
                return False
            if self._sending.exception() is not None:
                return True
            self._wire, self._sending = self._sending.result(), None
        return self._wire is None or self._wire.has_answer(0)

    def cancel(self) -> None:
        self._wire = None  # which closes it: the answer may still come


class KeyRefused(ConnectionError):
    """The other side has another key."""


def _lost(error: Exception) -> ConnectionError:
    if isinstance(error, AuthenticationError):
        return KeyRefused(f'its connection was lost ({error!r}): the keys differ.')
    return ConnectionError(f'its connection was lost ({error!r}).')


def _open(address: Address, key: Key) -> connections.Connection:
    """A connection on which both sides have proved that they know the key."""
    if isinstance(address, str):
        return connections.Client(address, authkey=key.value)
    with _connect(address, _CONNECT_SECONDS) as there:
        there.settimeout(None)
        connection = connections.Connection(there.detach())
    try:
        _tune(connection, address)
        connections.answer_challenge(connection, key.value)
        connections.deliver_challenge(connection, key.value)
    except BaseException:
        connection.close()
        raise
    return connection


def _tune(connection: connections.Connection, address: Address) -> None:
    """Sets what a connection between machines needs: it ends if nothing comes back for some seconds."""
    if isinstance(address, str):
        return
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ('TCP_KEEPIDLE', _QUIET_SECONDS // 4),
            ('TCP_KEEPINTVL', _QUIET_SECONDS // 4),
            ('TCP_KEEPCNT', 3),
            ('TCP_USER_TIMEOUT', 1_000 * _QUIET_SECONDS),  # of what was sent
        ):
            if hasattr(socket, name):  # they are Linux's
                end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _greeting(probe: socket.socket) -> bytes:
    probe.settimeout(_CONNECT_SECONDS)
    return probe.recv(1)


def text_of(address: tuple[str, int]) -> str:
    """Host and port as 'host:port', an IPv6 address in brackets."""
    host, port = address
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def _family(address: Address) -> str:
    """The kind of socket that listens there. A name that has addresses of both kinds listens at IPv4's."""
    if isinstance(address, str):
        return 'AF_UNIX'
    found = {each[0] for each in socket.getaddrinfo(*address, type=socket.SOCK_STREAM)}
    return 'AF_INET' if socket.AF_INET in found else 'AF_INET6'


def _connect(address: Address, seconds: float | None = None) -> socket.socket:
    if not isinstance(address, str):
        return socket.create_connection(address, seconds or _CONNECT_SECONDS)
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.settimeout(seconds or _PROBE_SECONDS)
        probe.connect(address)
    except BaseException:
        probe.close()
        raise
    return probe


def _hang_up(connection: connections.Connection) -> None:
    """Ends a connection whose thread is reading it."""
    with contextlib.suppress(OSError):
        with socket.socket(fileno=os.dup(connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)
