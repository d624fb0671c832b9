"""Trees in few arrays."""

import pickle
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components.dispatch import Packed
from culmen.components.dispatch import pack
from culmen.components.dispatch import unpacked


class State(NamedTuple):
    params: dict
    target: dict
    count: jax.Array


def state():
    params = {
        'w': jnp.arange(6.0).reshape(2, 3),
        'b': jnp.array([-0.0, jnp.nan]),
        'n': jnp.array([[1, 2]]),
        'large': jnp.ones((256, 256)),
    }
    return State(params, jax.tree_util.tree_map(lambda x: x + 1, params), jnp.int32(7))


def assert_same(a, b):
    assert jax.tree_util.tree_structure(a) == jax.tree_util.tree_structure(b)
    for x, y in zip(jax.tree_util.tree_leaves(a), jax.tree_util.tree_leaves(b), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        np.testing.assert_array_equal(np.asarray(x).view(np.int32), np.asarray(y).view(np.int32))


@pytest.mark.parametrize(('by_child', 'num'), [(False, 4), (True, 7)])
def test_a_tree_comes_back_from_few_arrays(by_child, num):
    packed = pack(state(), by_child)
    # Floats and integers, by child or together; large leaves alone; the count with the integers.
    assert len(jax.tree_util.tree_leaves(packed)) == num
    assert_same(packed.unpack(), state())
    assert_same(jax.jit(Packed.unpack)(packed), state())
    on_host = jax.tree_util.tree_map(np.asarray, packed).unpack()
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree_util.tree_leaves(on_host))
    assert_same(on_host, state())


def test_equal_trees_have_one_layout_and_compile_once():
    traced = []

    @jax.jit
    def double(packed):
        traced.append(packed.layout)
        return pack(jax.tree_util.tree_map(lambda x: 2 * x, packed.unpack()))

    once = double(pack(state()))
    again = double(once)
    on_host = jax.tree_util.tree_map(np.asarray, again)
    assert pickle.loads(pickle.dumps(on_host)).layout is once.layout
    assert len(traced) == 1
    assert once.layout is again.layout is pack(state()).layout
    assert pack(state()).layout is not pack(state().params).layout


def test_unpacked_opens_what_is_packed_and_leaves_the_rest():
    tree = {'a': pack({'x': jnp.ones(2)}), 'b': (jnp.zeros(1), None)}
    opened = unpacked(tree)
    assert_same(opened['a'], {'x': jnp.ones(2)})
    assert opened['b'][0] is tree['b'][0]
    assert unpacked(3) == 3


def test_numbers_and_empty_trees():
    assert unpacked(pack({'a': 1, 'b': 2.5})) == {'a': 1, 'b': 2.5}
    assert pack({}).unpack() == {}
