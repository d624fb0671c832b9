"""Initial weights that Haiku's own initializers don't give."""

from collections.abc import Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp


class Orthogonal(hk.initializers.Initializer):
    """A random orthogonal matrix, scaled: Saxe et al. 2014 (1312.6120).

    Haiku's own broadcasts arrays of different rank, which Culmen's tests forbid.
    """

    def __init__(self, scale: float = 1.0) -> None:
        """Args: scale: of every singular value."""
        self._scale = scale

    def __call__(self, shape: Sequence[int], dtype: Any) -> jax.Array:
        """A matrix of that shape, whose rows or columns (the fewer of the two) are orthogonal."""
        tall = max(shape), min(shape)
        q, r = jnp.linalg.qr(jax.random.normal(hk.next_rng_key(), tall, dtype))
        # With the signs of the diagonal the distribution is uniform.
        q = q * jnp.sign(jnp.diag(r))[None]
        return self._scale * (q if tuple(shape) == tall else q.T)


# Uniform in [-1 / sqrt(f), 1 / sqrt(f)] for f inputs: Lillicrap et al. 2015 (1509.02971), section 7.
FAN_IN_UNIFORM = hk.initializers.VarianceScaling(1 / 3, 'fan_in', 'uniform')
