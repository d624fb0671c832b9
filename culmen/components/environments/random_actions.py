"""Actions drawn at random from a spec."""

from typing import Any

import numpy as np
import tree
from dm_env import specs

from culmen.core import specs as core_specs


def random_action(spec: Any, observation: Any, generator: np.random.Generator) -> Any:
    """Draws an action within the bounds of its spec, and a legal one if the observation says which are.

    Args:
        spec: of the action, a nest.
        observation: the current one; None: unknown, as before the first time step.
        generator: for the draw.
    """
    legal = None if observation is None else core_specs.legal_actions(observation)
    if legal is not None and isinstance(spec, specs.DiscreteArray):
        return np.array(generator.choice(np.flatnonzero(legal)), spec.dtype)
    return tree.map_structure(lambda leaf: _random_value(leaf, generator), spec)


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
