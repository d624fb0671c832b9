"""Programs whose nodes are killed, hang or fail: what they do then, and that no step is lost or taken twice.

Real processes and real signals. What the tables hold is read from the last checkpoint.
"""

import functools
import json
import os
import signal
import time

import numpy as np
import pytest

import culmen
from culmen.components.checkpointing import Checkpointer
from culmen.components.replay.reverb import ReverbReader
from culmen.components.replay.reverb import ReverbServer
from culmen.components.replay.reverb import engine
from culmen.launchers import launchpad
from culmen.launchers.building import build
from culmen.launchers.building import trace
from culmen.launchers.configs import from_json
from culmen.launchers.programs.supervisor import NodeFailure
from tests.conftest import is_installed
from tests.integration.commands import Command
from tests.launchers import ledgers

MIN_SIZE, BATCH, SAMPLES_PER_INSERT, MAX_CLAIM = 50, 8, 4.0, 16
DQN = (
    *('dqn', '--environment', 'tests.launchers.ledgers:ledger', '--agent.hidden_sizes', '16'),
    *('--agent.min_replay_size', MIN_SIZE, '--agent.batch_size', BATCH, '--agent.n_step', 1),
    *('--agent.samples_per_insert', SAMPLES_PER_INSERT, '--agent.replay_capacity', 100_000),
    *('--agent.priority_exponent', 0.6, '--evaluation-episodes', 2),
)
QUEUE = (
    *('tests.launchers.ledgers:Bookkeeper', '--environment', 'tests.launchers.ledgers:ledger'),
    *('--evaluation-episodes', 1),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.launchpad,
    pytest.mark.skipif(
        not (is_installed('launchpad') and is_installed('reverb')),
        reason='Launchpad has wheels for Python 3.10 on Linux x86-64 alone',
    ),
]


def program(workdir, what, steps, *options, launcher='processes'):
    return Command(
        workdir, *what, '--steps', steps, '--checkpoint-every', 500, '--launcher', launcher,
        '--actors', 2, *options,
    )  # fmt: skip


def kill(command, name, number=signal.SIGKILL):
    """Sends a signal to a node, and waits until the counter has been told of the next."""
    pid = command.node(name)
    os.kill(pid, number)
    while command.process.poll() is None and not any(
        line.endswith(f'={name}\0') and other != pid for other, line in command.left().items()
    ):
        time.sleep(0.05)


def finish(command):
    code, out, err = command.finish()
    assert code == 0, err
    assert command.left() == {}
    return json.loads(out), err


