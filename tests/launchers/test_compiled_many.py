"""Many runs of one compiled program: each is the run alone, however they go."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from culmen.components.learners import NonFiniteLossError
from culmen.launchers import compiled
from culmen.launchers import compiled_many
from culmen.launchers.results import Refused
from tests.environment_loops import telling
from tests.launchers.compiled_runs import SMALL
from tests.launchers.compiled_runs import StopsAt
from tests.launchers.compiled_runs import assert_same
from tests.launchers.compiled_runs import experiment
from tests.launchers.compiled_runs import train
from tests.launchers.compiled_runs import without_time
from tests.shapes.rows import evolved
from tests.shapes.rows import fitted

pytestmark = pytest.mark.slow

WAYS = pytest.mark.parametrize('as_one', [False, True], ids=['one after another', 'as one'])


def run_many(experiments, workdirs=None, **options):
    return compiled_many.run_many(experiments, workdirs, progress=False, **options)


def seeds(number, **changes):
    return [experiment(seed=seed, **changes) for seed in range(number)]


# They end one by one: the others go on without those that have.
OF_THREE = [
    experiment(seed=seed, max_actor_steps=steps) for seed, steps in enumerate((1300, 700, 1000))
]


@pytest.fixture(scope='module')
def alone():
    plan = compiled.make_plan(OF_THREE[0])
    return [compiled.run(each, plan=plan, progress=False) for each in OF_THREE]


@WAYS
def test_each_run_is_the_run_alone(tmp_path, alone, as_one):
    folders = [tmp_path / str(seed) for seed in range(3)]
    results = run_many(OF_THREE, folders, as_one=as_one)
    for result, other, folder in zip(results, alone, folders, strict=True):
        if not as_one:
            assert_same(result, other)
        assert result.workdir == str(folder)
        assert json.loads((folder / 'result.json').read_text())['evaluation']['episodes'] == 4
        for field in ('seed', 'actor_steps', 'learner_steps', 'episodes'):
            assert result.summary[field] == other.summary[field]
        for label in ('actor', 'learner', 'evaluator'):
            mine, its = (without_time(each.logs[label]) for each in (result, other))
            np.testing.assert_allclose(mine, its, rtol=1e-3, atol=1e-4)
        for a, b in zip(
            *map(jax.tree_util.tree_leaves, (result.params, other.params)), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
        policy = result.policy(seed=0)
        assert policy is not None
    # Finished runs are not run again.
    again = run_many(OF_THREE, folders, as_one=as_one)
    assert [each.summary['resumed_at'] for each in again] == [
        each.summary['actor_steps'] for each in results
    ]


@pytest.mark.parametrize('row', [evolved.ROWS[0], fitted.ROWS[0]], ids=lambda row: row.name)
def test_a_run_that_waits_changes_nothing_of_its_lanes_and_ticks(row):
    # One ends while the other goes on, and their lanes wait at FIRST at different ticks.
    experiments = [
        dataclasses.replace(row.experiment('compiled', None), seed=seed, max_actor_steps=steps)
        for seed, steps in ((1, 90), (2, 200))
    ]
    for result, one in zip(run_many(experiments, as_one=True), experiments, strict=True):
        other = compiled.run(one, progress=False)
        for field in ('actor_steps', 'learner_steps', 'episodes'):
            assert result.summary[field] == other.summary[field]
        mine, its = (without_time(each.logs['actor']) for each in (result, other))
        assert mine.equals(its)
        assert result.logs['learner'].iloc[-1]['most_stale'] == 0


@WAYS
def test_stopped_and_resumed_each_equals_the_unbroken_run(tmp_path, stop, as_one):
    unbroken = run_many(seeds(3), as_one=as_one)
    folders = [tmp_path / str(seed) for seed in range(3)]
    loggers = [[], [StopsAt(400, stop)], []]
    broken = {
        each.summary['seed']: each
        for each in run_many(seeds(3), folders, loggers=loggers, as_one=as_one)
    }
    assert broken[1].interrupted
    assert broken[1].signal == signal.SIGTERM
    # One after another some may have ended before, and others not begun.
    assert not as_one or [broken[seed].interrupted for seed in range(3)] == [True] * 3
    assert 400 < broken[1].summary['actor_steps'] < 1300
    resumed = run_many(seeds(3), folders, as_one=as_one)
    for seed, (result, other) in enumerate(zip(resumed, unbroken, strict=True)):
        before = broken[seed].summary['actor_steps'] if seed in broken else 0
        assert result.summary['resumed_at'] == before
        if before < other.summary['actor_steps']:
            assert_same(result, other)


@WAYS
def test_where_one_fails_the_others_end(tmp_path, as_one):
    agents = [telling.Telling(telling.unroll(), fail_at=at) for at in (10**6, 5, 10**7)]
    experiments = [experiment(agent=agent, max_actor_steps=300) for agent in agents]
    folders = [tmp_path / str(run) for run in range(3)]
    assert len(compiled_many.plan(experiments)) == 1
    with pytest.raises(NonFiniteLossError, match='the loss of update 5 was not finite'):
        run_many(experiments, folders, as_one=as_one)
    assert [(folder / 'result.json').exists() for folder in folders] == [True, False, True]
    assert list((folders[1] / 'checkpoints').glob('non-finite-*'))


class Failing(telling.Telling):
    """Its acting fails after some steps, whichever run of a program it is in."""

    def build(self, spec):
        parts = super().build(spec)

        def look(steps):
            if np.max(steps) > 200:
                raise RuntimeError('the lamp is broken')
            return np.asarray(steps)

        def select_action(params, timestep, state, context):
            shape = jax.ShapeDtypeStruct((), np.int32)
            steps = jax.pure_callback(look, shape, context.actor_steps, vmap_method='expand_dims')
            return parts.actor.select_action(
                params, timestep, state, context._replace(actor_steps=steps)
            )

        return parts._replace(actor=parts.actor._replace(select_action=select_action))


def test_a_call_that_fails_ends_all_and_hangs_none(tmp_path):
    # The short one waits for its last evaluation when the call of the others fails.
    agent = Failing(telling.unroll())
    budgets = [
        experiment(agent=agent, seed=seed, max_actor_steps=steps)
        for seed, steps in enumerate((40, 900))
    ]
    folders = [tmp_path / str(run) for run in range(2)]
    with pytest.raises(RuntimeError, match='the lamp is broken'):
        run_many(budgets, folders, as_one=True)
    assert not any((folder / 'result.json').exists() for folder in folders)


@WAYS
def test_a_stop_before_the_first_step_reaches_every_run(tmp_path, stop, as_one):
    """Runs of one program that have begun are waited for by the others: none may be passed over."""

    class Stopping(list):
        """Loggers of all runs, that stop them where the first is made."""

        def __getitem__(self, run):
            if not run:
                stop()
            return super().__getitem__(run)

    folders = [tmp_path / str(seed) for seed in range(3)]
    results = run_many(seeds(3), folders, loggers=Stopping([()] * 3), as_one=as_one)
    assert results
    assert all(each.interrupted and each.signal == signal.SIGTERM for each in results)
    assert len(results) == 3 or not as_one


@WAYS
def test_an_evaluation_ends_runs_one_by_one(as_one):
    results = run_many(seeds(3), as_one=as_one, until_return=-0.5)
    assert {each.summary['actor_steps'] for each in results} != {1300}
    for each in results:
        over = each.summary['evaluation']['return_mean'] >= -0.5
        assert over or each.summary['actor_steps'] >= 1300


def test_numbers_share_a_program_and_sizes_have_their_own():
    agents = [
        dataclasses.replace(SMALL, learning_rate=rate, batch_size=size)
        for size in (4, 5)
        for rate in (1e-3, 1e-4)
    ]
    groups = compiled_many.plan([experiment(agent=agent) for agent in agents])
    assert [(group.runs, group.plan.swept) for group in groups] == [
        ([0, 1], ('learning_rate',)),
        ([2, 3], ('learning_rate',)),
    ]
    lanes = compiled_many.plan([experiment(), experiment(num_environments=2), experiment(seed=9)])
    assert [group.runs for group in lanes] == [[0, 2], [1]]


SWEPT = [
    experiment(agent=dataclasses.replace(SMALL, learning_rate=rate), max_actor_steps=300)
    for rate in (1e-3, 1e-2)
]


@pytest.fixture(scope='module')
def compiled_in():
    return [compiled.run(each, progress=False).params for each in SWEPT]


@WAYS
def test_swept_numbers_are_used(compiled_in, as_one):
    swept = run_many(SWEPT, as_one=as_one)
    for result, params in zip(swept, compiled_in, strict=True):
        for a, b in zip(*map(jax.tree_util.tree_leaves, (result.params, params)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    a, b = (np.concatenate([x.ravel() for x in jax.tree_util.tree_leaves(r.params)]) for r in swept)
    assert np.abs(a - b).max() > 1e-2


@pytest.mark.parametrize(
    ('swept', 'said'),
    [
        (['batch_size'], 'agent.batch_size can not be swept in one program'),
        (['double'], 'agent.double must be a number to be swept, got True'),
        (['lerning_rate'], "agent has no field 'lerning_rate'"),
    ],
)
def test_what_can_not_be_swept_is_refused(swept, said):
    with pytest.raises(Refused, match=said):
        compiled.make_plan(experiment(), swept)


def test_a_device_beside_a_plan_is_refused():
    plan = compiled.make_plan(experiment())
    with pytest.raises(Refused, match='device must be None with a plan'):
        compiled.run(experiment(), plan=plan, device=jax.devices()[0])


def test_workdirs_are_one_each(tmp_path):
    with pytest.raises(Refused, match='workdirs must be one of its own for each of 2 experiments'):
        run_many(seeds(2), [tmp_path, tmp_path])
    with pytest.raises(Refused, match='experiments must hold one at least'):
        run_many([])


def test_the_command_line_sweeps(tmp_path, capfd):
    code = train(
        '--workdir', tmp_path / 'runs', '--seeds', 2, '--json',
        '--sweep', 'agent.learning_rate=1e-3,1e-4', '--sweep', 'environment.rows=4,5',
    )  # fmt: skip
    assert code == 0
    said = capfd.readouterr()
    assert '8 runs' not in said.err  # two programs, since rows are a shape
    assert said.err.count('4 runs of one compilation, one after another') == 2
    assert len(json.loads(said.out.splitlines()[-1])['runs']) == 8
    folder = tmp_path / 'runs' / 'learning_rate=0.0001,rows=5' / 'seed-1'
    config = json.loads((folder / 'config.json').read_text())
    assert config['agent']['learning_rate'] == 1e-4
    assert config['environment']['rows'] == 5
    assert config['seed'] == 1


@pytest.mark.parametrize(
    ('sweep', 'said'),
    [
        (['learning_rate=1,2'], '--sweep must be agent.FIELD=V1,V2'),
        (['agent.learning_rate=1e-3,1e-3'], 'each value once'),
        (['agent.learning_rate=1e-3', 'agent.learning_rate=1e-4'], 'a field once'),
        (['agent.lerning_rate=1e-3,1e-4'], 'lerning_rate'),
        (['agent.learning_rate=1e-3,-1'], 'learning_rate must be above 0'),
    ],
)
def test_a_wrong_sweep_is_refused(tmp_path, capfd, sweep, said):
    options = [part for each in sweep for part in ('--sweep', each)]
    assert train('--workdir', tmp_path / 'runs', *options) == 2
    assert said in capfd.readouterr().err
    assert not (tmp_path / 'runs').exists()


def test_a_signal_stops_all_after_their_checkpoints(tmp_path):
    program = (
        'import sys\nfrom culmen.launchers import command_line\ncommand_line.main(sys.argv[1:])\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', program, 'train', 'dqn', '--environment', 'jax/catch', '--launcher',
         'compiled', '--steps', '100000000', '--seeds', '2', '--workdir', str(tmp_path / 'runs')],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    checkpoints = lambda: [list(tmp_path.glob(f'runs/seed-{s}/checkpoints/0*')) for s in range(2)]
    try:
        while process.poll() is None and not any(checkpoints()):
            time.sleep(0.1)
        process.terminate()
        out, _ = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 143, out.decode()
    assert any(checkpoints())
