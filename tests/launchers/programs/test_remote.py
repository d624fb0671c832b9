"""Calls between nodes: what they carry, nodes that come late, and that no wait outlives the end."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components.dispatch import pack
from culmen.launchers.programs.remote import NO_ARGUMENTS
from culmen.launchers.programs.remote import Asking
from culmen.launchers.programs.remote import NotReady
from culmen.launchers.programs.remote import Remote
from culmen.launchers.programs.remote import RemoteError
from culmen.launchers.programs.remote import Server
from culmen.launchers.programs.stops import ASK
from culmen.launchers.programs.stops import LAUNCHER
from culmen.launchers.programs.stops import Stop
from culmen.launchers.programs.stops import Stopped


class Threads:
    """An engine of threads."""

    def __init__(self, server):
        self.pool = ThreadPoolExecutor(4)
        self.server = server

    def listens(self):
        return True

    def start(self, name, payload):
        return self.pool.submit(self.server.call, name, payload)


class Node:
    def __init__(self):
        self.calls = 0

    def add(self, a, b):
        self.calls += 1
        return a + b

    def fail(self):
        raise KeyError('nothing of that name')

    def _secret(self):
        self.calls += 1


def test_arrays_go_there_and_back_and_traffic_is_counted():
    server = Server()
    server.open(Node())
    remote = Remote('adder', Threads(server), Stop())
    result = remote.add(np.arange(3, dtype=np.int16), np.int16(1))
    assert result.dtype == np.int16
    assert result.tolist() == [1, 2, 3]
    traffic = remote.traffic()
    assert traffic['calls'] == 1
    assert traffic['bytes'] > 100
    assert traffic['seconds'] > 0


def test_parameters_of_a_class_that_has_no_name_elsewhere_travel_too():
    class Params(NamedTuple):
        weights: object

    server, node = Server(), Node()
    node.get = lambda: pack(Params(jnp.ones(3)))
    server.open(node)
    result = Remote('learner', Threads(server), Stop()).get().unpack()
    assert type(result).__name__ == 'Params'
    assert result.weights.tolist() == [1, 1, 1]


def test_an_error_of_the_other_node_is_told_with_its_traceback():
    server = Server()
    server.open(Node())
    remote = Remote('adder', Threads(server), Stop())
    with pytest.raises(
        RemoteError, match=r'(?s)fail of node adder.*KeyError.*nothing of that name'
    ):
        remote.fail()


def test_methods_that_are_not_public_are_not_called():
    server, node = Server(), Node()
    server.open(node)
    with pytest.raises(AttributeError):
        Remote('adder', Threads(server), Stop())._secret()
    state, told = pickle.loads(server.call('_secret', NO_ARGUMENTS))
    assert state
    assert 'public methods' in told
    assert not node.calls


def test_a_call_waits_for_a_node_that_is_made_later_and_is_made_once():
    server, node, asked = Server(), Node(), []

    class Late(Threads):
        """Listens when it is asked again; its node is there once it has been called twice."""

        def listens(self):
            asked.append('listens')
            return asked.count('listens') > 2

        def start(self, name, payload):
            asked.append('call')
            if asked.count('call') == 3:
                self.server.open(node)
            return super().start(name, payload)

    assert Remote('adder', Late(server), Stop()).add(1, 2) == 3
    assert asked == ['listens'] * 3 + ['call'] * 3
    assert node.calls == 1


@pytest.mark.parametrize('waits_for', ['the other to listen', 'its node', 'its answer'])
def test_no_wait_outlives_the_stop(waits_for):
    class Late(Threads):
        def listens(self):
            return waits_for != 'the other to listen'

        def start(self, name, payload):
            return Future() if waits_for == 'its answer' else super().start(name, payload)

    stop = Stop()
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(Stopped):
        Remote('nobody', Late(Server()), stop).add(1, 2)


def test_a_connection_that_breaks_is_no_error_where_the_program_ends():
    stop = Stop()

    class Broken(Threads):
        def start(self, name, payload):
            threading.Timer(0.1, stop.set).start()  # the launcher tells why a moment later
            future = Future()
            future.set_exception(OSError('socket closed'))
            return future

    with pytest.raises(Stopped):
        Remote('gone', Broken(Server()), stop).add(1, 2)


class Cut(Threads):
    """Loses every second call: before it is made, or its answer."""

    def __init__(self, server):
        super().__init__(server)
        self.server, self.begun, self.names = server, 0, []

    def start(self, name, payload):
        self.begun += 1
        self.names.append(name)
        lost = Future()
        lost.set_exception(ConnectionError('the cable was cut'))
        if self.begun % 4 == 1:
            return lost
        answer = super().start(name, payload)
        if self.begun % 4 == 3:
            answer.result()
            return lost
        return answer


def test_a_patient_caller_repeats_a_call_that_is_cut_and_the_node_makes_it_once():
    server, node = Server(), Node()
    server.open(node)
    cut = Cut(server)
    remote = Remote('adder', cut, Stop(), patient=True)
    assert [remote.add(1, n) for n in range(4)] == [1, 2, 3, 4]
    assert (node.calls, cut.begun) == (4, 8)
    with pytest.raises(RemoteError, match='nothing of that name'):
        remote.fail()


def test_a_node_that_is_started_again_makes_the_call_anew():
    servers = [Server(), Server()]
    nodes = [Node(), Node()]
    for server, node in zip(servers, nodes):
        server.open(node)

    class Reborn(Cut):
        def start(self, name, payload):
            answer = super().start(name, payload)
            self.server = servers[1]
            return answer

    cut = Reborn(servers[0])
    cut.begun = 2  # it is made, and the answer is lost with the node
    assert Remote('adder', cut, Stop(), patient=True).add(1, 2) == 3
    assert [node.calls for node in nodes] == [1, 1]


def test_a_repeated_call_waits_for_the_one_that_is_being_made():
    server, node = Server(), Node()
    begun, go = threading.Event(), threading.Event()

    def claim():
        begun.set()
        go.wait()
        node.calls += 1
        return node.calls

    node.claim = claim
    server.open(node)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.call, 'claim me 1', NO_ARGUMENTS)
        begun.wait()
        again = pool.submit(server.call, 'claim me 1', NO_ARGUMENTS)
        go.set()
        assert first.result() == again.result()
    assert node.calls == 1


def test_what_only_reads_is_asked_anew_and_its_answers_are_not_kept():
    server, node = Server(), Node()
    node.get_much = lambda: b'much'
    server.open(node)
    cut = Cut(server)
    assert Remote('adder', cut, Stop(), patient=True).get_much() == b'much'
    assert set(cut.names) == {'get_much'}


def test_a_node_that_is_not_ready_is_asked_again_and_remembers_nothing():
    server, node = Server(), Node()
    tries = []

    def begin():
        tries.append(1)
        if len(tries) < 3:
            raise NotReady
        return 'begun'

    node.begin = begin
    server.open(node)
    assert Remote('learner', Threads(server), Stop(), patient=True).begin() == 'begun'
    assert len(tries) == 3


def test_asking_never_waits():
    server, node = Server(), Node()
    node.get = lambda: {'calls': 5}
    server.open(node)

    class Slow(Threads):
        asked, opened = 0, threading.Event()

        def start(self, name, payload):
            self.asked += 1
            return self.pool.submit(lambda: self.opened.wait() and server.call(name, payload))

    engine = Slow(server)
    asking = Asking('get', engine, 0.01)
    answers = []
    polls = threading.Thread(target=lambda: answers.extend(asking.poll() for _ in range(3)))
    polls.start()
    polls.join()
    assert (answers, engine.asked) == ([None] * 3, 1)
    engine.opened.set()
    while asking.poll() is None:
        time.sleep(0.01)
    assert asking.answer == {'calls': 5}


CHILD = """
import pickle, sys, time
stop = pickle.loads(bytes.fromhex(sys.argv[1]))
assert stop is pickle.loads(bytes.fromhex(sys.argv[1]))
stop.install()
print('ready', flush=True)
sys.exit(0 if stop.wait(120) else 3)
"""


def child():
    process = subprocess.Popen(
        [sys.executable, '-c', CHILD, pickle.dumps(Stop()).hex()],
        env={**os.environ, LAUNCHER: str(os.getpid())},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'ready\n'
    process.stdout.close()
    return process


def test_a_process_obeys_its_launcher_alone_whatever_a_terminal_or_a_scheduler_sends_to_all():
    process = child()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(ASK)
    assert process.wait() == 0


def test_a_process_whose_launcher_is_gone_ends():
    # Without the signal of the kernel: it looks for its launcher from time to time.
    code = f"""
