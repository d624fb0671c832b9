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
