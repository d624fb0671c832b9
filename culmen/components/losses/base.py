"""Indexing, masking and summing, which many losses use."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array


def batched_index(values: Array, indices: Array, keepdims: bool = False) -> Array:
    """Picks one entry of the last axis for every position of the axes before it.

        out[...] = values[..., indices[...]]

    Args:
        values: [..., D].
        indices: [...] integers in [0, D).
        keepdims: whether to keep the last axis, with length 1.
    Returns: [...] or [..., 1] entries.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Example:
        >>> print(batched_index(jnp.array([[1., 2.], [3., 4.]]), jnp.array([1, 0])))
        [2. 3.]
    """
    values, indices = jnp.asarray(values), jnp.asarray(indices)
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(f'indices must be an integer, got {indices.dtype}')
    if indices.shape != values.shape[:-1] or values.ndim == 0:
        raise ValueError(
            f'indices must have the shape of values without the last axis, '
            f'{values.shape[:-1]}, got shape {indices.shape}'
        )
    picked = jnp.take_along_axis(values, jnp.expand_dims(indices, -1), axis=-1)
    return picked if keepdims else jnp.squeeze(picked, axis=-1)


def one_hot(indices: Array, num_classes: int, dtype: Any = jnp.float32) -> Array:
    """Ones at the indices, zeros elsewhere, along a new last axis.

        out[..., k] = 1[indices[...] = k]

    Args:
        indices: [...] integers; one outside [0, num_classes) yields zeros.
        num_classes: length K of the new axis.
        dtype: dtype of the result.
    Returns: [..., K].
    Raises: ValueError if indices are not integers.
    Example:
        >>> print(one_hot(jnp.array([2, 0]), 3))
        [[0. 0. 1.]
         [1. 0. 0.]]
    """
    indices = jnp.asarray(indices)
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(f'indices must be an integer, got {indices.dtype}')
    classes = jax.lax.broadcasted_iota(
        indices.dtype, (*indices.shape, num_classes), dimension=indices.ndim
    )
    return (jnp.expand_dims(indices, -1) == classes).astype(dtype)


def lhs_broadcast(source: Array, target: Array) -> Array:
    """Gives source trailing axes of length 1, so that it broadcasts over target from the left.

    Args:
        source: [...] of a shape that is a prefix of target's, but for lengths of 1.
        target: [..., ...].
    Returns: source with the rank of target.
    Raises: ValueError if the shapes do not fit.
    Example:
        >>> print(lhs_broadcast(jnp.zeros((2, 1)), jnp.zeros((2, 3, 4))).shape)
        (2, 1, 1)
    """
    source, target = jnp.asarray(source), jnp.asarray(target)
    prefix = target.shape[: source.ndim]
    fits = source.ndim <= target.ndim and all(
        here in (1, there) for here, there in zip(source.shape, prefix)
    )
    if not fits:
        raise ValueError(
            f"source must have a shape that begins target's shape {target.shape}, "
            f'got shape {source.shape}'
        )
    return jnp.reshape(source, source.shape + (1,) * (target.ndim - source.ndim))


def replace_masked(data: Array, replacement: Array | None, mask: Array) -> Array:
    """Replaces the entries that a mask marks.

    Args:
        data: [..., ...].
        replacement: an array of the same shape, or None for zeros.
        mask: [...] of a shape that begins data's; where it is 1 or true, data is replaced.
    Returns: data with the marked slices replaced.
    Raises: ValueError if the mask does not fit.
    Example:
        >>> print(replace_masked(jnp.array([[1., 2.], [3., 4.]]), None, jnp.array([1, 0])))
        [[0. 0.]
         [3. 4.]]
    """
    data = jnp.asarray(data)
    new = jnp.zeros_like(data) if replacement is None else jnp.asarray(replacement)
    if new.shape != data.shape:
        raise ValueError(
            f'replacement must have the shape of data, {data.shape}, got shape {new.shape}'
        )
    return jnp.where(lhs_broadcast(jnp.asarray(mask) != 0, data), new, data)


class AllSum:
    """A sum over an array and, if a mapped axis is named, over the devices or lanes of that axis.

    Args:
        axis_name: name of the axis of `jax.vmap`, `jax.pmap` or `shard_map` to sum over as well,
            or None to sum locally.
    Example:
        >>> print(AllSum()(jnp.array([1., 2., 3.])))
        6.0
        >>> print(jax.vmap(AllSum('lanes'), axis_name='lanes')(jnp.array([[1., 2.], [3., 4.]])))
        [10. 10.]
    """

    def __init__(self, axis_name: str | None = None):
        self._axis_name = axis_name

    def __call__(self, x: Array, axis: int | Sequence[int] | None = None) -> Array:
        """Sums x over `axis` (all axes for None), then over the named axis."""
        total = jnp.sum(x, axis=axis if axis is None or isinstance(axis, int) else tuple(axis))
        if self._axis_name is not None:
            total = jax.lax.psum(total, axis_name=self._axis_name)
        return total


def assert_rank_and_shape_compatibility(tensors: Sequence[Array], rank: int) -> None:
    """Refuses arrays that do not all have one rank and one shape.

    Args:
        tensors: arrays.
        rank: the rank that all must have.
    Raises: ValueError with the number of the first array that differs.
    Example:
        >>> assert_rank_and_shape_compatibility([jnp.zeros(3), jnp.ones(3)], 1)
    """
    for number, tensor in enumerate(tensors):
        shape = jnp.shape(tensor)
        if len(shape) != rank:
            raise ValueError(f'tensors[{number}] must have rank {rank}, got shape {shape}')
        if shape != jnp.shape(tensors[0]):
            raise ValueError(
                f'tensors[{number}] must have the shape of tensors[0], '
                f'{jnp.shape(tensors[0])}, got shape {shape}'
            )
