"""Catch as pure functions of one lane: a JaxEnvironment for tests."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.core.specs import EnvironmentSpec
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import TimeStep


class CatchState(NamedTuple):
    """Where things are."""

    row: jax.Array  # int32[]: of the ball
    column: jax.Array  # int32[]: of the ball
    paddle: jax.Array  # int32[]: column
    done: jax.Array  # bool[]: the last step was LAST


class JaxCatch:
    """A ball falls down `rows` rows; the paddle on the last row moves left, stays or moves right.

    Reward 1 for a caught ball, -1 for a missed one, at the end. The best return is 1, that of a
    random policy about -0.6.
    """

    def __init__(self, rows: int = 5, columns: int = 4) -> None:
        self._rows, self._columns = rows, columns

    def spec(self) -> EnvironmentSpec:
        """A board of floats, three actions."""
        return EnvironmentSpec(
            observation=specs.BoundedArray((self._rows, self._columns), np.float32, 0, 1, 'board'),
            action=specs.DiscreteArray(3, np.int32, 'action'),
            reward=specs.Array((), np.float32, 'reward'),
            discount=specs.BoundedArray((), np.float32, 0, 1, 'discount'),
        )

    def reset(self, key: jax.Array) -> tuple[CatchState, TimeStep]:
        """A ball at the top in a random column."""
        column = jax.random.randint(key, (), 0, self._columns)
        state = CatchState(jnp.int32(0), column, jnp.int32(self._columns // 2), jnp.bool_(False))
        return state, TimeStep(jnp.int32(FIRST), jnp.float32(0), jnp.float32(1), self._board(state))

    def step(self, key: jax.Array, state: CatchState, action: Any) -> tuple[CatchState, TimeStep]:
        """One row down; from LAST, a new episode."""
        paddle = jnp.clip(state.paddle + action - 1, 0, self._columns - 1)
        moved = CatchState(state.row + 1, state.column, paddle, state.row + 1 == self._rows - 1)
        reward = jnp.where(moved.done, jnp.where(paddle == state.column, 1.0, -1.0), 0.0)
        timestep = TimeStep(
            jnp.where(moved.done, LAST, MID).astype(jnp.int32),
            reward,
            jnp.where(moved.done, 0.0, 1.0),
            self._board(moved),
        )
        return jax.tree_util.tree_map(
            lambda new, old: jnp.where(state.done, new, old), self.reset(key), (moved, timestep)
        )

    def _board(self, state: CatchState) -> jax.Array:
        board = jnp.zeros((self._rows, self._columns), jnp.float32)
        return board.at[state.row, state.column].set(1.0).at[self._rows - 1, state.paddle].set(1.0)
