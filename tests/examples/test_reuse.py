"""The examples of reuse: another agent's actor, and one policy in every loop."""

import importlib.util
from pathlib import Path

import jax
import pytest

import culmen
from culmen.core.specs import make_environment_spec
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
    mine, its = agent.build(spec), agent.base.build(spec)
    codes = [[core.select_action.__code__, core.init.__code__] for core in (mine.actor, its.actor)]
    assert codes[0] == codes[1]
    init = lambda parts: jax.eval_shape(
        lambda: parts.learner.variables(parts.learner.init(jax.random.key(0)))
    )
    assert init(mine) == init(its)


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
