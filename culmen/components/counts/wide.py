"""Counts of 64 bits in compiled code (JAX has 32 by default), so that no run overflows them."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from culmen.core.types import MAX_COUNT


class Wide(NamedTuple):
    """A count, high * 2^32 + low."""

    low: jax.Array  # uint32[]
    high: jax.Array  # uint32[]


def wide(number: int = 0) -> Wide:
    """A count from a Python int."""
    return Wide(np.uint32(number % 2**32), np.uint32(number // 2**32))  # type: ignore[arg-type]


def add(count: Wide, number: Any) -> Wide:
    """Adds an int32[] that is at least 0."""
    low = count.low + jnp.asarray(number).astype(jnp.uint32)
    return Wide(low, count.high + (low < count.low).astype(jnp.uint32))


def saturated(count: Wide) -> jax.Array:
    """int32[]: the count, at most the largest that a Context can hold."""
    over = (count.high > 0) | (count.low > MAX_COUNT)
    return jnp.where(over, MAX_COUNT, count.low.astype(jnp.int32))


def fold(key: jax.Array, count: Wide) -> jax.Array:
    """Folds a count into a key. Skips `high` while it is 0, since a fold costs as much as a draw."""
    data = jax.random.key_data(key)
    data = data.at[0].set(data[0] ^ count.high)
    return jax.random.fold_in(jax.random.wrap_key_data(data), count.low)


def as_int(count: Wide) -> int:
    """The count as a Python int. Waits for the device."""
    return int(np.asarray(count.high)) * 2**32 + int(np.asarray(count.low))
