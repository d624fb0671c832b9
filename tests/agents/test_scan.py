"""An agent's cores inside a compiled scan that is not Culmen's: no Python between steps, and Catch solved.

What holds for every agent is asked of the compiled loop (test_compiled.py).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import dqn
from culmen.core.experience import Window
from culmen.core.types import TimeStep
from tests.agents import registry
from tests.agents import scan
from tests.agents import subject
from tests.agents.toys import Toy
from tests.jax_catch import JaxCatch

CAPACITY = 32
TICKS = 120


def check(row, params, rewards):
    """The environment was stepped in order, and every parameter has moved and is finite."""
    np.testing.assert_array_equal(rewards[:8], [1, 2, 3, 0, 1, 2, 3, 0])
    initial = subject.of(row).params
    for a, b in zip(*map(jax.tree_util.tree_leaves, (initial, params)), strict=True):
        assert a.shape == b.shape
        assert np.isfinite(b).all()
        assert (a != b).any()


@pytest.mark.slow
@pytest.mark.parametrize('row', [registry.of('dqn')], ids=lambda row: row.name)
def test_an_agent_trains_inside_one_scan(row):
    params, reports = scan.train(subject.of(row).parts, Toy(row.spec), TICKS, CAPACITY, seed=0)
    assert 80 < reports['due'].sum() < TICKS
    assert np.isfinite(reports['loss']).all()
    check(row, params, reports['reward'])


@pytest.mark.parametrize('row', [registry.of('impala')], ids=lambda row: row.name)
def test_an_agent_of_a_queue_trains_inside_one_scan(row):
    params, reports = scan.train_in_step(
        subject.of(row).parts, Toy(row.spec), num_updates=4, num_lanes=2, seed=0
    )
    assert np.isfinite(reports['loss']).all()
    check(row, params, np.asarray(reports['reward'])[:, 0].reshape(-1))


@pytest.mark.slow
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


@pytest.mark.slow
def test_an_untrained_policy_does_not_solve_catch():
    environment = JaxCatch()
    parts = dqn.DQN(hidden_sizes=(32,)).build(environment.spec())
    params = parts.learner.variables(parts.learner.init(jax.random.key(0)))
    assert scan.evaluate(parts, environment, params, num_lanes=16, num_ticks=100) < 0.5
