"""MPO's options beside the losses: acting, experience, optimisers, targets, what is refused."""

import dm_env
import jax
import numpy as np
import pytest
from dm_env import specs

import culmen
from culmen.agents import mpo
from culmen.components import updates
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import Window
from tests.agents import registry
from tests.agents import streams
from tests.agents.continuous import LANES
from tests.agents.continuous import act

SMALL = {'hidden_sizes': (4,), 'batch_size': 4, 'num_samples': 3}
SPEC = registry.continuous_spec()


def test_the_evaluator_acts_by_the_mode_and_the_actor_draws_around_it():
    agent = mpo.MPO(hidden_sizes=(4,), initial_scale=0.2)
    best = act(agent, 'evaluator')
    assert len(np.unique(best, axis=0)) == 1
    drawn = act(agent, 'actor')
    assert len(np.unique(drawn, axis=0)) == LANES
    np.testing.assert_allclose(np.mean(drawn, axis=0), best[0], atol=0.05)
    np.testing.assert_allclose(np.std(drawn, axis=0), 0.2, rtol=0.2)


@pytest.mark.parametrize(
    ('settings', 'window'),
    [
        ({'n_step': 3}, Window(length=3, ends=('observation',))),
        ({'sequence_length': 9, 'sequence_period': 4}, Window(length=9, period=4)),
        (
            {'sequence_length': 9, 'core': 'lstm'},
            Window(length=9, first=('extras/core_state',)),
        ),
    ],
)
def test_experience(settings, window):
    agent = mpo.MPO(
        batch_size=17, replay_capacity=301, min_replay_size=29, samples_per_insert=3.5, **settings
    )
    assert agent.build(SPEC).experience == Replay(
        window=window, capacity=301, min_size=29, batch_size=17, samples_per_insert=3.5
    )


def test_new_windows_beside_replayed_ones():
    agent = mpo.MPO(batch_size=24, samples_per_insert=8.0, min_replay_size=0, online=True)
    window = Window(length=5, ends=('observation',))
    assert agent.build(SPEC).experience == {
        'online': Queue(window, batch_size=3),
        'replay': Replay(window, 1_000_000, 0, batch_size=21, samples_per_insert=7.0),
    }
    # Each update takes three new windows, and the replay allows an update as often.
    with pytest.raises(ValueError, match='online needs batch_size / samples_per_insert'):
        mpo.MPO(batch_size=24, samples_per_insert=7.0, min_replay_size=0, online=True)
    with pytest.raises(ValueError, match='online needs batch_size / samples_per_insert'):
        mpo.MPO(batch_size=24, samples_per_insert=1.0, min_replay_size=0, online=True)
    with pytest.raises(ValueError, match='min_replay_size must be 0 where online is True'):
        mpo.MPO(batch_size=24, samples_per_insert=8.0, online=True)


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'hidden_sizes': (64, 0)}, 'hidden_sizes must be at least 1, got 0'),
        ({'num_samples': 1}, 'num_samples must be at least 2'),
        ({'epsilon_temperature': 0.0}, 'epsilon_temperature must be above 0'),
        ({'epsilon_objectives': (0.1, 0.0)}, 'epsilon_objectives must be above 0'),
        ({'epsilon_mean': 0.0}, 'epsilon_mean must be above 0'),
        ({'epsilon_scale': -1.0}, 'epsilon_scale must be above 0'),
        ({'epsilon_policy': 0.0}, 'epsilon_policy must be above 0'),
        ({'epsilon_penalty': 0.0}, 'epsilon_penalty must be above 0'),
        ({'initial_temperature': 0.0}, 'initial_temperature must be above 0'),
        ({'dual_learning_rate': 0.0}, 'dual_learning_rate must be above 0'),
        ({'retrace_lambda': 1.1}, r'retrace_lambda must be in \[0, 1\]'),
        ({'v_min': 200.0}, r'v_max must be above 200'),
        ({'sequence_length': 1}, 'sequence_length must be at least 2'),
        ({'core': 'lstm'}, 'core lstm needs sequence_length, which is None'),
        ({'targets': 'retrace'}, 'targets retrace needs sequence_length, which is None'),
        ({'sequence_length': 4}, 'n_step must be at most sequence_length, 4, got 5'),
        (
            {'targets': 'retrace', 'sequence_length': 4, 'critic': 'categorical'},
            "targets 'retrace' needs the critic 'mean', got 'categorical'",
        ),
        ({'critic': 'quantiles'}, 'critic'),
    ],
)
def test_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        mpo.MPO(**settings)


