"""The windows that appear at a tick, on the device: the counterpart of `Cutter`, with static shapes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.replay.stream.windows import may_be_short
from culmen.core.experience import Window
from culmen.core.types import FIRST
from culmen.core.types import LAST


class CutState(NamedTuple):
    """The position of each lane."""

    rows: jax.Array  # int32[B]: rows since its origin; whole periods are subtracted to stay small
    ended: jax.Array  # bool[B]: whether the newest row is LAST


class Cut:
    """Cuts the stream of B lanes into windows, one tick at a time.

    A window is identified by how many rows before the newest one it begins.
    """

    def __init__(self, window: Window, num_lanes: int) -> None:
        """Args: window: what to cut. num_lanes: B."""
        self._window = window
        self._num_lanes = num_lanes
        self.may_be_short = may_be_short(window)
        # How many windows of a lane one LAST can cut short.
        self.num_short = -(-(window.length - 1) // window.period) if self.may_be_short else 0

    def init(self) -> CutState:
        """The state before the first row."""
        return CutState(jnp.full(self._num_lanes, -1, jnp.int32), jnp.zeros(self._num_lanes, bool))

    def observe(self, state: CutState, step_type: jax.Array) -> tuple[CutState, jax.Array]:
        """Opens a row in every lane.

        Args:
            step_type: int32[B].
        Returns: (state, bool[B]: whether a whole window ends here).
        """
        length, period = self._window.length, self._window.period
        first = step_type == FIRST
        restart = first & ~state.ended if self._window.cross_episodes else first | state.ended
        count = jnp.where(restart, 0, state.rows + 1)
        # Subtracting whole periods keeps the starts of windows the same and avoids overflow.
        count = jnp.where(count >= length + period, count - period, count)
        ready = (count >= length) & ((count - length) % period == 0)
        return CutState(count, step_type == LAST), ready

    def short(self, state: CutState) -> tuple[jax.Array, jax.Array]:
        """The windows that LAST cuts short when its row is closed, by lane and by start.

        Returns: (int32[B, num_short]: their transitions, which is also how far back they begin; bool of the
            same shape: whether there is such a window).
        """
        length, period = self._window.length, self._window.period
        # A start is a multiple of the period after FIRST, and less than a length back.
        step = jnp.arange(self.num_short, 0, -1, dtype=jnp.int32)[None] * period
        offset = (state.rows % period)[:, None]
        back = jnp.where(offset == 0, step, step - period + offset)
        real = state.ended[:, None] & (back <= state.rows[:, None]) & (back < length)
        return back, real

    def skip(self, state: CutState, ticks: int) -> CutState:
        """Drops open windows that begin more than `ticks` ticks before the newest row."""
        period = self._window.period
        rows = np.asarray(state.rows)
        # The last allowed start, or the first one after it that keeps the period.
        skipped = (rows > ticks) & (ticks < self._window.length)
        rows = np.where(skipped, ticks - (ticks - rows) % period, rows)
        return state._replace(rows=jnp.asarray(rows, jnp.int32))
