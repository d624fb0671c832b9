"""Networks of action values with memory: a step at a time, and over windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import networks
from culmen.components.networks import NO_ACTION
from culmen.components.networks import RecurrentInputs
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from tests.agents import registry
from tests.agents import streams

pytestmark = pytest.mark.slow

# The second window goes on, ends, and another episode begins in it.
STEP_TYPE = np.array([[FIRST, MID, MID, MID, LAST], [MID, LAST, FIRST, MID, MID]], np.int32)
BATCH, LENGTH = STEP_TYPE.shape


def network_and_inputs(spec, **settings):
    network = networks.make_recurrent_action_value_network(spec, 3, (6,), core_size=5, **settings)
    generator = np.random.default_rng(0)
    inputs = RecurrentInputs(
        STEP_TYPE,
        streams.random_observation(spec.observation, (BATCH, LENGTH), generator),
        generator.integers(3, size=(BATCH, LENGTH)).astype(np.int32),
        generator.normal(size=(BATCH, LENGTH)).astype(np.float32),
    )
    return network, jax.jit(network.init)(jax.random.key(1)), inputs


@pytest.mark.parametrize('core', ['lstm', 'gru'])
@pytest.mark.parametrize('dueling', [False, True])
def test_a_window_is_what_its_steps_are(core, dueling):
    """From the state that entered, anew where an episode begins."""
    network, params, inputs = network_and_inputs(registry.legal_spec(), core=core, dueling=dueling)
    entered = jax.tree_util.tree_map(lambda leaf: leaf + 0.3, network.initial_state(BATCH))
    values, after = jax.jit(network.unroll)(params, inputs, entered)
    assert values.shape == (BATCH, LENGTH, 3)
    state, fresh = entered, network.initial_state(BATCH)
    step = jax.jit(network.step)
    for t in range(LENGTH):
        first = jnp.asarray(STEP_TYPE[:, t] == FIRST)
        state = jax.tree_util.tree_map(
            lambda new, old, first=first: jnp.where(first[:, None], new, old), fresh, state
        )
        given = jax.tree_util.tree_map(lambda leaf, t=t: jnp.asarray(leaf[:, t]), inputs)
        given = given._replace(
            previous_action=jnp.where(first, NO_ACTION, given.previous_action),
            reward=jnp.where(first, 0.0, given.reward),
        )
        expected, state = step(params, given, state)
        np.testing.assert_allclose(values[:, t], expected, rtol=1e-5, atol=1e-6)
    streams.assert_trees_close(after, state)


def test_a_window_may_be_cut_anywhere():
    network, params, inputs = network_and_inputs(registry.discrete_spec())
    whole, after = network.unroll(params, inputs, network.initial_state(BATCH))
    for cut in (1, 3):
        pieces = [
            jax.tree_util.tree_map(lambda leaf, times=times: leaf[:, times], inputs)
            for times in (slice(cut), slice(cut, None))
        ]
        first, state = network.unroll(params, pieces[0], network.initial_state(BATCH))
        second, state = network.unroll(params, pieces[1], state)
        np.testing.assert_allclose(jnp.concatenate([first, second], 1), whole, rtol=1e-5, atol=1e-6)
        streams.assert_trees_close(state, after)


@pytest.mark.parametrize('part', ['previous_action', 'reward'])
@pytest.mark.parametrize('given', [False, True])
def test_what_came_before_is_an_input_by_option(part, given):
    settings = {'previous_action': part == 'previous_action', 'previous_reward': part == 'reward'}
    if not given:
        settings = {name: not value for name, value in settings.items()}
    network, params, inputs = network_and_inputs(registry.discrete_spec(), **settings)
    state = network.initial_state(BATCH)
    other = (np.asarray(getattr(inputs, part)) + 1) % 3
    changed = network.unroll(
        params,
        inputs._replace(**{part: other.astype(np.float32) if part == 'reward' else other}),
        state,
    )[0]
    differs = (changed != network.unroll(params, inputs, state)[0]).any(-1)
    assert differs[:, 1].all() == given
    assert differs.any() == given
    if part == 'previous_action':
        assert not differs[0, 0]  # nothing was done before an episode


def test_large_rewards_are_bounded():
    network, params, inputs = network_and_inputs(registry.discrete_spec())
    state = network.initial_state(BATCH)
    large = [network.unroll(params, inputs._replace(reward=np.full_like(inputs.reward, x)), state)[0]
             for x in (1e3, 1e6)]  # fmt: skip
    np.testing.assert_array_equal(*large)
