"""Programs for real: threads and processes under Launchpad, their budgets, ends, kills and resumes.

Each runs as a command of its own, so that signals, exit codes and what is left behind are those that a
user meets.
"""

import json
import math
import os
import signal
import stat
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest

import culmen
from culmen.launchers import launchpad
from culmen.launchers.status import read_status
from tests.conftest import is_installed
from tests.integration.commands import Command
from tests.launchers.on_policy import Witness

CORRIDOR = 'tests.launchers.toys:corridor'
MIN_SIZE, BATCH, SAMPLES_PER_INSERT = 50, 8, 4.0
DQN = (
    *('dqn', '--environment', CORRIDOR, '--agent.hidden_sizes', '16', '--agent.n_step', 1),
    *('--agent.min_replay_size', MIN_SIZE, '--agent.batch_size', BATCH),
    *('--agent.samples_per_insert', SAMPLES_PER_INSERT, '--evaluation-episodes', 2),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.launchpad,
    pytest.mark.skipif(
        not (is_installed('launchpad') and is_installed('reverb')),
        reason='Launchpad has wheels for Python 3.10 on Linux x86-64 alone',
    ),
]


def updates_for(steps):
    """What the rate allows, with an item for each step."""
    return math.floor((steps - MIN_SIZE) * SAMPLES_PER_INSERT / BATCH)


def log(workdir, label):
    return pd.read_csv(Path(workdir) / 'logs' / f'{label}.csv')


def check_finished(workdir, result, steps, actors):
    """What holds of any finished run, wherever it was stopped on the way."""
    assert result['actor_steps'] == steps
    assert result['learner_steps'] == updates_for(steps)
    assert result['evaluation']['episodes'] == 2
    assert json.loads((workdir / 'result.json').read_text()) == {**result, 'workdir': str(workdir)}
    rows = pd.concat([log(workdir, f'actor-{i}') for i in range(actors)])
    assert list(rows) == [
        'actor_steps', 'learner_steps', 'episode_return', 'episode_length', 'steps_per_second'
    ]  # fmt: skip
    assert len(rows) == result['episodes']
    assert set(rows['episode_length']) == {4}
    evaluator = log(workdir, 'evaluator')
    assert list(evaluator) == [
        'actor_steps', 'learner_steps', 'episode_return', 'episode_length', 'episode_return_std',
        'episodes', 'truncations', 'seconds',
    ]  # fmt: skip
    last = evaluator.iloc[-1]
    assert (last['actor_steps'], last['learner_steps']) == (steps, result['learner_steps'])
    assert last['episode_return'] == pytest.approx(result['evaluation']['return_mean'])
    learner = log(workdir, 'learner')
    assert list(learner)[:3] == ['actor_steps', 'learner_steps', 'loss']
    assert learner['learner_steps'].iloc[-1] == result['learner_steps']
    assert learner['loss'].notna().all()


def check_status(workdir, result):
    """What `culmen status` shows of a finished run of two actors."""
    status = read_status(workdir)
    assert (status['state'], status['restarts'], status['reason']) == ('finished', 0, None)
    for name in ('actor_steps', 'learner_steps', 'episodes', 'steps_per_second', 'evaluation'):
        assert status[name] == result[name], name
    # The numbers of tables and actors are a second old.
    table = status['tables']['']
    assert 0 < table['items'] == table['inserted'] <= result['actor_steps']
    assert table['sampled'] % BATCH == 0
    assert table['samples_per_insert'] <= table['wanted'] == SAMPLES_PER_INSERT
    assert 0 <= table['staleness'] <= table['most_stale'] < result['learner_steps']
    nodes = {each['name']: each for each in status['nodes']}
    assert list(nodes) == ['counter', 'replay', 'learner', 'actor-0', 'actor-1', 'evaluator']
    assert {each['state'] for each in nodes.values()} == {'ended'}
    steps = [nodes[f'actor-{i}']['actor_steps'] for i in range(2)]
    assert 0 < sum(steps) <= result['actor_steps']


