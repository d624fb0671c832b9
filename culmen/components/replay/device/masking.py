"""Runs side by side in one compiled loop: a run that waits for the others keeps its tables to the bit.

The state of each table has a field `active`, bool[]: where it is False, writes change nothing. The functions
that write read it there, and mask large arrays at the place that is written, so none is copied. None: all
writes take effect, as in a run alone and in every state that is saved.
"""

from typing import Any
from typing import TypeAlias

import jax
import jax.numpy as jnp

Active: TypeAlias = jax.Array | None


def activate(states: Any, active: Active) -> Any:
    """States of tables, in any nest, whose writes take effect where active."""

    def has_flag(node: Any) -> bool:
        return 'active' in getattr(node, '_fields', ())

    return jax.tree_util.tree_map(
        lambda node: node._replace(active=active) if has_flag(node) else node,
        states,
        is_leaf=has_flag,
    )


def select(active: Active, new: Any, old: Any) -> Any:
    """A nest of small arrays: new where active, else old."""
    if active is None:
        return new
    return jax.tree_util.tree_map(lambda a, b: a if a is b else jnp.where(active, a, b), new, old)


def flags(active: Active, values: jax.Array) -> jax.Array:
    """bool[...]: the values where active, else False."""
    return values if active is None else values & active


def count(active: Active, number: Any) -> Any:
    """A number where active, else 0."""
    return number if active is None else jnp.where(active, number, 0)


def write(active: Active, array: jax.Array, new: jax.Array, index: Any) -> jax.Array:
    """An array whose entry at `index` of the first axis is new where active."""
    if active is not None:
        old = jax.lax.dynamic_index_in_dim(array, index, 0, keepdims=False)
        new = jnp.where(active, new, old)
    return jax.lax.dynamic_update_index_in_dim(array, new, index, 0)
