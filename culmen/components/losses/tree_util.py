"""Small steps over trees of arrays."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.losses._common import Array
from culmen.components.losses.base import replace_masked


def tree_select(pred: Array | bool, on_true: Any, on_false: Any) -> Any:
    """One of two trees, by a condition.

    Args:
        pred: scalar boolean (it may be traced).
        on_true, on_false: trees of one structure.
    Returns: on_true where pred, else on_false.
    Raises: ValueError if the structures differ.
    Example:
        >>> print(tree_select(False, [jnp.array(1.)], [jnp.array(2.)])[0])
        2.0
    """
    _check_structures('on_false', [on_true, on_false])
    return jax.tree_util.tree_map(lambda x, y: jnp.where(pred, x, y), on_true, on_false)


def tree_map_zipped(fn: Callable[..., Any], nests: Sequence[Any]) -> Any:
    """Maps a function of as many arguments as there are trees over all of them.

    Args:
        fn: a function of len(nests) arguments.
        nests: trees of one structure; none yields `nests` itself.
    Returns: a tree.
    Raises: ValueError if the structures differ.
    Example:
        >>> print(tree_map_zipped(lambda x, y: x + y, [{'a': 1}, {'a': 2}]))
        {'a': 3}
    """
    if not nests:
        return nests
    _check_structures('nests', nests)
    return jax.tree_util.tree_map(fn, *nests)


def tree_split_key(rng_key: Array, tree_like: Any) -> tuple[Array, Any]:
    """A random key for every leaf of a tree.

    Args:
        rng_key: a random key.
        tree_like: a tree.
    Returns: a new key, and a tree of keys.
    Example:
        >>> _, keys = tree_split_key(jax.random.PRNGKey(0), {'a': 1, 'b': 2})
        >>> print(sorted(keys))
        ['a', 'b']
    """
    leaves, structure = jax.tree_util.tree_flatten(tree_like)
    keys = jax.random.split(rng_key, len(leaves) + 1)
    return keys[0], jax.tree_util.tree_unflatten(structure, list(keys[1:]))


def tree_split_leaves(tree_like: Any, axis: int = 0, keepdim: bool = False) -> Any:
    """Splits a tree of arrays along an axis into a tuple of trees.

    NumPy arrays are not copied.

    Args:
        tree_like: a tree of arrays of one length along the axis; an empty one is returned as it is.
        axis: the axis.
        keepdim: whether to keep the axis, with length 1.
    Returns: a tuple of trees.
    Example:
        >>> print(tree_split_leaves({'a': jnp.array([1, 2])})[1]['a'])
        2
    """
    leaves, structure = jax.tree_util.tree_flatten(tree_like)
    if not leaves:
        return tree_like

    def part(leaf: Any, index: int) -> Any:
        at = slice(index, index + 1) if keepdim else index
        return leaf[(slice(None),) * (axis % leaf.ndim) + (at,)]

    return tuple(
        jax.tree_util.tree_unflatten(structure, [part(leaf, index) for leaf in leaves])
        for index in range(np.shape(leaves[0])[axis])
    )


def tree_replace_masked(tree_data: Any, tree_replacement: Any, mask: Array) -> Any:
    """`replace_masked` on every leaf.

    Args:
        tree_data: a tree of arrays.
        tree_replacement: a tree of the same structure, or None for zeros.
        mask: [...] of a shape that begins every leaf's; where it is 1 or true, leaves are replaced.
    Returns: a tree.
    Example:
        >>> print(tree_replace_masked([jnp.array([1., 2.])], None, jnp.array([0, 1])))
        [Array([1., 0.], dtype=float32)]
    """
    if tree_replacement is None:
        return jax.tree_util.tree_map(lambda data: replace_masked(data, None, mask), tree_data)
    return jax.tree_util.tree_map(
        lambda data, new: replace_masked(data, new, mask), tree_data, tree_replacement
    )


def tree_fn(fn: Callable[..., Any], **unmapped_kwargs: Any) -> Callable[..., Any]:
    """Turns a function of arrays into a function of trees.

    Args:
        fn: the function.
        unmapped_kwargs: named arguments that every call of it is given.
    Returns: a function of trees of one structure.
    Example:
        >>> print(tree_fn(lambda x, factor: x * factor, factor=2)({'a': 3}))
        {'a': 6}
    """

    def mapped(*trees: Any) -> Any:
        return jax.tree_util.tree_map(lambda *leaves: fn(*leaves, **unmapped_kwargs), *trees)

    return mapped


def transpose_last_axis_to_first(tree: Any) -> Any:
    """Moves the last axis of every leaf to the front: [..., B] becomes [B, ...].

    Example:
        >>> print(transpose_last_axis_to_first(jnp.zeros((2, 3, 4))).shape)
        (4, 2, 3)
    """
    return jax.tree_util.tree_map(lambda x: jnp.moveaxis(x, -1, 0), tree)


def transpose_first_axis_to_last(tree: Any) -> Any:
    """Moves the first axis of every leaf to the end: [B, ...] becomes [..., B].

    Example:
        >>> print(transpose_first_axis_to_last(jnp.zeros((2, 3, 4))).shape)
        (3, 4, 2)
    """
    return jax.tree_util.tree_map(lambda x: jnp.moveaxis(x, 0, -1), tree)


def _check_structures(name: str, trees: Sequence[Any]) -> None:
    structures: list[Any] = [jax.tree_util.tree_structure(tree) for tree in trees]
    first, *others = structures
    for other in others:
        if other != first:
            raise ValueError(f'{name} must have one tree structure, {first}, got {other}')
