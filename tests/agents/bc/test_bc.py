"""What is behaviour cloning's own: the loss by hand, each option, the policies that it shares with DQN."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import bc
from culmen.agents import dqn
from culmen.agents.bc import learning
from culmen.components.networks import Bernoulli
from culmen.components.networks import Categorical
from culmen.components.networks import Product
from culmen.components.networks import TanhGaussian
from tests.agents import registry
from tests.agents import streams

ROW, CONTINUOUS, SWITCHES = (
    registry.of(name) for name in ('bc', 'bc_continuous', 'bc_multi_binary')
)


def test_cross_entropy_by_hand():
    """Logits log 1, log 2, log 5 and 0, 0, 0: -(log 5/8 + log 1/3) / 2."""
    policy = Categorical(jnp.stack([jnp.log(jnp.array([1.0, 2.0, 5.0])), jnp.zeros(3)]))
    loss, metrics = learning.negative_log_likelihood(policy, jnp.array([2, 1]))
    np.testing.assert_allclose(loss, -(np.log(5 / 8) + np.log(1 / 3)) / 2, rtol=1e-6)
    assert metrics['accuracy'] == 0.5  # of equals the first is the greedy one


def test_the_parts_of_an_action_by_hand():
    """Two of three choices are right: their log-likelihoods and those of the boxes add up."""
    move = Categorical(jnp.log(jnp.array([[1.0, 3.0]])))
    switches = Bernoulli(jnp.log(jnp.array([[4.0, 1.0 / 4.0]])))
    aim = TanhGaussian(jnp.zeros((1, 1)), jnp.log(jnp.full((1, 1), 2.0)))
    policy = Product({'aim': aim, 'move': move, 'switches': switches})
    drawn = {
        'aim': jnp.zeros((1, 1)),
        'move': jnp.array([1]),
        'switches': jnp.array([[0, 0]]),
    }
    loss, metrics = learning.negative_log_likelihood(policy, drawn)
    expected = -np.log(3 / 4) - np.log(1 / 5) - np.log(4 / 5) + np.log(2 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics['accuracy'], 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(metrics['scale'], 2.0, rtol=1e-6)
    boxes = Product({'a': aim, 'b': TanhGaussian(jnp.zeros((1, 2)), jnp.zeros((1, 2)))})
    loss, _ = learning.squared_error(boxes, {'a': jnp.ones((1, 1)), 'b': jnp.full((1, 2), 0.5)})
    np.testing.assert_allclose(loss, 1.5, rtol=1e-6)


def test_losses_of_continuous_actions_by_hand():
    """Modes tanh 0 and tanh 1; of a tanh-Gaussian at its mean the density is N(0) / (1 - a^2)."""
    policy = TanhGaussian(jnp.array([[0.0, 1.0]]), jnp.log(jnp.array([[1.0, 2.0]])))
    action = jnp.array([[0.5, np.tanh(1.0)]])
    loss, _ = learning.squared_error(policy, action)
    np.testing.assert_allclose(loss, 0.25, rtol=1e-6)
    loss, metrics = learning.negative_log_likelihood(policy, jnp.array([[0.0, np.tanh(1.0)]]))
    expected = np.log(2 * np.pi) + np.log(2.0) + np.log(1 - np.tanh(1.0) ** 2)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert metrics['scale'] == 1.5


def test_its_actor_and_evaluator_are_those_of_dqn():
    """The same parameters act alike in both agents: neither network nor policy is its own."""
    agent = dqn.DQN(
        hidden_sizes=ROW.agent.hidden_sizes, epsilon=ROW.agent.epsilon, epsilon_decay_steps=0
    )
    ours, theirs = ROW.agent.build(ROW.spec), agent.build(ROW.spec)
    key = jax.random.key(0)
    params = theirs.learner.variables(theirs.learner.init(key))
    timestep = next(streams.random_stream(ROW.spec, 64))
    for role in ('actor', 'evaluator'):
        actions = [
            jax.jit(core.select_action)(
                params, timestep, core.init(key, streams.lanes(64)), streams.context(1, 10)
            )[0]
            for core in (getattr(ours, role), getattr(theirs, role))
        ]
        np.testing.assert_array_equal(*actions)
        assert len(np.unique(actions[0])) > 1


def state_after(updates=1, row=ROW, **changes):
    parts = dataclasses.replace(row.agent, **changes).build(row.spec)
    state = parts.learner.init(jax.random.key(0))
    update = jax.jit(parts.learner.update)
    for _ in range(updates):
        state, metrics, _ = update(state, streams.samples(row)[0], streams.context(0))
    return state, metrics


@pytest.mark.parametrize(
    'changes',
    [{'learning_rate': 1e-2}, {'max_gradient_norm': 1e-9}, {'hidden_sizes': (5,)}],
    ids=str,
)
def test_options_that_change_an_update(changes):
    plain, other = (jax.tree_util.tree_leaves(state_after(**each)[0]) for each in ({}, changes))
    assert any(a.shape != b.shape or (a != b).any() for a, b in zip(plain, other, strict=True))


def test_the_norm_of_a_gradient_is_clipped():
    """Adam's first step has the size of the learning rate unless its epsilon, 1e-8, is larger."""
    before = ROW.agent.build(ROW.spec).learner.init(jax.random.key(0)).params
    moved = jax.tree_util.tree_map(
        lambda a, b: float(jnp.abs(a - b).max()),
        before,
        state_after(max_gradient_norm=1e-9)[0].params,
    )
    assert 0 < max(jax.tree_util.tree_leaves(moved)) < 0.2 * ROW.agent.learning_rate


