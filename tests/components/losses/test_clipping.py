"""Gradients that are clipped on their way back."""

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components import losses


def loss(x, low=-1.0, high=0.5):
    return jnp.sum(jnp.array([5.0, 0.25, -3.0]) * losses.clip_gradient(x, low, high))


X = jnp.array([1.0, 2.0, 3.0])


def test_the_value_passes_and_the_gradient_is_clipped():
    np.testing.assert_array_equal(losses.clip_gradient(X, -1.0, 1.0), X)
    np.testing.assert_allclose(jax.grad(loss)(X), [0.5, 0.25, -1.0])
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(X), [0.5, 0.25, -1.0])


def test_a_batch_is_clipped_by_its_own_bounds():
    batch = jax.vmap(jax.grad(loss))(
        jnp.stack([X, X]), jnp.array([-1.0, -2.0]), jnp.array([1.0, 9.0])
    )
    np.testing.assert_allclose(batch, [[1.0, 0.25, -1.0], [5.0, 0.25, -2.0]])


def test_forward_mode_is_the_identity():
    np.testing.assert_allclose(jax.jvp(loss, (X,), (X,))[1], 5 * 1 + 0.25 * 2 - 3 * 3)
    np.testing.assert_allclose(jax.jacfwd(loss)(X), [5.0, 0.25, -3.0])


def test_trees_and_bounds_without_gradient():
    tree = {'a': X, 'b': (X[:2],)}
    gradient = jax.grad(lambda t: 9 * jnp.sum(losses.clip_gradient(t, 0.0, 1.0)['a']))(tree)
    np.testing.assert_array_equal(gradient['a'], 1.0)
    np.testing.assert_array_equal(gradient['b'][0], 0.0)
    assert jax.grad(loss, 2)(X, -1.0, 0.5) == 0


def test_inside_a_scan():
    def total(x):
        step = lambda c, _: (losses.clip_gradient(3 * c, -1.0, 1.0), None)
        return jax.lax.scan(step, x, None, length=4)[0]

    assert total(1.0) == 81
    assert jax.grad(total)(1.0) == 3  # The gradient is clipped to 1 at each step, then tripled.
