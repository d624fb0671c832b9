"""Agents' cores inside one compiled scan: no Python between steps, and DQN to a solved policy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import dqn
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import TimeStep
from tests.agents import registry
from tests.agents import scan
from tests.agents import streams
from tests.jax_catch import JaxCatch

CAPACITY = 32
TICKS = 120


class RandomEnvironment:
    """Random observations of any spec; episodes of three steps; the reward is the time in them."""

    def __init__(self, spec: Any) -> None:
        self._spec = spec

    def reset(self, key: jax.Array) -> tuple[jax.Array, TimeStep]:
        return jnp.int32(0), TimeStep(
            jnp.int32(FIRST), jnp.float32(0), jnp.float32(1), self._observe(key)
        )

    def step(self, key: jax.Array, time: jax.Array, action: Any) -> tuple[jax.Array, TimeStep]:
        time = (time + 1) % 4
        step_type = jnp.select([time == 0, time == 3], [FIRST, LAST], MID).astype(jnp.int32)
        discount = jnp.where(time == 3, 0.0, 1.0)
        return time, TimeStep(step_type, time.astype(jnp.float32), discount, self._observe(key))

    def _observe(self, key: jax.Array) -> Any:
        leaves, structure = jax.tree_util.tree_flatten(self._spec.observation)
        keys = jax.random.split(key, len(leaves))

        def draw(key: jax.Array, leaf: Any) -> jax.Array:
            if leaf.dtype == bool:
                return jax.random.bernoulli(key, 0.5, leaf.shape).at[..., 0].set(True)
            if np.issubdtype(leaf.dtype, np.integer):
                return jax.random.randint(key, leaf.shape, 0, leaf.maximum + 1).astype(leaf.dtype)
            return jax.random.uniform(key, leaf.shape, leaf.dtype, -1.0, 1.0)

        return structure.unflatten(map(draw, keys, leaves))


@pytest.mark.slow
@pytest.mark.parametrize(
    'row',
    [row for row in registry.AGENTS if isinstance(row.experience, Replay)],
    ids=lambda row: row.name,
)
def test_an_agent_trains_inside_one_scan(row):
    parts = row.agent.build(row.spec)
    params, reports = scan.train(parts, RandomEnvironment(row.spec), TICKS, CAPACITY, seed=0)
    assert 80 < reports['due'].sum() < TICKS
    assert np.isfinite(reports['loss']).all()
    np.testing.assert_array_equal(reports['reward'][:8], [1, 2, 3, 0, 1, 2, 3, 0])
    initial = parts.learner.variables(jax.jit(parts.learner.init)(jax.random.key(0)))
    for a, b in zip(*map(jax.tree_util.tree_leaves, (initial, params)), strict=True):
        assert a.shape == b.shape
        assert np.isfinite(b).all()
        assert (a != b).any()


@pytest.mark.parametrize(
    'row', [row for row in registry.AGENTS if not row.replaced], ids=lambda row: row.name
)
def test_an_agent_of_a_queue_trains_inside_one_scan(row):
    parts = row.agent.build(row.spec)
    params, reports = scan.train_in_step(
        parts, RandomEnvironment(row.spec), num_updates=4, num_lanes=2, seed=0
    )
    assert np.isfinite(reports['loss']).all()
    rewards = np.asarray(reports['reward'])[:, 0].reshape(-1)
    np.testing.assert_array_equal(rewards[:8], [1, 2, 3, 0, 1, 2, 3, 0])
    initial = parts.learner.variables(jax.jit(parts.learner.init)(jax.random.key(0)))
    for a, b in zip(*map(jax.tree_util.tree_leaves, (initial, params)), strict=True):
        assert a.shape == b.shape
        assert np.isfinite(b).all()
        assert (a != b).any()


def test_the_windows_of_the_scan_are_those_of_the_tables():
    """Rows of three-step episodes: step types 0 1 1 2, rewards 0 1 2 3."""
    time = jnp.arange(8) % 4
    timestep = TimeStep(
        jnp.array([0, 1, 1, 2, 0, 1, 1, 2], jnp.int32),
        time.astype(jnp.float32),
        jnp.where(time == 3, 0.0, 1.0),
        jnp.arange(8.0)[:, None],
    )
    rows = scan.Row(timestep, jnp.arange(8), ())
    steps = scan.cut(rows, jnp.int32(1), Window(length=3, ends=('observation',)))
    np.testing.assert_array_equal(steps.mask, [True, True, False])
    np.testing.assert_array_equal(steps.step_type, [1, 1, 2, 2])
    np.testing.assert_array_equal(steps.reward, [1, 2, 3, 0])
    np.testing.assert_array_equal(steps.discount, [1, 1, 0, 0])
    np.testing.assert_array_equal(steps.action, [1, 2, 0])
    np.testing.assert_array_equal(steps.observation, [[1], [3]])
    steps = scan.cut(rows, jnp.int32(7 + 1), Window(length=2))  # around the ring
    np.testing.assert_array_equal(steps.observation[:, 0], [0, 1, 2])
    assert steps.mask.all()


@pytest.mark.learning
@pytest.mark.parametrize('seed', range(3))
def test_dqn_solves_catch_inside_one_scan(seed):
    environment = JaxCatch()
    agent = dqn.DQN(
        hidden_sizes=(32,), n_step=1, double=True, min_replay_size=100, batch_size=32,
        replay_capacity=2_000, samples_per_insert=32.0, epsilon=0.05, epsilon_initial=1.0,
        epsilon_decay_steps=1_000, learning_rate=1e-3, target_update_period=100, discount=0.99,
    )  # fmt: skip
    parts = agent.build(environment.spec())
    params, _ = scan.train(parts, environment, num_ticks=6_000, capacity=2_000, seed=seed)
    assert scan.evaluate(parts, environment, params, num_lanes=16, num_ticks=100) == 1.0


def test_an_untrained_policy_does_not_solve_catch():
    environment = JaxCatch()
    parts = dqn.DQN(hidden_sizes=(32,)).build(environment.spec())
    params = parts.learner.variables(parts.learner.init(jax.random.key(0)))
    assert scan.evaluate(parts, environment, params, num_lanes=16, num_ticks=100) < 0.5


def test_the_random_environment_is_of_the_spec():
    for row in registry.AGENTS:
        environment = RandomEnvironment(row.spec)
        _, timestep = environment.reset(jax.random.key(0))
        jax.tree_util.tree_map(
            lambda spec, x: spec.validate(np.asarray(x)), row.spec.observation, timestep.observation
        )
        first = streams.first_timestep(row.spec, 1)
        assert jax.tree_util.tree_structure(first) == jax.tree_util.tree_structure(timestep)
