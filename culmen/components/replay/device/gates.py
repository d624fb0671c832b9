"""Which lanes may begin an episode, on the device: the counterpart of `stream/gates.py`, by the same rule.

Counts are relative to the updates so far, so that they stay small.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.replay.device import masking
from culmen.components.replay.device.masking import Active
from culmen.core.experience import Queue
from culmen.core.staleness import windows_at_once


class GateState(NamedTuple):
    """The lanes of one Queue."""

    windows: jax.Array  # int32[]: that wait, and that open episodes may still bring
    open: jax.Array  # bool[B]: lanes within an episode
    age: jax.Array  # int32[B]: updates since the lane's episode began
    brought: jax.Array  # int32[B]: windows of the lane's episode
    waited: jax.Array  # int32[B]: ticks at FIRST
    held: jax.Array  # bool[B]: lanes that wait after this tick
    bad: jax.Array  # bool[]: whether an episode brought more windows than lanes allow for
    active: Active = None  # as in `masking`


class Gate:
    """Admits lanes for one Queue."""

    def __init__(self, queue: Queue, num_lanes: int) -> None:
        """Args: queue: whose lanes wait at FIRST. num_lanes: B."""
        assert queue.batch_size is not None and queue.max_staleness is not None
        self._num_lanes = num_lanes
        self._batch_size = queue.batch_size
        self._most = windows_at_once(queue.window)  # windows of an episode
        self._limit = (queue.max_staleness + 1) * queue.batch_size

    def init(self) -> GateState:
        """The state before the first episode."""
        no, zeros = jnp.zeros(self._num_lanes, bool), jnp.zeros(self._num_lanes, jnp.int32)
        return GateState(jnp.int32(0), no, zeros, zeros, zeros, no, jnp.bool_(False))

    def add(self, state: GateState, brought: jax.Array) -> GateState:
        """Counts windows that have appeared, int32[B]."""
        brought = state.brought + masking.count(state.active, brought)
        return state._replace(brought=brought, bad=state.bad | jnp.any(brought > self._most))

    def close(self, state: GateState, ended: jax.Array) -> GateState:
        """Ends episodes, once all their windows have appeared. Args: ended: bool[B]."""
        ended = masking.flags(state.active, ended & state.open)
        spared = jnp.sum(jnp.where(ended, self._most - state.brought, 0), dtype=jnp.int32)
        return state._replace(windows=state.windows - spared, open=state.open & ~ended)

    def fits(self, state: GateState, first: jax.Array) -> jax.Array:
        """bool[B]: lanes at FIRST, bool[B], that may begin, in the order in which they came."""
        waits = first & ~state.open
        order = jnp.argsort(jnp.where(waits, -state.waited, 1), stable=True)
        place = jnp.zeros(self._num_lanes, jnp.int32).at[order].set(jnp.arange(self._num_lanes))
        oldest = jnp.max(jnp.where(state.open, state.age, 0))
        windows = state.windows + (place + 1) * self._most
        return waits & (windows <= self._limit - oldest * self._batch_size)

    def admit(self, state: GateState, first: jax.Array, admitted: jax.Array) -> GateState:
        """Begins the episodes of lanes that fit in every table. Args: first, admitted: bool[B]."""
        held = first & ~state.open & ~admitted
        after = state._replace(
            windows=state.windows + self._most * jnp.sum(admitted, dtype=jnp.int32),
            open=state.open | admitted,
            age=jnp.where(admitted, 0, state.age),
            brought=jnp.where(admitted, 0, state.brought),
            waited=jnp.where(held, jnp.minimum(state.waited, 2**30) + 1, 0),
            held=held,
        )
        admitted_state: GateState = masking.select(state.active, after, state)
        return admitted_state

    def draw(self, state: GateState) -> GateState:
        """Counts an update."""
        return state._replace(
            windows=state.windows - masking.count(state.active, self._batch_size),
            age=state.age + masking.count(state.active, 1),
        )

    def forget(self, state: GateState, num: int) -> GateState:
        """Takes back windows that waited and are lost."""
        return state._replace(windows=state.windows - num)


def admit_all(
    gates: Sequence[Gate], states: Sequence[GateState], first: jax.Array
) -> list[GateState]:
    """Admits the lanes at FIRST that fit in every table.

    Args: gates, states: of the tables. first: bool[B].
    """
    fits = jnp.stack([gate.fits(state, first) for gate, state in zip(gates, states)]).all(axis=0)
    return [gate.admit(state, first, fits) for gate, state in zip(gates, states)]
