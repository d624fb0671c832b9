"""What passes between a loop and its environments: lanes' values become arrays, and arrays become actions.

Here everything is checked against the specs, once a tick and for all lanes together. This check is fast. If
it fails, the caller checks again by lane and by leaf, to name the fault.
"""

import math
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import numpy as np
from dm_env import specs
from numpy.typing import NDArray

from culmen.core import ranges
from culmen.core.specs import conform
from culmen.core.specs import integer_range
from culmen.core.specs import leaf_paths
from culmen.core.specs import takes_any_number
from culmen.core.types import Nest

_FEW = 64  # up to this many entries Python is faster than NumPy
_SMALL = 4096  # up to this many entries one product is a faster check of bounds than two searches


class Stacker:
    """Puts the values of lanes into arrays [B, ...] of one spec. A single array needs no tree map."""

    def __init__(self, name: str, spec: Any, num_lanes: int, as_float32: bool = False) -> None:
        """Args: as_float32: whether numbers of any real dtype are accepted, as for rewards and discounts."""
        leaves, self._structure = jax.tree_util.tree_flatten(spec)
        self._name, self._spec = name, spec
        self._shapes = [tuple(leaf.shape) for leaf in leaves]
        self._dtypes = [np.dtype(leaf.dtype) for leaf in leaves]
        self._batch = [(num_lanes, *shape) for shape in self._shapes]
        self._lone = jax.tree_util.treedef_is_leaf(self._structure)
        self._cast = [as_float32 or takes_any_number(leaf) for leaf in leaves]
        plain = self._lone and not self._cast[0]
        # For a single array that is not cast: its shape and dtype, for callers that put values by themselves.
        self.shape = self._shapes[0] if plain else None
        self.dtype = self._dtypes[0] if plain else None
        # Whether a sum in Python is the fastest check that all values are finite.
        self.is_small = self.dtype == np.float32 and num_lanes * math.prod(self._shapes[0]) <= _FEW
        self._bounds = [ranges.bounds(dtype) for dtype in self._dtypes]
        # Leaves that are cast are checked against their bounds during the cast.
        self._held = [
            (i, _Bounds.of(dtype, accepted))
            for i, (dtype, accepted) in enumerate(zip(self._dtypes, self._bounds, strict=True))
            if accepted is not None and not self._cast[i]
        ]

    def empty(self) -> Nest:
        """Arrays to put values into."""
        if self._lone:
            return np.empty(self._batch[0], self._dtypes[0])
        arrays = [
            np.empty(shape, dtype) for shape, dtype in zip(self._batch, self._dtypes, strict=True)
        ]
        return self._structure.unflatten(arrays)

    def fill(self, arrays: Nest, lane: int, value: float) -> None:
        """Fills all leaves of a lane with one number."""
        for array in [arrays] if self._lone else self._structure.flatten_up_to(arrays):
            array[lane] = value

    def put(self, arrays: Nest, lane: int, value: Nest) -> bool:
        """Puts a value if it has the spec's structure, shapes and dtypes, and returns whether it has."""
        if self._lone:
            return self._put(arrays, lane, value, 0)
        values = self.leaves(value)
        return all(
            self._put(array, lane, leaf, i)
            for i, (array, leaf) in enumerate(
                zip(self._structure.flatten_up_to(arrays), values, strict=True)
            )
        )

    def leaves(self, value: Nest) -> list[Any]:
        """The leaves of a value in the order of the spec. Raises: SpecError if they do not match."""
        try:
            return list(self._structure.flatten_up_to(value))
        except ValueError:  # other containers, perhaps with the same keys
            value = conform(self._name, self._spec, value)
            return list(self._structure.flatten_up_to(value))

    def _put(self, array: NDArray[Any], lane: int, value: Any, i: int) -> bool:
        if self._cast[i]:
            return self._put_number(array, lane, value, i)
        if not isinstance(value, np.ndarray):
            value = np.asarray(value)
        if value.shape != self._shapes[i] or value.dtype != self._dtypes[i]:
            return False
        array[lane] = value
        return True

    def _put_number(self, array: NDArray[Any], lane: int, value: Any, i: int) -> bool:
        low, high = self._bounds[i]  # type: ignore[misc]
        if type(value) not in ranges.NUMBERS:
            value = np.asarray(value)
            if value.shape != self._shapes[i] or value.dtype.kind not in 'biuf':
                return False
            if value.shape:
                array[lane] = np.clip(value, low, high)
                return bool((value >= low).all() and (value <= high).all())
        elif self._shapes[i]:
            return False
        number = float(value)
        if not low <= number <= high:
            return False
        array[lane] = number
        return True

    def holds(self, arrays: Nest) -> bool:
        """Whether JAX can hold all values: floats are finite and integers within int32."""
        if self._lone:
            return not self._held or self._held[0][1].hold(arrays)
        leaves = self._structure.flatten_up_to(arrays)
        return all(accepted.hold(leaves[i]) for i, accepted in self._held)


