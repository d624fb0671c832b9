"""The examples of reuse: another agent's actor, and one policy in every loop."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import culmen
from culmen.core.specs import make_environment_spec
from culmen.core.types import MID
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import TimeStep
from tests.conftest import is_installed

ROOT = Path(__file__).parents[2]


def example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / 'examples' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_borrowed_actor_is_dqns_own():
    pytest.importorskip('bsuite')
    agent = example('borrowed_actor').ExpectedSarsa()
    environment = culmen.components.environments.make('bsuite/catch/0', 0)
    spec = make_environment_spec(environment)
    both = agent.build(spec), agent.base.build(spec)
    variables = [
        jax.jit(
            lambda parts=parts: parts.learner.variables(parts.learner.init(jax.random.key(0)))
        )()
        for parts in both
    ]
    shapes = [jax.eval_shape(lambda each=each: each) for each in variables]
    assert shapes[0] == shapes[1]
    lanes = Lanes(np.arange(64, dtype=np.int32), 64)
    observations = np.random.default_rng(0).random((64, *spec.observation.shape), np.float32)
    ones = np.ones(64, np.float32)
    timestep = TimeStep(np.full(64, MID, np.int32), ones, ones, observations)
    context = Context(jax.random.key(1), jnp.int32(500), jnp.int32(7), jnp.int32(7))
    acted = []
    for parts in both:
        state = parts.actor.init(jax.random.key(2), lanes)
        acted.append(parts.actor.select_action(variables[0], timestep, state, context))
    a, b = map(jax.tree_util.tree_leaves, acted)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)
    assert len(set(np.asarray(acted[0][0]).tolist())) > 1


@pytest.mark.learning
@pytest.mark.parametrize('seed', [1, 2])
def test_an_agent_with_a_borrowed_actor_learns(seed):
    pytest.importorskip('bsuite')
    agent = example('borrowed_actor').ExpectedSarsa()
    experiment = culmen.Experiment(agent, 'bsuite/catch/0', seed=seed, max_actor_steps=10_000)
    result = culmen.run(experiment, progress=False)
    assert result.summary['evaluation']['return_mean'] == 1.0


@pytest.mark.learning
@pytest.mark.launchpad
def test_one_policy_plays_the_same_in_every_loop():
    pytest.importorskip('bsuite')
    played = example('one_policy').main(steps=20_000)
    loops = ['one environment', 'eight environments, one call']
    if is_installed('launchpad') and is_installed('reverb'):
        loops.append('a program of two actors')
    assert list(played) == loops
    for found in played.values():
        assert len(found) > 200
        assert found.mean() == 1.0
