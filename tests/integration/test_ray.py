"""Programs and runs on Ray: real clusters, real processes and real signals."""

import contextlib
import json
import os
import re
import signal
import time

import numpy as np
import psutil
import pytest

from culmen.components.checkpointing import Checkpointer
from culmen.components.replay.called import saving
from culmen.components.replay.served.layout import RowLayout
from culmen.launchers.building import build
from culmen.launchers.building import trace
from culmen.launchers.configs import from_json
from culmen.launchers.programs.ray.clusters import require
from culmen.launchers.status import read_status
from tests.integration.commands import Command
from tests.launchers import ledgers

MIN_SIZE, BATCH, SAMPLES_PER_INSERT, MAX_CLAIM = 50, 8, 4.0, 16
DQN = (
    *('dqn', '--environment', 'tests.integration.test_ray:slow', '--agent.hidden_sizes', '16'),
    *('--agent.min_replay_size', MIN_SIZE, '--agent.batch_size', BATCH, '--agent.n_step', 1),
    *('--agent.samples_per_insert', SAMPLES_PER_INSERT, '--agent.replay_capacity', 100_000),
    *('--agent.priority_exponent', 0.6, '--evaluation-episodes', 2),
)


def why_not():
    """Why Ray can't be used here, or nothing."""
    try:
        require()
    except ImportError as error:
        return str(error)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.xdist_group('ray'),
]


@pytest.fixture(scope='module', autouse=True)
def patient_with_slow_machines():
    """Ray gives its own daemons this long to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('RAY_raylet_start_wait_time_s', '120')
        yield


@pytest.fixture(scope='module')
def cluster():
    """Three machines, which all are this one: the head, and two others, which may be lost."""
    from ray.cluster_utils import Cluster

    found = Cluster(
        initialize_head=True,
        head_node_args={
            'num_cpus': 2,
            'resources': {'one': 1},
            'object_store_memory': 100 << 20,
            'include_dashboard': False,
        },
    )
    yield found
    found.shutdown()


def add_machine(cluster, *names):
    """Another machine, which has an address of its own."""
    return cluster.add_node(
        num_cpus=2,
        resources=dict.fromkeys(names, 2),
        object_store_memory=100 << 20,
        node_ip_address='127.0.0.2',
    )


def ray_program(workdir, steps, *options, what=DQN):
    return Command(
        workdir, *what, '--steps', steps, '--checkpoint-every', 500, '--launcher', 'ray',
        '--actors', 2, *options,
    )  # fmt: skip


def pids(workdir):
    """The process of each node that runs."""
    nodes = read_status(workdir)['nodes']
    return {node['name']: node['pid'] for node in nodes if node['state'] == 'running'}


def kill(command, name):
    """Kills a node, and waits until another has its place."""
    pid = pids(command.workdir)[name]
    os.kill(pid, signal.SIGKILL)
    while command.process.poll() is None and pids(command.workdir).get(name) in (pid, None):
        time.sleep(0.1)


def finish(command):
    code, out, err = command.finish()
    assert code == 0, err[-6000:]
    return json.loads(out.splitlines()[-1]), err


def wait_for_nobody(command, seconds=20.0):
    """Waits until no process of the command is left, Ray's daemons neither."""
    until = time.monotonic() + seconds
    while left := command.left():
        assert time.monotonic() < until, left
        time.sleep(0.1)


def stored_steps(workdir, num_actors=2):
    """int[N, 3]: run, episode and step at which each item of a Replay begins, from the last checkpoint."""
    config = json.loads((workdir / 'config.json').read_text())
    built = build(from_json(config, trust=True), 0, num_actors)
    built.close()
    row_spec = trace(built.parts, built.spec, built.lanes).row_spec
    layout = RowLayout(built.parts.experience, row_spec, np.zeros(1, np.int32))
    saved = Checkpointer(workdir / 'checkpoints').restore(python=False)
    tables, columns = saving.read(saved.table)
    (name,) = tables
    place = columns[name].index('before')
    first = b''.join(item[place][0] for item in tables[name][1])
    return ledgers.read(np.frombuffer(first, layout.before.record)['observation'])


def check_runs(steps):
    """That no step is there twice, and none is missing within a run of an environment. Returns: the runs."""
    steps = sorted(map(tuple, steps.tolist()))
    assert len(set(steps)) == len(steps)
    runs = {run for run, *_ in steps}
    for run in runs:
        own = [(episode, step) for number, episode, step in steps if number == run]
        whole = [
            (episode, step) for episode in range(own[-1][0] + 1) for step in range(ledgers.LENGTH)
        ]
        assert own == whole[: len(own)]
    return runs


