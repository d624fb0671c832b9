"""The sum tree: finds, changes, edges of rounding."""

import numpy as np
import pytest
import scipy.stats

from culmen.components.replay.in_process.sum_tree import SumTree

SIZES = [1, 2, 63, 64, 65, 2048, 5000, 64 * 2048 + 1]  # one to three levels


@pytest.mark.parametrize('size', SIZES)
def test_finds_what_a_cumulative_sum_finds(size: int) -> None:
    rng = np.random.default_rng(size)
    weights = rng.random(size) * (rng.random(size) < 0.7) + 1e-9
    tree = SumTree(size)
    tree.set_range(0, weights)
    fractions = rng.random(500)
    leaves, probability = tree.find(fractions) or (None, None)
    ends = weights.cumsum()
    expected = ends.searchsorted(fractions * ends[-1], side='right')
    np.testing.assert_array_equal(leaves, expected)
    np.testing.assert_allclose(probability, weights[expected] / weights.sum(), rtol=1e-12)


@pytest.mark.parametrize('size', SIZES)
def test_changes_one_by_one_equal_a_new_tree_to_the_bit(size: int) -> None:
    rng = np.random.default_rng(size)
    tree, weights = SumTree(size), np.zeros(size)
    for i in range(200):
        if i % 3:
            leaves = rng.integers(0, size, 7)
            new = rng.random(7)
            tree.set(leaves, new)
            weights[leaves] = new
        else:
            start = int(rng.integers(0, size))
            new = rng.random(min(5, size - start))
            tree.set_range(start, new if i % 2 else float(new[0]))
            weights[start : start + (len(new) if i % 2 else 1)] = new if i % 2 else new[0]
    fresh = SumTree(size)
    fresh.restore(weights)
    fractions = rng.random(300)
    for one, other in zip(tree.find(fractions) or (), fresh.find(fractions) or ()):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(tree.leaves, weights)


@pytest.mark.parametrize('size', SIZES)
def test_never_finds_a_leaf_of_weight_zero(size: int) -> None:
    # Fractions at the edges of leaves and of blocks, where rounding would show: the leaves there
    # have no weight. Some others are far apart in size.
    rng = np.random.default_rng(0)
    dense = rng.random(size) * (np.arange(size) % 64 % 63 != 0)
    sparse = np.zeros(size)
    some = rng.integers(0, size, 5)
    sparse[some] = 10.0 ** rng.integers(-12, 12, len(some))
    for weights in (dense, sparse):
        if not weights.any():
            continue
        tree = SumTree(size)
        tree.set_range(0, weights)
        ends = (weights.cumsum() / weights.sum())[62::64]
        around = [ends * (1 + i * 2.0**-53) for i in range(-12, 13)]
        fractions = np.concatenate([*around, [0.0, 1.0], rng.random(100)])
        found = tree.find(np.clip(fractions, 0.0, np.nextafter(1.0, 0.0)))
        assert found is not None
        assert np.all(weights[found[0]] > 0)
        np.testing.assert_allclose(found[1], weights[found[0]] / weights.sum())


def test_draws_follow_the_weights() -> None:
    rng = np.random.default_rng(0)
    weights = rng.random(3000)
    tree = SumTree(3000)
    tree.set_range(0, weights)
    found = tree.find(rng.random(300_000))
    assert found is not None
    counts = np.bincount(found[0], minlength=3000)
    assert scipy.stats.chisquare(counts, weights / weights.sum() * 300_000).pvalue > 1e-3


def test_finds_nothing_where_all_weights_are_zero() -> None:
    tree = SumTree(100)
    assert tree.find(np.array([0.5])) is None
    tree.set(np.array([3]), np.array([1.0]))
    assert tree.find(np.array([0.5])) is not None
    tree.set(np.array([3]), np.array([0.0]))
    assert tree.find(np.array([0.5])) is None
