"""Steps of one network among several, and its target."""

from typing import Any
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from culmen.components import updates


class Two(NamedTuple):
    """A training state of two networks."""

    policy_params: Any
    critic_params: Any
    target_policy_params: Any
    target_critic_params: Any
    policy_optimizer_state: Any
    critic_optimizer_state: Any


OPTIMIZER = updates.make_optimizer(optax.sgd(0.1, momentum=0.5))


def two():
    policy, critic = {'w': jnp.array([1.0, 2.0])}, {'v': jnp.array([3.0])}
    return Two(
        policy,
        critic,
        {'w': jnp.zeros(2)},
        {'v': jnp.zeros(1)},
        OPTIMIZER.init(policy),
        OPTIMIZER.init(critic),
    )


def loss(params, target):
    (leaf,) = params.values()
    return 0.5 * jnp.sum(jnp.square(leaf - target)), jnp.sum(leaf)


def test_one_network_moves_and_the_others_stay():
    state = two()
    moved, (value, aux) = updates.train(state, loss, OPTIMIZER, 1.0, name='critic', has_aux=True)
    assert (float(value), float(aux)) == (2.0, 3.0)
    np.testing.assert_allclose(moved.critic_params['v'], [3.0 - 0.1 * 2.0])
    again, _ = updates.train(moved, loss, OPTIMIZER, 1.0, name='critic', has_aux=True)
    # The gradient is 1.8, and half of the step before is added.
    np.testing.assert_allclose(again.critic_params['v'], [2.8 - 0.1 * (1.8 + 0.5 * 2.0)], rtol=1e-6)
    for name in ('policy_params', 'policy_optimizer_state', 'target_critic_params'):
        assert getattr(again, name) is getattr(state, name)


def test_a_lone_network_has_fields_without_a_name():
    params = jnp.array([1.0])
    state = updates.TargetTrainingState(params, jnp.zeros(1), OPTIMIZER.init(params))
    square = lambda x: jnp.sum(jnp.square(x))
    moved, value = updates.train(state, square, OPTIMIZER)
    np.testing.assert_allclose((moved.params[0], value), (0.8, 1.0))
    np.testing.assert_allclose(updates.follow(moved, 0.25).target_params, [0.2], rtol=1e-6)
    assert [
        float(updates.copy_every(moved, steps, 3).target_params[0]) for steps in (1, 2, 3)
    ] == pytest.approx([0, 0, 0.8])


def test_targets_follow_by_name():
    state = two()
    one = updates.follow(state, 0.5, 'critic')
    np.testing.assert_allclose(one.target_critic_params['v'], [1.5])
    assert one.target_policy_params is state.target_policy_params
    both = updates.copy_every(state, jnp.int32(4), 2, 'policy', 'critic')
    np.testing.assert_allclose(both.target_policy_params['w'], [1.0, 2.0])
    np.testing.assert_allclose(both.target_critic_params['v'], [3.0])
