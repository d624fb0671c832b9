"""Every agent's workers go on from a saved state as if they had never stopped, to the bit."""

import json

import jax
import pytest

from culmen.components.actors import Actor
from culmen.components.checkpointing import trees
from culmen.components.keys import Contexts
from culmen.components.learners import Learner
from tests.agents import registry
from tests.agents import streams

ROWS = pytest.mark.parametrize('row', registry.AGENTS, ids=lambda row: row.name)


def stored(state):
    """A state as a checkpoint gives it back: what JSON holds, and arrays."""
    plain, arrays = trees.split(state)
    return trees.join(json.loads(trees.dumps(plain)), arrays)


@pytest.mark.slow
@ROWS
def test_a_learner_goes_on(row):
    core = row.agent.build(row.spec).learner
    drawn = streams.samples(row, num=6)

    def make(recorded):
        return Learner(core, streams.Samples(recorded), seed=5, lag=1)

    def run(learner, calls):
        versions = []
        for _ in range(calls):
            versions.append(learner.get_variables(None)[0])
            learner.step()
        return versions

    whole, broken = make(drawn), make(drawn)
    run(whole, 3)
    run(broken, 3)
    resumed = make(drawn[3:])
    resumed.set_state(stored(broken.get_state()))
    assert resumed.learner_steps == 3
    assert run(resumed, 3) == run(whole, 3)
    streams.assert_trees_equal(resumed._carry, whole._carry)
    streams.assert_trees_equal(resumed.newest_variables, whole.newest_variables)
    streams.assert_trees_equal(resumed.get_variables(None), whole.get_variables(None))
    assert resumed.metrics == whole.metrics
    assert not equal(resumed.newest_variables, broken.newest_variables)


@ROWS
@pytest.mark.parametrize('role', ['actor', 'evaluator'])
def test_an_actor_goes_on(row, role):
    parts = row.agent.build(row.spec)
    learner = Learner(parts.learner, streams.Samples(streams.samples(row)), seed=0)

    def make():
        return Actor(getattr(parts, role), learner, streams.lanes(64), Contexts(0, 'actor', 0), 1)

    stream = streams.random_stream(row.spec, 64)
    timesteps = [next(stream) for _ in range(8)]
    whole, resumed = make(), make()
    for timestep in timesteps[:4]:
        whole.select_action(timestep)
    resumed.set_state(stored(whole.get_state()))
    fresh = make()
    differs = False
    for timestep in timesteps[4:]:
        expected = whole.select_action(timestep)
        streams.assert_trees_equal(resumed.select_action(timestep), expected)
        differs |= not equal(fresh.select_action(timestep), expected)
    streams.assert_trees_equal(resumed.get_state(), whole.get_state())
    if role == 'actor':
        assert differs  # its keys go on with its count of calls


def equal(a, b):
    return all((x == y).all() for x, y in zip(*map(jax.tree_util.tree_leaves, (a, b)), strict=True))
