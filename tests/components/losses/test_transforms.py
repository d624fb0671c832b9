"""Transforms: by hand, each against its inverse, at zero and at the ends of the bins."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import losses
from tests.components.losses import suite
from tests.components.losses.suite import Case

CASES = [
    Case(losses.sigmoid, 'x[T]', lambda x: 1 / (1 + np.exp(-x)), switch=None),
    Case(losses.logit, 'x[T]:unit', lambda x: np.log(x / (1 - x)), switch=None),
    Case(losses.signed_logp1, 'x[T]', lambda x: np.sign(x) * np.log(1 + np.abs(x)), switch=None),
    Case(losses.signed_expm1, 'x[T]', lambda x: np.sign(x) * (np.exp(np.abs(x)) - 1), switch=None),
    Case(
        losses.signed_hyperbolic,
        'x[T] eps[]:unit',
        lambda x, eps: np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + eps * x,
        switch=None,
    ),
    Case(
        losses.signed_parabolic,
        'x[T] eps[]:unit',
        lambda x, eps: (
            np.sign(x) * (((np.sqrt(1 + 4 * eps * (eps + 1 + np.abs(x))) - 1) / (2 * eps)) ** 2 - 1)
        ),
        switch=None,
    ),
    Case(losses.hyperbolic_sin, 'x[T]', lambda x: (np.exp(x) - np.exp(-x)) / 2, switch=None),
    Case(losses.hyperbolic_arcsin, 'x[T]', lambda x: np.log(x + np.sqrt(x**2 + 1)), switch=None),
    Case(
        losses.power,
        'x[T] p[]:unit',
        lambda x, p: np.sign(x) * ((np.abs(x) / np.sqrt(p) + 1) ** p - 1) / np.sqrt(p),
        switch=None,
    ),
]
INVERSES = [
    (losses.sigmoid, losses.logit),
    (losses.signed_logp1, losses.signed_expm1),
    (losses.signed_hyperbolic, losses.signed_parabolic),
    (losses.hyperbolic_arcsin, losses.hyperbolic_sin),
    (losses.identity, losses.identity),
]


@pytest.mark.parametrize('case', CASES, ids=str)
def test_agrees_with_the_definition(case):
    @hypothesis.settings(max_examples=15)
    @hypothesis.given(suite.inputs(case, suite.SHAPES[0]))
    def agrees(args):
        suite.agrees_with_the_definition(case, args)

    agrees()


@pytest.mark.parametrize('case', CASES, ids=str)
def test_gradients_and_transformations(case):
    suite.has_the_right_gradients(case, suite.SHAPES[0])
    suite.is_the_same_under_jit_and_vmap(case, suite.SHAPES[0])
    suite.works_in_bfloat16(case, suite.SHAPES[0])
    more = [0.5] * (len(suite.arguments(case)) - 1)
    whole = case.function(jnp.array([1, -2]), *more)
    np.testing.assert_array_equal(whole, case.function(jnp.array([1.0, -2.0]), *more))
    with pytest.raises(ValueError, match='x must be a real number, got complex64'):
        case.function(jnp.array([1j]), *more)


@pytest.mark.parametrize(('transform', 'inverse'), INVERSES)
def test_each_undoes_the_other(transform, inverse):
    x = jnp.array([-7.0, -1.0, -0.1, 0.0, 0.1, 1.0, 7.0])
    np.testing.assert_allclose(inverse(transform(x)), x, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ('function', 'slope'),
    [
        (losses.signed_logp1, 1.0),
        (losses.signed_expm1, 1.0),
        (losses.signed_hyperbolic, 0.501),
        (losses.signed_parabolic, 1 / 0.501),
        (lambda x: losses.power(x, 0.25), 0.25 / 0.25),
    ],
)
def test_at_zero_the_value_is_zero_and_the_slope_is_not(function, slope):
    value, gradient = jax.value_and_grad(function)(0.0)
    assert value == 0
    np.testing.assert_allclose(gradient, slope, rtol=1e-5)


def test_by_hand():
    np.testing.assert_allclose(losses.signed_hyperbolic(jnp.array([3.0, -8.0])), [1.003, -2.008])
    np.testing.assert_allclose(
        losses.signed_parabolic(jnp.array([1.003, -2.008])), [3.0, -8.0], rtol=1e-6
    )
    np.testing.assert_allclose(losses.signed_parabolic(jnp.array([2.0]), 0.0), [8.0])
    np.testing.assert_allclose(losses.power(jnp.array([-4.0]), 1.0), [-4.0])


def test_two_hot_by_hand():
    codes = losses.transform_to_2hot(jnp.array([-9.0, -1.0, -0.75, 0.0, 0.5, 1.0, 9.0]), -1, 1, 3)
    expected = [
        [1, 0, 0],
        [1, 0, 0],
        [0.75, 0.25, 0],
        [0, 1, 0],
        [0, 0.5, 0.5],
        [0, 0, 1],
        [0, 0, 1],
    ]
    np.testing.assert_allclose(codes, expected, atol=1e-6)
    bins = jnp.array([-1.0, 0.0, 4.0])
    codes = losses.transform_to_2hot_nonlinear(jnp.array([-9.0, -0.25, 1.0, 4.0, 9.0]), bins)
    expected = [[1, 0, 0], [0.25, 0.75, 0], [0, 0.75, 0.25], [0, 0, 1], [0, 0, 1]]
    np.testing.assert_allclose(codes, expected, atol=1e-6)


@hypothesis.settings(max_examples=15)
@hypothesis.given(suite.values('float', (4, 2), {}))
def test_the_mean_of_a_two_hot_code_is_the_scalar(x):
    code = TO_2HOT(x)
    assert code.shape == (4, 2, 9)
    np.testing.assert_allclose(np.sum(code, -1), 1.0, rtol=1e-6)
    assert np.all(np.sum(np.asarray(code) > 0, -1) <= 2)
    np.testing.assert_allclose(FROM_2HOT(code), x, rtol=1e-5, atol=1e-5)
    uneven = TO_UNEVEN(x)
    np.testing.assert_allclose(np.sum(uneven, -1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(FROM_UNEVEN(uneven), x, rtol=1e-5, atol=1e-5)


BINS = jnp.array([-4.0, -1.0, 0.0, 0.5, 5.0])
TO_2HOT = jax.jit(lambda x: losses.transform_to_2hot(x, -3.0, 3.0, 9))
FROM_2HOT = jax.jit(lambda x: losses.transform_from_2hot(x, -3.0, 3.0, 9))
TO_UNEVEN = jax.jit(lambda x: losses.transform_to_2hot_nonlinear(x, BINS))
FROM_UNEVEN = jax.jit(lambda x: losses.transform_from_2hot_nonlinear(x, BINS))


def test_refusals():
    with pytest.raises(ValueError, match=r'probs must have shape \[..., K\] with K = 3, got'):
        losses.transform_from_2hot(jnp.zeros((2, 4)), 0.0, 1.0, 3)
    with pytest.raises(ValueError, match=r'bins must have rank 1 .* got shape \(1, 3\)'):
        losses.transform_to_2hot_nonlinear(jnp.zeros(2), jnp.zeros((1, 3)))
    with pytest.raises(ValueError, match='scalar must be a real number, got complex64'):
        losses.transform_to_2hot(jnp.array([1j]), 0.0, 1.0, 3)
    for scalar in (jnp.array([1, 3]), jnp.array([1.0, 3.0])):
        np.testing.assert_array_equal(
            losses.transform_to_2hot(scalar, 0.0, 4.0, 3), [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
        )
