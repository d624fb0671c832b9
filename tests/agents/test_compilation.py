"""Every agent runs compiled: once for all calls, with its state donated, its settings traced."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components.dispatch import unpack_context
from tests.agents import registry
from tests.agents import streams
from tests.agents import subject

ROWS = pytest.mark.parametrize(
    'row', registry.one_of_each_family_and_kind(registry.AGENTS), ids=lambda row: row.name
)
KINDS = registry.one_of_each_kind()
TRACED = [row for row in registry.AGENTS if row.traced]


def shapes(tree):
    return jax.tree_util.tree_map(lambda x: (jnp.shape(x), jnp.result_type(x)), tree)


def traced_update(agent, sample):
    """The update of a sample as a program, and the shapes of what it gives."""
    update = agent.parts.learner.update
    program, given = jax.make_jaxpr(
        lambda state, packed: update(state, sample, unpack_context(packed)), return_shape=True
    )(agent.state, streams.packed(3))
    return re.sub('0x[0-9a-f]+', '', str(program)), given  # without the addresses of functions


@ROWS
def test_an_update_keeps_the_training_state_as_it_is_and_reports_scalars(row):
    agent = subject.of(row)
    sample = agent.samples()[0]
    program, (after, metrics, priorities) = traced_update(agent, sample)
    assert shapes(after) == shapes(agent.state)
    variables = agent.parts.learner.variables
    assert shapes(variables(after)) == shapes(variables(agent.state))
    assert 'loss' in metrics
    assert {leaf.shape for leaf in jax.tree_util.tree_leaves(metrics)} == {()}
    if getattr(row.experience, 'prioritised', False):
        assert shapes(priorities) == shapes(sample.probability)
    else:
        assert priorities is None
    # No state hides in an agent: traced again it is the same program, called again it gives the same bits.
    assert traced_update(agent, sample)[0] == program
    calls = [agent.update(agent.state, sample, 3) for _ in range(2)]
    streams.assert_trees_equal(*calls)


@pytest.mark.parametrize('row', KINDS, ids=lambda row: row.name)
@pytest.mark.parametrize(
    'options', [{'updates_per_call': 2}, {'devices': jax.devices()[:1]}], ids=str
)
def test_a_learner_of_long_calls_or_on_a_device_compiles_once(row, options):
    agent = subject.of(row)
    learner = agent.learner(streams.Samples(agent.samples(6)), **options)
    actor = agent.worker('actor', learner)
    stream = streams.random_stream(row.spec, subject.LANES)
    for timestep in (next(stream) for _ in range(3)):
        actor.select_action(timestep, 0)
        learner.step(0, updates=options.get('updates_per_call', 1))
    assert learner.num_compilations == actor.num_compilations == 1


@pytest.mark.parametrize(
    'row', registry.one_of_each_family_and_kind(TRACED), ids=lambda row: row.name
)
def test_settings_may_be_traced(row):
    """No branch of Python looks at one, and no shape or dtype follows from one."""
    drawn = subject.of(row).samples()
    numbers = {name: two for name, (_, two) in row.traced.items()}
    traced = jax.eval_shape(
        jax.vmap(lambda settings: train_and_act(row, drawn, settings)),
        {name: jnp.asarray(values) for name, values in row.traced.items()},
    )
    plain = jax.eval_shape(lambda: train_and_act(row, drawn, numbers))
    assert shapes(traced) == jax.tree_util.tree_map(lambda x: ((2, *x.shape), x.dtype), plain)


@pytest.mark.slow
@pytest.mark.parametrize('row', registry.kinds_first(TRACED), ids=lambda row: row.name)
def test_a_sweep_over_settings_agrees_with_building_from_the_numbers(row):
    drawn = subject.of(row).samples()
    sweep = {name: jnp.asarray(values) for name, values in row.traced.items()}
    together = jax.jit(jax.vmap(lambda settings: train_and_act(row, drawn, settings)))(sweep)
    numbers = {name: two for name, (_, two) in row.traced.items()}
    plain = jax.jit(lambda: train_and_act(row, drawn, numbers))()
    second = jax.tree_util.tree_map(lambda x: x[1], together)
    streams.assert_trees_close(second, plain, rtol=1e-4, atol=1e-5)
    assert any(
        not np.allclose(x[0], x[1]) for x in jax.tree_util.tree_leaves(together) if x.size > 2
    )


def train_and_act(row, drawn, settings):
    """Some updates of an agent that is built with these settings, and the actions of its policies."""
    parts = dataclasses.replace(row.agent, **settings).build(row.spec)
    key = jax.random.key(0)
    inputs = jax.tree_util.tree_map(lambda *leaves: np.stack(leaves), *drawn)
    counts = np.stack([streams.packed(i, 0, i) for i in range(len(drawn))])

    def update(state, inputs):
        sample, packed = inputs
        state, *told = parts.learner.update(state, sample, unpack_context(packed))
        return state, told

    state, told = jax.lax.scan(update, parts.learner.init(key), (inputs, counts))
    params = parts.learner.variables(state)
    timestep, lanes = next(streams.random_stream(row.spec, 32)), streams.lanes(32)
    actions = [
        core.select_action(params, timestep, core.init(key, lanes), streams.context(1, 5))[0]
        for core in (parts.actor, parts.evaluator)
    ]
    return state, told, actions
