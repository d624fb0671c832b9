"""DQN's loss by hand: each option of it changes the number that it should, to what it should.

Unless a test says otherwise: discount 0.5, no double Q-learning, squared errors. The windows TWO
have, with the tables of by_hand.py,

    0 -> 1 by action 1, reward 1:    target 1 + 0.5 max(8, 6) = 5,   error 5 - 2 = 3
    1 -> end by action 0, reward -1: target -1,                      error -1 - 3 = -4
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import dqn
from tests.agents.dqn import by_hand
from tests.agents.dqn.by_hand import ONLINE
from tests.agents.dqn.by_hand import TARGET
from tests.agents.dqn.by_hand import TWO

PLAIN = {'n_step': 1, 'double': False, 'discount': 0.5, 'huber_delta': None, 'reward_clip': None,
         'priority_exponent': 0.0, 'importance_exponent': 0.4}  # fmt: skip


def loss(sample=TWO, **settings):
    """(loss, errors, metrics) of a sample."""
    config = dqn.DQNConfig(**{**PLAIN, **settings})
    value, (metrics, errors) = dqn.loss(
        ONLINE, TARGET, sample, by_hand.CONTEXT, by_hand.NETWORK, config
    )
    assert value == metrics['loss']
    return float(value), np.asarray(errors).tolist(), metrics


def test_the_loss_is_half_the_mean_squared_error():
    value, errors, metrics = loss()
    assert errors == [3.0, 4.0]
    assert value == (0.5 * 9.0 + 0.5 * 16.0) / 2
    assert metrics['absolute_error'] == 3.5
    assert metrics['q'] == (1 + 2 + 3 + 5) / 4  # of all actions where windows begin


def test_the_gradient_flows_through_the_prediction_alone():
    config = dqn.DQNConfig(**PLAIN)
    value = lambda online, target: dqn.loss(
        online, target, TWO, by_hand.CONTEXT, by_hand.NETWORK, config
    )[0]
    of_online, of_target = jax.grad(value, argnums=(0, 1))(ONLINE, TARGET)
    # d/dQ of the mean of (target - Q)^2 / 2 is -error / 2 at each action taken.
    np.testing.assert_array_equal(of_online, [[0, -1.5], [2.0, 0], [0, 0]])
    np.testing.assert_array_equal(of_target, np.zeros((3, 2)))


def test_double_takes_the_action_of_the_online_network_and_the_value_of_the_target():
    # van Hasselt et al. 2016: online prefers action 1 at observation 1 (5 > 3), worth 6 to the
    # target network: 1 + 0.5 * 6 = 4, error 2.
    assert loss(double=True)[1] == [2.0, 4.0]
    config = dqn.DQNConfig(**{**PLAIN, 'double': True})
    grads = jax.grad(
        lambda online: dqn.loss(online, TARGET, TWO, by_hand.CONTEXT, by_hand.NETWORK, config)[0]
    )(ONLINE)
    np.testing.assert_array_equal(grads, [[0, -1.0], [2.0, 0], [0, 0]])  # the choice has none


def test_discount():
    assert loss(discount=0.25)[1] == [1.0, 4.0]  # 1 + 0.25 * 8 - 2
    assert loss(discount=0.0)[1] == [1.0, 4.0]  # 1 - 2, by absolute value
    assert loss(discount=1.0)[1] == [7.0, 4.0]  # 1 + 8 - 2


def test_n_step():
    # 1 + 0.5 * 2 + 0.25 * 4 + 0.125 max(8, 6) = 4, error 4 - 2 = 2; the second ends after two
    # steps: 1 + 0.5 * 2 = 2, error 2 - 3 = -1, whatever came after.
    sample = by_hand.sample(
        [0, 1], [1, 0], [[1, 2, 4], [1, 2, 4]], [[1, 1, 1], [1, 0, 1]], o_t=[1, 2]
    )
    assert loss(sample, n_step=3)[1] == [2.0, 1.0]


def test_an_environment_s_own_discount_multiplies():
    sample = by_hand.sample([0, 0], [1, 1], [[1.0], [1.0]], [[0.5], [1.0]], o_t=[1, 1])
    assert loss(sample)[1] == [1.0, 3.0]  # 1 + 0.5 * 0.5 * 8 - 2


def test_reward_clip():
    sample = by_hand.sample([0, 1], [1, 0], [[4.0], [-7.0]], [[1.0], [0.0]], o_t=[1, 2])
    assert loss(sample)[1] == [6.0, 10.0]
    assert loss(sample, reward_clip=1.0)[1] == [3.0, 4.0]  # as rewards 1 and -1
    assert loss(sample, reward_clip=2.0)[1] == [4.0, 5.0]
    # Each reward of a window is clipped, not their sum: 1 + 0.5 + 0.25 * 8 - 2.
    sample = by_hand.sample([0], [1], [[4.0, 4.0]], [[1.0, 1.0]], o_t=[1])
    assert loss(sample, reward_clip=1.0, n_step=2)[1] == [1.5]


def test_huber_delta():
    # Errors 3 and 4 beyond delta: delta (|e| - delta / 2).
    assert loss(huber_delta=1.0)[0] == (2.5 + 3.5) / 2
    assert loss(huber_delta=2.0)[0] == (2 * 2 + 2 * 3) / 2
    assert loss(huber_delta=3.5)[0] == pytest.approx((0.5 * 9 + 3.5 * (4 - 1.75)) / 2)


@pytest.mark.parametrize('huber_delta', [None, 1.0])
def test_importance_weights(huber_delta):
    # Probabilities 1/2 and 1/8 of 8 items: (8 p)^-beta = 4^-beta and 1, and 1 is the largest.
    sample = TWO._replace(probability=np.float32([0.5, 0.125]), size=np.int32(8))
    parts = (4.5, 8.0) if huber_delta is None else (2.5, 3.5)
    for beta in (0.5, 1.0, 0.0):
        value, errors, _ = loss(
            sample, priority_exponent=0.6, importance_exponent=beta, huber_delta=huber_delta
        )
        assert value == pytest.approx((4**-beta * parts[0] + parts[1]) / 2)
        assert errors == [3.0, 4.0]  # priorities are not weighted
    uniform = loss(sample, importance_exponent=1.0, huber_delta=huber_delta)[0]
    assert uniform == pytest.approx(sum(parts) / 2)


@pytest.mark.parametrize('double', [False, True])
def test_illegal_actions_are_not_bootstrapped_from(double):
    # At observation 1 only one action is legal: 0, worth 8 to the target network, or 1, worth 6.
    for legal, error in (([True, False], 3.0), ([False, True], 2.0)):
        sample = by_hand.sample([0], [1], [[1.0]], [[1.0]], o_t=[1], legal=[[[True, True], legal]])
        assert loss(sample, double=double)[1] == [error]
    # Nothing is legal where an episode has ended: reward -1 less prediction 3.
    over = by_hand.sample(
        [1], [0], [[-1.0]], [[0.0]], o_t=[2], legal=[[[True, True], [False, False]]]
    )
    value, errors, _ = loss(over, double=double)
    assert (value, errors) == (8.0, [4.0])


def test_a_terminal_observation_is_not_read():
    other = TWO._replace(steps=TWO.steps._replace(observation=np.array([[0, 1], [1, 0]], np.int32)))
    assert loss(other)[1] == loss()[1]
    assert jnp.isfinite(loss(other)[0])
