"""Whether the support of a distribution of returns holds what is learned, and what to say if it does not."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from culmen.core.types import Array

OUTSIDE = 'mass_outside'  # the metric
_MUCH = 0.2


def mass_outside(atoms: Array, probs: Array, r_t: Array, discount_t: Array) -> jax.Array:
    """How much of the targets of a batch the projection has to move to the ends of the support.

    A return counts that lies further outside than half the distance of two atoms.

    Args:
        atoms: float32[num_atoms], evenly spaced.
        probs: float32[B, num_atoms], of the distributions after the transitions.
        r_t, discount_t: float32[B].
    Returns: float32[], in [0, 1].
    """
    atoms = jnp.asarray(atoms)
    margin = (atoms[1] - atoms[0]) / 2
    returns = jnp.asarray(r_t)[:, None] + jnp.asarray(discount_t)[:, None] * atoms[None]
    is_outside = (returns < atoms[0] - margin) | (returns > atoms[-1] + margin)
    return jnp.mean(jnp.sum(jnp.where(is_outside, probs, 0.0), axis=-1))


def support_warning(metrics: Mapping[str, float]) -> str | None:
    """What to tell a user where much of the targets leaves the support; None where it holds them."""
    share = metrics.get(OUTSIDE, 0.0)
    if share <= _MUCH:
        return None
    return (
        f'{share:.0%} of the returns that are learned lie outside of v_min and v_max and are moved to '
        f'them: a wider support is needed (mass_outside in learner.csv).'
    )
