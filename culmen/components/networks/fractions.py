"""Fractions of a return distribution, drawn uniformly or distorted by an attitude to risk.

Dabney et al. 2018 (1806.06923), section 3.1 and section 4.
"""

from typing import Literal
from typing import TypeAlias

import jax
import jax.numpy as jnp

from culmen.core.types import Array

Risk: TypeAlias = Literal['neutral', 'cvar', 'wang', 'cpw', 'power']


def draw_fractions(key: jax.Array, num: int, batch_size: int) -> jax.Array:
    """Uniform fractions in [0, 1).

    Args: key: a key [] for all rows, or a key of each row [B], whose fractions then depend on it alone.
    Returns: float32[B, num].
    """
    if key.ndim:
        return jax.vmap(lambda row: jax.random.uniform(row, (num,), jnp.float32))(key)
    return jax.random.uniform(key, (batch_size, num), jnp.float32)


def distorted(tau: Array, risk: Risk, level: float | Array | None) -> jax.Array:
    """Fractions under a distortion beta, so that means over them are of the distorted distribution.

        neutral   tau
        cvar      level tau, the mean of the lowest share `level` of returns
        wang      Phi(Phi^-1(tau) + level), averse to risk where level < 0
        cpw       tau^level / (tau^level + (1 - tau)^level)^(1 / level)
        power     1 - (1 - tau)^(1 / (1 + |level|)) where level < 0, averse; tau^(1 / (1 + |level|)) elsewhere

    Args: tau: float32[...] in [0, 1]; level: of the distortion, None for 'neutral', which has none.
    Returns: float32[...] in [0, 1].
    """
    tau = jnp.asarray(tau)
    if risk == 'neutral' or level is None:
        return tau
    level = jnp.asarray(level)
    if risk == 'cvar':
        return level * tau
    if risk == 'wang':
        return jax.scipy.stats.norm.cdf(jax.scipy.stats.norm.ppf(tau) + level)
    if risk == 'cpw':
        power = tau**level
        return power / (power + (1 - tau) ** level) ** (1 / level)
    exponent = 1 / (1 + jnp.abs(level))
    return jnp.where(level < 0, 1 - (1 - tau) ** exponent, tau**exponent)
