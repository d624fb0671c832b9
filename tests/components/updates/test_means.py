"""Means over the real steps of a batch."""

import jax.numpy as jnp

from culmen.components.updates import masked_mean


def test_only_real_steps_count():
    values = jnp.array([[1.0, 2.0], [6.0, jnp.nan]])
    mask = jnp.array([[True, False], [True, False]])
    assert masked_mean(values, mask) == 3.5


def test_nothing_has_the_mean_0():
    assert masked_mean(jnp.full(3, 5.0), jnp.zeros(3, bool)) == 0.0
