"""Means over the real steps of a batch."""

import jax.numpy as jnp
import numpy as np

from culmen.components import updates
from culmen.components.updates import masked_mean


def test_only_real_steps_count():
    values = jnp.array([[1.0, 2.0], [6.0, jnp.nan]])
    mask = jnp.array([[True, False], [True, False]])
    assert masked_mean(values, mask) == 3.5


def test_nothing_has_the_mean_0():
    assert masked_mean(jnp.full(3, 5.0), jnp.zeros(3, bool)) == 0.0


def test_standardised_values_have_mean_0_and_deviation_1_where_the_mask_is_true():
    values = np.array([[1.0, 3.0, 100.0], [5.0, -50.0, 7.0]], np.float32)
    mask = np.array([[True, True, False], [True, False, True]])
    given = np.asarray(updates.masked_standardised(values, mask))[mask]
    np.testing.assert_allclose(given, np.array([-3.0, -1.0, 1.0, 3.0]) / 5**0.5, rtol=1e-6)
    alike = updates.masked_standardised(np.full(4, 2.0, np.float32), np.ones(4, bool), epsilon=0.1)
    np.testing.assert_array_equal(alike, np.zeros(4))
