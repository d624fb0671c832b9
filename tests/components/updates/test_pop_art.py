"""PopArt of an actor-critic network: statistics that move, and values that do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import networks
from culmen.components import updates
from tests.agents import registry

TASK = np.array([[0, 0, 2], [1, 1, 1]], np.int32)
TARGETS = np.array([[1.0, 3.0, 50.0], [-4.0, 9.0, 100.0]], np.float32)
MASK = np.array([[True, True, True], [True, True, False]])


def test_without_a_rate_values_are_returns():
    assert updates.initial_pop_art(3, None) == ()
    np.testing.assert_array_equal(updates.unnormalised((), TARGETS, TASK), TARGETS)
    assert updates.scales_of((), TASK) == 1.0


def test_statistics_move_to_the_means_of_the_real_targets_of_each_task():
    state = updates.initial_pop_art(4, 0.25)
    params = {networks.VALUE_HEAD: {'w': jnp.ones((2, 4)), 'b': jnp.zeros(4)}}
    _, new = updates.rescaled(params, state, TARGETS, TASK, MASK, 0.25)
    # A quarter of the way from 0 and 1 to the means of {1, 3}, {-4, 9}, {50}; nothing of the last task.
    np.testing.assert_allclose(new.shift, [0.5, 0.625, 12.5, 0.0], rtol=1e-6)
    squares = np.array([5.0, (16 + 81) / 2, 2500.0])
    np.testing.assert_allclose(new.second_moment, [*(0.75 + 0.25 * squares), 1.0], rtol=1e-6)
    variance = np.asarray(new.second_moment) - np.square(new.shift)
    np.testing.assert_allclose(new.scale, np.sqrt(variance), rtol=1e-6)
    np.testing.assert_allclose(updates.scales_of(new, TASK), np.sqrt(variance)[TASK], rtol=1e-6)


@pytest.mark.slow
def test_no_return_that_the_network_gives_moves():
    spec = registry.discrete_spec()._replace(num_tasks=3)
    network = networks.make_actor_critic_network('', spec, (8,), values='by_task')
    assert network.num_tasks == 3
    params = jax.jit(network.init)(jax.random.key(0))
    assert params[networks.VALUE_HEAD]['w'].shape == (8, 3)
    generator = np.random.default_rng(0)
    observation = generator.normal(size=(2, 3, 4)).astype(np.float32)
    observation[1] = observation[0]
    inputs = networks.Tasked(observation, TASK)

    @jax.jit
    def returns(params, pop_art):
        output = network.unroll(params, inputs, np.ones((2, 3), np.int32), ())
        return output, updates.unnormalised(pop_art, output.value, TASK)

    state = updates.initial_pop_art(3, 0.25)
    before, known = returns(params, state)
    moved, new = updates.rescaled(params, state, TARGETS, TASK, MASK, 0.25)
    after, still = returns(moved, new)
    np.testing.assert_allclose(still, known, rtol=1e-4, atol=1e-5)
    assert (np.abs(after.value - before.value) > 1e-3).all()
    # The policy is not told of tasks, its values are by task.
    np.testing.assert_array_equal(before.policy.logits[0, :2], before.policy.logits[1, :2])
    assert (before.value[0, :2] != before.value[1, :2]).all()
