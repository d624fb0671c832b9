"""Packs trees of many small arrays into few larger ones.

A compiled call of a small network spends more time on passing arguments and results than on computing, and
each array costs the same whatever its size. State between calls is therefore kept packed, and unpacked
inside the compiled function, where slicing and joining are almost free.
"""

import math
import weakref
from collections.abc import Hashable
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import jax
import jax.numpy as jnp

from culmen.components.dispatch.switch import is_fast
from culmen.core.types import Nest

# Larger leaves are not joined: copying them would cost more than passing them.
_SMALL = 1 << 15  # elements


class Layout(Protocol):
    """Unpacks a tree from few arrays. Layouts are hashable; equal layouts give equal trees."""

    def unpack(self, arrays: Sequence[Any]) -> Nest:
        """The tree, of JAX arrays (traced or not) or of NumPy arrays, whichever are given."""
        ...


class Packed:
    """A tree packed in few arrays; as a pytree its leaves are these arrays."""

    __slots__ = ('arrays', 'layout')

    def __init__(self, arrays: Sequence[Any], layout: Layout) -> None:
        """Args: arrays: hold the tree. layout: unpacks them."""
        self.arrays = arrays
        self.layout = layout

    def unpack(self) -> Any:
        """The tree."""
        return self.layout.unpack(self.arrays)


# JAX flattens a dataclass without a call of Python.
jax.tree_util.register_dataclass(Packed, data_fields=('arrays',), meta_fields=('layout',))


def unpacked(tree: Nest) -> Any:
    """A tree with every Packed in it unpacked.

    Example:
        >>> unpacked({'params': pack({'w': jnp.zeros((2, 3)), 'b': jnp.zeros(3)})})['params']['w'].shape
        (2, 3)
    """
    if isinstance(tree, Packed):
        return tree.unpack()
    return jax.tree_util.tree_map(
        lambda leaf: leaf.unpack() if isinstance(leaf, Packed) else leaf,
        tree,
        is_leaf=lambda leaf: isinstance(leaf, Packed),
    )


def pack(tree: Nest, by_child: bool = False) -> Packed:
    """Joins the small leaves of a tree into one vector for each dtype; large ones stay as they are.

    If the fast path is off, every leaf stays as it is.

    Args:
        tree: of JAX arrays, traced or not, or of numbers.
        by_child: whether each direct child of the tree (parameters, target parameters, state of the
            optimiser ...) has a vector of its own, so that independent results stay separate.
    """
    join = is_fast()
    by_path, structure = jax.tree_util.tree_flatten_with_path(tree)
    leaves = [jnp.asarray(leaf) for _, leaf in by_path]
    groups: dict[Hashable, list[int]] = {}
    for i, leaf in enumerate(leaves):
        path = by_path[i][0]
        alone = not join or math.prod(leaf.shape) > _SMALL
        child = str(path[0]) if by_child and path else ''
        groups.setdefault(i if alone else (child, str(leaf.dtype)), []).append(i)
    vectors = tuple(
        leaves[group[0]]
        if len(group) == 1
        else jnp.concatenate([jnp.ravel(leaves[i]) for i in group])
        for group in groups.values()
    )
    shapes = tuple(tuple(leaf.shape) for leaf in leaves)
    layout = _interned(structure, shapes, tuple(tuple(group) for group in groups.values()))
    return Packed(vectors, layout)


class _Vectors:
    """The layout of a tree with small leaves joined into vectors."""

    def __init__(
        self,
        structure: Any,
        shapes: tuple[tuple[int, ...], ...],
        groups: tuple[tuple[int, ...], ...],
    ) -> None:
        self._structure = structure
        self._shapes = shapes
        self._groups = groups  # leaves of each vector

    def __reduce__(self) -> Any:
        return _interned, (self._structure, self._shapes, self._groups)

    def unpack(self, arrays: Sequence[Any]) -> Nest:
        """The tree in these vectors. NumPy leaves are views."""
        leaves: list[Any] = [None] * len(self._shapes)
        for group, array in zip(self._groups, arrays, strict=True):
            if len(group) == 1:
                leaves[group[0]] = array
                continue
            begin = 0
            for i in group:
                end = begin + math.prod(self._shapes[i])
                leaves[i] = array[begin:end].reshape(self._shapes[i])
                begin = end
        return self._structure.unflatten(leaves)


# One object per layout: JAX compares the layouts at each call, and identical objects compare fast.
_LAYOUTS: weakref.WeakValueDictionary[Hashable, _Vectors] = weakref.WeakValueDictionary()


def _interned(*key: Any) -> _Vectors:
    layout = _LAYOUTS.get(key)
    if layout is None:
        layout = _LAYOUTS[key] = _Vectors(*key)
    return layout