ANOTHER = 'tests.integration.subprocesses'
ENGINES = pytest.mark.parametrize(
    ('module', 'launcher'),
    [
        pytest.param('culmen', 'threads', marks=pytest.mark.deep),
        ('culmen', 'processes'),
        pytest.param(ANOTHER, 'processes', marks=pytest.mark.deep),
    ],
)


@ENGINES
def test_a_program_takes_its_budget_and_a_finished_one_tells_its_result_again(
    tmp_path, module, launcher
):
    workdir = tmp_path / 'run'
    arguments = (*DQN, '--steps', 1_501, '--evaluate-every', 500, '--checkpoint-every', 600,
                 '--launcher', launcher, '--actors', 2)  # fmt: skip
    command = Command(workdir, *arguments, module=module)
    code, out, err = command.finish()
    assert code == 0, err
    assert command.left() == {}
    assert len(out.splitlines()) == 1
    result = json.loads(out)
    assert (result['agent'], result['launcher'], result['resumed_at']) == ('dqn', launcher, 0)
    check_finished(workdir, result, 1_501, actors=2)
    # Evaluations at the multiples of 500, by reports of at most 16 ticks of 2 actors and 20 ms, and the end.
    steps = log(workdir, 'evaluator')['actor_steps'].tolist()
    assert [n // 500 for n in steps[:-1]] == [1, 2, 3][: len(steps) - 1]
    assert len(steps) in (3, 4)
    assert 'Reverb listens on all interfaces' in err
    assert 'read, alter and empty the tables, and run no code' in err
    config = json.loads((workdir / 'config.json').read_text())
    assert (config['launcher'], config['replay'], config['num_actors']) == (launcher, 'reverb', 2)
    # Checkpoints at the multiples, the last at the end.
    assert sorted(path.name for path in (workdir / 'checkpoints').glob('0*'))[-1] == '000000001501'
    timings = json.loads((workdir / 'logs' / 'nodes.json').read_text())
    assert set(timings) == {'learner', 'actor-0', 'actor-1', 'evaluator'}
    assert timings['actor-0']['actor_steps'] + timings['actor-1']['actor_steps'] == 1_501
    assert all(each['seconds'] > 0 for each in timings.values())
    if launcher == 'processes':
        assert (workdir / 'logs' / 'actor-1.log').exists()
    assert culmen.load(workdir, trust=True).summary['learner_steps'] == result['learner_steps']
    check_status(workdir, result)

    before = {path: path.stat().st_mtime_ns for path in workdir.rglob('*') if path.is_file()}
    code, out, err = Command(workdir, *arguments).finish()
    assert code == 0, err
    assert json.loads(out) == {**result, 'resumed_at': 1_501}
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob('*') if p.is_file()} == before

    code, out, err = Command(workdir, *arguments[:-1], 3).finish()
    assert (code, out) == (2, '')
    assert 'num_actors differ' in err


