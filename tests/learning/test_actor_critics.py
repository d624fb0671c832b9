"""IMPALA, A2C and PPO with their defaults learn Catch; with memory, what only memory can tell."""

import pytest

import culmen
from culmen.agents import impala
from culmen.agents import ppo
from culmen.launchers import compiled
from tests import probes

pytestmark = pytest.mark.learning

AGENTS = {'impala': impala.IMPALA, 'a2c': impala.A2C, 'ppo': ppo.PPO}
MEMORY = {'hidden_sizes': (16,), 'core': 'lstm', 'core_size': 16, 'learning_rate': 1e-2}


def mean_return(agent, environment, steps, run=culmen.run):
    experiment = culmen.Experiment(
        agent=agent,
        environment=environment,
        seed=1,
        max_actor_steps=steps,
        evaluation=culmen.Evaluation(every=None, episodes=100),
    )
    return run(experiment, progress=False).summary['evaluation']['return_mean']


@pytest.mark.parametrize('name', AGENTS)
def test_the_defaults_learn_catch(name):
    assert mean_return(AGENTS[name](), 'jax/catch', 20_000, run=compiled.run) >= 0.8


@pytest.mark.parametrize('name', AGENTS)
def test_a_core_remembers(name):
    """The cue of an episode's first step names the right last action; the steps between say nothing."""
    given = mean_return(AGENTS[name](**MEMORY), probes.MemoryProbe, 12_000)
    assert given == probes.MemoryProbe.best_return


def test_without_a_core_nothing_is_remembered():
    assert mean_return(impala.A2C(hidden_sizes=(16,)), probes.MemoryProbe, 6_000) < 0.5


def test_continuous_actions():
    """The best action is 0.5: a mean return of -0.01 is within 0.1 of it."""
    agent = ppo.PPO(hidden_sizes=(16,), learning_rate=3e-3)
    assert mean_return(agent, probes.ContinuousProbe, 6_000) > -0.01
