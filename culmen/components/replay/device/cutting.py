"""The windows that appear at a tick, on the device: what `Cutter` is on the host, in static shapes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.replay.stream.windows import may_be_short
from culmen.core.experience import Window
from culmen.core.types import FIRST
from culmen.core.types import LAST


class CutState(NamedTuple):
    """Where each lane is."""

    rows: jax.Array  # int32[B]: rows since the lane counts; less whole periods once it is long
    ended: jax.Array  # bool[B]: the newest row is LAST


class Cut:
    """Cuts the stream of B lanes into windows, a tick at a time.

    Windows are told by how far back from the newest row they begin.
    """

    def __init__(self, window: Window, num_lanes: int) -> None:
        """Args: window: what to cut. num_lanes: B."""
        self._window = window
        self._num_lanes = num_lanes
        self.may_be_short = may_be_short(window)
        # Windows of a lane that one LAST can cut short.
        self.num_short = -(-(window.length - 1) // window.period) if self.may_be_short else 0

    def init(self) -> CutState:
        """Before the first row."""
        return CutState(jnp.full(self._num_lanes, -1, jnp.int32), jnp.zeros(self._num_lanes, bool))

    def observe(self, state: CutState, step_type: jax.Array) -> tuple[CutState, jax.Array]:
        """Opens a row in every lane.

        Args:
            step_type: int32[B].
        Returns: (state, bool[B]: a whole window ends here).
        """
        length, period = self._window.length, self._window.period
        first = step_type == FIRST
        restart = first & ~state.ended if self._window.cross_episodes else first | state.ended
        count = jnp.where(restart, 0, state.rows + 1)
        # Where windows begin stays as it is when whole periods are taken off; so nothing overflows.
        count = jnp.where(count >= length + period, count - period, count)
        ready = (count >= length) & ((count - length) % period == 0)
        return CutState(count, step_type == LAST), ready

    def short(self, state: CutState) -> tuple[jax.Array, jax.Array]:
        """The windows that LAST cuts short, as its row is closed, by lane and by start.

        Returns: (int32[B, num_short]: their transitions, which is how far back they begin; bool of the
            same shape: there is such a window).
        """
        length, period = self._window.length, self._window.period
        # A start is a whole number of periods from FIRST, and less than a length back.
        step = jnp.arange(self.num_short, 0, -1, dtype=jnp.int32)[None] * period
        offset = (state.rows % period)[:, None]
        back = jnp.where(offset == 0, step, step - period + offset)
        real = state.ended[:, None] & (back <= state.rows[:, None]) & (back < length)
        return back, real

    def skip(self, state: CutState, ticks: int) -> CutState:
        """Drops the windows that are open and begin more than so many ticks before the newest row."""
        period = self._window.period
        rows = np.asarray(state.rows)
        # The last start that is allowed, or the first after it, in step with those before.
        skipped = (rows > ticks) & (ticks < self._window.length)
        rows = np.where(skipped, ticks - (ticks - rows) % period, rows)
        return state._replace(rows=jnp.asarray(rows, jnp.int32))
