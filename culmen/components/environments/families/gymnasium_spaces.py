"""Spaces of gymnasium as specs of dm_env, and functions that convert observations, actions and masks."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from dm_env import specs

from culmen.components.environments import arguments
from culmen.core.actions import Choices
from culmen.core.actions import choices
from culmen.core.ranges import SpecError
from culmen.core.ranges import cast_exactly


def observation_reader(space: Any, path: str, name: str) -> tuple[Any, Callable[[Any], Any]]:
    """The spec of a space, and a function that copies its observations into new arrays.

    Bounds of floats are left out, since several environments exceed the ones they declare.
    """
    spaces = arguments.load('gymnasium.spaces', name)
    if isinstance(space, spaces.Dict):
        readers = {
            key: observation_reader(inner, f'{path}/{key}', name) for key, inner in space.items()
        }
        items = [(key, read) for key, (_, read) in readers.items()]
        return (
            {key: spec for key, (spec, _) in readers.items()},
            lambda value: {key: read(value[key]) for key, read in items},
        )
    if isinstance(space, spaces.Tuple):
        parts = [
            observation_reader(inner, f'{path}/{index}', name)
            for index, inner in enumerate(space.spaces)
        ]
        reads = [read for _, read in parts]
        return (
            tuple(spec for spec, _ in parts),
            lambda value: tuple(read(each) for read, each in zip(reads, value)),
        )
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        spec = specs.DiscreteArray(int(space.n), dtype=np.int32, name=path)
        return spec, lambda value: cast_exactly(path, np.subtract(value, start), np.int32)
    if isinstance(space, (spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary)):
        spec = _array_spec(space, spaces, path)
        if np.issubdtype(spec.dtype, np.floating):
            spec = specs.Array(spec.shape, spec.dtype, name=path)
        # A copy: an environment may return the same buffer at each step.
        return spec, functools.partial(cast_exactly, path, dtype=spec.dtype)
    raise _unsupported(space, path, name)


def action_writer(space: Any, path: str, name: str) -> tuple[Any, Callable[[Any], Any]]:
    """The spec of a space of actions, and a function that converts an action for the environment."""
    spaces = arguments.load('gymnasium.spaces', name)
    if isinstance(space, spaces.Dict):
        writers = {key: action_writer(inner, f'{path}/{key}', name) for key, inner in space.items()}
        items = [(key, write) for key, (_, write) in writers.items()]
        return (
            {key: spec for key, (spec, _) in writers.items()},
            lambda value: {key: write(value[key]) for key, write in items},
        )
    if isinstance(space, spaces.Tuple):
        parts = [
            action_writer(inner, f'{path}/{index}', name)
            for index, inner in enumerate(space.spaces)
        ]
        writes = [write for _, write in parts]
        return (
            tuple(spec for spec, _ in parts),
            lambda value: tuple(write(each) for write, each in zip(writes, value)),
        )
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        spec = specs.DiscreteArray(int(space.n), dtype=np.int32, name=path)
        if start == 0:
            return spec, int
        return spec, lambda value: int(value) + start
    if isinstance(space, (spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary)):
        spec = _array_spec(space, spaces, path)
        dtype, array = spec.dtype, np.array
        return spec, lambda value: array(value, dtype)
    raise _unsupported(space, path, name)


def batch_reader(space: Any, path: str, name: str) -> tuple[Any, Callable[[Any], Any]]:
    """The spec of a space, and a function that reads a batch of its observations, [B, ...], as the spec says.

    The arrays that it gives may be those that it was given.
    """
    spec, _ = observation_reader(space, path, name)
    return spec, _batch_map(space, spec, path, name, sign=-1)


def batch_writer(space: Any, path: str, name: str) -> tuple[Any, Callable[[Any], Any]]:
    """The spec of a space of actions, and a function that converts a batch of actions, [B, ...], for it."""
    spec, _ = action_writer(space, path, name)
    return spec, _batch_map(space, spec, path, name, sign=1)


def _batch_map(space: Any, spec: Any, path: str, name: str, sign: int) -> Callable[[Any], Any]:
    """Args: sign: of the first value of a Discrete space, which is added."""
    spaces = arguments.load('gymnasium.spaces', name)
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        is_dict = isinstance(space, spaces.Dict)
        inner = list(space.items()) if is_dict else list(enumerate(space.spaces))
        parts = [
            (key, _batch_map(each, spec[key], f'{path}/{key}', name, sign)) for key, each in inner
        ]
        if is_dict:
            return lambda values: {key: convert(values[key]) for key, convert in parts}
        return lambda values: tuple(convert(values[key]) for key, convert in parts)
    start = sign * int(space.start) if isinstance(space, spaces.Discrete) else 0

    def convert(values: Any) -> np.ndarray[Any, Any]:
        array = np.asarray(values)
        if start:
            array = array.astype(np.int64) + start
        return array if array.dtype == spec.dtype else cast_exactly(path, array, spec.dtype)

    return convert


def mask_reader(
    space: Any, spec: Any, path: str, name: str
) -> tuple[Any, Callable[[Any], Any]] | None:
    """The spec of `legal_actions`, and a function that makes them of `info['action_mask']`.

    The masks have the forms that a space's `sample(mask)` takes. A part that a Dict or a Tuple leaves out, or
    has as None, is free. The masks of a Tuple are a dict with the keys '0', '1', ...

    Args:
        space: of actions.
        spec: of the space.
        path: of the masks, for errors.
    Returns: None where the space has nothing to choose from.
    """
    spaces = arguments.load('gymnasium.spaces', name)
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        is_dict = isinstance(space, spaces.Dict)
        inner = dict(space.items()) if is_dict else dict(enumerate(space.spaces))
        readers = {
            key: reader
            for key, each in inner.items()
            if (reader := mask_reader(each, spec[key], f'{path}/{key}', name)) is not None
        }

        def read(value: Any) -> Any:
            held = value if isinstance(value, dict) else dict(enumerate(value or ()))
            return {str(key): reader(held.get(key)) for key, (_, reader) in readers.items()}

        return ({str(key): masks for key, (masks, _) in readers.items()}, read) if readers else None
    found = choices(spec)
    if found is None:
        return None
    shape = (*spec.shape, found.largest)
    is_binary = isinstance(space, spaces.MultiBinary)
    read_leaf = functools.partial(_read_mask, found, is_binary, path, name)
    return specs.Array(shape, bool, name=path), read_leaf


def _read_mask(
    found: Choices, is_binary: bool, path: str, name: str, value: Any
) -> np.ndarray[Any, Any]:
    """bool[*shape, V]: the legal values of a space, all where none of an entry is legal."""
    exist = found.exist
    if value is None:
        return exist
    try:
        if is_binary:  # 0 and 1: that value alone; 2: both
            given = np.broadcast_to(np.asarray(value), exist.shape[:-1])
            mask = np.stack([given != 1, given != 0], axis=-1)
        else:
            mask = np.zeros(exist.shape, bool)
            for entry in np.ndindex(*exist.shape[:-1]):
                row = value
                for index in entry:
                    row = row[index]
                mask[entry][: found.num_values[entry]] = np.asarray(row, bool)
    except (TypeError, IndexError, KeyError, ValueError) as error:
        raise SpecError(
            f"{name}: info['action_mask'] must mask {path} as the space's sample(mask) does, with "
            f'{found.num_values.tolist()} values, got {value!r}.'
        ) from error
    return mask | (~mask.any(axis=-1, keepdims=True) & exist)


def _array_spec(space: Any, spaces: Any, path: str) -> specs.BoundedArray:
    if isinstance(space, spaces.Box):
        return specs.BoundedArray(
            space.shape, space.dtype, _bound(space.low), _bound(space.high), name=path
        )
    if isinstance(space, spaces.MultiBinary):
        return specs.BoundedArray(space.shape, space.dtype, 0, 1, name=path)
    start = np.asarray(getattr(space, 'start', np.zeros_like(space.nvec)))
    return specs.BoundedArray(space.shape, space.dtype, start, start + space.nvec - 1, name=path)


def _bound(values: np.ndarray[Any, Any]) -> Any:
    """One number if all bounds are equal, so that the bounds of a picture are not as large as it."""
    return values.flat[0] if values.size and (values == values.flat[0]).all() else values


def _unsupported(space: Any, path: str, name: str) -> ValueError:
    return ValueError(
        f'{name}: {path} has the space {space}, which has no counterpart here; accepted are Box, '
        'Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of them.'
    )