def test_rewards_and_their_bounds_have_to_match():
    two = SPEC._replace(reward={'a': SPEC.reward, 'b': SPEC.reward})
    with pytest.raises(ValueError, match=r'MPO needs one reward, float32\[\]'):
        mpo.MPO().build(two)
    with pytest.raises(
        ValueError, match=r"bound for each of the 2 rewards \['a', 'b'\], got \(0.1,\)"
    ):
        mpo.MPO(epsilon_objectives=(0.1,)).build(two)
    vector = SPEC._replace(reward=specs.Array((2,), np.float32))
    with pytest.raises(ValueError, match=r'MPO needs rewards that are float32\[\] each'):
        mpo.MPO(epsilon_objectives=(0.1, 0.1)).build(vector)


# The update.


def updated(number=1, spec=SPEC, **settings):
    """The states before and after so many updates on a random batch, and the last metrics."""
    agent = mpo.MPO(**{**SMALL, 'min_replay_size': 0, 'n_step': 1, **settings})
    row = registry.Row('own', agent, spec)
    learner = agent.build(spec).learner
    compiled = jax.jit(learner.update)
    states, metrics = [learner.init(jax.random.key(0))], {}
    for i, sample in zip(range(number), streams.samples(row, number)):
        state, metrics, priorities = compiled(states[-1], sample, streams.context(i, 0, i))
        assert priorities is None
        states.append(state)
    return states, metrics


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(tree)]


def moves(before, after, name):
    """The largest change of a field."""
    return max(
        np.max(np.abs(a - b))
        for a, b in zip(leaves(getattr(before, name)), leaves(getattr(after, name)), strict=True)
    )


def test_each_network_has_its_own_rate_and_targets_their_own_periods():
    rates = {'critic_learning_rate': 1e-3, 'policy_learning_rate': 3e-3, 'dual_learning_rate': 0.2}
    periods = {'target_critic_update_period': 1, 'target_policy_update_period': 2}
    (first, second, third), _ = updated(2, **rates, **periods)
    # Adam's first step is its rate.
    assert moves(first, second, 'critic_params') == pytest.approx(1e-3, rel=0.02)
    assert moves(first, second, 'policy_params') == pytest.approx(3e-3, rel=0.02)
    assert moves(first, second, 'dual_params') == pytest.approx(0.2, rel=0.02)
    for a, b in zip(leaves(second.critic_params), leaves(second.target_critic_params)):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(leaves(first.policy_params), leaves(second.target_policy_params)):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(leaves(third.policy_params), leaves(third.target_policy_params)):
        np.testing.assert_array_equal(a, b)


def test_duals_begin_where_they_are_told():
    (before, _), metrics = updated(
        initial_temperature=2.0, initial_alpha_mean=3.0, initial_alpha_scale=5.0
    )
    values = jax.tree_util.tree_map(updates.positive, before.dual_params)
    np.testing.assert_allclose(values['temperature'], [2.0, 2.0], rtol=1e-4)  # the penalty's, too
    np.testing.assert_allclose(values['mean'], [3.0, 3.0], rtol=1e-4)
    np.testing.assert_allclose(values['scale'], [5.0, 5.0], rtol=1e-4)
    assert metrics['temperature'] == pytest.approx(2.0, rel=1e-4)
    assert metrics['temperature_penalty'] == pytest.approx(2.0, rel=1e-4)
    (before, _), _ = updated(per_dimension=False, action_penalty=False)
    assert before.dual_params['mean'].shape == ()
    assert before.dual_params['temperature'].shape == (1,)


# A task of two rewards.


class TwoRewards(dm_env.Environment):
    """One number in, one action out; to be near it, and to be near 0."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)
        self._left = 0

    def observation_spec(self):
        return specs.BoundedArray((1,), np.float32, -1, 1, 'observation')

    def action_spec(self):
        return specs.BoundedArray((1,), np.float32, -1, 1, 'action')

    def reward_spec(self):
        return {name: specs.Array((), np.float32, name) for name in ('near', 'still')}

    def reset(self):
        self._left, self._seen = 3, np.float32(self._rng.uniform(-1, 1))
        return dm_env.restart(np.full(1, self._seen))._replace(reward={'near': 0.0, 'still': 0.0})

    def step(self, action):
        if not self._left:
            return self.reset()
        self._left -= 1
        number = float(action[0])
        reward = {'near': -abs(number - float(self._seen)), 'still': -abs(number)}
        kind = dm_env.transition if self._left else dm_env.termination
        return kind(reward, np.full(1, self._seen))


def test_a_run_with_two_rewards(tmp_path):
    agent = mpo.MPO(
        **SMALL, min_replay_size=8, samples_per_insert=4.0, n_step=1, epsilon_objectives=(0.1, 0.01)
    )
    result = culmen.run(
        culmen.Experiment(
            agent=agent,
            environment=TwoRewards,
            max_actor_steps=30,
            evaluation=culmen.Evaluation(episodes=2),
        ),
        tmp_path,
    )
    last = result.logs['learner'].iloc[-1]
    assert np.isfinite(last['loss'])
    assert last['learner_steps'] > 0
