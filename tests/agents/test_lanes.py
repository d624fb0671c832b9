"""What a lane does depends on that lane alone, however lanes are batched."""

import jax
import numpy as np
import pytest

from culmen.components.keys import unpack
from culmen.core.types import Lanes
from tests.agents import registry
from tests.agents import streams

PIECES = ([0], [1, 2, 3], [4, 5, 6, 7, 8, 9, 10], [11, 12])
TICKS = 15


def act(row, role, index, total, params):
    """Actions, extras and states of some lanes of a program of `total` lanes, at every tick."""
    parts = row.agent.build(row.spec)
    core = getattr(parts, role)
    select = jax.jit(
        lambda timestep, state, packed: core.select_action(params, timestep, state, unpack(packed))
    )
    index = np.asarray(index, np.int32)
    state = core.init(jax.random.key(1), Lanes(index, total))
    stream = streams.random_stream(row.spec, total, seed=3)
    given = []
    for tick in range(TICKS):
        timestep = jax.tree_util.tree_map(lambda x: x[index], next(stream))
        action, state, extras = select(timestep, state, streams.packed(tick, 2 * tick))
        given.append((action, extras, state))
    return jax.tree_util.tree_map(lambda *leaves: np.stack(leaves), *given)


@pytest.mark.slow
@pytest.mark.parametrize('role', ['evaluator', 'actor'])
@pytest.mark.parametrize('row', registry.AGENTS, ids=lambda row: row.name)
def test_ragged_pieces_of_a_batch_act_like_the_batch(row, role):
    if role == 'actor' and not row.lane_keys:
        pytest.skip('its exploration is drawn for the whole batch')
    parts = row.agent.build(row.spec)
    params = parts.learner.variables(jax.jit(parts.learner.init)(jax.random.key(0)))
    total = sum(map(len, PIECES))
    whole_actions, whole_extras, whole_states = act(row, role, range(total), total, params)
    assert len(np.unique(jax.tree_util.tree_leaves(whole_actions)[0])) > 1
    for piece in PIECES:
        actions, extras, states = act(row, role, piece, total, params)
        whole = jax.tree_util.tree_map(
            lambda x, piece=piece: x[:, piece], (whole_actions, whole_extras, whole_states)
        )
        if jax.tree_util.tree_leaves(actions)[0].dtype.kind == 'f':
            streams.assert_trees_close(actions, whole[0])
        else:
            streams.assert_trees_equal(actions, whole[0])
        # Products of matrices of other shapes may round otherwise.
        for a, b in zip(
            *map(jax.tree_util.tree_leaves, ((extras, states), whole[1:])), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
