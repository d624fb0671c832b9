"""Importance weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components.replay import importance_weights


@pytest.mark.parametrize('exponent', [0.0, 0.4, 1.0])
def test_agrees_with_the_definition(exponent: float) -> None:
    rng = np.random.default_rng(0)
    probability, size = rng.random(20).astype(np.float32) / 50, 100
    expected = (size * probability.astype(np.float64)) ** -exponent
    actual = jax.jit(importance_weights)(probability, np.int32(size), exponent)
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, expected / expected.max(), rtol=1e-5)
    assert float(actual.max()) == 1.0


def test_with_exponent_one_the_weighted_mean_is_the_uniform_one() -> None:
    # Sum over items of p[i] w[i] x[i] is proportional to the plain sum of x.
    rng = np.random.default_rng(1)
    probability = rng.random(50)
    probability /= probability.sum()
    x = rng.normal(size=50)
    weights = np.asarray(importance_weights(probability, 50, 1.0), np.float64)
    weighted = np.sum(probability * weights * x) / np.sum(probability * weights)
    np.testing.assert_allclose(weighted, x.mean(), rtol=1e-4)


def test_extremes_stay_finite_and_padding_weighs_nothing() -> None:
    weights = importance_weights(jnp.array([1e-30, 1.0, 0.0]), 10**9, 1.0)
    np.testing.assert_allclose(weights, [1.0, 1e-30, 0.0], rtol=1e-3, atol=1e-36)
    assert importance_weights(jnp.zeros(3), 5, 1.0).tolist() == [0.0, 0.0, 0.0]
