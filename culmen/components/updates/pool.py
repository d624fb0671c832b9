"""A pool of past parameters, in the training state: opponents, teachers, members of an average."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.core.types import Array
from culmen.core.types import Params


class Pool(NamedTuple):
    """The last parameters that were added, at most K of them."""

    params: Params  # leaves [K, ...]
    added: Array  # int32[]: how many were ever added


def new_pool(params: Params, capacity: int) -> Pool:
    """A pool of `capacity` with these parameters as its first member."""

    def place(leaf: Array) -> jax.Array:
        leaf = jnp.asarray(leaf)
        return jnp.zeros((capacity, *leaf.shape), leaf.dtype).at[0].set(leaf)

    return Pool(jax.tree_util.tree_map(place, params), jnp.int32(1))


def add_to_pool(pool: Pool, params: Params, when: bool | Array = True) -> Pool:
    """Adds parameters, in the place of the oldest if the pool is full.

    Args: when: bool[]; where False the pool stays as it is.
    """
    capacity = jax.tree_util.tree_leaves(pool.params)[0].shape[0]
    place = pool.added % capacity
    held = jax.tree_util.tree_map(
        lambda leaf, new: leaf.at[place].set(jnp.where(when, new, leaf[place])), pool.params, params
    )
    return Pool(held, pool.added + jnp.asarray(when, jnp.int32))


def draw_from_pool(pool: Pool, key: jax.Array) -> tuple[Params, jax.Array]:
    """A member, each with the same probability. Returns: (its parameters, its place int32[])."""
    capacity = jax.tree_util.tree_leaves(pool.params)[0].shape[0]
    place = jax.random.randint(key, (), 0, jnp.minimum(pool.added, capacity))
    return jax.tree_util.tree_map(lambda leaf: leaf[place], pool.params), place
