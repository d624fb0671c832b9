"""Agents and the host that they join, over real connections of one machine; nodes are small processes."""

import contextlib
import functools
import socket
import sys
import threading
import time

import pytest

from culmen.launchers.programs.connections import Key
from culmen.launchers.programs.connections import Line
from culmen.launchers.programs.connections import Service
from culmen.launchers.programs.hosts.file import GATHERING
from culmen.launchers.programs.hosts.file import parse_hosts
from culmen.launchers.programs.hosts.gathering import End
from culmen.launchers.programs.hosts.gathering import Gathering
from culmen.launchers.programs.hosts.gathering import find_versions
from culmen.launchers.programs.hosts.joining import JOINED
from culmen.launchers.programs.hosts.joining import Agent
from culmen.launchers.programs.hosts.joining import check_moved
from culmen.launchers.programs.remote import RemoteError
from culmen.launchers.programs.remote import Server
from culmen.launchers.programs.remote import call_once
from culmen.launchers.programs.running import Care
from culmen.launchers.programs.supervisor import NodeFailure
from culmen.launchers.programs.supervisor import ProcessNode
from culmen.launchers.programs.topology import NodePlan
from culmen.launchers.results import Refused
from culmen.launchers.workdir import write_json

pytestmark = pytest.mark.slow  # they wait for what is silent

FILE = """
port = {port}
wait = {wait}
silence = {silence}
[hosts.big]
address = "127.0.0.1"
nodes = ["learner"]
[hosts.small]
address = "127.0.0.2"
nodes = ["replay"]
actors = 2
"""
CONFIG = {'agent': {'name': 'dqn'}, 'seed': 3}
READS = (
    'import pathlib, sys; print(sorted(p.read_text() for p in pathlib.Path(sys.argv[1]).iterdir()))'
)


class Plain:
    """An engine whose nodes are the Python code that their plans hold."""

    def start_node(self, job, plan):
        (make,) = plan.makes
        if plan.label == 'replay':
            command = [sys.executable, '-c', READS, str(make.keywords['restore'])]
        else:
            command = [sys.executable, '-c', *make]
        return ProcessNode(plan.label, command, {}, job.logs / f'{plan.label}.log')


class Hosts:
    """Two hosts of one machine."""

    def __init__(self, logs, port, wait=60, silence=60, **options):
        self.hosts = parse_hosts(FILE.format(port=port, wait=wait, silence=silence), 'hosts.toml')
        self.small = self.hosts.find('small')
        self.key, self.signals, self.services = Key(), [], []
        self.options = {'has_checkpoint': False, 'logs': logs, **options}

    def open(self):
        self.gathering = Gathering(self.hosts, CONFIG, self.signals, **self.options)
        server = Server()
        server.open(self.gathering)
        address = self.hosts.addresses(self.hosts.head)[GATHERING]
        self.services.append(Service(server, address, self.key))
        return self.gathering

    def agent(self, key=None, config=CONFIG, workdir=None):
        return Agent(
            self.hosts, self.small, key or self.key, Plain(), config=config, workdir=workdir
        )

    def ask(self, method, *arguments):
        return call_once(
            Line(self.hosts.addresses(self.small)[GATHERING], self.key), method, arguments, 60
        )


@pytest.fixture
def make(tmp_path):
    """Makes hosts with ports that are free."""
    made = []

    def make(**options):
        with contextlib.ExitStack() as stack:
            free = [stack.enter_context(socket.create_server(('127.0.0.1', 0))) for _ in range(2)]
            port = min(max(each.getsockname()[1] for each in free), 65_531)
        made.append(Hosts(tmp_path / 'collected', port, **options))
        return made[-1]

    yield make
    for each in made:
        for service in each.services:
            service.close()


@pytest.fixture
def hosts(make):
    made = make()
    made.open()
    return made


class Running:
    """An agent in a thread."""

    def __init__(self, agent):
        self.outcome = None
        self._thread = threading.Thread(target=self._run, args=(agent,), daemon=True)
        self._thread.start()

    def _run(self, agent):
        try:
            self.outcome = agent.run()
        except Exception as error:
            self.outcome = error

    def wait(self):
        self._thread.join()
        return self.outcome


def until(condition):
    while not condition():
        time.sleep(0.02)


def plan(label, *code):
    return NodePlan(label, (code,))


