"""culmen.run: what it returns, what it refuses, what it leaves behind."""

import json

import jax
import numpy as np
import pytest

import culmen
from culmen.agents import dqn
from culmen.components.learners import NonFiniteLossError
from culmen.environment_loops.batched import EnvironmentFailure
from tests.environment_loops.fakes import Counting
from tests.integration import runs


@pytest.mark.slow
def test_a_run_without_a_workdir_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = culmen.run(runs.experiment('bsuite/catch/0', 200), progress=False)
    assert list(tmp_path.iterdir()) == []
    assert result.summary['actor_steps'] == 200
    assert result.workdir is None
    assert result.logs['evaluator']['actor_steps'].tolist() == [50, 100, 150, 200]
    assert result.logs['actor']['episode_length'].tolist() == [9] * 22


def test_a_workdir_holds_what_a_run_is(tmp_path):
    culmen.run(runs.experiment('bsuite/catch/0', 200), tmp_path / 'run', progress=False)
    names = {str(path.relative_to(tmp_path / 'run')) for path in (tmp_path / 'run').rglob('*.*')}
    assert {
        'config.json',
        'result.json',
        'logs/actor.csv',
        'logs/learner.csv',
        'logs/evaluator.csv',
    } <= names
    summary = json.loads((tmp_path / 'run' / 'result.json').read_text())
    assert summary['agent'] == 'dqn'
    assert summary['evaluation']['episodes'] == 2
    header = (tmp_path / 'run' / 'logs' / 'learner.csv').read_text().splitlines()[0]
    assert header == 'actor_steps,learner_steps,loss,absolute_error,q'


def test_the_rate_gives_the_number_of_updates():
    result = culmen.run(runs.experiment('gymnasium/CartPole-v1', 300), progress=False)
    # Items at the end: one a transition of whole windows of 2, tails at the ends of episodes.
    frame = result.logs['learner']
    assert frame['learner_steps'].iloc[-1] == result.summary['learner_steps']
    assert 300 - 50 - 2 <= result.summary['learner_steps'] <= 300 - 50


def test_max_learner_steps_end_a_run_exactly():
    experiment = runs.experiment('bsuite/catch/0', 200, max_actor_steps=None, max_learner_steps=77)
    assert culmen.run(experiment, progress=False).summary['learner_steps'] == 77


def test_a_policy_of_a_run_acts_unbatched_and_batched(tmp_path):
    result = culmen.run(runs.experiment('bsuite/catch/0', 200), tmp_path, progress=False)
    environment = culmen.components.environments.make('bsuite/catch/0', 0)
    for policy in (result.policy(), culmen.load(tmp_path).policy()):
        timestep, actions = environment.reset(), []
        while not timestep.last():
            action = policy(timestep)
            environment.action_spec().validate(action)
            actions.append(int(action))
            timestep = environment.step(action)
        assert len(actions) == 9
    batched = result.policy().batched(3)
    stacked = culmen.core.TimeStep(
        np.zeros(3, np.int32),
        np.zeros(3, np.float32),
        np.ones(3, np.float32),
        np.zeros((3, 10, 5), np.float32),
    )
    assert batched(stacked).shape == (3,)


def test_evaluation_of_a_loaded_run_is_that_of_its_variables(tmp_path):
    result = culmen.run(runs.experiment('bsuite/catch/0', 200), tmp_path, progress=False)
    loaded = culmen.load(tmp_path)
    for a, b in zip(*map(jax.tree_util.tree_leaves, (result.params, loaded.params)), strict=True):
        np.testing.assert_array_equal(a, b)
    returns = loaded.evaluate(4).returns
    assert returns.shape == (4,)
    assert set(returns) <= {-1.0, 1.0}


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run_after_a_checkpoint_kept_apart(tmp_path):
    # Rewards beyond float32's range make an infinite error.
    make = lambda seed: Exploding(length=5)
    experiment = runs.experiment(make, 600, agent=dqn.DQN(**{**runs.SMALL, 'huber_delta': None}))
    with pytest.raises(
        NonFiniteLossError, match=r'the loss of update \d+ was not finite.*non-finite-'
    ):
        culmen.run(experiment, tmp_path, progress=False)
    apart = list((tmp_path / 'checkpoints').glob('non-finite-*'))
    assert len(apart) == 1
    assert (apart[0] / 'manifest.json').exists()
    result = culmen.run(experiment, progress=False, on_non_finite='log')
    assert result.summary['actor_steps'] == 600


class Exploding(Counting):
    """Rewards that are finite, and too large to square."""

    def step(self, action):
        timestep = super().step(action)
        return timestep if timestep.first() else timestep._replace(reward=1e30)

    def action_spec(self):
        return super().action_spec().replace(num_values=3)


def test_an_environment_that_raises_keeps_what_was_written(tmp_path):
    make = lambda seed: Fails(length=5, fail_at=250)
    experiment = runs.experiment(make, 600, evaluation=culmen.Evaluation(None, 1))
    with pytest.raises(EnvironmentFailure, match='lane 0 raised RuntimeError: out of fuel'):
        culmen.run(experiment, tmp_path, progress=False)
    assert (tmp_path / 'logs' / 'actor.csv').read_text().count('\n') > 30
    assert list((tmp_path / 'checkpoints').glob('0*'))


class Fails(Counting):
    """Three actions."""

    def action_spec(self):
        return super().action_spec().replace(num_values=3)


@pytest.mark.parametrize(
    ('changes', 'options', 'words'),
    [
        ({'environment': 'bsuite/catsch/0'}, {}, 'catch'),
        ({'environment': 'nowhere/catch'}, {}, 'bsuite'),
        ({'environment': culmen.environment('bsuite/catch/0', frame_stak=4)}, {}, 'frame_stack'),
        ({'environment': 'gymnasium/Pendulum-v1'}, {}, 'DQN needs a discrete action'),
        ({}, {'replay': 'redis'}, 'replay must be one of'),
        ({}, {'on_non_finite': 'maybe'}, 'on_non_finite must be one of'),
    ],
)
def test_what_is_refused_leaves_no_workdir(tmp_path, changes, options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        culmen.run(
            runs.experiment(**{'environment': 'bsuite/catch/0', **changes}),
            tmp_path / 'run',
            progress=False,
            **options,
        )
    assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_five_runs_leave_nothing_behind(tmp_path):
    counts, *_ = runs.five_runs(tmp_path, 'in_process')
    assert len(counts) == 5
    assert all(each == counts[0] for each in counts), counts
