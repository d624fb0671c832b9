"""Acting in a box."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.components.networks import action_box
from culmen.components.policies import deterministic
from culmen.components.policies import exploring
from culmen.components.policies import with_gaussian_noise
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import TimeStep
from tests.agents import registry

LANES = 4000
BOX = action_box(
    'X',
    registry.continuous_spec()._replace(
        action=specs.BoundedArray((2,), np.float32, [-2.0, 0.0], [2.0, 10.0])
    ),
)


def policy(params, observation):
    return jnp.broadcast_to(params, (observation.shape[0], 2))


def act(core, params, actor_steps=0, key=0, index=range(LANES)):
    index = jnp.asarray(list(index), jnp.int32)
    state = core.init(jax.random.key(0), Lanes(index, LANES))
    timestep = TimeStep(jnp.ones(len(index), jnp.int32), None, None, jnp.zeros((len(index), 1)))
    context = Context(jax.random.key(key), jnp.int32(actor_steps), jnp.int32(0), jnp.int32(0))
    select_action = jax.jit(core.select_action)
    action, _, extras = select_action(jnp.asarray(params), timestep, state, context)
    assert extras == ()
    assert action.dtype == jnp.float32
    return np.asarray(action)


def test_deterministic():
    given = act(deterministic(policy, BOX), [0.5, -0.5], index=range(3))
    np.testing.assert_allclose(given, [[1.0, 2.5]] * 3)


def test_gaussian_noise_is_in_canonical_units_and_clipped():
    core = exploring(with_gaussian_noise(policy, 0.1), BOX)
    given = act(core, [0.0, 0.0])
    np.testing.assert_allclose(given.mean(0), [0.0, 5.0], atol=0.05)
    np.testing.assert_allclose(given.std(0), [0.2, 0.5], rtol=0.05)
    assert abs(np.corrcoef(given.T)[0, 1]) < 0.05
    edge = act(core, [1.0, -1.0])
    assert (edge[:, 0] <= 2.0).all() and (edge[:, 1] >= 0.0).all()
    assert np.mean(edge[:, 0] == 2.0) == pytest.approx(0.5, abs=0.05)


def test_actions_are_uniform_for_so_many_steps():
    core = exploring(with_gaussian_noise(policy, 0.0), BOX, random_steps=10)
    for actor_steps in (0, 9):
        given = act(core, [0.5, -0.5], actor_steps)
        for column, (low, high) in enumerate(((-2.0, 2.0), (0.0, 10.0))):
            shares = np.histogram(given[:, column], 4, (low, high))[0] / LANES
            np.testing.assert_allclose(shares, 0.25, atol=0.04)
    np.testing.assert_allclose(act(core, [0.5, -0.5], 10), [[1.0, 2.5]] * LANES)


@pytest.mark.parametrize('random_steps', [0, 10])
def test_a_lane_draws_by_itself(random_steps):
    core = exploring(with_gaussian_noise(policy, 0.3), BOX, random_steps)
    whole = act(core, [0.0, 0.0], index=range(8))
    assert len(np.unique(whole[:, 0])) == 8
    np.testing.assert_allclose(act(core, [0.0, 0.0], index=[5, 6]), whole[5:7], rtol=1e-6)
    assert (act(core, [0.0, 0.0], index=range(8), key=1) != whole).all()