def test_nodes_run_on_the_other_host_and_are_seen_here(hosts, tmp_path):
    running = Running(hosts.agent(workdir=tmp_path / 'run'))
    until(lambda: not hosts.gathering.missing())
    assert 'pid' in hosts.gathering.machines()['small']
    start = functools.partial(hosts.gathering.start, hosts.small, care=Care())
    ends = start(plan('actor-0', 'print("done")'))
    fails = start(plan('actor-1', 'raise KeyError("no floor")'))
    stays = start(plan('evaluator', 'import time; time.sleep(3600)'))
    stubborn = start(
        plan(
            'evaluator-b',
            'import signal, time; signal.signal(signal.SIGUSR1, signal.SIG_IGN); time.sleep(3600)',
        )
    )
    assert (ends.name, ends.host) == ('actor-0', 'small')
    until(lambda: not (ends.is_running() or fails.is_running()))
    assert ends.failure() is None
    failure = fails.failure()
    assert (failure.name, failure.reason) == ('actor-1', "KeyError: 'no floor'")
    assert 'Traceback' in failure.output[0]
    assert stays.is_running()
    stays.ask()
    stubborn.ask()
    until(lambda: not stays.is_running())
    assert stays.failure().reason == 'it was ended by SIGUSR1'
    stubborn.kill()
    until(lambda: not stubborn.is_running())
    # A node that is started again is another one.
    again = start(plan('actor-1', 'import time; time.sleep(3600)'))
    until(lambda: (tmp_path / 'run/logs/actor-1.log').exists() and again.is_running())
    fails.kill()
    assert fails.failure() is not None
    hosts.gathering.finish(End({'actor_steps': 3}))
    assert running.wait() == End({'actor_steps': 3})
    assert (tmp_path / 'run/logs/actor-0.log').read_text() == 'done\n'
    # What they wrote is here, too.
    collected = {path.name: path for path in (tmp_path / 'collected/small').iterdir()}
    assert set(collected) == {'actor-0.log', 'actor-1.log', 'evaluator.log', 'evaluator-b.log'}
    assert collected['actor-0.log'].read_text() == 'done\n'
    assert 'no floor' in collected['actor-1.log'].read_text()


def test_tables_that_a_replay_restores_travel_to_its_host(hosts, tmp_path):
    tables = tmp_path / 'tables'
    tables.mkdir()
    (tables / 'empty').write_bytes(b'')
    (tables / 'large').write_bytes(b'x' * 5_000_000)  # more than a piece
    running = Running(hosts.agent(workdir=tmp_path / 'run'))
    until(lambda: not hosts.gathering.missing())
    plan = NodePlan('replay', (functools.partial(list, restore=tables),))
    node = hosts.gathering.start(hosts.small, plan, Care())
    until(lambda: not node.is_running())
    assert node.failure() is None
    output = (tmp_path / 'run/logs/replay.log').read_text()
    assert output == str(['', 'x' * 5_000_000]) + '\n'
    for name in ('../key', 'none'):
        with pytest.raises(RemoteError, match='has no file'):
            hosts.ask('read_tables', 'small', '', name, 0)
    hosts.gathering.finish(End())
    assert running.wait() == End()


def test_a_node_that_can_not_be_started_has_failed(hosts, tmp_path):
    running = Running(hosts.agent())
    node = hosts.gathering.start(hosts.small, NodePlan('actor-0', ()), Care())
    until(lambda: not node.is_running())
    failure = node.failure()
    assert 'it could not be started: ValueError' in failure.reason
    assert 'in start_node' in ''.join(failure.output)
    hosts.gathering.finish(End(error='node actor-0 failed'))
    assert running.wait().error == 'node actor-0 failed'


def test_a_host_with_another_key_is_refused(hosts):
    outcome = Running(hosts.agent(key=Key())).wait()
    assert isinstance(outcome, Refused)
    assert 'host big does not accept the key of small' in str(outcome)
    assert hosts.gathering.missing() == ['small']


def test_a_host_of_another_experiment_is_refused(hosts):
    outcome = Running(hosts.agent(config={**CONFIG, 'seed': 4})).wait()
    assert isinstance(outcome, Refused)
    assert 'started for another experiment: seed differ' in str(outcome)
    assert hosts.gathering.missing() == ['small']


@pytest.mark.parametrize('package', ['Culmen', 'JAX', 'Python'])
def test_a_host_with_another_version_is_refused(hosts, package):
    versions = {**find_versions(), package: '0.0.1'}
    refusal = hosts.ask('join', 'small', 's', 'a machine', versions, CONFIG, None)
    assert f'{package} is 0.0.1 on host small and {find_versions()[package]} on big' in refusal


