"""Legal actions: what an environment forbids is worth less than anything."""

import jax
import jax.numpy as jnp

from culmen.core.specs import allowed_actions
from culmen.core.types import Array
from culmen.core.types import Nest


def mask_illegal(values: Array, observation: Nest) -> jax.Array:
    """Values of illegal actions become the least float (finite, so that a zero discount keeps it out).

    Where no action is legal, as where a game was cut off, the values stay: a bootstrap is one of them.

    Args:
        values: float[..., num_actions] action values or logits.
        observation: of the same leading axes; masks by its field `legal_actions`, if it has one.
    """
    allowed = allowed_actions(observation)
    values = jnp.asarray(values)
    if allowed is None:
        return values
    return jnp.where(allowed, values, jnp.finfo(values.dtype).min)
