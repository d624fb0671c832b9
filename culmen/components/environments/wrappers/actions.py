"""Wrappers of actions."""

from typing import Any

import dm_env
import numpy as np
import tree
from dm_env import specs

from culmen.components.environments.wrappers.base import Wrapper


class CanonicalActions(Wrapper):
    """Takes continuous actions in [-1, 1], clips them, and stretches them to the environment's bounds."""

    _keeps_goals = True

    def __init__(self, environment: dm_env.Environment) -> None:
        super().__init__(environment)
        inner = environment.action_spec()
        if not any(_is_continuous(leaf) for leaf in tree.flatten(inner)):
            raise ValueError(f'canonical_actions needs continuous actions, got the spec {inner}.')
        self._inner = inner
        self._spec = tree.map_structure(self._canonical, inner)
        is_huge = any(_is_continuous(leaf) and _is_huge(leaf) for leaf in tree.flatten(inner))
        self._stretch = _stretch_huge if is_huge else _stretch

    def action_spec(self) -> Any:
        return self._spec

    def step(self, action: Any) -> dm_env.TimeStep:
        if action is not None:  # ignored after LAST
            if isinstance(self._inner, specs.Array):
                action = self._stretch(self._inner, action)
            else:
                action = tree.map_structure_up_to(self._inner, self._stretch, self._inner, action)
        return self._environment.step(action)

    @staticmethod
    def _canonical(spec: specs.Array) -> specs.Array:
        if not _is_continuous(spec):
            return spec
        if not isinstance(spec, specs.BoundedArray) or not (
            np.isfinite(spec.minimum).all() and np.isfinite(spec.maximum).all()
        ):
            raise ValueError(
                f'canonical_actions needs actions within finite bounds, got the spec {spec}.'
            )
        return specs.BoundedArray(spec.shape, spec.dtype, -1.0, 1.0, name=spec.name)


def _is_continuous(spec: specs.Array) -> bool:
    return bool(np.issubdtype(spec.dtype, np.floating))


def _stretch(spec: Any, action: Any) -> Any:
    """Stretches a canonical action to the bounds of a spec."""
    if not _is_continuous(spec):
        return action
    action = np.clip(np.asarray(action, spec.dtype), -1.0, 1.0)
    scaled = spec.minimum + (action + 1.0) * (0.5 * (spec.maximum - spec.minimum))
    # Rounding may exceed a bound.
    return np.clip(scaled, spec.minimum, spec.maximum).astype(spec.dtype)


def _stretch_huge(spec: Any, action: Any) -> Any:
    """`_stretch` for bounds whose distance may be more than a float can hold."""
    if not _is_continuous(spec):
        return action
    action = np.clip(np.asarray(action, spec.dtype), -1.0, 1.0)
    low, high = 0.5 * spec.minimum, 0.5 * spec.maximum
    scaled = (low + high) + action * (high - low)
    return np.clip(scaled, spec.minimum, spec.maximum).astype(spec.dtype)


def _is_huge(spec: specs.BoundedArray) -> bool:
    with np.errstate(over='ignore'):
        return not bool(np.all(np.isfinite(spec.maximum - spec.minimum)))
