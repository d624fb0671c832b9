"""Values in units of their own targets, one scale for each task: PopArt, of an actor-critic network.

The layer of values gives normalised values; the mean and the deviation of the targets of each task turn them
into returns. Where the statistics move, the layer is changed so that no return does
(`culmen.components.losses.pop_art`). An agent without it holds () in their place: its values are returns.

References: van Hasselt et al. 2016 (1602.07714), Hessel et al. 2018 (1809.04474).
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp

from culmen.components import losses
from culmen.components.networks import VALUE_HEAD
from culmen.core.types import Array
from culmen.core.types import Params

PopArt: TypeAlias = losses.PopArtState | tuple[()]  # (): values are not normalised

# Bounds of the deviation: Hessel et al. 2018, section 4.
_LEAST_SCALE, _LARGEST_SCALE = 1e-4, 1e6


def initial_pop_art(num_tasks: int, rate: float | Array | None) -> PopArt:
    """Statistics before any target: mean 0 and deviation 1. Args: rate: of `rescaled`; None: no PopArt."""
    if rate is None:
        return ()
    ones = jnp.ones(num_tasks, jnp.float32)
    return losses.PopArtState(jnp.zeros_like(ones), ones, ones)


def unnormalised(pop_art: PopArt, value: Array, task: Array) -> jax.Array:
    """Returns of the values that a network gives. Args: value: float32[...]. task: int32[...]."""
    if not pop_art:
        return jnp.asarray(value)
    return losses.unnormalize(pop_art, jnp.asarray(value), jnp.asarray(task))


def scales_of(pop_art: PopArt, task: Array) -> jax.Array | float:
    """float32[...]: how much of a return is 1 of a normalised value. Args: task: int32[...]."""
    if not pop_art:
        return 1.0
    return jnp.asarray(pop_art.scale)[task]


def rescaled(
    params: Params, pop_art: PopArt, targets: Array, task: Array, mask: Array,
    rate: float | Array | None,
) -> tuple[Params, PopArt]:  # fmt: skip
    """Moves the statistics towards new targets, and the layer of values so that no return changes.

    Args:
        params: of an actor-critic network whose value is by task.
        pop_art: the statistics so far; without PopArt nothing moves.
        targets: float32[...], of values, as returns.
        task: int32[...].
        mask: bool[...], of the targets that are real.
        rate: the part of the way to the mean over the batch, for each task that is in it.
    Returns: (params, statistics).
    """
    if not pop_art or rate is None:
        return params, pop_art
    targets, task, mask = jnp.asarray(targets), jnp.asarray(task), jnp.asarray(mask, jnp.float32)
    num_tasks = len(pop_art.shift)
    of_task = jnp.sum(
        jax.nn.one_hot(task.ravel(), num_tasks, dtype=jnp.float32) * mask.reshape((-1, 1)), axis=0
    )
    step = jnp.asarray(rate * mask / jnp.maximum(of_task, 1)[task])
    new = losses.art(pop_art, targets, task, step, _LEAST_SCALE, _LARGEST_SCALE)
    return {**params, VALUE_HEAD: losses.pop(params[VALUE_HEAD], pop_art, new)}, new
