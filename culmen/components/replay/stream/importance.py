"""Importance weights, which correct updates for items that are drawn more often than others."""

from typing import Any

import jax
import jax.numpy as jnp

from culmen.core.types import Array


def importance_weights(probability: Array, size: Array, exponent: Any) -> jax.Array:
    """Weights that correct the bias of prioritised draws, fully if exponent is 1.

        w[i] = (size * probability[i])^-exponent / max_j w[j]

    The maximum is over the batch, so weights only scale updates down. A probability of 0 marks padding
    (draw='all') and gives weight 0.

    Args:
        probability: float[B] of each item, as drawn.
        size: int[] items in the table.
        exponent: beta in [0, 1]; 0 gives ones. It may be traced.
    Returns: float32[B] in [0, 1].
    Reference: Schaul et al., Prioritized Experience Replay, ICLR 2016, section 3.4 and
        algorithm 1, line 10.
    Example:
        >>> print(importance_weights(jnp.array([.5, .25, .25]), 3, 1.))
        [0.5 1.  1. ]
    """
    probability = jnp.asarray(probability, jnp.float32)
    real = probability > 0
    # In logarithms, so that neither a large table nor a small probability overflows.
    ratio = jnp.log(jnp.where(real, probability, 1.0)) + jnp.log(jnp.asarray(size, jnp.float32))
    log_weight = jnp.where(real, -exponent * ratio, -jnp.inf)
    largest = jnp.max(log_weight)
    return jnp.exp(log_weight - jnp.where(jnp.isfinite(largest), largest, 0.0))