import os, subprocess, sys, time
command = [sys.executable, '-c', {CHILD!r}, {pickle.dumps(Stop()).hex()!r}]
environment = {{**os.environ, {LAUNCHER!r}: str(os.getpid())}}
p = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
p.stdout.readline()
print(p.pid, flush=True)
time.sleep(60)
"""
    launcher = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    node = int(launcher.stdout.readline())
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()
    while is_running(node):
        time.sleep(0.05)


def test_a_process_that_is_late_to_ask_for_its_launcher_ends_too():
    # This process is its parent, as `init` would be where the launcher has gone.
    process = subprocess.Popen(
        [sys.executable, '-c', CHILD, pickle.dumps(Stop()).hex()],
        env={**os.environ, LAUNCHER: str(os.getppid())},
        stdout=subprocess.DEVNULL,
    )
    assert process.wait() == 1


def test_what_cannot_be_pickled_is_told_to_who_asked_for_it():
    server, node = Server(), Node()
    node.get = threading.Lock
    server.open(node)
    with pytest.raises(RemoteError, match='pickle'):
        Remote('adder', Threads(server), Stop()).get()


def is_running(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_in_this_process_a_stop_touches_no_signal():
    before = signal.getsignal(signal.SIGTERM)
    Stop().install()
    assert signal.getsignal(signal.SIGTERM) is before
    assert os.getpid()
