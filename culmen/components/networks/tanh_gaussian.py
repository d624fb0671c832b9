"""A normal distribution squashed into (-1, 1) by a hyperbolic tangent: stochastic bounded actions.

Haarnoja et al. 2018 (1812.05905), appendix C. Log-densities are computed from the number before the
tangent, so they are exact and finite, and have finite gradients, where an action rounds to 1.
"""

import math
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from culmen.components import losses
from culmen.components.networks.initializers import FAN_IN_UNIFORM
from culmen.components.networks.linear import Linear
from culmen.core.types import Array

LOG_SCALE_MIN, LOG_SCALE_MAX = -20.0, 2.0


class TanhGaussian(NamedTuple):
    """A distribution over D independent numbers in (-1, 1)."""

    mean: Array  # float32[..., D]: before the tangent
    log_scale: Array  # float32[..., D]: of the standard deviation before the tangent

    def sample(self, key: jax.Array) -> jax.Array:
        """float32[..., D], drawn with one key for all."""
        return self.sample_and_log_prob(key)[0]

    def sample_and_log_prob(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(actions float32[..., D], their log-densities float32[...]), both differentiable."""
        noise = jax.random.normal(key, jnp.shape(self.mean), jnp.float32)
        before = jnp.asarray(self.mean) + jnp.exp(self.log_scale) * noise
        return jnp.tanh(before), self._log_prob(before, noise)

    def log_prob(self, action: Array) -> jax.Array:
        """float32[...]: log-densities of float32[..., D]; -1 and 1 count as the floats next to them."""
        edge = float(1.0 - jnp.finfo(jnp.float32).epsneg)
        before = jnp.arctanh(jnp.clip(jnp.asarray(action), -edge, edge))
        return self._log_prob(before, (before - self.mean) * jnp.exp(-self.log_scale))

    def mode(self) -> jax.Array:
        """float32[..., D]: the tanh of the means, which evaluations take."""
        return jnp.tanh(self.mean)

    def entropy(self) -> jax.Array:
        """float32[...], by Gauss-Hermite quadrature: no closed form is known.

        H = H(normal) + E[log(1 - tanh(x)^2)], with 32 nodes for each dimension: within 0.001 for
        deviations of up to 2 before the tangent, within 0.1 for the largest, e^2.
        """
        nodes, weights = np.polynomial.hermite.hermgauss(32)
        nodes = np.reshape(2.0**0.5 * nodes, (1,) * jnp.ndim(self.mean) + (-1,)).astype(np.float32)
        before = jnp.asarray(self.mean)[..., None] + jnp.exp(self.log_scale)[..., None] * nodes
        shares = (weights / math.sqrt(math.pi)).astype(np.float32)
        normal = jnp.asarray(self.log_scale) + 0.5 * math.log(2.0 * math.pi * math.e)
        return jnp.sum(normal + _log_slope(before) @ shares, axis=-1)

    def kl(self, other: 'TanhGaussian') -> jax.Array:
        """float32[...]: the divergence KL(self, other), that of the normals before the tangent."""
        return losses.gaussian_diagonal().kl(
            self.mean, jnp.exp(self.log_scale), other.mean, jnp.exp(other.log_scale)
        )

    def _log_prob(self, before: jax.Array, noise: jax.Array) -> jax.Array:
        # Equation 21, with log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2 x)).
        normal = -0.5 * jnp.square(noise) - self.log_scale - 0.5 * math.log(2.0 * math.pi)
        return jnp.sum(normal - _log_slope(before), axis=-1)


def _log_slope(before: jax.Array) -> jax.Array:
    """log(1 - tanh(x)^2)."""
    return 2.0 * (math.log(2.0) - before - jax.nn.softplus(-2.0 * before))


class TanhGaussianHead(hk.Module):
    """One linear layer for means and scales: features [B, D] -> a distribution over actions."""

    def __init__(self, size: int, name: str | None = None) -> None:
        """Args: size: dimensions of an action."""
        super().__init__(name=name)
        self._size = size

    def __call__(self, features: jax.Array) -> TanhGaussian:
        """float32[B, D] -> TanhGaussian with leaves float32[B, size]."""
        both = Linear(2 * self._size, w_init=FAN_IN_UNIFORM)(features)
        mean, log_scale = jnp.split(both, 2, axis=-1)
        return TanhGaussian(mean, jnp.clip(log_scale, LOG_SCALE_MIN, LOG_SCALE_MAX))
