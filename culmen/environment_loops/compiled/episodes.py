"""Returns and lengths of episodes, summed in compiled code and read by the host."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from culmen.core.types import TimeStep
from culmen.environment_loops.batched import Episode


class Sums(NamedTuple):
    """The running return and length of each lane. Two floats hold one sum of 48 bits."""

    high: jax.Array  # float32[B]
    low: jax.Array  # float32[B]
    length: jax.Array  # int32[B]


class Ended(NamedTuple):
    """The episodes that ended at a tick; for several ticks, leaves [ticks, ...]."""

    high: jax.Array  # float32[B]
    low: jax.Array  # float32[B]
    length: jax.Array  # int32[B]; 0: none ended in the lane


def zero_sums(num_lanes: int) -> Sums:
    """The sums before the first step."""
    zeros = jnp.zeros(num_lanes, jnp.float32)
    return Sums(zeros, zeros, jnp.zeros(num_lanes, jnp.int32))


def zero_ended(shape: tuple[int, ...]) -> Ended:
    """A record without episodes. Args: shape: [..., B]."""
    zeros = jnp.zeros(shape, jnp.float32)
    return Ended(zeros, zeros, jnp.zeros(shape, jnp.int32))


def add_rewards(sums: Sums, timestep: TimeStep) -> tuple[Sums, Ended]:
    """Adds a time step of all lanes: (sums, episodes that end here)."""
    first, last = timestep.first(), timestep.last()
    reward = timestep.reward
    high = sums.high + reward
    # Knuth's two-sum: the exact rounding error of `high`.
    of_reward = high - sums.high
    lost = (sums.high - (high - of_reward)) + (reward - of_reward)
    zero = jnp.zeros_like(high)
    sums = Sums(
        jnp.where(first, zero, high),
        jnp.where(first, zero, sums.low + lost),
        jnp.where(first, 0, sums.length + 1),
    )
    return sums, Ended(sums.high, sums.low, jnp.where(last, sums.length, 0))


def iterate(ended: Ended, ticks: int) -> Iterator[tuple[int, Episode]]:
    """Yields (tick, episode) in order for the first ticks of a record. Args: ended: [ticks, B]."""
    length = np.asarray(ended.length)[:ticks]
    at, lane = length.nonzero()
    returns = np.asarray(ended.high, np.float64)[at, lane] + np.asarray(ended.low)[at, lane]
    lengths = length[at, lane]
    for tick, *episode in zip(at.tolist(), lane.tolist(), returns.tolist(), lengths.tolist()):
        yield tick, Episode(*episode)