def test_the_options_of_experience_and_acting():
    parts = dataclasses.replace(ROW.agent, batch_size=5).build(ROW.spec)
    assert parts.experience.batch_size == 5
    assert parts.experience.source is ROW.agent.source
    explored = []
    for epsilon in (0.0, 1.0):
        parts = dataclasses.replace(ROW.agent, epsilon=epsilon).build(ROW.spec)
        params = parts.learner.variables(parts.learner.init(jax.random.key(0)))
        first = streams.first_timestep(ROW.spec, 64)
        state = parts.actor.init(jax.random.key(0), streams.lanes(64))
        explored.append(
            len(np.unique(parts.actor.select_action(params, first, state, streams.context(1))[0]))
        )
    assert explored == [1, 3]


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('epsilon', 1.5),
        ('exploration_noise', -0.1),
        ('learning_rate', 0.0),
        ('max_gradient_norm', 0.0),
        ('batch_size', 0),
        ('hidden_sizes', (0,)),
    ],
)
def test_impossible_settings_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        bc.BC('a', **{field: value})


@pytest.mark.parametrize('loss', ['log_likelihood', 'mse'])
def test_it_learns_continuous_actions(loss):
    state, metrics = state_after(300, CONTINUOUS, loss=loss, learning_rate=1e-2)
    parts = dataclasses.replace(CONTINUOUS.agent, loss=loss).build(CONTINUOUS.spec)
    steps = streams.samples(CONTINUOUS)[0].steps
    first = streams.first_timestep(CONTINUOUS.spec, len(steps.mask))
    timestep = first._replace(observation=steps.observation[:, 0])
    action, _, _ = parts.evaluator.select_action(state.params, timestep, (), streams.context(0))
    np.testing.assert_allclose(action, steps.action[:, 0], atol=0.15)
    # Scales are learned by likelihood alone.
    assert ('scale' in metrics) == (loss == 'log_likelihood')


def test_the_squared_error_is_of_continuous_actions_alone():
    with pytest.raises(ValueError, match="loss must be 'log_likelihood' for discrete actions"):
        bc.BC(ROW.agent.source, loss='mse').build(ROW.spec)


def test_noise_is_for_the_actor_of_continuous_actions():
    deviations = []
    for noise in (0.0, 0.2):
        parts = dataclasses.replace(CONTINUOUS.agent, exploration_noise=noise).build(
            CONTINUOUS.spec
        )
        params = parts.learner.variables(parts.learner.init(jax.random.key(0)))
        first = streams.first_timestep(CONTINUOUS.spec, 256)
        state = parts.actor.init(jax.random.key(0), streams.lanes(256))
        action, _, _ = parts.actor.select_action(params, first, state, streams.context(1))
        deviations.append(float(np.std(np.asarray(action)[:, 0])))
    assert deviations[0] < 1e-6
    assert 0.15 < deviations[1] < 0.25


@pytest.mark.parametrize('row', [ROW, SWITCHES], ids=lambda row: row.name)
def test_it_learns_the_actions_of_its_source(row):
    _, metrics = state_after(updates=300, row=row, learning_rate=1e-2)
    assert metrics['accuracy'] == 1.0
