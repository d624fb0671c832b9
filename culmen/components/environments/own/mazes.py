"""A point in a maze with the shape of a U."""

from typing import Annotated
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import functional
from culmen.core.checks import POSITIVE
from culmen.core.checks import Range
from culmen.core.goals import Goals
from culmen.core.specs import EnvironmentSpec

SIZE = 3.0  # of the square
# The wall between the two arms: x from 0 to 2, y from 1 to 2.
WALL_END, WALL_BOTTOM, WALL_TOP = 2.0, 1.0, 2.0
START, GOAL = (0.5, 0.5), (0.5, 2.5)
RADIUS = 0.3  # of the goal
_PIXELS = 40  # of a picture, for each unit


class MazeState(NamedTuple):
    """Where the point and the goal are, and the steps made."""

    place: jax.Array  # float32[2]: x, y
    goal: jax.Array  # float32[2]
    steps: jax.Array  # int32[]


def is_wall(place: Any) -> Any:
    """bool[...]: whether a place float32[..., 2] is inside the wall."""
    x, y = place[..., 0], place[..., 1]
    return (x < WALL_END) & (y > WALL_BOTTOM) & (y < WALL_TOP)


def _draw(key: jax.Array) -> jax.Array:
    """A place that is not in the wall, nor close to it."""
    which, of_place = jax.random.split(key)
    # Seven free squares of side 1.
    corners = jnp.array([(0, 0), (1, 0), (2, 0), (2, 1), (0, 2), (1, 2), (2, 2)], jnp.float32)
    corner = corners[jax.random.randint(which, (), 0, len(corners))]
    return corner + jax.random.uniform(of_place, (2,), jnp.float32, minval=0.1, maxval=0.9)


def _render(state: MazeState) -> np.ndarray[Any, Any]:
    side = int(SIZE * _PIXELS)
    y, x = np.mgrid[0:side, 0:side] / _PIXELS
    places = np.stack([x, SIZE - y], axis=-1)
    picture = np.full((side, side, 3), 255, np.uint8)
    picture[is_wall(places)] = 90
    for place, colour in ((state.goal, (60, 180, 75)), (state.place, (220, 50, 50))):
        picture[np.linalg.norm(places - np.asarray(place), axis=-1) < 0.15] = colour
    return picture


def u_maze(
    *,
    speed: Annotated[float, POSITIVE] = 0.2,
    dense: bool = False,
    random_goal: bool = False,
    max_steps: Annotated[int, Range(1)] = 100,
) -> functional.Functional:
    """A point has to go around a wall, from one arm of a U to the end of the other.

    An action in [-1, 1]^2 moves the point by `speed` times itself, but no coordinate into a wall.
    The reward is -1 until the point is within 0.3 of the goal, and 0 there, where the episode is over. The
    observation has the fields `observation`, `achieved_goal` (both the place) and `desired_goal`, float32[2].

    Args:
        speed: the longest move along a coordinate.
        dense: whether the reward is minus the distance to the goal instead.
        random_goal: whether goals are drawn from the whole maze; False: the end of the upper arm.
        max_steps: steps after which an episode is truncated.
    """

    def reached(achieved: jax.Array, desired: jax.Array) -> jax.Array:
        return jnp.linalg.norm(achieved - desired, axis=-1) <= RADIUS

    def reward(achieved: jax.Array, desired: jax.Array) -> jax.Array:
        if dense:
            return -jnp.linalg.norm(achieved - desired, axis=-1)
        return reached(achieved, desired).astype(jnp.float32) - 1.0

    def observe(state: MazeState) -> dict[str, jax.Array]:
        return {
            'observation': state.place,
            'achieved_goal': state.place,
            'desired_goal': state.goal,
        }

    def begin(key: jax.Array) -> tuple[MazeState, dict[str, jax.Array]]:
        of_start, of_goal = jax.random.split(key)
        place = jnp.array(START, jnp.float32) + jax.random.uniform(
            of_start, (2,), jnp.float32, minval=-0.1, maxval=0.1
        )
        goal = _draw(of_goal) if random_goal else jnp.array(GOAL, jnp.float32)
        state = MazeState(place, goal, jnp.int32(0))
        return state, observe(state)

    def advance(
        key: jax.Array, state: MazeState, action: jax.Array
    ) -> tuple[MazeState, functional.Outcome]:
        del key
        place = state.place
        move = speed * jnp.clip(action, -1.0, 1.0)
        for axis in (0, 1):
            step = jnp.where(jnp.arange(2) == axis, move, 0.0)
            wanted = jnp.clip(place + step, 0.0, SIZE)
            place = jnp.where(is_wall(wanted), place, wanted)
        state = MazeState(place, state.goal, state.steps + 1)
        over = reached(place, state.goal)
        outcome = functional.Outcome(
            observe(state), reward(place, state.goal), over, state.steps >= max_steps
        )
        return state, outcome

    place = specs.BoundedArray((2,), np.float32, 0, SIZE)
    spec = EnvironmentSpec(
        observation={'observation': place, 'achieved_goal': place, 'desired_goal': place},
        action=specs.BoundedArray((2,), np.float32, -1, 1, 'move'),
        reward=functional.REWARD,
        discount=functional.DISCOUNT,
        goals=Goals(reward, reached, ends=True),
    )
    return functional.Functional(spec, begin, advance, _render)
