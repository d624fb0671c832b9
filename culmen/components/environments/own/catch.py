"""Catch: a ball falls and a paddle has to be below it."""

from typing import Annotated
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import functional
from culmen.components.environments import rendering
from culmen.core.checks import Range
from culmen.core.specs import EnvironmentSpec


class CatchState(NamedTuple):
    """The positions of ball and paddle."""

    row: jax.Array  # int32[]: of the ball
    column: jax.Array  # int32[]: of the ball
    paddle: jax.Array  # int32[]: its column


def catch(
    *, rows: Annotated[int, Range(2)] = 10, columns: Annotated[int, Range(1)] = 5
) -> functional.Functional:
    """A ball falls; the paddle on the last row moves left, stays or moves right.

    Reward 1 for a ball that is caught at the end and -1 for one that is missed.

    Args:
        rows, columns: of the board; the ball falls a row a step.
    """

    def board(state: CatchState) -> jax.Array:
        board = jnp.zeros((rows, columns), jnp.float32)
        return board.at[state.row, state.column].set(1.0).at[rows - 1, state.paddle].set(1.0)

    def begin(key: jax.Array) -> tuple[CatchState, jax.Array]:
        column = jax.random.randint(key, (), 0, columns)
        state = CatchState(jnp.int32(0), column, jnp.int32(columns // 2))
        return state, board(state)

    def advance(
        key: jax.Array, state: CatchState, action: jax.Array
    ) -> tuple[CatchState, functional.Outcome]:
        del key
        paddle = jnp.clip(state.paddle + action - 1, 0, columns - 1)
        state = CatchState(state.row + 1, state.column, paddle)
        done = state.row == rows - 1
        reward = jnp.where(done, jnp.where(paddle == state.column, 1.0, -1.0), 0.0)
        return state, functional.Outcome(board(state), reward, terminated=done)

    def render(state: CatchState) -> np.ndarray[Any, Any]:
        picture = (np.asarray(board(state))[..., None] * 255).astype(np.uint8)
        return rendering.enlarge(picture.repeat(3, axis=-1))

    spec = EnvironmentSpec(
        observation=specs.BoundedArray((rows, columns), np.float32, 0, 1, 'board'),
        action=specs.DiscreteArray(3, np.int32, 'action'),
        reward=functional.REWARD,
        discount=functional.DISCOUNT,
    )
    return functional.Functional(spec, begin, advance, render)
