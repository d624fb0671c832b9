"""What a lane does depends on that lane alone, however lanes are batched."""

import jax
import numpy as np
import pytest

from culmen.core.types import Lanes
from tests.agents import registry
from tests.agents import streams
from tests.agents import subject

# Not in order; pieces of as many lanes as the subject's programs are compiled for.
PIECES = ([0, 5, 6, 11], [1, 2, 3, 10], [4, 7, 8, 9])
TOTAL = sum(map(len, PIECES))
TICKS = 15


def act(agent, role, index):
    """Actions, extras and states of some lanes of a program of TOTAL, at every tick."""
    index = np.asarray(index, np.int32)
    state = agent.init(role, Lanes(index, TOTAL))
    stream = streams.random_stream(agent.row.spec, TOTAL, seed=3)
    given = []
    for tick in range(TICKS):
        timestep = jax.tree_util.tree_map(lambda x: x[index], next(stream))
        action, state, extras = agent.act(role, agent.params, timestep, state, tick, 2 * tick)
        given.append((action, extras, state))
    return jax.tree_util.tree_map(lambda *leaves: np.stack(leaves), *given)


@pytest.mark.slow
@pytest.mark.parametrize('role', ['evaluator', 'actor'])
@pytest.mark.parametrize(
    'row', registry.one_of_each_family_and_kind(registry.AGENTS), ids=lambda row: row.name
)
def test_pieces_of_a_batch_act_like_the_batch(row, role):
    if role == 'actor' and not row.lane_keys:
        pytest.skip('its exploration is drawn for the whole batch')
    agent = subject.of(row)
    whole_actions, whole_extras, whole_states = act(agent, role, range(TOTAL))
    assert len(np.unique(jax.tree_util.tree_leaves(whole_actions)[0])) > 1
    for piece in PIECES:
        actions, extras, states = act(agent, role, piece)
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
