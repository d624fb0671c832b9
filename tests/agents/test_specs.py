"""What every agent's build promises: refusals by name, no compute, actions that fit."""

import dataclasses
import pickle

import jax
import numpy as np
import pytest

from culmen.components.actors.actor import extras_spec
from culmen.core import checks
from culmen.core.agent import Agent
from culmen.core.agent import Parts
from culmen.core.staleness import check_experience
from tests.agents import registry
from tests.agents import streams
from tests.agents import subject

ROWS = pytest.mark.parametrize('row', registry.AGENTS, ids=lambda row: row.name)
REFUSALS = [(row, *refusal) for row in registry.AGENTS for refusal in row.refused]


@pytest.mark.parametrize(
    ('row', 'spec', 'words'), REFUSALS, ids=lambda x: x.name if isinstance(x, registry.Row) else ''
)
def test_build_refuses_by_name_what_it_can_not_do(row, spec, words):
    with pytest.raises(ValueError, match=words):
        row.agent.build(spec)


@ROWS
def test_an_agent_is_frozen_settings_that_pickle(row):
    assert isinstance(row.agent, Agent)
    field = dataclasses.fields(row.agent)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(row.agent, field, None)
    assert pickle.loads(pickle.dumps(row.agent)) == row.agent
    checks.check_types(row.agent)


@ROWS
def test_build_computes_nothing(row):
    def build():
        assert isinstance(row.agent.build(row.spec), Parts)
        return 0

    before = jax.live_arrays()  # held: what other tests left must not be collected in between
    kept = row.agent.build(row.spec)
    held = {id(array) for array in before}
    assert not [array for array in jax.live_arrays() if id(array) not in held]
    assert kept.experience == row.agent.build(row.spec).experience
    # Whatever JAX is asked for while it traces is written into the program, constants too.
    traced = jax.make_jaxpr(build)()
    assert not traced.jaxpr.eqns
    assert not traced.consts


@ROWS
def test_its_experience_can_be_run(row):
    check_experience(row.agent.build(row.spec).experience, num_lanes=4)


@ROWS
@pytest.mark.parametrize('role', ['actor', 'evaluator'])
def test_actions_fit_the_spec_and_are_what_eval_shape_says(row, role):
    agent = subject.of(row)
    core = getattr(agent.parts, role)
    num_lanes = subject.LANES
    state = agent.init(role)
    for leaf in jax.tree_util.tree_leaves(state):
        assert leaf.shape[:1] == (num_lanes,)
    first = streams.first_timestep(row.spec, num_lanes)
    shapes = extras_spec(core, agent.params, first, streams.lanes(num_lanes))

    seen = set()
    stream = streams.random_stream(row.spec, num_lanes)
    for tick, timestep in zip(range(12), stream, strict=False):
        action, after, extras = agent.act(role, agent.params, timestep, state, tick, tick)
        for wanted, given in zip(shapes, (action, extras), strict=True):
            assert jax.tree_util.tree_structure(wanted) == jax.tree_util.tree_structure(given)
            for a, b in zip(*map(jax.tree_util.tree_leaves, (wanted, given)), strict=True):
                assert (num_lanes, *a.shape) == b.shape
                assert a.dtype == b.dtype
        jax.tree_util.tree_map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), state, after)
        for lane in range(num_lanes):
            of_lane = jax.tree_util.tree_map(lambda x, lane=lane: np.asarray(x)[lane], action)
            jax.tree_util.tree_map(lambda spec, x: spec.validate(x), row.spec.action, of_lane)
            seen.add(str(of_lane))
        state = after
    if role == 'actor':
        assert len(seen) > 1  # it explores
    else:
        assert extras == ()