@pytest.mark.parametrize(
    ('module', 'launcher', 'number', 'code'),
    [
        pytest.param('culmen', 'threads', signal.SIGINT, 130, marks=pytest.mark.deep),
        ('culmen', 'processes', signal.SIGTERM, 143),
        pytest.param(ANOTHER, 'processes', signal.SIGTERM, 143, marks=pytest.mark.deep),
    ],
)
def test_a_signal_ends_a_program_after_a_checkpoint_and_the_same_command_goes_on(
    tmp_path, module, launcher, number, code
):
    workdir = tmp_path / 'run'
    # Two actors in a process end a program with an exact budget too, and a learner of two devices saves.
    steps = 4_000
    arguments = (*DQN, '--steps', steps, '--launcher', launcher, '--actors', 2)
    if launcher == 'processes':
        two = 'learner.XLA_FLAGS=--xla_force_host_platform_device_count=2'
        arguments += ('--actors-per-process', 2, '--variables', two, '--device', 'cpu:0,cpu:1',
                      '--actor-device', 'cpu')  # fmt: skip
    command = Command(workdir, *arguments, module=module)
    command.wait_for_steps(300)
    if number == signal.SIGTERM:  # as a scheduler does: to all processes of a job
        for pid in command.left():
            os.kill(pid, number)
    else:
        command.process.send_signal(number)
    found, out, err = command.finish()
    assert found == code, err
    assert command.left() == {}
    stopped = json.loads(out)
    assert read_status(workdir)['state'] == 'stopped'
    assert 300 <= stopped['actor_steps'] < steps
    assert not (workdir / 'result.json').exists()
    assert culmen.load(workdir, trust=True).summary['actor_steps'] == stopped['actor_steps']

    found, out, err = Command(workdir, *arguments, module=module).finish()
    assert found == 0, err
    result = json.loads(out)
    assert result['resumed_at'] == stopped['actor_steps']
    check_finished(workdir, result, steps, actors=2)


@pytest.mark.parametrize('module', ['culmen', pytest.param(ANOTHER, marks=pytest.mark.deep)])
def test_a_node_that_is_killed_ends_the_program(tmp_path, module):
    arguments = (*DQN, '--steps', 100_000, '--launcher', 'processes')
    command = Command(tmp_path / 'run', *arguments, module=module)
    command.wait_for_steps(100)
    os.kill(command.node('learner'), signal.SIGKILL)
    code, out, err = command.finish()
    assert (code, out) == (1, '')
    assert 'node learner failed: it was ended by SIGKILL' in err
    status = read_status(tmp_path / 'run')
    assert status['state'] == 'failed'
    assert status['reason'] == 'NodeFailure: node learner failed: it was ended by SIGKILL'
    assert command.left() == {}


