"""Returns, lengths and named numbers of episodes, summed in compiled code and read by the host."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from culmen.core.metrics import Metric
from culmen.core.types import TimeStep
from culmen.environment_loops.batched import Episode


class Sum(NamedTuple):
    """A sum of 48 bits in two floats."""

    high: jax.Array  # float32[B]
    low: jax.Array  # float32[B]


class Sums(NamedTuple):
    """The running return and length of each lane. Two floats hold one sum of 48 bits."""

    high: jax.Array  # float32[B]
    low: jax.Array  # float32[B]
    length: jax.Array  # int32[B]
    metrics: dict[
        str, Sum
    ] = {}  # of the environment's named numbers by column: sums, or the last ones


class Ended(NamedTuple):
    """The episodes that ended at a tick; for several ticks, leaves [ticks, ...]."""

    high: jax.Array  # float32[B]
    low: jax.Array  # float32[B]
    length: jax.Array  # int32[B]; 0: none ended in the lane
    metrics: dict[str, Sum] = {}  # as in `Sums`


def zero_sums(num_lanes: int, columns: Iterable[str] = ()) -> Sums:
    """The sums before the first step. Args: columns: of named numbers."""
    zeros = jnp.zeros(num_lanes, jnp.float32)
    metrics = {column: Sum(zeros, zeros) for column in columns}
    return Sums(zeros, zeros, jnp.zeros(num_lanes, jnp.int32), metrics)


def zero_ended(shape: tuple[int, ...], columns: Iterable[str] = ()) -> Ended:
    """A record without episodes. Args: shape: [..., B]; columns: of named numbers."""
    zeros = jnp.zeros(shape, jnp.float32)
    metrics = {column: Sum(zeros, zeros) for column in columns}
    return Ended(zeros, zeros, jnp.zeros(shape, jnp.int32), metrics)


def add_step(
    sums: Sums,
    timestep: TimeStep,
    numbers: Mapping[str, jax.Array],
    metrics: Mapping[str, Metric],
) -> tuple[Sums, Ended]:
    """Adds a time step of all lanes.

    Args:
        sums: so far.
        timestep: of B lanes.
        numbers: named numbers of the time step by column, float32[B].
        metrics: what becomes of each of them in an episode, by column.
    Returns: (sums, episodes that end here).
    """
    first, last = timestep.first(), timestep.last()
    zero = jnp.zeros_like(sums.high)

    def add(before: Sum, number: jax.Array) -> Sum:
        after = _two_sum(before, number)
        return Sum(jnp.where(first, zero, after.high), jnp.where(first, zero, after.low))

    rewards = add(Sum(sums.high, sums.low), timestep.reward)
    held = {
        column: Sum(numbers[column], zero)
        if metric.reduction == 'last'
        else add(sums.metrics[column], numbers[column])
        for column, metric in metrics.items()
    }
    sums = Sums(*rewards, jnp.where(first, 0, sums.length + 1), held)
    return sums, Ended(sums.high, sums.low, jnp.where(last, sums.length, 0), held)


def _two_sum(before: Sum, number: jax.Array) -> Sum:
    """Knuth's two-sum: adds a number, and the exact rounding error to the low part."""
    high = before.high + number
    of_number = high - before.high
    lost = (before.high - (high - of_number)) + (number - of_number)
    return Sum(high, before.low + lost)


def iterate(
    ended: Ended,
    ticks: int,
    metrics: Mapping[str, Metric] = MappingProxyType({}),
    columns_of_lanes: Sequence[Sequence[str]] = (),
) -> Iterator[tuple[int, Episode]]:
    """Yields (tick, episode) in order for the first ticks of a record.

    Args:
        ended: [ticks, B].
        metrics: as for `add_step`.
        columns_of_lanes: which of them each lane has.
    """
    length = np.asarray(ended.length)[:ticks]
    at, lane = length.nonzero()
    lengths = length[at, lane]

    def sums(of: Sum | Ended) -> np.ndarray[Any, Any]:
        high = np.asarray(of.high, np.float64)[at, lane]
        return np.asarray(high + np.asarray(of.low)[at, lane])

    numbers = {
        column: sums(ended.metrics[column]) / (1 if metric.reduction == 'last' else lengths)
        for column, metric in metrics.items()
    }
    rows = zip(at.tolist(), lane.tolist(), sums(ended).tolist(), lengths.tolist())
    for i, (tick, of, total, steps) in enumerate(rows):
        columns = columns_of_lanes[of] if columns_of_lanes else ()
        yield tick, Episode(of, total, steps, {name: float(numbers[name][i]) for name in columns})
