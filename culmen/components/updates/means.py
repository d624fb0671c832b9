"""Means over the real steps of a batch, without its padding."""

import jax
import jax.numpy as jnp

from culmen.core.types import Array


def masked_mean(values: Array, mask: Array) -> jax.Array:
    """The mean of the values where a mask is True; 0 if it is nowhere True.

    Args:
        values: float32[...].
        mask: bool[...] of the same shape.
    Returns: float32[].
    """
    return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(jnp.sum(mask), 1)


def masked_standardised(values: Array, mask: Array, epsilon: float = 1e-8) -> jax.Array:
    """The values less their mean, divided by their standard deviation, of what a mask has.

    Args:
        values: float32[...].
        mask: bool[...] of the same shape.
        epsilon: added to the deviation.
    Returns: float32[...]; meaningless where the mask is False.
    """
    deviation = jnp.asarray(values) - masked_mean(values, mask)
    return deviation / (jnp.sqrt(masked_mean(jnp.square(deviation), mask)) + epsilon)
