"""Calls over connections: who is let in, what is read of him, and that nobody waits for a stranger."""

import hashlib
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing import connection as connections

import numpy as np
import pytest

from culmen.components.files import Scratch
from culmen.launchers.programs.connections import Key
from culmen.launchers.programs.connections import Line
from culmen.launchers.programs.connections import Service
from culmen.launchers.programs.remote import NO_ARGUMENTS
from culmen.launchers.programs.remote import Asking
from culmen.launchers.programs.remote import Remote
from culmen.launchers.programs.remote import RemoteError
from culmen.launchers.programs.remote import Server
from culmen.launchers.programs.stops import Stop
from culmen.launchers.programs.stops import Stopped


class Node:
    def __init__(self):
        self.calls = self.waited = 0
        self.gate = threading.Event()

    def add(self, a, b):
        self.calls += 1
        return a + b

    def wait(self):
        self.calls += 1
        self.gate.wait()
        self.waited += 1
        return 'waited'

    def fail(self):
        raise KeyError('nothing of that name')

    def get_what_no_pickle_takes(self):
        return threading.Lock()


class Served:
    """A node at an address, while a test needs it."""

    def __init__(self, address, **options):
        self.address, self.key, self.node, self.server = address, Key(), Node(), Server()
        self.service = Service(self.server, address, self.key, **options)
        self.server.open(self.node)

    def line(self):
        return Line(self.address, self.key)

    def remote(self, stop=None):
        return Remote('adder', self.line(), stop or Stop())


def dial(address):
    if not isinstance(address, str):
        return socket.create_connection(address)
    made = socket.socket(socket.AF_UNIX)
    made.connect(address)
    return made


def free_address(is_ipv6):
    host, family = ('::1', socket.AF_INET6) if is_ipv6 else ('127.0.0.1', socket.AF_INET)
    try:
        with socket.create_server((host, 0), family=family) as free:
            return free.getsockname()[:2]
    except OSError as error:
        pytest.skip(f'no socket can listen at {host} here: {error}')


@pytest.fixture
def scratch():
    made = Scratch('program', longest_name=10)
    yield made
    made.close()


@pytest.fixture(params=['socket', 'port', 'ipv6'])
def serve(request, scratch):
    """Serves a node of its own at each call."""
    made = []

    def start(**options):
        if request.param == 'socket':
            address = str(scratch.path / f'adder{len(made)}')
        else:  # what hosts that call each other would use
            address = free_address(is_ipv6=request.param == 'ipv6')
        made.append(Served(address, **options))
        return made[-1]

    yield start
    for each in made:
        each.node.gate.set()
        each.service.close()


@pytest.fixture
def served(serve):
    return serve()


def test_arrays_of_any_size_go_there_and_back(served):
    remote = served.remote()
    for size in (0, 1, 10_000, 1_000_000):
        result = remote.add(np.arange(size), np.int16(1))
        np.testing.assert_array_equal(result, np.arange(size) + 1)
    assert remote.traffic()['calls'] == served.node.calls == 4


def test_a_service_that_ends_waits_for_the_call_that_is_being_answered(served):
    call = served.line().start('wait', NO_ARGUMENTS)
    while not served.node.calls:
        call.done()
        time.sleep(0.01)

    def leave():
        with pytest.raises(ConnectionError):
            call.result()
        served.node.gate.set()

    caller = threading.Thread(target=leave)
    caller.start()
    served.service.close()
    assert served.node.waited == 1
    caller.join()


def test_an_error_is_told_with_its_traceback_and_the_next_call_is_made(served):
    remote = served.remote()
    with pytest.raises(
        RemoteError, match=r'(?s)fail of node adder.*KeyError.*nothing of that name'
    ):
        remote.fail()
    with pytest.raises(RemoteError, match='pickle'):
        remote.get_what_no_pickle_takes()
    assert remote.add(1, 2) == 3


def test_many_call_at_once_and_none_waits_for_another(served):
    remote = served.remote()
    slow = threading.Thread(target=remote.wait)
    slow.start()
    found = []
    callers = [
        threading.Thread(target=lambda i=i: found.extend(remote.add(i, j) for j in range(20)))
        for i in range(12)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(found) == sorted(i + j for i in range(12) for j in range(20))
    assert slow.is_alive()
    served.node.gate.set()
    slow.join()
    assert served.node.calls == 241


def test_a_call_is_made_once_and_ends_with_the_stop_while_the_other_goes_on(served):
    stop = Stop()
    remote = served.remote(stop)
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Stopped):
        remote.wait()
    assert served.node.waited == 0
    served.node.gate.set()
    # What comes late is nobody's answer.
    assert served.remote().add(1, 2) == 3
    assert served.node.calls == 2


