"""The linear layer: Haiku's values and gradients, of every width and number of axes."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components.networks import Linear

BATCH = 7


def assert_close(ours, theirs, rtol=1e-5, atol=1e-6):
    assert jax.tree_util.tree_structure(ours) == jax.tree_util.tree_structure(theirs)
    for mine, leaf in zip(*map(jax.tree_util.tree_leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(mine, leaf, rtol, atol)


def functions(size, **options):
    """The layer and Haiku's, transformed."""
    return [
        hk.without_apply_rng(hk.transform(lambda x, make=make: make(size, **options)(x)))
        for make in (Linear, hk.Linear)
    ]


@pytest.mark.parametrize(
    ('rows', 'columns', 'with_bias'),
    [(1, 5, True), (2, 3, True), (3, 1, True), (4, 2, True), (9, 5, True), (3, 3, False)],
)
def test_parameters_outputs_and_gradients_are_haikus(rows, columns, with_bias):
    ours, haikus = functions(columns, with_bias=with_bias)
    x = jax.random.normal(jax.random.key(1), (BATCH, rows))
    params = ours.init(jax.random.key(2), x)
    assert_close(params, haikus.init(jax.random.key(2), x), rtol=0, atol=0)
    params = jax.tree_util.tree_map(lambda leaf: leaf + 0.5, params)  # the bias begins with 0
    np.testing.assert_allclose(ours.apply(params, x), haikus.apply(params, x), rtol=1e-6)

    def total(function):
        weight = jnp.linspace(0.0, 1.0, BATCH * columns).reshape(BATCH, columns)
        return lambda params, x: jnp.sum(jnp.sin(weight * function.apply(params, x)))

    of_both = jax.jit(
        lambda params, x: [
            jax.grad(total(each), argnums=(0, 1))(params, x) for each in (ours, haikus)
        ]
    )
    assert_close(*of_both(params, x))


@pytest.mark.parametrize('shape', [(3,), (2, 4, 3)])
def test_any_number_of_axes(shape):
    ours, haikus = functions(5)
    x = jax.random.normal(jax.random.key(1), shape)
    params = ours.init(jax.random.key(2), x)
    grads = [
        jax.grad(lambda params, each=each: jnp.sum(each.apply(params, x) ** 2))(params)
        for each in (ours, haikus)
    ]
    assert_close(*grads)


def test_an_ensemble_has_the_gradients_of_its_members():
    ours, haikus = functions(6)
    x = jax.random.normal(jax.random.key(1), (BATCH, 3))
    params = jax.vmap(ours.init, in_axes=(0, None))(jax.random.split(jax.random.key(2), 2), x)

    def loss(params, x, function):
        return jnp.sum(jnp.tanh(function.apply(params, x)))

    of_ensemble = jax.vmap(jax.grad(loss), in_axes=(0, None, None))
    mine = jax.jit(of_ensemble, static_argnums=2)(params, x, ours)
    for i in range(2):
        member = jax.tree_util.tree_map(lambda leaf, i=i: leaf[i], params)
        theirs = jax.grad(loss)(member, x, haikus)
        assert_close(jax.tree_util.tree_map(lambda leaf, i=i: leaf[i], mine), theirs)


def test_forward_mode_and_second_derivatives():
    ours, haikus = functions(3)
    x = jax.random.normal(jax.random.key(1), (BATCH, 2))
    params = ours.init(jax.random.key(2), x)
    losses = [
        lambda params, each=each: jnp.sum(jnp.tanh(each.apply(params, x)))
        for each in (ours, haikus)
    ]
    mine, theirs = (jax.jvp(jax.grad(loss), (params,), (params,))[1] for loss in losses)
    assert_close(mine, theirs)
