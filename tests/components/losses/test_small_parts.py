"""The small helpers: indexing, masks, trees, target networks, averages, cuts of trajectories."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import losses

# Indexing and masks.


def test_batched_index():
    values = jnp.arange(24.0).reshape(2, 3, 4)
    indices = jnp.array([[0, 1, 2], [3, 0, 1]])
    np.testing.assert_array_equal(losses.batched_index(values, indices), [[0, 5, 10], [15, 16, 21]])
    assert losses.batched_index(values, indices, keepdims=True).shape == (2, 3, 1)
    with pytest.raises(ValueError, match=r'indices must have the shape of values without .*\(3,\)'):
        losses.batched_index(values, indices[0])
    with pytest.raises(ValueError, match='indices must be an integer'):
        losses.batched_index(values, indices * 1.0)
    with pytest.raises(ValueError, match='indices must have the shape of values'):
        losses.batched_index(jnp.array(1.0), jnp.array(0))


def test_one_hot():
    code = losses.one_hot(jnp.array([[2, 0], [5, -1]]), 3)
    np.testing.assert_array_equal(code, [[[0, 0, 1], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]]])
    assert code.dtype == jnp.float32
    assert losses.one_hot(jnp.array(1), 2, jnp.int8).dtype == jnp.int8
    with pytest.raises(ValueError, match='indices must be an integer, got float32'):
        losses.one_hot(jnp.array([1.0]), 2)


def test_lhs_broadcast_and_replace_masked():
    target = jnp.zeros((2, 3, 4))
    assert losses.lhs_broadcast(jnp.zeros((2, 3)), target).shape == (2, 3, 1)
    assert losses.lhs_broadcast(jnp.zeros((1, 3)), target).shape == (1, 3, 1)
    assert losses.lhs_broadcast(jnp.zeros(()), target).shape == (1, 1, 1)
    for shape in ((3,), (2, 4), (2, 3, 4, 1)):
        with pytest.raises(ValueError, match='source must have a shape that begins'):
            losses.lhs_broadcast(jnp.zeros(shape), target)
    data, new = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[5.0, 6.0], [7.0, 8.0]])
    np.testing.assert_array_equal(
        losses.replace_masked(data, new, jnp.array([0, 1])), [[1, 2], [7, 8]]
    )
    np.testing.assert_array_equal(
        losses.replace_masked(data, None, jnp.array([[True, False], [False, True]])),
        [[0, 2], [3, 0]],
    )
    with pytest.raises(ValueError, match='replacement must have the shape of data'):
        losses.replace_masked(data, new[0], jnp.array([0, 1]))


def test_sums_over_axes_and_lanes():
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(losses.AllSum()(x), 15)
    np.testing.assert_array_equal(losses.AllSum()(x, 0), [3, 5, 7])
    np.testing.assert_array_equal(losses.AllSum()(x, [0, 1]), 15)
    lanes = jax.vmap(functools.partial(losses.AllSum('lanes'), axis=0), axis_name='lanes')(x)
    np.testing.assert_array_equal(lanes, [15, 15])


def test_ranks_and_shapes():
    losses.assert_rank_and_shape_compatibility([jnp.zeros((2, 3)), np.ones((2, 3))], 2)
    with pytest.raises(ValueError, match=r'tensors\[1\] must have rank 1, got shape \(2, 3\)'):
        losses.assert_rank_and_shape_compatibility([jnp.zeros(3), jnp.zeros((2, 3))], 1)
    with pytest.raises(ValueError, match=r'tensors\[1\] must have the shape of tensors\[0\]'):
        losses.assert_rank_and_shape_compatibility([jnp.zeros(3), jnp.zeros(2)], 1)


# Trees.

TREE, OTHER = (
    {'a': jnp.array([1.0, 2.0]), 'b': jnp.array(3.0)},
    {'a': jnp.array([4.0, 5.0]), 'b': jnp.array(6.0)},
)


def assert_trees_equal(actual, expected):
    jax.tree_util.tree_map(np.testing.assert_array_equal, actual, expected)


def test_select_and_map():
    assert_trees_equal(losses.tree_select(True, TREE, OTHER), TREE)
    assert_trees_equal(jax.jit(losses.tree_select)(False, TREE, OTHER), OTHER)
    with pytest.raises(ValueError, match='on_false must have one tree structure'):
        losses.tree_select(True, TREE, [1.0])
    assert_trees_equal(
        losses.tree_map_zipped(lambda x, y: y - x, [TREE, OTHER]), {'a': [3.0, 3.0], 'b': 3.0}
    )
    assert losses.tree_map_zipped(lambda: 0, []) == []
    with pytest.raises(ValueError, match='nests must have one tree structure'):
        losses.tree_map_zipped(lambda x, y: x, [TREE, [1.0]])
    scaled = losses.tree_fn(lambda x, y, factor: (x + y) * factor, factor=2.0)(TREE, OTHER)
    assert_trees_equal(scaled, {'a': [10.0, 14.0], 'b': 18.0})


def test_keys_of_leaves_differ():
    key, keys = losses.tree_split_key(jax.random.PRNGKey(0), TREE)
    every = {tuple(np.asarray(k)) for k in (key, keys['a'], keys['b'])}
    assert len(every) == 3
    assert sorted(keys) == ['a', 'b']


def test_split_leaves():
    tree = {'x': np.arange(6).reshape(2, 3), 'y': np.arange(2)}
    parts = losses.tree_split_leaves(tree)
    assert len(parts) == 2
    assert_trees_equal(parts[1], {'x': [3, 4, 5], 'y': 1})
    kept = losses.tree_split_leaves({'x': tree['x']}, axis=-1, keepdim=True)
    assert [part['x'].shape for part in kept] == [(2, 1)] * 3
    assert np.shares_memory(kept[0]['x'], tree['x'])
    np.testing.assert_array_equal(
        losses.tree_split_leaves({'x': tree['x']}, axis=1)[2]['x'], [2, 5]
    )
    assert losses.tree_split_leaves({}) == {}


def test_replace_and_transpose():
    data = [jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([5.0, 6.0])]
    mask = jnp.array([1, 0])
    assert_trees_equal(
        losses.tree_replace_masked(data, None, mask), [np.array([[0, 0], [3, 4]]), np.array([0, 6])]
    )
    assert_trees_equal(
        losses.tree_replace_masked(data, [-x for x in data], mask),
        [np.array([[-1, -2], [3, 4]]), np.array([-5, 6])],
    )
    x = {'x': jnp.arange(24).reshape(2, 3, 4)}
    assert losses.transpose_last_axis_to_first(x)['x'].shape == (4, 2, 3)
    assert losses.transpose_first_axis_to_last(x)['x'].shape == (3, 4, 2)
    assert_trees_equal(
        losses.transpose_last_axis_to_first(losses.transpose_first_axis_to_last(x)), x
    )


# Target networks.


def test_target_networks():
    assert_trees_equal(losses.conditional_update(TREE, OTHER, True), TREE)
    assert_trees_equal(losses.conditional_update(TREE, OTHER, False), OTHER)
    for steps, expected in ((0, TREE), (2, OTHER), (3, TREE), (6, TREE)):
        assert_trees_equal(jax.jit(losses.periodic_update)(TREE, OTHER, steps, 3), expected)
    quarter = {'a': [3.25, 4.25], 'b': 5.25}
    assert_trees_equal(losses.incremental_update(TREE, OTHER, 0.25), quarter)
    assert_trees_equal(losses.update_target_variables(OTHER, TREE, 0.25), quarter)
    assert_trees_equal(losses.update_target_variables(OTHER, TREE), TREE)
    update = functools.partial(losses.periodic_target_update, OTHER, TREE, 3)
    assert_trees_equal(update(0.25, steps=6), quarter)
    assert_trees_equal(update(0.25, steps=7), OTHER)
    assert_trees_equal(update(steps=6), TREE)


def test_periodically():
    run = jax.jit(lambda t: losses.periodically(lambda x: x + 10, 3, t, jnp.array(t)))
    assert [int(run(t)) for t in range(7)] == [10, 1, 2, 13, 4, 5, 16]


# Moving averages.


def test_moving_averages():
    init, update = losses.create_ema(decay=0.75)
    state = init({'x': jnp.zeros(2)})
    assert_trees_equal(state.debiased_moments(), losses.EmaMoments({'x': 0.0}, {'x': 0.0}))
    batches = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    for count in range(1, 6):
        moments, state = jax.jit(update)({'x': batches[count - 1]}, state)
        weights = 0.25 * 0.75 ** np.arange(count)[::-1]
        weights /= weights.sum()
        mean = np.sum(weights * batches[:count].mean(1))
        square = np.sum(weights * (batches[:count] ** 2).mean(1))
        np.testing.assert_allclose(moments.mean['x'], mean, rtol=1e-4)
        np.testing.assert_allclose(moments.variance['x'], square - mean**2, rtol=1e-4)
    np.testing.assert_allclose(state.decay_product, 0.75**5, rtol=1e-6)
    constant, _ = update({'x': jnp.full(2, 1e4)}, init({'x': jnp.zeros(2)}))
    assert constant.variance['x'] >= 0


def test_moving_averages_over_lanes():
    init, update = losses.create_ema(0.5, 'lanes')
    moments, _ = jax.vmap(lambda x: update(x, init(x)), axis_name='lanes')(
        jnp.array([[1.0, 3.0], [5.0, 7.0]])
    )
    np.testing.assert_allclose(moments.mean, [4.0, 4.0])
    np.testing.assert_allclose(moments.variance, [5.0, 5.0])


# Trajectories.


def test_subsequences():
    trajectories = jnp.arange(30).reshape(5, 3, 2)
    starts = jnp.array([[0, 1], [2, 0], [3, 1]])
    out = losses.extract_subsequences(trajectories, starts, 2, 3)
    assert out.shape == (2, 3, 2, 2)
    for k in range(2):
        for b in range(3):
            for i in range(2):
                np.testing.assert_array_equal(out[k, b, i], trajectories[starts[b, i] + k, b])
    assert losses.extract_subsequences(trajectories, starts).shape == (1, 3, 2, 2)
    with pytest.raises(ValueError, match='trajectories must have at least 6 steps, got 5'):
        losses.extract_subsequences(trajectories, starts, 2, 4)
    with pytest.raises(ValueError, match=r'trajectories must have shape \[T, B, ...\] with B = 3'):
        losses.extract_subsequences(trajectories[:, :2], starts)


def test_start_indices_are_even_and_never_alike():
    starts = np.asarray(losses.sample_start_indices(jax.random.PRNGKey(0), 4000, 2, 4))
    assert starts.shape == (4000, 2)
    assert np.all(starts[:, 0] != starts[:, 1])
    np.testing.assert_allclose(np.bincount(starts.ravel()) / 8000, 0.2, atol=0.02)
    with pytest.raises(ValueError, match='num_start_indices must be at most .* = 5, got 6'):
        losses.sample_start_indices(jax.random.PRNGKey(0), 2, 6, 4)


def test_interruptions():
    steps = jnp.array([[0, 1, 1, 0, 1, 2, 0, 0, 1], [1, 0, 1, 2, 0, 2, 0, 1, 1]]).T
    expected = [[0, 1, 2, 0, 1, 2, 0, 0, 1], [2, 0, 1, 2, 0, 2, 0, 1, 1]]
    np.testing.assert_array_equal(losses.fix_step_type_on_interruptions(steps).T, expected)
    with pytest.raises(ValueError, match='step_type must be an integer'):
        losses.fix_step_type_on_interruptions(steps * 1.0)
    with pytest.raises(ValueError, match='step_type must have rank 1 or more'):
        losses.fix_step_type_on_interruptions(jnp.array(1))


def test_embedding():
    out = losses.embed_oar(jnp.ones((2, 1, 3)), jnp.array([[1], [0]]), jnp.array([[0.0], [1.0]]), 2)
    np.testing.assert_allclose(
        out, [[[1, 1, 1, 0, 1, 0]], [[1, 1, 1, 1, 0, np.tanh(1)]]], rtol=1e-6
    )
    for name, args in (
        ('action', (jnp.array([1]), jnp.zeros((2, 1)))),
        ('reward', (jnp.zeros((2, 1), int), jnp.zeros(2))),
    ):
        with pytest.raises(ValueError, match=f'{name} must have the shape of features without'):
            losses.embed_oar(jnp.ones((2, 1, 3)), *args, 2)
