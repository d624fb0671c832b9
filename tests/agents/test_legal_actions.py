"""Agents whose environment forbids actions: never taken, never bootstrapped from.

The forbidden action is the one that the network values most, by far.
"""

import jax
import numpy as np
import pytest

from culmen.components.keys import unpack
from tests.agents import registry
from tests.agents import streams

ROWS = [row for row in registry.AGENTS if row.has_legal_actions]
FAVOURED = 2
HUGE = 1e6


def favouring(row, tree):
    return registry.favour(tree, FAVOURED, row.spec.action.num_values, HUGE)


def allow(observation, legal):
    """An observation in which the favoured action is legal, or not, and the others are."""
    mask = np.ones_like(np.asarray(observation['legal_actions']))
    mask[..., FAVOURED] = legal
    return {**observation, 'legal_actions': mask}


def test_there_is_a_row():
    assert ROWS


@pytest.mark.parametrize('role', ['actor', 'evaluator'])
@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.name)
def test_an_illegal_action_is_never_taken(row, role):
    parts = row.agent.build(row.spec)
    core = getattr(parts, role)
    key = jax.random.key(0)
    params = favouring(row, parts.learner.variables(jax.jit(parts.learner.init)(key)))
    num_lanes = 256
    state = core.init(key, streams.lanes(num_lanes))

    @jax.jit
    def act(timestep, state, packed):
        return core.select_action(params, timestep, state, unpack(packed))

    stream = streams.random_stream(row.spec, num_lanes)
    # From the first step, where all is explored, to the end of any schedule.
    for tick, steps in enumerate((0, 0, 5, 10, 10**8, 10**8)):
        timestep = next(stream)
        action, state, _ = act(timestep, state, streams.packed(tick, steps))
        legal = np.asarray(timestep.observation['legal_actions'])
        taken = np.take_along_axis(legal, np.asarray(action)[:, None], axis=1)[:, 0]
        assert (taken | ~legal.any(axis=1)).all()  # nothing is legal where an episode is over
    for legal in (True, False):
        given = timestep._replace(observation=allow(timestep.observation, legal))
        action, _, _ = act(given, state, streams.packed(9, 10**8))
        assert (np.asarray(action) == FAVOURED).any() == legal


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.name)
def test_the_update_ignores_illegal_actions(row):
    """Its bootstrap, ratios and entropy; a legal action that is favoured as much matters."""
    parts = row.agent.build(row.spec)
    plain = jax.jit(parts.learner.init)(jax.random.key(0))
    favoured = favouring(row, plain)  # the online and the target network
    enough = HUGE / 100 if row.replaced else 1e-2
    update = jax.jit(
        lambda state, sample: parts.learner.update(state, sample, streams.context(0))[1]['loss']
    )
    for sample in streams.samples(row):
        steps = sample.steps
        action = np.where(np.asarray(steps.action) == FAVOURED, 0, steps.action).astype(np.int32)

        def loss(state, legal, sample=sample, steps=steps, action=action):
            observation = allow(steps.observation, legal)
            changed = steps._replace(observation=observation, action=action)
            return float(update(state, sample._replace(steps=changed)))

        assert loss(favoured, legal=False) == pytest.approx(loss(plain, legal=False), rel=1e-4)
        assert abs(loss(favoured, legal=True) - loss(plain, legal=True)) > enough
