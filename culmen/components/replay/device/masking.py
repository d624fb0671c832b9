"""Runs side by side in one program: what a run that waits for the others leaves as it is.

Every operation of a table takes `on`, bool[]: where it is False the state stays, to the bit. Large arrays are
masked where they are written and never copied for it. None is for a run alone, which never waits.
"""

from typing import Any
from typing import TypeAlias

import jax
import jax.numpy as jnp

On: TypeAlias = jax.Array | None


def keep(on: On, new: Any, old: Any) -> Any:
    """A nest of small arrays: new where on, else old."""
    if on is None:
        return new
    return jax.tree_util.tree_map(lambda a, b: jnp.where(on, a, b), new, old)


def both(on: On, flags: jax.Array) -> jax.Array:
    """bool[...]: flags that hold where on."""
    return flags if on is None else flags & on


def counted(on: On, number: Any) -> Any:
    """A number where on, else 0."""
    return number if on is None else jnp.where(on, number, 0)


def write_at(on: On, array: jax.Array, new: jax.Array, index: Any) -> jax.Array:
    """An array whose entry at `index` of the first axis is new where on."""
    if on is not None:
        new = jnp.where(on, new, jax.lax.dynamic_index_in_dim(array, index, 0, keepdims=False))
    return jax.lax.dynamic_update_index_in_dim(array, new, index, 0)
