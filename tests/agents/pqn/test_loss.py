"""PQN's targets and loss by hand: a table of action values, windows that cross the end of an episode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import pqn
from culmen.agents.pqn import learning
from culmen.components.networks import Network
from culmen.components.networks import without_memory
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import Context
from culmen.core.types import Sample
from culmen.core.types import Steps
from tests.agents import registry
from tests.agents.dqn import by_hand

Q = jnp.array([[1.0, 2.0], [3.0, 5.0], [0.0, -4.0], [2.0, 2.5]])
NETWORK = without_memory(Network(init=lambda key: Q, apply=by_hand.lookup))
# One window: 0 -> 1 -> 2 (the last), then 3 (a first) -> 0.
STEP_TYPE = np.array([[MID, MID, LAST, FIRST, MID]], np.int32)
OBSERVATION = np.array([[0, 1, 2, 3, 0]], np.int32)
REWARD = np.array([[9.0, 1.0, -2.0, 0.0, 3.0]], np.float32)
ACTION = np.array([[1, 0, 1, 0]], np.int32)
MASK = np.array([[True, True, False, True]])


def make_sample(discount_at_last=0.0, legal=None):
    discount = np.array([[1.0, 1.0, discount_at_last, 1.0, 1.0]], np.float32)
    observation = OBSERVATION
    if legal is not None:
        observation = {'number': OBSERVATION, 'legal_actions': legal}
    steps = Steps(STEP_TYPE, REWARD, discount, observation, ACTION, (), MASK)
    return Sample(steps, np.ones(1, np.float32), np.int32(1), *np.zeros((2, 1), np.int32))


def targets(best, end, discount=0.5, lambda_=0.25, scale=1.0):
    """Gallici et al. 2024, equation 4, backwards. Args: end: the discount of the last step."""
    reward = scale * REWARD[0]
    last = reward[4] + discount * best[0]
    second = reward[2] + end * discount * best[2]
    first = reward[1] + discount * (lambda_ * second + (1 - lambda_) * best[1])
    return [first, second, last]


@pytest.mark.parametrize('end', [0.0, 1.0])
@pytest.mark.parametrize('scale', [1.0, 0.1])
def test_targets_are_lambda_returns_of_the_best_actions(end, scale):
    config = pqn.PQNConfig(discount=0.5, lambda_=0.25, reward_scale=scale)
    batch = learning.evaluate(Q, make_sample(end), NETWORK, config)
    expected = targets(np.asarray(Q).max(1), end, scale=scale)
    np.testing.assert_allclose(batch.target[MASK[0], 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(batch.mask[:, 0], MASK[0])
    np.testing.assert_array_equal(batch.inputs.observation[:, 0], OBSERVATION[0, :-1])


def test_illegal_actions_are_not_the_best():
    legal = np.ones((1, 5, 2), bool)
    legal[0, 1] = [True, False]
    config = pqn.PQNConfig(discount=0.5, lambda_=0.25)
    batch = learning.evaluate(Q, make_sample(legal=legal), NETWORK, config)
    best = [2.0, 3.0, 0.0, 2.5]
    np.testing.assert_allclose(batch.target[MASK[0], 0], targets(best, 0.0), rtol=1e-6)


def test_the_loss_is_the_mean_squared_error_of_real_steps():
    config = pqn.PQNConfig(discount=0.5, lambda_=0.25)
    batch = learning.evaluate(Q, make_sample(), NETWORK, config)
    value, metrics = learning.loss(Q, batch, NETWORK)
    errors = np.array(targets(np.asarray(Q).max(1), 0.0)) - [2.0, 3.0, 2.0]
    assert float(value) == pytest.approx(np.mean(errors**2) / 2)
    assert float(metrics['absolute_error']) == pytest.approx(np.abs(errors).mean())
    assert float(metrics['q']) == pytest.approx(np.mean([1.5, 4.0, 2.25]))


def update(**settings):
    config = pqn.PQNConfig(**{
        'discount': 0.5, 'lambda_': 0.25, 'num_epochs': 1, 'num_minibatches': 1, 'learning_rate': 0.1,
        'max_gradient_norm': None, **settings,
    })  # fmt: skip
    learner = learning.make_learner(NETWORK, config)
    state = learner.init(jax.random.key(0))
    context = Context(
        jax.random.key(0), jnp.int32(settings.pop('at', 0)), jnp.int32(0), jnp.int32(0)
    )
    return learner.update(state, make_sample(), context)


def test_the_optimiser_is_rectified_adam():
    """Liu et al. 2020 (1908.03265), algorithm 2: its first step is that of momentum, rate times gradient."""
    state, _, priorities = update()
    errors = np.array(targets(np.asarray(Q).max(1), 0.0)) - [2.0, 3.0, 2.0]
    gradient = np.zeros((4, 2))
    gradient[[0, 1, 3], [1, 0, 0]] = -errors / 3
    np.testing.assert_allclose(np.asarray(state.params - Q), -0.1 * gradient, rtol=1e-5, atol=1e-6)
    assert priorities is None
    clipped, _, _ = update(max_gradient_norm=0.5)
    expected = -0.1 * gradient * 0.5 / np.linalg.norm(gradient)
    np.testing.assert_allclose(np.asarray(clipped.params - Q), expected, rtol=1e-5, atol=1e-6)


def test_minibatches_divide_the_steps():
    with pytest.raises(
        ValueError, match='num_minibatches must divide the 4 steps of a batch, got 3'
    ):
        update(num_minibatches=3)


def test_experience_is_in_step():
    parts = pqn.PQN(unroll_length=7, batch_size=4).build(registry.discrete_spec())
    window = parts.experience.window
    assert (window.length, window.period, window.cross_episodes) == (7, 7, True)
    assert (parts.experience.batch_size, parts.experience.max_staleness) == (4, 0)
    with_core = pqn.PQN(core='lstm').build(registry.discrete_spec()).experience.window
    assert with_core.first == ('extras/core_state', 'extras/previous_action')


def test_layer_norm_is_of_each_layer():
    for layer_norm, core in ((True, 'none'), (True, 'gru'), (False, 'none')):
        agent = pqn.PQN(hidden_sizes=(5, 7), layer_norm=layer_norm, core=core)
        params = jax.eval_shape(
            agent.build(registry.discrete_spec()).learner.init, jax.random.key(0)
        ).params
        shapes = {each['w'].shape for each in params.values() if 'w' in each}
        assert {(4, 5), (5, 7)} <= shapes
        scales = [each['scale'].shape for each in params.values() if 'scale' in each]
        assert sorted(scales) == ([(5,), (7,)] if layer_norm else [])
