"""Actions drawn at random from a spec."""

from typing import Any

import jax
import numpy as np
from dm_env import specs

from culmen.core.actions import Choices
from culmen.core.actions import choices
from culmen.core.actions import legal_masks


def random_action(spec: Any, observation: Any, generator: np.random.Generator) -> Any:
    """Draws an action within the bounds of its spec, of legal values if the observation says which are.

    Args:
        spec: of the action, a nest.
        observation: the current one; None: unknown, as before the first time step.
        generator: for the draw.
    """
    leaves, structure = jax.tree_util.tree_flatten(spec)
    masks = [None] * len(leaves) if observation is None else legal_masks(spec, observation)
    drawn = []
    for leaf, mask in zip(leaves, masks, strict=True):
        found = None if mask is None else choices(leaf)
        drawn.append(
            _random_value(leaf, generator)
            if found is None
            else _legal_value(leaf, found, np.asarray(mask), generator)
        )
    return structure.unflatten(drawn)


def _legal_value(
    spec: specs.Array, found: Choices, mask: np.ndarray[Any, Any], generator: np.random.Generator
) -> np.ndarray[Any, Any]:
    value = np.array(found.minimum)
    for entry in np.ndindex(*spec.shape):
        legal = np.flatnonzero(mask[entry][: found.num_values[entry]])
        value[entry] += generator.choice(legal if legal.size else found.num_values[entry])
    return value.astype(spec.dtype)


def _random_value(spec: specs.Array, generator: np.random.Generator) -> np.ndarray[Any, Any]:
    if spec.dtype == bool:
        return np.asarray(generator.random(spec.shape) < 0.5)
    is_float = np.issubdtype(spec.dtype, np.floating)
    if not isinstance(spec, specs.BoundedArray):
        value = generator.normal(size=spec.shape) if is_float else np.zeros(spec.shape)
        return np.asarray(value, spec.dtype)
    low = np.broadcast_to(np.asarray(spec.minimum, np.float64), spec.shape)
    high = np.broadcast_to(np.asarray(spec.maximum, np.float64), spec.shape)
    if not is_float:
        return np.asarray(
            generator.integers(low.astype(np.int64), high.astype(np.int64) + 1), spec.dtype
        )
    finite = np.isfinite(low) & np.isfinite(high)
    share = generator.random(spec.shape)
    with np.errstate(over='ignore'):
        width = np.where(finite, high - low, 0)
    uniform = share * width + np.where(finite, low, 0)
    huge = ~np.isfinite(width)
    uniform = np.where(huge, (1 - share) * low + share * high, uniform) if huge.any() else uniform
    value = np.where(finite, uniform, np.clip(generator.normal(size=spec.shape), low, high))
    return np.clip(np.asarray(value, spec.dtype), spec.minimum, spec.maximum)