def test_a_node_that_comes_late_is_waited_for_and_one_that_has_gone_is_told(scratch):
    address, key, node = str(scratch.path / 'adder'), Key(), Node()
    line, server = Line(address, key), Server()
    assert not line.listens()
    services = []
    threading.Timer(0.2, lambda: services.append(Service(server, address, key))).start()
    threading.Timer(0.4, lambda: server.open(node)).start()
    remote = Remote('adder', line, Stop())
    assert remote.add(1, 2) == 3
    services[0].close()
    services[0].close()
    assert not line.listens()
    for _ in range(2):  # over the connection that was, and over none
        with pytest.raises(ConnectionError, match='its connection was lost'):
            line.start('add', pickle.dumps((1, 2))).result(60)
    assert node.calls == 1


def test_to_begin_a_call_never_waits_and_nor_does_asking(scratch):
    # Nobody ever accepts: a process that was stopped, or one that has too much to do.
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(scratch.path / 'deaf'))
        deaf.listen(2)
        line = Line(str(scratch.path / 'deaf'), Key())
        pending = [line.start('get', bytes(1_000_000)) for _ in range(5)]
        asking = Asking('get', line, 0.01)
        assert [asking.poll() for _ in range(3)] == [None] * 3
        assert not any(each.done() for each in pending)


class Trace:
    """A pickle that leaves a file where it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_stranger_is_turned_away_before_anything_of_his_is_opened(served, tmp_path):
    bomb = pickle.dumps((Trace(tmp_path / 'trace'),))
    for attempt in (bomb, b'add\0' + bomb, b'#CHALLENGE#' + bomb, b''):
        stranger = connections.Connection(dial(served.address).detach())
        try:
            assert stranger.poll(60), 'he is not asked for the key'
            stranger.recv_bytes(256)
            stranger.send_bytes(attempt)
            stranger.send_bytes(b'add\0' + bomb)
            while True:
                assert stranger.poll(60), 'he is still listened to'
                answer = stranger.recv_bytes(256)
                assert answer == b'#FAILURE#'
        except (EOFError, OSError):
            pass
        finally:
            stranger.close()
    with pytest.raises((AuthenticationError, EOFError, OSError)):
        guess = hashlib.sha256(b'guess').digest()
        with connections.Connection(dial(served.address).detach()) as stranger:
            connections.answer_challenge(stranger, guess)
            connections.deliver_challenge(stranger, guess)
    with pytest.raises(ConnectionError, match='its connection was lost'):
        Line(served.address, Key()).start('add', bomb).result(60)
    assert list(tmp_path.iterdir()) == []
    assert served.remote().add(1, 2) == 3
    assert served.node.calls == 1


def test_a_silent_stranger_and_one_that_drips_are_hung_up_on_and_keep_nobody_waiting(serve):
    patient, strict = serve(greeting_seconds=3_600), serve(greeting_seconds=0.5)

    def strangers(served, number):
        return [dial(served.address) for _ in range(number)]

    silent = strangers(patient, 20)
    assert patient.remote().add(1, 2) == 3  # though none of them has gone
    dripping, *others = strangers(strict, 10)
    dripping.sendall((256).to_bytes(4, 'big'))
    with pytest.raises(OSError):  # long before a message of this length is whole
        for _ in range(255):
            dripping.sendall(b'\0')
            time.sleep(0.03)
    for stranger in others:
        while stranger.recv(100):
            pass
    for stranger in (*silent, dripping, *others):
        stranger.close()


def test_a_caller_that_is_killed_leaves_the_node_to_the_others(served):
    code = (
        'import sys\n'
        'from culmen.launchers.programs.connections import Key, Line\n'
        'address = sys.argv[1] if len(sys.argv) == 3 else (sys.argv[1], int(sys.argv[3]))\n'
        'line = Line(address, Key(bytes.fromhex(sys.argv[2])))\n'
        'line.start("wait", b"\\x80\\x04).").result(600)\n'
    )
    host, *port = [served.address] if isinstance(served.address, str) else map(str, served.address)
    command = [sys.executable, '-c', code, host, served.key.value.hex(), *port]
    caller = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not served.node.calls and caller.poll() is None:
        time.sleep(0.02)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    served.node.gate.set()
    assert served.remote().add(1, 2) == 3
    assert served.node.calls == 2


def test_a_key_is_in_no_pickle(monkeypatch):
    key = Key()
    assert len(key.value) >= 32
    assert key.value not in pickle.dumps(key)
    assert key.value != Key().value


def test_a_socket_is_in_a_folder_of_its_user_alone_whatever_the_umask(tmp_path, monkeypatch):
    old = os.umask(0)
    try:
        # A path of more than 107 bytes is none of a socket.
        deep = tmp_path / ('a' * 100)
        deep.mkdir()
        monkeypatch.setattr('tempfile.tempdir', str(deep))
        scratch = Scratch('program', longest_name=10)
        served = Served(str(scratch.path / 'adder'))
    finally:
        os.umask(old)
    assert stat.S_IMODE(scratch.path.stat().st_mode) == 0o700
    assert scratch.path.parent != deep
    assert served.remote().add(1, 2) == 3
    served.service.close()
    scratch.close()
    assert list(deep.iterdir()) == []
