"""Optimisers and gradient steps, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from culmen.components import updates
from culmen.core.types import Context

PARAMS = {'a': jnp.array([3.0, 4.0]), 'b': jnp.float32(12.0)}


def loss(params, scale):
    """Its gradient is the parameters, scaled."""
    value = scale * 0.5 * (jnp.sum(params['a'] ** 2) + params['b'] ** 2)
    return value, 'seen'


def test_a_step_follows_the_gradient():
    optimizer = updates.make_optimizer(optax.sgd(0.5))
    params, _, (value, aux) = updates.gradient_step(
        loss, optimizer, PARAMS, optimizer.init(PARAMS), 1.0, has_aux=True
    )
    np.testing.assert_allclose(params['a'], [1.5, 2.0])
    assert params['b'] == 6.0
    assert (value, aux) == (84.5, 'seen')


def test_a_loss_may_be_a_number_alone():
    optimizer = updates.make_optimizer(optax.sgd(1.0))
    params, _, value = updates.gradient_step(lambda x: 2.0 * x, optimizer, 5.0, optimizer.init(5.0))
    assert (params, value) == (3.0, 10.0)


def test_a_rule_without_a_rate_is_given_one():
    rule = optax.scale(2.0)
    optimizer = updates.make_optimizer(rule)
    params, _, _ = updates.gradient_step(
        loss, optimizer, PARAMS, optimizer.init(PARAMS), 1.0, has_aux=True, learning_rate=0.25
    )
    np.testing.assert_allclose(params['a'], [1.5, 2.0])


def test_gradients_are_scaled_to_the_largest_norm():
    """The norm of (3, 4, 12) is 13, over all leaves."""
    optimizer = updates.make_optimizer(optax.sgd(1.0), max_gradient_norm=1.3)
    params, _, _ = updates.gradient_step(
        loss, optimizer, PARAMS, optimizer.init(PARAMS), 1.0, has_aux=True
    )
    np.testing.assert_allclose(params['a'], [2.7, 3.6], rtol=1e-6)
    np.testing.assert_allclose(params['b'], 10.8, rtol=1e-6)


def test_the_state_of_an_optimiser_is_carried():
    optimizer = updates.make_optimizer(optax.trace(0.5))
    state = optimizer.init(PARAMS)
    moved = []
    for _ in range(2):
        _, state, _ = updates.gradient_step(
            loss, optimizer, PARAMS, state, 1.0, has_aux=True, learning_rate=1.0
        )
        moved.append(jax.tree_util.tree_leaves(state)[0][0])
    assert moved == [3.0, 4.5]


@pytest.mark.parametrize(
    ('decay_steps', 'actor_steps', 'expected'),
    [(None, 1000, 0.1), (100, 0, 0.1), (100, 25, 0.075), (100, 100, 0.0), (100, 500, 0.0)],
)
def test_the_learning_rate_falls_linearly_to_0(decay_steps, actor_steps, expected):
    context = Context(jax.random.key(0), jnp.int32(actor_steps), jnp.int32(7), jnp.int32(7))
    rate = updates.learning_rate_schedule(0.1, decay_steps)(context)
    assert rate == pytest.approx(expected, rel=1e-6)
