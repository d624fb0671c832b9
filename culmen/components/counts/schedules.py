"""Schedules: functions of the Context of an actor's or a learner's call."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from culmen.core.types import Array
from culmen.core.types import Context

Schedule: TypeAlias = Callable[[Context], jax.Array]


def linear_schedule(
    initial: float | Array, final: float | Array, actor_steps: float | Array | None
) -> Schedule:
    """Moves linearly from initial to final over the first `actor_steps` steps; None: always initial."""

    def schedule(context: Context) -> jax.Array:
        if actor_steps is None:
            return jnp.asarray(initial, jnp.float32)
        steps = jnp.asarray(context.actor_steps, jnp.float32)
        fraction = jnp.clip(
            steps / jnp.maximum(jnp.asarray(actor_steps, jnp.float32), 1.0), 0.0, 1.0
        )
        begin, end = jnp.asarray(initial, jnp.float32), jnp.asarray(final, jnp.float32)
        return begin + fraction * (end - begin)

    return schedule