@pytest.fixture
def temporary():
    """A temporary folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(dir='/tmp') as folder:
        yield Path(folder)


def test_a_launcher_that_is_killed_leaves_nobody(tmp_path, temporary):
    command = Command(
        tmp_path / 'run', *DQN, '--steps', 100_000, '--launcher', 'processes', temporary=temporary
    )
    command.wait_for_steps(20)
    # Nobody but Reverb is at a port, and what else is there is this user's alone.
    assert set(command.ports().values()) == {'replay'}
    folders = sorted(temporary.iterdir())
    assert [path.name.rpartition('-')[0] for path in folders] == ['culmen-program', 'culmen-reverb']
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    status = read_status(tmp_path / 'run')
    assert (status['state'], status['pid']) == ('running', command.process.pid)
    command.process.kill()
    check_ended(command)
    assert read_status(tmp_path / 'run')['state'] == 'killed'

    # However early it is killed, and then all at once; the next launch removes what was left.
    for nodes in (1, 5):
        command = Command(
            tmp_path / f'early-{nodes}', *DQN, '--steps', 100_000, '--launcher', 'processes',
            temporary=temporary,
        )  # fmt: skip
        while len(command.left()) < 1 + nodes and command.process.poll() is None:
            time.sleep(0.005)
        command.process.kill()
        check_ended(command)
    left = list(temporary.iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in left} <= {0o700}
    scratch = Command(
        tmp_path / 'last', *DQN, '--steps', 60, '--launcher', 'threads', temporary=temporary
    )
    code, _, err = scratch.finish()
    assert code == 0, err
    assert list(temporary.iterdir()) == []


def check_ended(command):
    command.process.communicate()
    while command.left():
        time.sleep(0.1)


@ENGINES
def test_an_environment_that_raises_ends_the_program_with_its_traceback(tmp_path, module, launcher):
    command = Command(
        tmp_path / 'run', *DQN[:1], *('--environment', 'tests.launchers.toys:broken_corridor'),
        *DQN[3:], '--steps', 100_000, '--launcher', launcher, '--actors', 2, module=module,
    )  # fmt: skip
    code, out, err = command.finish()
    assert (code, out) == (1, '')
    assert 'in step' in err
    assert 'RuntimeError: the floor gave way' in err
    assert (
        'the environment of lane 0 raised RuntimeError: the floor gave way' in err.splitlines()[-1]
    )
    assert command.left() == {}


@pytest.mark.parametrize(
    ('launcher', 'environment', 'said'),
    [
        pytest.param(
            *('threads', 'exiting', 'the environment of lane 0 raised SystemExit: 0'),
            marks=pytest.mark.deep,
        ),
        ('processes', 'quiet', 'ended before the run was over, and gave no reason'),
    ],
)
def test_an_actor_that_ends_with_code_0_ends_the_program_with_a_reason(
    tmp_path, launcher, environment, said
):
    command = Command(
        tmp_path / 'run', *DQN[:1], '--environment', f'tests.launchers.faulty:{environment}',
        *DQN[3:], '--steps', 100_000, '--launcher', launcher, '--actors', 2,
    )  # fmt: skip
    code, out, err = command.finish()
    assert (code, out) == (1, '')
    assert 'node actor-' in err.splitlines()[-1]
    assert said in err.splitlines()[-1]
    assert command.left() == {}


def on_policy(workdir, launcher, staleness, steps):
    # Checkpoints too: an actor that waits for parameters has to hold still like any other.
    return Command(
        workdir, 'tests.launchers.on_policy:Witness', '--environment', CORRIDOR,
        '--steps', steps, '--num-environments', 2, '--evaluation-episodes', 1,
        '--checkpoint-every', 300, '--agent.max_staleness', staleness,
        '--launcher', launcher, '--actors', 2,
    )  # fmt: skip


def check_on_policy(workdir, result, staleness, steps):
    assert result['actor_steps'] in (steps, steps + 1)  # two lanes an actor
    row = log(workdir, 'learner').iloc[-1]
    assert row['learner_steps'] == result['learner_steps']
    # Four lanes, windows of 8 transitions over rows, five of which are an episode of 4 steps.
    most = (steps + 1) * 5 / 4 / 8 / 4 + 1
    assert 0.85 * most <= result['learner_steps'] <= most
    assert row['wrong_version'] == 0
    assert row['least_stale'] >= 0
    assert row['most_stale'] <= staleness


def test_windows_are_of_the_parameters_that_the_order_asks_for(tmp_path):
    command = on_policy(tmp_path / 'run', 'processes', 0, 1_201)
    code, out, err = command.finish()
    assert code == 0, err
    check_on_policy(tmp_path / 'run', json.loads(out), 0, 1_201)
    assert command.left() == {}


@pytest.mark.parametrize('staleness', [0, 1])
def test_windows_of_threads_are_too(tmp_path, staleness):
    experiment = culmen.Experiment(
        Witness(max_staleness=staleness),
        CORRIDOR,
        max_actor_steps=1_201,
        num_environments=2,
        evaluation=culmen.Evaluation(episodes=1),
        checkpoint=culmen.Checkpoint(every=300),
    )
    program = launchpad.make_program(experiment, tmp_path / 'run', num_actors=2)
    result = launchpad.launch(program, 'threads', progress=False)
    check_on_policy(tmp_path / 'run', result.summary, staleness, 1_201)


def test_the_order_holds_over_a_stop_and_a_resume(tmp_path):
    command = on_policy(tmp_path / 'run', 'threads', 0, 3_001)
    command.wait_for_steps(350)
    command.process.send_signal(signal.SIGTERM)
    code, out, err = command.finish()
    assert code == 143, err
    assert 0 < json.loads(out)['actor_steps'] < 3_001
    code, out, err = on_policy(tmp_path / 'run', 'threads', 0, 3_001).finish()
    assert code == 0, err
    check_on_policy(tmp_path / 'run', json.loads(out), 0, 3_001)