def restarts(workdir):
    lines = (workdir / 'logs' / 'restarts.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines]


def check_runs(steps, last):
    """That no step is there twice, and none is missing within a run of an environment.

    Args:
        steps: int[N, 3], run, episode and step.
        last: the last step of an episode.
    Returns: how many steps each run has, by its first number.
    """
    steps = sorted(map(tuple, steps.tolist()))
    assert len(set(steps)) == len(steps)
    found = {}
    for run in {run for run, *_ in steps}:
        own = [(episode, step) for number, episode, step in steps if number == run]
        whole = [(episode, step) for episode in range(own[-1][0] + 1) for step in range(last + 1)]
        assert own == whole[: len(own)]  # all from its first step on, to the last one stored
        found[run] = len(own)
    return found


def stored_steps(workdir, experiment=None, num_actors=2):
    """int[N, 3]: run, episode and step at which each item of a Replay begins, from the last checkpoint."""
    config = json.loads((workdir / 'config.json').read_text())
    experiment = experiment or from_json(config, trust=True)
    built = build(experiment, 0, num_actors)
    built.close()
    experience, row_spec = (
        built.parts.experience,
        trace(built.parts, built.spec, built.lanes).row_spec,
    )
    saved = Checkpointer(workdir / 'checkpoints').restore(python=False)
    server = ReverbServer(experience, num_actors, lead=100.0, restore=saved.table)
    try:
        return _all_items(server, experience, row_spec, num_actors)
    finally:
        server.stop()


def _all_items(server, experience, row_spec, num_lanes):
    """Draws every item: items of priority 0 allow further draws, and what was drawn becomes unlikely."""
    reader = ReverbReader(experience, row_spec, num_lanes, server.address, lead=100.0)
    client = engine.load().Client(server.address)
    (before,) = server.info().values()
    found = {}
    while len(found) < before.current_size:
        while not reader.due():
            client.insert([np.zeros(1)], {'experience': 0.0})
        keys, sample = reader.draw()
        reader.update_priorities(keys, np.zeros(BATCH))
        rows = ledgers.read(sample.unpack().steps.observation)
        found.update(zip(keys.tolist(), rows[:, 0].tolist()))
    return np.array(list(found.values()))


def check_replay(workdir, result, steps, killed, *experiment, **options):
    """That the tables and the counter agree. Args: killed: how many actors ended, with claims."""
    assert result['actor_steps'] == steps
    of_runs = check_runs(stored_steps(workdir, *experiment, **options), ledgers.LENGTH - 1)
    # What an actor had stored but not reported when it was killed is in the table, and not counted. The
    # items of what it had reported are there. A step becomes an item at the next time step.
    assert steps <= sum(of_runs.values()) <= steps + killed * MAX_CLAIM
    return of_runs


def test_an_actor_and_a_learner_that_are_killed_come_back_and_no_step_is_lost_or_twice(tmp_path):
    workdir, steps = tmp_path / 'run', 3_001
    command = program(workdir, DQN, steps, '--restarts', 5)
    command.wait_for_steps(300)
    others = {name: command.node(name) for name in ('counter', 'replay', 'actor-1')}
    kill(command, 'actor-0')
    command.wait_for_steps(800)
    kill(command, 'learner')
    assert {name: command.node(name) for name in others} == others
    result, err = finish(command)
    assert 'node actor-0 failed: it was ended by SIGKILL. It is started again in 1 s.' in err
    of_runs = check_replay(workdir, result, steps, killed=1)
    assert len(of_runs) == 3  # an actor that is started again is another run
    # Updates since the checkpoint are lost with the learner, and a batch that it had begun to draw. Of those
    # after its last report, a fiftieth of a second before, nobody knows: less than 100 are possible.
    allowed = (sum(of_runs.values()) - MIN_SIZE) * SAMPLES_PER_INSERT / BATCH
    lost = json.loads((workdir / 'logs' / 'nodes.json').read_text())['counter']['lost']['updates']
    assert lost > 0
    assert allowed - lost - 100 <= result['learner_steps'] <= allowed - lost
    found = [(each['node'], each['caused_by']) for each in restarts(workdir)]
    assert found == [('actor-0', None), ('learner', None), ('evaluator', 'learner')]
    assert result['evaluation']['episodes'] == 2


@pytest.mark.deep
def test_windows_of_a_queue_are_each_learned_from_once_whoever_is_killed(tmp_path):
    workdir, steps = tmp_path / 'run', 2_001
    command = program(workdir, QUEUE, steps, '--restarts', 5)
    command.wait_for_steps(200)
    kill(command, 'actor-1')
    command.wait_for_steps(700)
    kill(command, 'learner')
    result, _ = finish(command)
    assert result['actor_steps'] == steps
    state = Checkpointer(workdir / 'checkpoints').read_newest().state['learner']
    updates = state['updates']
    book = ledgers.read(state['training_state']['book'][:updates]).reshape(
        -1, ledgers.LENGTH + 2, 3
    )
    for window in book:  # one episode and the beginning of the next, of one run
        run, episode, _ = window[0]
        assert window[:-1].tolist() == [[run, episode, step] for step in range(ledgers.LENGTH + 1)]
        assert window[-1].tolist() == [run, episode + 1, 0]
    of_runs = check_runs(book[:, :-1].reshape(-1, 3), ledgers.LENGTH)
    assert len(of_runs) == 5  # two actors, one of them twice, and both again with the learner
    assert state['training_state']['early'] >= 0  # none acted with the variables of a later update
    assert state['training_state']['stale'] <= 2 + 1
    causes = {each['node']: each['caused_by'] for each in restarts(workdir)[1:]}
    with_it = ('replay', 'actor-0', 'actor-1', 'evaluator')
    assert causes == {'learner': None, **dict.fromkeys(with_it, 'learner')}


def failing(workdir, counter, restarts, times):
    """A program of threads, two actors in each, whose environments fail so often in all."""
    agent = culmen.agents.dqn.DQN(
        hidden_sizes=(16,), min_replay_size=MIN_SIZE, batch_size=BATCH, n_step=1, replay_capacity=100_000,
        samples_per_insert=SAMPLES_PER_INSERT, priority_exponent=0.6,
    )  # fmt: skip
    experiment = culmen.Experiment(
        agent,
        functools.partial(ledgers.failing, counter=str(counter), times=times),
        max_actor_steps=800,
        evaluation=culmen.Evaluation(episodes=1),
    )
    return launchpad.make_program(
        experiment, workdir, num_actors=4, actors_per_process=2, restarts=restarts, hang_after=100.0
    )


def test_an_environment_that_fails_by_a_counter_is_tried_again(tmp_path):
    workdir, counter = tmp_path / 'run', tmp_path / 'failures'
    program = failing(workdir, counter, restarts=2, times=2)
    result = launchpad.launch(program, 'threads', progress=False)
    check_replay(workdir, result.summary, 800, 4, program.experiment, num_actors=4)
    assert counter.read_bytes() == b'xx'
    found = restarts(workdir)
    # Of two nodes, of one twice, or of two actors that share one.
    assert [each['life'] for each in found] in ([1, 1], [1, 2], [1])
    assert all('the floor gave way' in each['reason'] for each in found)


def test_an_environment_that_fails_too_often_ends_the_program_with_a_traceback(tmp_path, capfd):
    program = failing(tmp_path / 'run', tmp_path / 'failures', restarts=1, times=1_000)
    with pytest.raises(NodeFailure, match=r'the floor gave way.*; nodes failed 2 times in 600 s'):
        launchpad.launch(program, 'threads', progress=False)
    assert 'in step' in capfd.readouterr().err


@pytest.mark.deep
@pytest.mark.parametrize('name', ['replay', 'counter'])
def test_tables_and_counts_go_back_to_a_checkpoint_when_their_node_is_killed(tmp_path, name):
    workdir, steps = tmp_path / 'run', 3_001
    command = program(workdir, DQN, steps, '--restarts', 5)
    command.wait_for_steps(900)
    kill(command, name)
    result, _ = finish(command)
    assert result['actor_steps'] == steps
    of_runs = check_runs(stored_steps(workdir), ledgers.LENGTH - 1)
    if name == 'counter':  # the steps since the checkpoint are taken again
        assert sum(of_runs.values()) == pytest.approx(steps, abs=2)
        assert (
            result['learner_steps']
            == (sum(of_runs.values()) - MIN_SIZE) * SAMPLES_PER_INSERT // BATCH
        )
    else:  # they are counted, and missing in the tables
        assert steps - 900 < sum(of_runs.values()) < steps
    assert {each['node'] for each in restarts(workdir) if each['caused_by'] is None} == {name}


@pytest.mark.deep
@pytest.mark.parametrize('how', ['suspended', 'in a step'])
def test_an_actor_that_hangs_is_started_again(tmp_path, how):
    workdir, steps, what = tmp_path / 'run', 2_001, DQN
    if how == 'in a step':
        what = (*DQN[:1], '--environment', 'tests.launchers.ledgers:stuck', *DQN[3:],
                '--environment.marker', str(tmp_path / 'stuck'))  # fmt: skip
    command = program(workdir, what, steps, '--restarts', 3, '--hang-after', 15)
    if how == 'suspended':
        command.wait_for_steps(300)
        kill(command, 'actor-0', signal.SIGSTOP)
    result, _ = finish(command)
    check_replay(workdir, result, steps, killed=1)
    (restart,) = restarts(workdir)
    assert restart['reason'].startswith('it made no progress for 1')


@pytest.mark.deep
def test_a_learner_that_is_suspended_is_the_only_one_to_be_restarted_though_all_wait_for_it(
    tmp_path,
):
    workdir, steps = tmp_path / 'run', 2_001
    command = program(workdir, DQN, steps, '--restarts', 1, '--hang-after', 15)
    command.wait_for_steps(600)
    kill(command, 'learner', signal.SIGSTOP)
    result, _ = finish(command)
    check_replay(workdir, result, steps, killed=0)
    assert [each['node'] for each in restarts(workdir)] == ['learner', 'evaluator']


@pytest.mark.deep
def test_a_full_disk_at_the_learner_leaves_the_checkpoint_before_and_the_run_goes_on_when_there_is_room(
    tmp_path,
):
    workdir, steps, marker = tmp_path / 'run', 6_001, tmp_path / 'full'
    what = ('tests.launchers.ledgers:OnFullDisk', '--agent.marker', str(marker), *DQN[1:])
    what = (*what, '--agent.hidden_sizes', '64,64')
    command = program(workdir, what, steps, '--restarts', 9)
    command.wait_for_steps(900)
    before = Checkpointer(workdir / 'checkpoints').names()
    marker.touch()
    kill(command, 'learner')
    while not any('could not save a checkpoint' in each['reason'] for each in restarts(workdir)):
        assert command.process.poll() is None
        time.sleep(0.1)
    assert Checkpointer(workdir / 'checkpoints').read_newest().name in before
    marker.unlink()
    result, _ = finish(command)
    check_replay(workdir, result, steps, killed=0)


@pytest.mark.deep
def test_a_checkpoint_that_is_half_written_when_its_learner_is_killed_is_none(tmp_path):
    workdir, steps = tmp_path / 'run', 3_001
    command = program(workdir, DQN, steps, '--restarts', 5)
    command.wait_for_steps(700)
    pid, checkpoints = command.node('learner'), workdir / 'checkpoints'
    while not list(checkpoints.glob('.*')):  # its name until it is complete
        assert command.process.poll() is None
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    result, _ = finish(command)
    check_replay(workdir, result, steps, killed=0)
    assert not list(checkpoints.glob('.*'))
    assert restarts(workdir)[0]['node'] == 'learner'


@pytest.mark.deep
@pytest.mark.parametrize('seconds', [0.0, 0.3])
def test_a_kill_while_a_program_saves_leaves_a_checkpoint_from_which_the_same_command_goes_on(
    tmp_path, seconds
):
    workdir, steps = tmp_path / 'run', 3_001
    command = program(workdir, DQN, steps, '--restarts', 5)
    command.wait_for_steps(900)
    command.process.send_signal(signal.SIGTERM)
    time.sleep(seconds)
    command.process.kill()
    command.process.communicate()
    while command.left():
        time.sleep(0.1)
    result, _ = finish(program(workdir, DQN, steps, '--restarts', 5))
    assert result['resumed_at'] >= 500
    # Steps that were taken after that checkpoint are not in it, and are taken again.
    assert result['actor_steps'] == steps
    check_runs(stored_steps(workdir), ledgers.LENGTH - 1)
