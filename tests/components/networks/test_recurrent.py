"""Unrolls of cores that are not Haiku's: pure functions, with trees and a first state of their own."""

import haiku as hk
import jax.numpy as jnp
import numpy as np

from culmen.components import networks
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID

STEP_TYPE = np.array([[MID, LAST, FIRST, MID], [FIRST, MID, MID, FIRST]])


def add(inputs, state):
    """Sums up its inputs, and counts its calls."""
    sums, count = state['sum'] + inputs['x'], state['count'] + 1
    return {'sum': sums, 'twice': 2 * sums}, {'sum': sums, 'count': count}


def unrolled(reset_state=None):
    inputs = {'x': jnp.asarray(np.arange(1.0, 9.0).reshape(2, 4, 1), jnp.float32)}
    state = {'sum': jnp.full((2, 1), 10.0), 'count': jnp.full(2, 7)}
    return networks.unroll(add, inputs, STEP_TYPE, state, reset_state)


def test_a_function_is_unrolled_and_begins_anew_at_first():
    outputs, state = unrolled()
    np.testing.assert_array_equal(outputs['sum'][..., 0], [[11, 13, 3, 7], [5, 11, 18, 8]])
    np.testing.assert_array_equal(outputs['twice'], 2 * outputs['sum'])
    np.testing.assert_array_equal(state['count'], [2, 1])
    np.testing.assert_array_equal(state['sum'][:, 0], [7, 8])


def test_it_begins_with_a_state_of_its_own():
    outputs, state = unrolled({'sum': jnp.full((2, 1), 100.0), 'count': jnp.array([0, 50])})
    np.testing.assert_array_equal(
        outputs['sum'][..., 0], [[11, 13, 103, 107], [105, 111, 118, 108]]
    )
    np.testing.assert_array_equal(state['count'], [2, 51])


def test_it_gives_the_same_inside_a_transform():
    inside = hk.without_apply_rng(hk.transform(unrolled)).apply({})
    outside = unrolled()
    np.testing.assert_array_equal(inside[0]['sum'], outside[0]['sum'])
    np.testing.assert_array_equal(inside[1]['count'], outside[1]['count'])
