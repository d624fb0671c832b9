"""Losses of predictions against targets: by hand, their gradients, their edges."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from culmen.components import losses
from tests.components.losses import reference
from tests.components.losses import suite
from tests.components.losses.suite import Case

CASES = [
    Case(
        losses.l2_loss,
        'predictions[T] targets[T]',
        lambda predictions, targets: 0.5 * (targets - predictions) ** 2,
        switch=None,
    ),
    Case(losses.l2_loss, 'predictions[T,A]', lambda predictions: 0.5 * predictions**2, switch=None),
    Case(losses.huber_loss, 'x[T,A] delta[]:ratio', reference.huber, switch=None),
    Case(
        losses.expectile_loss,
        'predictions[T] targets[T] expectile[]:unit',
        lambda predictions, targets, expectile: (
            np.abs(expectile - (targets < predictions)) * (targets - predictions) ** 2
        ),
        switch=None,
    ),
    Case(
        losses.likelihood,
        'predictions[T]:unit targets[T]:unit',
        lambda predictions, targets: predictions**targets * (1 - predictions) ** (1 - targets),
        switch=None,
    ),
    Case(
        losses.log_loss,
        'predictions[T]:unit targets[T]:unit',
        lambda predictions, targets: (
            -targets * np.log(predictions) - (1 - targets) * np.log(1 - predictions)
        ),
        switch=None,
    ),
]


@pytest.mark.parametrize('sizes', suite.SHAPES, ids=('long', 'short'))
@pytest.mark.parametrize('case', CASES, ids=str)
def test_agrees_with_the_definition(case, sizes):
    @hypothesis.settings(max_examples=15)
    @hypothesis.given(suite.inputs(case, sizes))
    def agrees(args):
        suite.agrees_with_the_definition(case, args)

    agrees()


@pytest.mark.parametrize('case', CASES, ids=str)
def test_gradients_and_transformations(case):
    suite.has_the_right_gradients(case, suite.SHAPES[0])
    suite.is_the_same_under_jit_and_vmap(case, suite.SHAPES[0])
    suite.works_in_bfloat16(case, suite.SHAPES[0])


def test_by_hand():
    x, y = jnp.array([1.0, -2.0]), jnp.array([3.0, 1.0])
    np.testing.assert_allclose(losses.l2_loss(x, y), [2.0, 4.5])
    np.testing.assert_allclose(losses.l2_loss(x), [0.5, 2.0])
    errors = jnp.array([0.5, -1.0, 2.0, -4.0])
    np.testing.assert_allclose(losses.huber_loss(errors), [0.125, 0.5, 1.5, 3.5])
    np.testing.assert_allclose(losses.huber_loss(errors, 2.0), [0.125, 0.5, 2.0, 6.0])
    np.testing.assert_allclose(losses.expectile_loss(x, y, 0.25), [1.0, 2.25])
    np.testing.assert_allclose(losses.expectile_loss(y, x, 0.25), [3.0, 6.75])
    p, outcome = jnp.array([0.25, 0.25]), jnp.array([1.0, 0.0])
    np.testing.assert_allclose(losses.likelihood(p, outcome), [0.25, 0.75])
    np.testing.assert_allclose(losses.log_loss(p, outcome), -np.log([0.25, 0.75]), rtol=1e-6)


@hypothesis.given(st.floats(-1e4, 1e4, width=32), st.floats(0.125, 8.0, width=32))
def test_the_gradient_of_huber_is_the_clipped_error(x, delta):
    gradient = HUBER_GRADIENT(x, delta)
    np.testing.assert_allclose(gradient, np.clip(np.float32(x), -delta, delta), rtol=1e-6)


HUBER_GRADIENT = jax.jit(jax.grad(losses.huber_loss))


def test_certain_predictions():
    certain, outcome = jnp.array([0.0, 1.0]), jnp.array([0.0, 1.0])
    np.testing.assert_array_equal(losses.likelihood(certain, outcome), 1.0)
    np.testing.assert_array_equal(losses.log_loss(certain, outcome), 0.0)
    np.testing.assert_array_equal(losses.log_loss(certain, 1 - outcome), np.inf)
    gradient = jax.vmap(jax.grad(losses.log_loss))(certain, outcome)
    np.testing.assert_array_equal(gradient, [1.0, -1.0])
    gradient = jax.vmap(jax.grad(losses.likelihood))(certain, outcome)
    np.testing.assert_array_equal(gradient, [-1.0, 1.0])


@pytest.mark.parametrize(
    'function',
    [
        losses.l2_loss,
        losses.likelihood,
        losses.log_loss,
        lambda predictions, targets: losses.expectile_loss(predictions, targets, 0.5),
    ],
)
def test_refusals(function):
    with pytest.raises(ValueError, match='predictions must be a floating-point number, got int32'):
        function(jnp.array([1]), jnp.array([1.0]))
    with pytest.raises(ValueError, match='targets must be a real number, got complex64'):
        function(jnp.array([1.0]), jnp.array([1j]))
    # Labels are whole numbers, and a half stays one beside them.
    half = jnp.array([0.25, 0.5], jnp.bfloat16)
    given = function(half, jnp.array([1, 0]))
    assert given.dtype == jnp.bfloat16
    np.testing.assert_array_equal(given, function(half, jnp.array([1.0, 0.0], jnp.bfloat16)))
    with pytest.raises(ValueError, match=r'targets must have the shape of predictions, \(2,\)'):
        function(jnp.zeros(2), jnp.zeros((2, 1)))


def test_an_error_of_integers_is_refused():
    with pytest.raises(ValueError, match='x must be a floating-point number, got int32'):
        losses.huber_loss(jnp.array([1]))
    with pytest.raises(ValueError, match='predictions must be a floating-point number'):
        losses.l2_loss(jnp.array([1]))
