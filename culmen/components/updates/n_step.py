"""Bootstraps after several rewards along sequences, for values and for distributions of returns alike."""

import jax
import jax.numpy as jnp

from culmen.core.types import Array
from culmen.core.types import Steps


def n_step_parts(
    steps: Steps, discount: float | Array, n_step: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What each step of B windows earns until its bootstrap, and where that is.

    A target is reward + discount * (the value of the bootstrap's observation). It comes after fewer than
    `n_step` rewards where the window or the episode ends.

    Args:
        steps: B windows of T transitions, within episodes; their reward may be a nest of K leaves.
        discount: per step.
        n_step: rewards before the bootstrap, at least 1.
    Returns: (rewards float32[B, T, K], discounts float32[B, T], observations int32[B, T], from 1 to T).
        Meaningless where the mask is False.
    """
    reward = jnp.stack(jax.tree_util.tree_leaves(steps.reward), axis=-1)[:, 1:]
    step_discount = discount * jnp.asarray(steps.discount)[:, 1:]
    mask = jnp.asarray(steps.mask)
    length = mask.shape[1]

    total = jnp.zeros_like(reward)
    factor = jnp.ones_like(step_discount)
    end = jnp.broadcast_to(jnp.arange(length)[None], mask.shape)
    alive = jnp.ones_like(mask)
    for k in range(min(n_step, length)):
        ahead = jnp.pad(mask[:, k:], ((0, 0), (0, k)))
        alive = alive & ahead if k else alive
        rewards = jnp.pad(reward[:, k:], ((0, 0), (0, k), (0, 0)))
        discounts = jnp.pad(step_discount[:, k:], ((0, 0), (0, k)))
        total += jnp.where(alive, factor, 0.0)[..., None] * rewards
        factor = jnp.where(alive, factor * discounts, factor)
        end = jnp.where(alive, end + 1, end)
    return total, factor, end
