"""The compiled launcher: a run is that of every launcher, and goes on with the same bits."""

import json
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import culmen
from culmen.agents import bc
from culmen.components.learners import NonFiniteLossError
from culmen.core import Queue
from culmen.core import Window
from culmen.launchers import command_line
from culmen.launchers import compiled
from culmen.launchers.results import Refused
from tests.agents import recorded
from tests.environment_loops import telling
from tests.launchers.compiled_runs import StopsAt
from tests.launchers.compiled_runs import assert_same
from tests.launchers.compiled_runs import experiment
from tests.launchers.compiled_runs import train
from tests.launchers.compiled_runs import without_time
from tests.launchers.toys import Traced

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def plan():
    return compiled.make_plan(experiment())


def run(experiment, *arguments, **options):
    return compiled.run(experiment, *arguments, progress=False, **options)


def test_a_run_is_that_of_every_launcher(tmp_path, plan):
    result = run(experiment(), tmp_path, plan=plan)
    assert result.summary['launcher'] == 'compiled'
    # At most two steps over with three lanes.
    assert 1300 <= result.summary['actor_steps'] <= 1302
    logs = result.logs
    assert logs['actor'].episode_length.eq(3).all()
    assert result.summary['episodes'] == len(logs['actor'])
    assert set(logs['actor'].episode_return) == {-1.0, 1.0}
    at = [int(steps) for steps in logs['evaluator'].actor_steps]
    assert [steps // 500 for steps in at] == [1, 2, 2]
    assert at[-1] == result.summary['actor_steps']
    assert [int(steps) // 1000 for steps in logs['learner'].actor_steps] == [1, 1]
    assert logs['learner'].learner_steps.tolist()[-1] == result.summary['learner_steps'] > 100
    config = json.loads((tmp_path / 'config.json').read_text())
    assert (config['launcher'], config['replay']) == ('compiled', 'device')
    stored = json.loads((tmp_path / 'result.json').read_text())
    assert stored == dict(result.summary)
    names = sorted(path.name for path in (tmp_path / 'checkpoints').glob('0*'))
    assert [int(name) // 200 for name in names] == [6, 6]
    # The policy and the parameters are those that every launcher loads.
    loaded = culmen.load(tmp_path)
    for x, y in zip(*map(jax.tree_util.tree_leaves, (loaded.params, result.params)), strict=True):
        np.testing.assert_array_equal(x, y)
    assert len(loaded.evaluate(3).returns) == 3
    again = run(experiment(), tmp_path, plan=plan)
    assert again.summary == {**stored, 'resumed_at': stored['actor_steps']}
    assert plan.loop.num_compilations == 1
    assert plan.evaluator.num_compilations == 1


def test_what_is_watched_changes_no_bit(tmp_path, plan):
    plain = experiment(evaluation=culmen.Evaluation(episodes=4), checkpoint=culmen.Checkpoint())
    watched = run(experiment(), tmp_path, plan=plan)
    unwatched = run(plain, plan=plan)
    for x, y in zip(
        *map(jax.tree_util.tree_leaves, (watched.params, unwatched.params)), strict=True
    ):
        np.testing.assert_array_equal(x, y)
    for label in ('actor', 'learner'):
        assert without_time(watched.logs[label]).equals(without_time(unwatched.logs[label]))


def test_stopped_and_resumed_it_equals_the_unbroken_run(tmp_path, plan, stop):
    unbroken = run(experiment(), tmp_path / 'unbroken', plan=plan)
    broken = run(experiment(), tmp_path / 'broken', plan=plan, loggers=[StopsAt(700, stop)])
    assert broken.interrupted
    assert broken.signal == signal.SIGTERM
    assert 700 < broken.summary['actor_steps'] < 1300
    resumed = run(experiment(), tmp_path / 'broken', plan=plan)
    assert resumed.summary['resumed_at'] == broken.summary['actor_steps']
    assert_same(resumed, unbroken)
    # Another seed is another run, of the same program.
    other = run(experiment(seed=3), plan=plan)
    assert not without_time(other.logs['actor']).equals(without_time(unbroken.logs['actor']))
    assert plan.loop.num_compilations == 1


@pytest.mark.slow
def test_a_run_of_unrolls_goes_on_too(tmp_path):
    agent = telling.Telling(telling.unroll(6))
    short, long = (experiment(agent=agent, max_actor_steps=steps) for steps in (333, 700))
    run(short, tmp_path / 'two')
    resumed = run(long, tmp_path / 'two')
    unbroken = run(long, tmp_path / 'one')
    for x, y in zip(
        *map(jax.tree_util.tree_leaves, (resumed.params, unbroken.params)), strict=True
    ):
        np.testing.assert_array_equal(x, y)


def test_a_loss_that_is_not_finite_ends_the_run_with_its_state_kept(tmp_path):
    agent = telling.Telling(telling.unroll(), fail_at=5)
    with pytest.raises(NonFiniteLossError, match='the loss of update 5 was not finite') as caught:
        run(experiment(agent=agent), tmp_path)
    assert 'checkpoints' in caught.value.checkpoint
    result = run(experiment(agent=agent, max_actor_steps=100), on_non_finite='log')
    assert result.summary['learner_steps'] > 5


def test_a_table_without_room_ends_the_run():
    experience = {'a': Queue(Window(), 5, max_size=2), 'b': telling.EXPERIENCES['sequences']}
    slow = {**experience, 'b': telling.Replay(Window(), 900, 800, 1, 1.0)}
    with pytest.raises(ValueError, match=r"experience\['a'\] has more than max_size 2 batches"):
        run(experiment(agent=telling.Telling(slow)))


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        (
            {'environment': 'bsuite/catch/0'},
            "written in JAX .*, got 'bsuite/catch/0'; use the local",
        ),
        (
            {'environment': culmen.environment('jax/catch', step_limit=3)},
            "without wrappers.*, got 'jax/catch' with step_limit=3",
        ),
        (
            {'environment': 'tests.launchers.toys:corridor'},
            "got 'tests.launchers.toys:corridor'; use",
        ),
        (
            {'agent': bc.BC(recorded.discrete)},
            'experience is of Datasets alone, .* --launcher offline',
        ),
        ({'lag': 2}, 'lag must be 0 or 1 in a compiled program, .* got 2'),
        ({'updates_per_call': 4}, 'updates_per_call must be 1 in a compiled program, .* got 4'),
    ],
)
def test_what_can_not_be_compiled_is_named_before(tmp_path, changes, said):
    if 'bsuite' in str(changes):
        pytest.importorskip('bsuite')
    with pytest.raises(Refused, match=said):
        run(experiment(**changes), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_the_command_line_runs_seeds_of_one_program(tmp_path, capfd):
    agent = 'tests.launchers.toys:Traced'
    Traced.traces.clear()
    assert train('--workdir', tmp_path / 'runs', '--seeds', 3, '--json', agent=agent) == 0
    of_three = len(Traced.traces)
    said = capfd.readouterr()
    assert said.err.count('3 runs of one compilation') == 1
    runs = json.loads(said.out.splitlines()[-1])['runs']
    assert [each['seed'] for each in runs] == [0, 1, 2]
    assert [each['actor_steps'] for each in runs] == [300] * 3
    assert (tmp_path / 'runs' / 'seed-2' / 'result.json').exists()
    # A seed among others is the seed alone, and its config.json is the run.
    config = tmp_path / 'runs' / 'seed-1' / 'config.json'
    Traced.traces.clear()
    with pytest.raises(SystemExit):
        command_line.main(
            ['train', agent, '--config', str(config), '--workdir', str(tmp_path / 'alone')]
        )
    assert len(Traced.traces) == of_three > 0  # and nothing is compiled for the others
    ends = [(tmp_path / run / 'logs' / 'actor.csv').read_text() for run in ('runs/seed-1', 'alone')]
    cut = [[line.rpartition(',')[0] for line in text.splitlines()] for text in ends]
    assert cut[0] == cut[1]
    # With another launcher the same config has that launcher's table.
    with pytest.raises(SystemExit) as caught:
        command_line.main(
            ['train', agent, '--config', str(config), '--launcher', 'local', '--steps', '60',
             '--workdir', str(tmp_path / 'local')]
        )  # fmt: skip
    assert not caught.value.code
    assert json.loads((tmp_path / 'local' / 'config.json').read_text())['replay'] == 'in_process'


def test_options_of_other_launchers_are_refused(tmp_path, capfd):
    for option, said in (
        (('--replay', 'reverb'), '--replay is not for --launcher compiled'),
        (('--actors', '2'), '--actors is for'),
        (('--record', tmp_path / 'recording'), '--record is for'),
        (('--actor-device', 'cpu'), '--actor-device is for'),
    ):
        assert train('--workdir', tmp_path / 'run', *option) == 2
        assert said in capfd.readouterr().err
        assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_a_signal_stops_it_after_a_checkpoint(tmp_path):
    program = (
        'import sys\nfrom culmen.launchers import command_line\ncommand_line.main(sys.argv[1:])\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', program, 'train', 'dqn', '--environment', 'jax/catch', '--launcher',
         'compiled', '--steps', '100000000', '--workdir', str(tmp_path / 'run')],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        while process.poll() is None and not list(tmp_path.glob('run/checkpoints/0*')):
            time.sleep(0.05)
        process.terminate()
        out, _ = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 143, out.decode()
    assert list(tmp_path.glob('run/checkpoints/0*'))