def test_a_host_that_the_file_does_not_name_or_that_has_joined_is_refused(hosts):
    join = functools.partial(hosts.ask, 'join')
    rest = ('pid 3 on a machine', find_versions(), CONFIG, None)
    assert 'smal is no other host of hosts.toml, which has small' in join('smal', 's', *rest)
    assert join('small', 's', *rest) is None
    assert join('small', 's', *rest) is None  # the answer was lost
    assert 'small has joined already, from pid 3 on a machine' in join('small', 't', *rest)


def test_a_learner_that_has_moved_says_what_it_needs(hosts, make, tmp_path):
    (tmp_path / 'checkpoints/000000000400').mkdir(parents=True)
    outcome = Running(hosts.agent(workdir=tmp_path)).wait()
    assert isinstance(outcome, Refused)
    assert 'host small has checkpoint 000000000400 of this run, and big' in str(outcome)
    assert 'copy config.json, program.json, checkpoints and logs' in hosts.gathering.refusal
    # With the checkpoints of the old host it goes on.
    moved = make(has_checkpoint=True)
    moved.open()
    running = Running(moved.agent(workdir=tmp_path))
    until(lambda: not moved.gathering.missing())
    moved.gathering.finish(End())
    assert running.wait() == End()


def test_so_does_one_on_a_host_that_has_only_joined(hosts, tmp_path):
    write_json(tmp_path / JOINED, {'learner': 'old'})
    check_moved(tmp_path, hosts.small, has_checkpoint=True)
    check_moved(None, hosts.small, has_checkpoint=False)
    with pytest.raises(ValueError, match=r'was on host old and is now on small.*copy config.json'):
        check_moved(tmp_path, hosts.small, has_checkpoint=False)
    write_json(tmp_path / JOINED, {'learner': 'small'})  # it was away and is back
    check_moved(tmp_path, hosts.small, has_checkpoint=False)


def test_a_host_waits_for_the_learners_and_not_for_ever(make):
    late = make()
    running = Running(late.agent())
    time.sleep(0.2)
    until(lambda: late.open() is not None)
    until(lambda: not late.gathering.missing())
    late.gathering.finish(End())
    assert running.wait() == End()
    never = make(wait=1)
    outcome = Running(never.agent()).wait()
    assert isinstance(outcome, Refused)
    assert 'host big can not be joined at 127.0.0.1' in str(outcome)
    assert 'within 1 seconds' in str(outcome)


def test_the_nodes_of_a_silent_host_have_failed_until_it_joins_again(make):
    hosts = make(silence=1)
    gathering = hosts.open()
    join = functools.partial(hosts.ask, 'join', 'small')
    rest = ('a machine', find_versions(), CONFIG, None)
    assert join('s', *rest) is None
    node = gathering.start(hosts.small, plan('actor-0', ''), Care())
    assert node.is_running()
    until(lambda: not node.is_running())
    assert 'its host small (127.0.0.2) has not answered for 1 seconds' in node.failure().reason
    assert hosts.ask('follow', 'small', 's', {}, ()) is None
    again = gathering.start(hosts.small, plan('actor-0', ''), Care())
    assert again.is_running()  # as soon as its host is back
    assert join('t', *rest) is None
    assert list(hosts.ask('follow', 'small', 't', {}, ()).wanted) == ['actor-0']
    assert node.failure() is not None


def test_a_host_whose_learners_is_gone_ends_its_nodes(make, tmp_path):
    hosts = make(silence=1)
    gathering = hosts.open()
    running = Running(hosts.agent(workdir=tmp_path))
    node = gathering.start(hosts.small, plan('actor-0', 'import time; time.sleep(3600)'), Care())
    until(lambda: (tmp_path / 'logs/actor-0.log').exists() and node.is_running())
    hosts.services[0].close()
    outcome = running.wait()
    assert isinstance(outcome, NodeFailure)
    assert 'host big has not answered for' in str(outcome)


def test_signals_of_a_host_are_those_of_the_launch(hosts):
    hosts.ask('join', 'small', 's', 'a machine', find_versions(), CONFIG, None)
    for told in ((), (15,), (15,), (15, 2)):
        hosts.ask('follow', 'small', 's', {}, told)
    assert hosts.signals == [15, 2]
