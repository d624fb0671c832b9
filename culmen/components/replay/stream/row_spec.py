"""The leaves of a row: what every table stores of a time step and of the decision on it."""

import copy
import functools
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import StackedArray
from culmen.core.specs import check_paths
from culmen.core.specs import leaf_paths
from culmen.core.types import Nest


class Leaf(NamedTuple):
    """One array of a row."""

    path: str  # 'reward', 'observation/pixels' ...
    shape: tuple[int, ...]  # of one lane
    dtype: np.dtype[Any]
    num_frames: int  # in a stack; 1 without stacking

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """The shape of one frame in a stack; without stacking, the shape of the leaf."""
        if self.num_frames == 1:
            return self.shape
        return (*self.shape[:-1], self.shape[-1] // self.num_frames)

    @property
    def nbytes(self) -> int:
        """The size in bytes for one lane."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


def is_of_decision(path: str) -> bool:
    """Whether a leaf is of the action or the extras, which the last time step of a window does not have."""
    return path.partition('/')[0] in ('action', 'extras')


class Half:
    """The leaves of one half of a tick: a time step, or the decision on it.

    Attributes: leaves: in the order of the tree. tree: the structure of the parts, a tuple of nests.
    """

    def __init__(self, parts: Mapping[str, Nest], as_float32: Sequence[str] = ()) -> None:
        """Plans the leaves.

        Args: parts: specs, or shapes and dtypes, of one lane. as_float32: parts stored as float32.
        Raises: ValueError that names a path that two leaves share.
        """
        self._names = tuple(parts)
        self.tree: Any = jax.tree_util.tree_structure(tuple(parts.values()))
        self.leaves = [
            Leaf(
                path,
                tuple(leaf.shape),
                np.dtype(np.float32 if name in as_float32 else leaf.dtype),
                leaf.num_frames if isinstance(leaf, StackedArray) else 1,
            )
            for name, nest in parts.items()
            for path, leaf in leaf_paths(nest, name)
        ]
        check_paths([leaf.path for leaf in self.leaves])

    def check(self, nests: tuple[Nest, ...], num_lanes: int) -> None:
        """Checks that this half of a row of all lanes (arrays, traced or not) fits the table.

        Raises: ValueError that names the leaf that does not fit.
        """
        given = [item for name, nest in zip(self._names, nests) for item in leaf_paths(nest, name)]
        wanted = [leaf.path for leaf in self.leaves]
        if [path for path, _ in given] != wanted:
            got = [path for path, _ in given]
            raise ValueError(f'a row must have the leaves {wanted}, got {got}.')
        for leaf, (path, value) in zip(self.leaves, given):
            shape = np.shape(value)
            dtype = value.dtype if hasattr(value, 'dtype') else np.asarray(value).dtype
            wanted_shape = (num_lanes, *leaf.shape)
            if shape != wanted_shape:
                raise ValueError(f'{path} must have shape {wanted_shape}, got {shape}.')
            if not np.can_cast(dtype, leaf.dtype, 'same_kind'):
                raise ValueError(f'{path} must have dtype {leaf.dtype}, got {dtype}.')


@dataclass(frozen=True, eq=False)
class RowSpec:
    """The spec of a row of one lane: a time step and the decision on it. All tables of a run share it.

    Attributes:
        environment: the spec of one environment; rewards and discounts are stored as float32.
        action, extras: shapes and dtypes of the policy's outputs for one lane, without a batch axis.
    """

    environment: EnvironmentSpec
    action: Nest
    extras: Nest

    @functools.cached_property
    def timestep(self) -> Half:
        """Reward, discount and observation, which are known when a row is opened."""
        spec = self.environment
        parts = {'reward': spec.reward, 'discount': spec.discount, 'observation': spec.observation}
        return Half(parts, as_float32=('reward', 'discount'))

    @functools.cached_property
    def decision(self) -> Half:
        """Action and extras, which are known when a row is closed."""
        return Half({'action': self.action, 'extras': self.extras})

    @functools.cached_property
    def leaves(self) -> dict[str, Leaf]:
        """All leaves by path, in the order of `tree`."""
        return {leaf.path: leaf for leaf in self.timestep.leaves + self.decision.leaves}

    @functools.cached_property
    def tree(self) -> Any:
        """The structure of (reward, discount, observation, action, extras)."""
        spec = self.environment
        nests = (spec.reward, spec.discount, spec.observation, self.action, self.extras)
        return jax.tree_util.tree_structure(nests)

    def unflatten(self, leaves: Mapping[str, Any]) -> tuple[Nest, ...]:
        """(reward, discount, observation, action, extras) from leaves by path.

        A leaf that is not given is left out: a dict loses the keys under which nothing is left, and anywhere
        else () stands in place of it, so that tuples and named tuples keep their positions.
        """
        nests: tuple[Nest, ...] = self.tree.unflatten(
            [leaves.get(path, ()) for path in self.leaves]
        )
        if len(leaves) == len(self.leaves):
            return nests
        return tuple(_pruned(nest) for nest in nests)


def _pruned(nest: Nest) -> Nest:
    """A nest without the keys of dicts under which there is no leaf."""
    if not jax.tree_util.tree_leaves(nest):
        return ()
    if isinstance(nest, dict):
        kept = copy.copy(nest)
        for key, value in nest.items():
            if jax.tree_util.tree_leaves(value):
                kept[key] = _pruned(value)
            else:
                del kept[key]
        return kept
    if isinstance(nest, tuple | list):
        parts = [_pruned(each) for each in nest]
        return type(nest)(*parts) if hasattr(nest, '_fields') else type(nest)(parts)
    return nest
