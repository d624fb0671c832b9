"""Every agent runs compiled: once for all calls, with its state donated, its settings traced."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components.actors import Actor
from culmen.components.keys import Contexts
from culmen.components.keys import unpack
from culmen.components.learners import Learner
from tests.agents import registry
from tests.agents import streams

ROWS = pytest.mark.parametrize('row', registry.AGENTS, ids=lambda row: row.name)
TRACED = [row for row in registry.AGENTS if row.traced]


def shapes(tree):
    return jax.tree_util.tree_map(lambda x: (jnp.shape(x), jnp.result_type(x)), tree)


@ROWS
def test_an_update_keeps_the_training_state_as_it_is_and_reports_scalars(row):
    parts = row.agent.build(row.spec)
    sample = streams.samples(row)[0]
    state = jax.eval_shape(parts.learner.init, jax.random.key(0))
    after, metrics, priorities = jax.eval_shape(
        lambda state: parts.learner.update(state, sample, streams.context(0)), state
    )
    assert shapes(after) == shapes(state)
    assert shapes(parts.learner.variables(after)) == shapes(parts.learner.variables(state))
    assert 'loss' in metrics
    assert {leaf.shape for leaf in jax.tree_util.tree_leaves(metrics)} == {()}
    if getattr(parts.experience, 'prioritised', False):
        assert shapes(priorities) == shapes(sample.probability)
    else:
        assert priorities is None


@ROWS
@pytest.mark.parametrize('updates', [1, 2])
def test_the_learner_compiles_once_and_donates_its_state(row, updates):
    parts = row.agent.build(row.spec)
    table = streams.Samples(streams.samples(row))
    learner = Learner(parts.learner, table, seed=0, updates_per_call=updates)
    before = jax.tree_util.tree_leaves(learner._carry.training_state)
    for _ in range(3):
        learner.step(updates)
    learner.get_variables(None)
    assert learner.num_compilations == 1
    # The old state's memory is the new one's: a leaf used twice would have made that illegal.
    assert all(leaf.is_deleted() for leaf in before)
    for leaf in jax.tree_util.tree_leaves(learner.newest_variables):
        assert np.isfinite(leaf).all()
    prioritised = getattr(parts.experience, 'prioritised', False)
    assert len(table.priorities) == (3 * updates if prioritised else 0)


@ROWS
@pytest.mark.parametrize(
    ('role', 'devices'), [('actor', None), ('evaluator', None), ('actor', jax.devices()[:1])]
)
def test_the_actor_compiles_once(row, role, devices):
    parts = row.agent.build(row.spec)
    table = streams.Samples(streams.samples(row))
    learner = Learner(parts.learner, table, seed=0, devices=devices)
    actor = Actor(getattr(parts, role), learner, streams.lanes(4), Contexts(0, 'actor', 0), 0)
    stream = streams.random_stream(row.spec, 4)
    for timestep in (next(stream) for _ in range(3)):
        actor.select_action(timestep)
        learner.step()
        actor.actor_steps += 4
    assert actor.num_compilations == 1


@pytest.mark.slow
@pytest.mark.parametrize('row', TRACED, ids=lambda row: row.name)
def test_settings_may_be_traced(row):
    """A sweep over settings is a vmap over build, and agrees with building each by itself."""
    drawn = streams.samples(row)
    timestep = next(streams.random_stream(row.spec, 32))
    lanes = streams.lanes(32)

    def train_and_act(settings):
        parts = dataclasses.replace(row.agent, **settings).build(row.spec)
        key = jax.random.key(0)
        state = parts.learner.init(key)
        for i, sample in enumerate(drawn):
            state, metrics, priorities = parts.learner.update(
                state, sample, streams.context(i, 0, i)
            )
        params = parts.learner.variables(state)
        actions = [
            core.select_action(params, timestep, core.init(key, lanes), streams.context(1, 5))[0]
            for core in (parts.actor, parts.evaluator)
        ]
        return state, metrics, priorities, actions

    sweep = {name: jnp.asarray(values) for name, values in row.traced.items()}
    together = jax.jit(jax.vmap(train_and_act))(sweep)
    for i in range(2):
        alone = jax.jit(train_and_act)({name: values[i] for name, values in sweep.items()})
        of_sweep = jax.tree_util.tree_map(lambda x, i=i: x[i], together)
        streams.assert_trees_close(of_sweep, alone, rtol=1e-4, atol=1e-5)
    plain = train_and_act({name: values[0] for name, values in row.traced.items()})
    first = jax.tree_util.tree_map(lambda x: x[0], together)
    streams.assert_trees_close(first, plain, rtol=1e-4, atol=1e-5)
    assert any(
        not np.allclose(x[0], x[1]) for x in jax.tree_util.tree_leaves(together) if x.size > 2
    )


@ROWS
def test_cores_are_functions_of_what_they_are_given(row):
    """No state hides in an agent: the same call gives the same bits, compiled once or twice."""
    parts = row.agent.build(row.spec)
    sample = streams.samples(row)[0]

    def once():
        init = jax.jit(parts.learner.init)(jax.random.key(0))
        update = jax.jit(lambda state, packed: parts.learner.update(state, sample, unpack(packed)))
        return update(init, streams.packed(3))

    streams.assert_trees_equal(once(), once())
