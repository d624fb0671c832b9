"""A pool of past parameters."""

import jax
import numpy as np

from culmen.components import updates


def params(number):
    return {'w': np.full((2, 3), number, np.float32), 'n': np.int32(number)}


def members(pool, draws=60):
    """The members that draws give, and how often each."""
    found = {}
    for key in jax.random.split(jax.random.key(0), draws):
        drawn, place = updates.draw_from_pool(pool, key)
        assert (drawn['w'] == drawn['n']).all()
        assert int(pool.params['n'][place]) == int(drawn['n'])
        found[int(drawn['n'])] = found.get(int(drawn['n']), 0) + 1
    return found


def test_only_members_are_drawn_each_as_often():
    pool = updates.new_pool(params(1), capacity=3)
    assert set(members(pool)) == {1}
    pool = updates.add_to_pool(pool, params(2))
    found = members(pool)
    assert set(found) == {1, 2}
    assert min(found.values()) > 15


def test_a_full_pool_loses_its_oldest():
    pool = updates.new_pool(params(1), capacity=3)
    add = jax.jit(updates.add_to_pool)
    for number in (2, 3, 4, 5):
        pool = add(pool, params(number), True)
    assert int(pool.added) == 5
    assert set(members(pool)) == {3, 4, 5}


def test_nothing_is_added_where_it_is_not_due():
    pool = updates.new_pool(params(1), capacity=2)
    same = jax.jit(updates.add_to_pool)(pool, params(2), False)
    for a, b in zip(*map(jax.tree_util.tree_leaves, (pool, same)), strict=True):
        np.testing.assert_array_equal(a, b)
