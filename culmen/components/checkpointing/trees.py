"""Converts pytrees to arrays by path and back (with a template), so that they are saved without pickle."""

import json
from typing import Any

import jax
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from culmen.core.specs import leaf_paths
from culmen.core.types import Nest

_ARRAY = '__array__'


def to_paths(tree: Nest) -> dict[str, NDArray[Any]]:
    """The leaves of a pytree by path, copied to NumPy arrays."""
    return {path: np.array(leaf) for path, leaf in leaf_paths(tree)}


def from_paths(what: str, template: Nest, arrays: dict[str, NDArray[Any]]) -> Nest:
    """The inverse of `to_paths`.

    Args:
        what: names the tree in errors.
        template: a pytree of the structure, shapes and dtypes wanted.
        arrays: by path.
    Raises: ValueError that names the first leaf that is missing, or differs in shape or dtype.
    """
    leaves = []
    for path, leaf in leaf_paths(template):
        where = f'{what}/{path}'
        if path not in arrays:
            raise ValueError(f'{where} must be in the checkpoint; it has {sorted(arrays)}.')
        array = arrays[path]
        if array.shape != tuple(leaf.shape) or array.dtype != leaf.dtype:
            raise ValueError(
                f'{where} must be {leaf.dtype}{list(leaf.shape)}, got {array.dtype}{list(array.shape)}.'
            )
        leaves.append(array)
    if len(leaves) != len(arrays):
        raise ValueError(f'{what} must have {len(leaves)} leaves, got {sorted(arrays)}.')
    return jax.tree_util.tree_structure(template).unflatten(leaves)


def split(state: Any) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Splits a state of dicts, lists, tuples, plain values and arrays into (JSON data, arrays by place).

    Tuples come back as lists. Raises: TypeError for a value of another kind.
    """
    arrays: dict[str, NDArray[Any]] = {}

    def visit(value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return {str(key): visit(item, f'{place}/{key}') for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [visit(item, f'{place}/{i}') for i, item in enumerate(value)]
        if isinstance(value, (np.ndarray, jax.Array)):
            array = np.asarray(value)
            # NumPy's format has only NumPy's own dtypes; bfloat16 and the like are saved as bytes.
            own = array.dtype.kind in 'biufc'
            arrays[place] = array if own else array.view(np.dtype(f'u{array.dtype.itemsize}'))
            return {_ARRAY: place} if own else {_ARRAY: place, 'dtype': array.dtype.name}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, np.generic):
            return value.item()
        raise TypeError(
            f'{place} of a checkpoint must be a plain value or an array, got {value!r}.'
        )

    return visit(state, ''), arrays


def join(plain: Any, arrays: Any) -> Any:
    """The inverse of `split`; arrays: a mapping from place to array."""
    if isinstance(plain, dict):
        if _ARRAY in plain:
            array = arrays[plain[_ARRAY]]
            return (
                array.view(np.dtype(getattr(ml_dtypes, plain['dtype'])))
                if 'dtype' in plain
                else array
            )
        return {key: join(item, arrays) for key, item in plain.items()}
    if isinstance(plain, list):
        return [join(item, arrays) for item in plain]
    return plain


def dumps(plain: Any) -> str:
    """JSON text that reads back bit for bit."""
    return json.dumps(plain)
