"""Spaces of gymnasium as specs of dm_env, and functions that convert observations and actions."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from dm_env import specs

from culmen.components.environments import arguments
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