class _Bounds(NamedTuple):
    """The least and the largest accepted value of a leaf."""

    low: float
    high: float
    square: float | None  # a sum of squares up to this proves bounds; None: not floats

    @classmethod
    def of(cls, dtype: np.dtype[Any], accepted: tuple[float, float]) -> '_Bounds':
        # In float32 squares overflow long before values do; such values are then checked one by one.
        square = {'float32': ranges.FLOAT32_MAX, 'float64': ranges.FLOAT32_MAX**2}.get(dtype.name)
        return cls(*accepted, square)

    def hold(self, array: NDArray[Any]) -> bool:
        """Whether all values are within."""
        if self.square is not None and array.size <= _SMALL:
            flat = array.ravel()
            with np.errstate(over='ignore', invalid='ignore'):
                square = flat.dot(flat).item()
            if square <= self.square:
                return True
        if not array.size:
            return True
        if array.dtype.kind == 'V':  # bfloat16 and its like, which NumPy does not order
            array = array.astype(np.float32)
        return bool(array.min() >= self.low and array.max() <= self.high)


class ActionFailure(RuntimeError):
    """A policy gave an action that its environment's spec does not allow."""


class Actions:
    """Converts actions to what environments accept: their dtypes, and discrete actions in range."""

    def __init__(self, spec: Any) -> None:
        """Args: spec: of one lane's action."""
        self._spec = spec
        self._structure = jax.tree_util.tree_structure(spec)
        self._leaves = [
            (path, leaf, integer_range(leaf)) for path, leaf in leaf_paths(spec, 'action')
        ]
        lone = jax.tree_util.treedef_is_leaf(self._structure)
        self.dtype = spec.dtype if lone else None
        self._accepted = self._leaves[0][2]
        # For an action that is one integer.
        one = lone and spec.shape == () and self._accepted is not None
        self._one_of: Any = self._accepted if one else None

    def are_few_in_range(self, action: Nest) -> bool:
        """Whether these are integers of a few lanes, all in range: a fast check of the common case."""
        if self._one_of is None or type(action) is not np.ndarray or len(action) > _FEW:
            return False
        low, high = self._one_of
        for value in action.tolist():
            if type(value) is not int or not low <= value <= high:
                return False
        return True

    def __call__(self, action: Nest, ignored: Callable[[], NDArray[Any]]) -> Nest:
        """Checks actions against the spec and casts them.

        Args:
            action: leaves [B, ...].
            ignored: () -> bool[B]: lanes that ignore their actions, as at LAST.
        Returns: NumPy leaves [B, ...].
        Raises: ActionFailure that names the lane, the leaf and the value.
        """
        if self.dtype is not None and type(action) is np.ndarray:
            if self._accepted is None or (
                action.dtype.kind == 'i' and _is_within(action, *self._accepted)
            ):
                return action if action.dtype == self.dtype else action.astype(self.dtype)
        leaves = self._structure.flatten_up_to(conform('action', self._spec, action))
        for (path, spec, accepted), leaf in zip(self._leaves, leaves, strict=True):
            if accepted is not None:
                _check_range(path, spec, accepted, np.asarray(leaf), ignored)
        return as_actions(self._spec, self._structure.unflatten(leaves))


def as_actions(spec: Any, action: Nest) -> Nest:
    """Actions as NumPy arrays of the dtypes in an environment's spec."""
    if isinstance(action, np.ndarray):
        return action if action.dtype == spec.dtype else action.astype(spec.dtype)
    return jax.tree_util.tree_map(
        lambda leaf_spec, leaf: np.asarray(leaf, leaf_spec.dtype), spec, action
    )


def _is_within(action: NDArray[Any], low: Any, high: Any) -> bool:
    return bool((action >= low).all() and (action <= high).all())


def _check_range(
    path: str,
    spec: specs.Array,
    accepted: tuple[Any, Any],
    action: NDArray[Any],
    ignored: Callable[[], NDArray[Any]],
) -> None:
    if action.dtype.kind not in 'biu':
        raise ActionFailure(f'{path} must be of {spec.dtype}, got {action.dtype}.')
    low, high = accepted
    bad = (action < low) | (action > high)
    bad[ignored()] = False
    if bad.any():
        lane, *at = np.argwhere(bad)[0].tolist()
        least, most = (np.broadcast_to(bound, spec.shape)[tuple(at)] for bound in accepted)
        raise ActionFailure(
            f'the action of lane {lane} is not of its spec: {path} must be in [{least}, {most}], '
            f'got {action[(lane, *at)]}{f" at {at}" if at else ""}.'
        )