def restarts(workdir):
    lines = (workdir / 'logs' / 'restarts.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.deep
def test_actor_and_learner_are_killed_and_no_step_is_lost_or_twice(tmp_path):
    workdir, steps = tmp_path / 'run', 3_001
    command = ray_program(workdir, steps, '--restarts', 5)
    command.wait_for_steps(300)
    kill(command, 'actor-0')
    command.wait_for_steps(800)
    kill(command, 'learner')
    result, err = finish(command)
    assert 'culmen: 2 actors as ray. Ray ' in err
    assert 'node actor-0 failed: it was ended by something outside of it' in err
    found = [(each['node'], each['caused_by']) for each in restarts(workdir)]
    assert found == [('actor-0', None), ('learner', None), ('evaluator', 'learner')]
    assert result['actor_steps'] == steps
    items = stored_steps(workdir)
    assert len(check_runs(items)) == 3  # an actor that is started again is another run
    assert steps <= len(items) <= steps + MAX_CLAIM
    allowed = (len(items) - MIN_SIZE) * SAMPLES_PER_INSERT / BATCH
    nodes = json.loads((workdir / 'logs' / 'nodes.json').read_text())
    lost = nodes['counter']['lost']['updates']
    assert allowed - lost - 100 <= result['learner_steps'] <= allowed - lost
    assert nodes['actor-1']['traffic']['replay']['bytes'] > 0
    assert (workdir / 'logs' / 'learner.log').exists()
    assert read_status(workdir)['state'] == 'finished'
    wait_for_nobody(command)


def test_a_signal_saves_and_the_same_command_goes_on(tmp_path):
    workdir = tmp_path / 'run'
    command = ray_program(workdir, 1_501)
    command.wait_for_steps(600)
    command.process.send_signal(signal.SIGTERM)
    code, out, err = command.finish()
    assert code == 128 + signal.SIGTERM, err
    stopped = json.loads(out.splitlines()[-1])
    assert 600 <= stopped['actor_steps'] < 1_501
    wait_for_nobody(command)
    result, _ = finish(ray_program(workdir, 1_501))
    assert (result['actor_steps'], result['resumed_at']) == (1_501, stopped['actor_steps'])
    items = stored_steps(workdir)
    check_runs(items)
    assert len(items) == 1_501
    assert result['learner_steps'] == (1_501 - MIN_SIZE) * SAMPLES_PER_INSERT // BATCH


@pytest.mark.deep
def test_a_lost_machine_of_a_cluster_loses_no_step(tmp_path, cluster):
    lost, kept = add_machine(cluster, 'spot'), add_machine(cluster)
    workdir, steps = tmp_path / 'run', 4_001
    command = ray_program(
        workdir, steps, '--restarts', 5, '--address', cluster.address, '--resources', 'actor.spot=1'
    )
    command.wait_for_steps(300)
    before = pids(workdir)
    add_machine(cluster, 'spot')
    cluster.remove_node(lost, allow_graceful=False)
    result, err = finish(command)
    assert 'listen at a port each on their machine' in err
    cluster.remove_node(kept)
    assert result['actor_steps'] == steps
    # The evaluator may have been there, too.
    found = restarts(workdir)
    assert {each['node'] for each in found} - {'evaluator'} == {'actor-0', 'actor-1'}, found
    items = stored_steps(workdir)
    assert len(check_runs(items)) == 4
    assert steps <= len(items) <= steps + 2 * MAX_CLAIM
    for pid in before.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.deep
def test_what_the_cluster_does_not_have_is_refused(tmp_path, cluster):
    for options, words in (
        (
            ['--resources', 'learner.gpu=1'],
            'no machine of the Ray cluster has gpu=1 for node learner',
        ),
        (['--resources', 'actor.one=1'], 'the nodes need one=2 at once, and the Ray cluster has 1'),
    ):
        command = ray_program(tmp_path / 'run', 100, '--address', cluster.address, *options)
        code, _, err = command.finish()
        assert code == 2
        assert words in err
    assert not (tmp_path / 'run').exists()


@pytest.mark.deep
def test_many_runs_share_a_cluster_and_one_that_fails_does_not_end_the_others(tmp_path, cluster):
    workdir = tmp_path / 'runs'
    options = (
        *('--steps', 400, '--seeds', 2, '--sweep', 'environment.end=50,100000'),
        *('--launcher', 'ray', '--address', cluster.address),
    )
    what = (*DQN[:1], '--environment', 'tests.integration.test_ray:make_ending', *DQN[3:])
    command = Command(workdir, *what, *options)
    code, out, err = command.finish()
    assert code == 1
    assert '2 of 4 runs failed' in err
    assert 'the end was reached' in err
    table = err[err.index('run  ') :].splitlines()[1:5]
    assert sorted(line.split()[0] for line in table) == [
        f'end={end}/seed-{seed}' for end in ('100000', '50') for seed in (0, 1)
    ]
    runs = json.loads(out.splitlines()[-1])['runs']
    assert [run['actor_steps'] for run in runs] == [400, 400]
    again = Command(workdir, *what, *options)
    code, out, err = again.finish()
    assert code == 1, err
    read = json.loads(out.splitlines()[-1])['runs']
    assert [run['resumed_at'] for run in read] == [400, 400]  # they are not made again


class Slow(ledgers.Ledger):
    """Takes so long that a node is there again before the budget is used up."""

    def step(self, action):
        time.sleep(0.01)
        return super().step(action)


def slow(seed):
    return Slow(seed)


class Ending(ledgers.Ledger):
    """Fails at an episode."""

    def __init__(self, seed, end):
        super().__init__(seed)
        self._end = end

    def reset(self):
        if self._episode >= self._end:
            raise RuntimeError('the end was reached')
        return super().reset()


def make_ending(seed, end=50):
    return Ending(seed, end)


def test_no_cluster_is_refused_at_once(tmp_path):
    for address, words in (
        ('127.0.0.1:9', 'there is no Ray cluster at 127.0.0.1:9'),
        ('ray://head:10001', "must be HOST:PORT .*, or auto, got 'ray://head:10001'"),
    ):
        command = ray_program(tmp_path / 'run', 100, '--address', address)
        code, _, err = command.finish()
        assert code == 2
        assert re.search(words, err)
    assert not (tmp_path / 'run').exists()
