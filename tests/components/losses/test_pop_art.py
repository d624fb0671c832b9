"""PopArt: outputs are preserved, statistics follow the targets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import losses
from culmen.components.losses import PopArtState

STATE = PopArtState(jnp.array([1.0, 0.0]), jnp.array([2.0, 4.0]), jnp.array([5.0, 16.0]))


def test_normalize_and_unnormalize_by_hand():
    indices = jnp.array([0, 1, 0])
    values = jnp.array([5.0, 8.0, 1.0])
    np.testing.assert_allclose(losses.normalize(STATE, values, indices), [2.0, 2.0, 0.0])
    back = losses.unnormalize(STATE, jnp.array([2.0, 2.0, 0.0]), indices)
    np.testing.assert_allclose(back, values)
    heads = jnp.array([[2.0, 9.0], [9.0, 2.0], [0.0, 9.0]])
    output = losses.unnormalize_linear(STATE, heads, indices)
    np.testing.assert_allclose(output.normalized, [2.0, 2.0, 0.0])
    np.testing.assert_allclose(output.unnormalized, values)


def art_reference(state, targets, indices, step_size, low, high):
    shift, second = np.array(state.shift), np.array(state.second_moment)
    for target, k in zip(targets, indices):
        shift[k] += step_size * (target - state.shift[k])
        second[k] += step_size * (target**2 - state.second_moment[k])
    return shift, np.clip(np.sqrt(np.maximum(second - shift**2, 0)), low, high), second


@pytest.mark.parametrize('bounds', [(1e-4, 1e6), (3.0, 1e6), (1e-4, 0.5)])
def test_statistics_follow_the_targets(bounds):
    targets, indices = jnp.array([3.0, -1.0, 2.0]), jnp.array([0, 1, 0])
    new = losses.art(STATE, targets, indices, 0.1, *bounds)
    for actual, expected in zip(new, art_reference(STATE, targets, indices, 0.1, *bounds)):
        np.testing.assert_allclose(actual, expected, rtol=1e-5)
    gradient = jax.grad(lambda t: jnp.sum(losses.art(STATE, t, indices, 0.1, *bounds).shift))
    np.testing.assert_array_equal(gradient(targets), 0.0)


def test_many_updates_find_mean_and_scale():
    targets = np.random.default_rng(0).normal(3.0, 2.0, (200, 10)).astype(np.float32)
    state = losses.popart(1, 0.01, 1e-4, 1e6)[0]()
    step = jax.jit(lambda s, t: losses.art(s, t, jnp.zeros(10, int), 0.01, 1e-4, 1e6))
    for batch in targets:
        state = step(state, batch)
    np.testing.assert_allclose(state.shift, 3.0, atol=0.4)
    np.testing.assert_allclose(state.scale, 2.0, atol=0.4)


def test_unnormalised_outputs_are_preserved():
    rng = np.random.default_rng(0)
    params = {
        'w': rng.normal(size=(3, 2)).astype(np.float32),
        'b': rng.normal(size=2).astype(np.float32),
    }
    x, indices = rng.normal(size=(4, 3)).astype(np.float32), jnp.array([0, 1, 1, 0])
    initial_state, update = losses.popart(2, 0.3, 1e-4, 1e6)
    before = initial_state()
    np.testing.assert_array_equal(before, [[0, 0], [1, 1], [1, 1]])
    targets = jnp.array([9.0, -4.0, 2.0, 30.0])
    new_params, after = update(params, before, targets, indices)
    assert np.all(np.abs(after.shift - before.shift) > 0.1)

    def predict(params, state):
        heads = x @ params['w'] + params['b'][None]
        return losses.unnormalize_linear(state, heads, indices).unnormalized

    np.testing.assert_allclose(
        predict(new_params, after), predict(params, before), rtol=1e-3, atol=1e-3
    )


def test_without_a_step_nothing_moves():
    initial_state, update = losses.popart(1, None, 1e-4, 1e6)
    params, state = {'w': jnp.ones((2, 1)), 'b': jnp.ones(1)}, initial_state()
    assert update(params, state, jnp.ones(1), jnp.zeros(1, int)) == (params, state)


def test_lanes_share_their_statistics():
    targets, indices = jnp.array([[3.0, -1.0], [2.0, 5.0]]), jnp.array([[0, 1], [0, 0]])
    lanes = jax.vmap(
        lambda t, i: losses.art(STATE, t, i, 0.1, 1e-4, 1e6, axis_name='lanes'), axis_name='lanes'
    )(targets, indices)
    whole = losses.art(STATE, targets.reshape(-1), indices.reshape(-1), 0.1, 1e-4, 1e6)
    for part, together in zip(lanes, whole):
        np.testing.assert_allclose(part[0], together, rtol=1e-6)
        np.testing.assert_allclose(part[1], together, rtol=1e-6)


@pytest.mark.parametrize(
    ('function', 'name'),
    [
        (losses.normalize, 'unnormalized'),
        (losses.unnormalize, 'normalized'),
        (lambda *args: losses.art(*args, 0.1, 1e-4, 1e6), 'targets'),
    ],
)
def test_refusals(function, name):
    with pytest.raises(ValueError, match=f'indices must have the shape of {name}'):
        function(STATE, jnp.ones(3), jnp.zeros(2, int))
    with pytest.raises(ValueError, match='indices must be an integer, got float32'):
        function(STATE, jnp.ones(2), jnp.zeros(2))
    with pytest.raises(ValueError, match=f'{name} must be a real number, got complex64'):
        function(STATE, jnp.ones(2, complex), jnp.zeros(2, int))
    whole = jnp.array([70_000, -3])  # whose squares are beyond an integer
    given = function(STATE, whole, jnp.zeros(2, int))
    expected = function(STATE, whole.astype(float), jnp.zeros(2, int))
    for x, y in zip(jax.tree_util.tree_leaves(given), jax.tree_util.tree_leaves(expected)):
        assert x.dtype == jnp.float32
        np.testing.assert_array_equal(x, y)
