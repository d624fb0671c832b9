"""A run that was killed and resumed equals the unbroken one, bit for bit."""

import warnings
from pathlib import Path

import pytest

import culmen
from tests.conftest import is_installed
from tests.integration import runs
from tests.integration.runs import Signaller

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

# That each environment is saved in mid-episode and goes on is asked in tests/components/environments.
DEEP = pytest.mark.deep
FAMILIES = [
    pytest.param('bsuite/catch/0', {}, 'bsuite', id='bsuite'),
    pytest.param('bsuite/cartpole/0', {}, 'bsuite', id='bsuite-cartpole', marks=DEEP),
    pytest.param('gymnasium/CartPole-v1', {}, 'gymnasium', id='gymnasium'),
    pytest.param('minatar/breakout', {}, 'minatar', id='minatar'),
    pytest.param(
        *(culmen.environment('atari/pong', step_limit=50), {'steps': 240}, 'ale_py'),
        id='atari', marks=DEEP,
    ),
    pytest.param(
        *('tests.integration.runs:balance', {'steps': 300}, 'dm_control'),
        id='dm_control', marks=DEEP,
    ),
]  # fmt: skip


@pytest.mark.parametrize(('environment', 'changes', 'package'), FAMILIES)
def test_killed_and_resumed_equals_unbroken(tmp_path, environment, changes, package):
    if not is_installed(package):
        pytest.skip(f'{package} is not installed')
    experiment = runs.experiment(environment, **changes)
    unbroken = culmen.run(experiment, tmp_path / 'unbroken', progress=False)
    broken = tmp_path / 'broken'
    runs.kill_after_checkpoints(runs.start(experiment, broken), broken)
    resumed = culmen.run(experiment, broken, progress=False)
    assert 0 < resumed.summary['resumed_at'] < experiment.max_actor_steps
    runs.assert_same(unbroken, resumed)


@pytest.mark.parametrize('changes', [
    {'lag': 0}, {'lag': 2}, {'updates_per_call': 3}, {'num_environments': 3},
], ids=str)  # fmt: skip
def test_stopped_at_a_tick_and_resumed_equals_unbroken(tmp_path, changes):
    experiment = runs.experiment('gymnasium/CartPole-v1', **changes)
    unbroken = culmen.run(experiment, tmp_path / 'unbroken', progress=False)
    # Signals at ticks that are no multiple of anything.
    for number in (97, 71):
        partial = culmen.run(
            experiment, tmp_path / 'broken', progress=False, observers=[Signaller(number)]
        )
        assert partial.interrupted
        assert 0 < partial.summary['actor_steps'] < 600
    resumed = culmen.run(experiment, tmp_path / 'broken', progress=False)
    assert not resumed.interrupted
    runs.assert_same(unbroken, resumed)


def test_same_seed_same_bits_and_other_seed_other_bits(tmp_path):
    a, b = (
        culmen.run(runs.experiment('gymnasium/CartPole-v1', 300), progress=False) for _ in range(2)
    )
    runs.assert_same(a, b)
    other = culmen.run(runs.experiment('gymnasium/CartPole-v1', 300, seed=4), progress=False)
    assert not runs.numbers(a)[0]['actor'].equals(runs.numbers(other)[0]['actor'])


def test_evaluation_changes_no_bit_of_training():
    with_it = culmen.run(runs.experiment('gymnasium/CartPole-v1', 300), progress=False)
    without = culmen.run(
        runs.experiment('gymnasium/CartPole-v1', 300, evaluation=culmen.Evaluation(None, 1)),
        progress=False,
    )
    assert len(with_it.logs['evaluator']) == 4
    assert len(without.logs['evaluator']) == 1
    for label in ('actor', 'learner'):
        assert runs.numbers(with_it)[0][label].equals(runs.numbers(without)[0][label])


def test_a_finished_run_trains_nothing_and_more_steps_continue_it(tmp_path):
    experiment = runs.experiment('bsuite/catch/0', 300)
    first = culmen.run(experiment, tmp_path, progress=False)
    assert first.summary['resumed_at'] == 0
    checkpoints = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*') if p.is_file()}
    again = culmen.run(experiment, tmp_path, progress=False)
    assert again.summary['resumed_at'] == 300
    assert {**again.summary, 'resumed_at': 0} == first.summary
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*') if p.is_file()} == checkpoints
    longer = culmen.run(
        runs.experiment('bsuite/catch/0', 300, max_actor_steps=450), tmp_path, progress=False
    )
    assert longer.summary['resumed_at'] == 300
    assert longer.summary['actor_steps'] == 450
    assert longer.logs['evaluator']['actor_steps'].tolist()[-1] == 450
    assert again.policy()(culmen.components.environments.make('bsuite/catch/0', 0).reset()) in (
        0,
        1,
        2,
    )


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path):
    experiment = runs.experiment('bsuite/catch/0', 600)
    unbroken = culmen.run(experiment, tmp_path / 'a', progress=False)
    culmen.run(experiment, tmp_path / 'b', progress=False)
    (tmp_path / 'b' / 'result.json').unlink()
    newest = sorted((tmp_path / 'b' / 'checkpoints').glob('0*'))[-1]
    (newest / 'arrays').write_bytes(b'half')
    with pytest.warns(UserWarning, match='The checkpoint before it is used'):
        resumed = culmen.run(experiment, tmp_path / 'b', progress=False)
    assert resumed.summary['resumed_at'] == 500
    runs.assert_same(unbroken, resumed)


def test_another_experiment_in_a_workdir_is_refused(tmp_path):
    experiment = runs.experiment('bsuite/catch/0', 100)
    culmen.run(experiment, tmp_path, progress=False)
    with pytest.raises(ValueError, match='holds another experiment: .*seed'):
        culmen.run(runs.experiment('bsuite/catch/0', 100, seed=4), tmp_path, progress=False)
    with pytest.raises(ValueError, match='learning_rate'):
        changed = culmen.agents.dqn.DQN(**{**runs.SMALL, 'learning_rate': 1e-4})
        culmen.run(runs.experiment('bsuite/catch/0', 100, agent=changed), tmp_path, progress=False)


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / 'thesis.tex').write_text('x')
    with pytest.raises(ValueError, match='workdir must be a new or empty folder'):
        culmen.run(runs.experiment('bsuite/catch/0', 100), tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ['thesis.tex']


def test_an_environment_that_can_not_be_saved_goes_on_at_a_new_episode(tmp_path):
    class Closed:
        """Hides what could save it."""

        def __init__(self, inner):
            self._inner = inner

        def __getattr__(self, name):
            if name in ('get_state', 'set_state'):
                raise AttributeError(name)
            return getattr(self._inner, name)

    import dm_env

    class Unsaveable(Closed, dm_env.Environment):
        def reset(self):
            return self._inner.reset()

        def step(self, action):
            return self._inner.step(action)

        def observation_spec(self):
            return self._inner.observation_spec()

        def action_spec(self):
            return self._inner.action_spec()

    make = lambda seed: Unsaveable(
        culmen.components.environments.make('gymnasium/CartPole-v1', seed)
    )
    experiment = runs.experiment(make, 300)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        partial = culmen.run(experiment, tmp_path, progress=False, observers=[Signaller(150)])
        assert partial.interrupted
        resumed = culmen.run(experiment, tmp_path, progress=False)
    assert resumed.summary['actor_steps'] == 300
    assert resumed.summary['resumed_at'] == partial.summary['actor_steps']
