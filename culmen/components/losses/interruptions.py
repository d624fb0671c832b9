"""Interrupted episodes: sequences that end without a last step."""

import jax.numpy as jnp

from culmen.components.losses._common import Array

_FIRST, _MID, _LAST = 0, 1, 2  # The step types of dm_env.


def fix_step_type_on_interruptions(step_type: Array) -> Array:
    """Marks a mid-episode step as last if the next step starts another episode.

        out[t] = LAST where step_type[t] = MID and step_type[t+1] = FIRST, else step_type[t]

    Args:
        step_type: [T, ...] integers: 0 first, 1 mid, 2 last. The final step stays as it is.
    Returns: [T, ...] step types.
    Raises: ValueError if step_type is not of integers.
    Example:
        >>> print(fix_step_type_on_interruptions(jnp.array([0, 1, 0, 1, 2, 0])))
        [0 2 0 1 2 0]
    """
    step_type = jnp.asarray(step_type)
    if not jnp.issubdtype(step_type.dtype, jnp.integer):
        raise ValueError(f'step_type must be an integer, got {step_type.dtype}')
    if step_type.ndim == 0:
        raise ValueError('step_type must have rank 1 or more ([T, ...]), got shape ()')
    next_is_first = jnp.concatenate(
        [step_type[1:] == _FIRST, jnp.zeros_like(step_type[:1], dtype=bool)]
    )
    return jnp.where((step_type == _MID) & next_is_first, _LAST, step_type)
