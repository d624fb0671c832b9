"""A dot to be moved onto another, seen in pixels."""

from typing import Annotated
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import functional
from culmen.components.environments import rendering
from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.specs import EnvironmentSpec

RADIUS = 0.15  # of the target


class ReachState(NamedTuple):
    """Places in the unit square, and the steps made."""

    place: jax.Array  # float32[2]: x, y
    target: jax.Array  # float32[2]
    steps: jax.Array  # int32[]


def pixel_reach(
    *,
    size: Annotated[int, Range(8)] = 24,
    speed: Annotated[float, POSITIVE] = 0.1,
    max_steps: Annotated[int, Range(1)] = 50,
) -> functional.Functional:
    """Move a red dot onto a green one; only an image uint8[size, size, 3] is observed.

    An action in [-1, 1]^2 moves the dot by `speed` times itself, within the unit square. The reward is 1
    within 0.15 of the target, and 0 elsewhere. Places are drawn each episode; every episode is truncated
    after `max_steps`.

    Args:
        size: of the image, in pixels.
        speed: the longest move along a coordinate.
        max_steps: of an episode.
    """
    centres = (np.arange(size) + 0.5) / size
    across, along = np.meshgrid(centres, centres)
    radius = max(1.5 / size, 0.06)

    def dot(place: jax.Array) -> jax.Array:
        near = (across - place[0]) ** 2 + (along - place[1]) ** 2 <= radius**2
        return near.astype(jnp.uint8) * jnp.uint8(255)

    def observe(state: ReachState) -> jax.Array:
        blank = jnp.zeros((size, size), jnp.uint8)
        return jnp.stack([dot(state.place), dot(state.target), blank], axis=-1)

    def begin(key: jax.Array) -> tuple[ReachState, jax.Array]:
        places = jax.random.uniform(key, (2, 2), jnp.float32)
        state = ReachState(places[0], places[1], jnp.int32(0))
        return state, observe(state)

    def advance(
        key: jax.Array, state: ReachState, action: jax.Array
    ) -> tuple[ReachState, functional.Outcome]:
        del key
        place = jnp.clip(state.place + speed * jnp.clip(action, -1.0, 1.0), 0.0, 1.0)
        state = ReachState(place, state.target, state.steps + 1)
        near = jnp.linalg.norm(place - state.target) <= RADIUS
        over = state.steps >= max_steps
        return state, functional.Outcome(observe(state), near.astype(jnp.float32), False, over)

    def render(state: ReachState) -> np.ndarray[Any, Any]:
        return rendering.enlarge(np.asarray(observe(state)))

    spec = EnvironmentSpec(
        observation=specs.BoundedArray((size, size, 3), np.uint8, 0, 255, 'pixels'),
        action=specs.BoundedArray((2,), np.float32, -1, 1, 'move'),
        reward=functional.REWARD,
        discount=functional.DISCOUNT,
    )
    return functional.Functional(spec, begin, advance, render)
