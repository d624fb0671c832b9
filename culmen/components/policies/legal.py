"""Legal actions: masks the values of actions that an environment forbids."""

import jax
import jax.numpy as jnp

from culmen.core.specs import allowed_actions
from culmen.core.types import Array
from culmen.core.types import Nest


def mask_illegal(values: Array, observation: Nest, illegal: float | None = None) -> jax.Array:
    """Values of illegal actions become the least float (finite, so that a zero discount keeps it out).

    Where no action is legal, as in a game that was cut off, the values stay, since a bootstrap may need one.

    Args:
        values: float[..., num_actions] action values or logits.
        observation: with the same leading axes; its field `legal_actions`, if it has one, is the mask.
        illegal: what they become; None: the least float.
    """
    allowed = allowed_actions(observation)
    values = jnp.asarray(values)
    if allowed is None:
        return values
    least = jnp.finfo(values.dtype).min if illegal is None else illegal
    return jnp.where(allowed, values, least)
