"""Masks writes for runs side by side in one compiled loop: a run that waits does not change its tables.

The state of each table has a field `active`, bool[]. While it is False, writes change nothing. Functions that
write large arrays mask only the place that is written, so that no array is copied. None: all writes take
effect, as in a single run and in every saved state.
"""

from typing import Any
from typing import TypeAlias

import jax
import jax.numpy as jnp

Active: TypeAlias = jax.Array | None


def activate(states: Any, active: Active) -> Any:
    """Sets `active` in the states of tables, in any nest."""

    def has_flag(node: Any) -> bool:
        return 'active' in getattr(node, '_fields', ())

    return jax.tree_util.tree_map(
        lambda node: node._replace(active=active) if has_flag(node) else node,
        states,
        is_leaf=has_flag,
    )


def select(active: Active, new: Any, old: Any) -> Any:
    """A nest of small arrays: the new one if active, else the old one."""
    if active is None:
        return new
    return jax.tree_util.tree_map(lambda a, b: a if a is b else jnp.where(active, a, b), new, old)


def flags(active: Active, values: jax.Array) -> jax.Array:
    """bool[...]: the values if active, else False."""
    return values if active is None else values & active


def count(active: Active, number: Any) -> Any:
    """The number if active, else 0."""
    return number if active is None else jnp.where(active, number, 0)


def write(active: Active, array: jax.Array, new: jax.Array, index: Any) -> jax.Array:
    """Writes an entry of an array, at `index` of the first axis, if active."""
    if active is not None:
        old = jax.lax.dynamic_index_in_dim(array, index, 0, keepdims=False)
        new = jnp.where(active, new, old)
    return jax.lax.dynamic_update_index_in_dim(array, new, index, 0)
