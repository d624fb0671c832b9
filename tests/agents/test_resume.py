"""Every agent's workers go on from a saved state as if they had never stopped, to the bit."""

import json

import jax
import pytest

from culmen.components.checkpointing import trees
from tests.agents import registry
from tests.agents import streams
from tests.agents import subject

ROLES = ('actor', 'evaluator')
ROWS = pytest.mark.parametrize(
    'row', registry.one_of_each_family_and_kind(registry.AGENTS), ids=lambda row: row.name
)


def stored(state):
    """A state as a checkpoint gives it back: what JSON holds, and arrays."""
    plain, arrays = trees.split(state)
    return trees.join(json.loads(trees.dumps(plain)), arrays)


@pytest.mark.slow
@ROWS
def test_a_learner_and_its_policies_go_on(row):
    """And each of them compiles once, though every call has new variables."""
    agent = subject.of(row)
    drawn = agent.samples(6)
    stream = streams.random_stream(row.spec, subject.LANES)
    timesteps = [next(stream) for _ in range(6)]

    def run(learner, workers, timesteps):
        """What the learner hands on and the policies do."""
        told = []
        for timestep in timesteps:
            told.append(learner.get_variables(None)[0])
            told.append(
                {role: worker.select_action(timestep, 0) for role, worker in workers.items()}
            )
            learner.step(0)
        return told

    def make():
        table = streams.Samples(drawn)
        learner = agent.learner(table, lag=1)
        return table, learner, {role: agent.worker(role, learner) for role in ROLES}

    table, whole, workers = make()
    run(whole, workers, timesteps[:3])
    saved = stored([each.get_state() for each in (whole, *workers.values())])
    before = whole.newest_variables
    table_of_resumed, resumed, resumed_workers = make()
    table_of_resumed.draws = 3
    for each, state in zip((resumed, *resumed_workers.values()), saved, strict=True):
        each.set_state(state)
    assert resumed.learner_steps == 3
    streams.assert_trees_equal(
        run(resumed, resumed_workers, timesteps[3:]), run(whole, workers, timesteps[3:])
    )
    for one, other in zip(
        (resumed, *resumed_workers.values()), (whole, *workers.values()), strict=True
    ):
        streams.assert_trees_equal(stored(one.get_state()), stored(other.get_state()))
        assert one.num_compilations == other.num_compilations == 1
    streams.assert_trees_equal(resumed.newest_variables, whole.newest_variables)
    streams.assert_trees_equal(resumed.get_variables(None), whole.get_variables(None))
    assert resumed.metrics == whole.metrics
    assert not equal(resumed.newest_variables, before)
    prioritised = getattr(row.experience, 'prioritised', False)
    assert len(table.priorities) == (4 if prioritised else 0)  # two calls are in flight


@ROWS
def test_an_actor_s_keys_go_on_with_its_count_of_calls(row):
    agent = subject.of(row)
    stream = streams.random_stream(row.spec, subject.LANES)
    timesteps = [next(stream) for _ in range(20)]
    fresh, later = (agent.init('actor') for _ in range(2))
    differs = False
    for tick, timestep in enumerate(timesteps):
        first, fresh, _ = agent.act('actor', agent.params, timestep, fresh, tick)
        second, later, _ = agent.act('actor', agent.params, timestep, later, tick + 1)
        differs |= not equal(first, second)
    assert differs


def equal(a, b):
    return all((x == y).all() for x, y in zip(*map(jax.tree_util.tree_leaves, (a, b)), strict=True))
