"""What is kept and drawn by lane."""

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components import policies
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import Lanes
from culmen.core.types import TimeStep


def test_a_key_is_of_the_call_and_of_the_lane():
    key = jax.random.key(1)
    lane = policies.lane_index(Lanes(np.array([4, 2], np.int64), 5))
    assert (lane.dtype, lane.tolist()) == (jnp.int32, [4, 2])
    drawn = jax.vmap(jax.random.uniform)(policies.lane_keys(key, lane))
    assert drawn.tolist() == [jax.random.uniform(jax.random.fold_in(key, i)) for i in (4, 2)]


def test_a_state_in_each_lane():
    state = policies.in_each_lane({'a': np.arange(3), 'b': jnp.float32(2)}, 4)
    np.testing.assert_array_equal(state['a'], [[0, 1, 2]] * 4)
    np.testing.assert_array_equal(state['b'], [2.0] * 4)


def test_the_return_of_an_episode_so_far():
    step_types = [[FIRST, MID], [MID, LAST], [MID, FIRST], [LAST, MID]]
    rewards = np.array([[0, 5], [1, 2], [2, 0], [4, 3]], np.float32)
    totals = {'a': jnp.zeros(2), 'b': jnp.zeros((2, 1))}
    seen = []
    for step_type, reward in zip(step_types, rewards, strict=True):
        timestep = TimeStep(np.array(step_type), {'a': reward, 'b': -reward[:, None]}, None, ())
        totals = policies.episode_return(timestep, totals, 0.5)
        seen.append(totals)
    np.testing.assert_array_equal(
        [each['a'] for each in seen], [[0, 5], [1, 4.5], [2.5, 0], [5.25, 3]]
    )
    np.testing.assert_array_equal(seen[-1]['b'], [[-5.25], [-3]])
