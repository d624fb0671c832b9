"""A wrapper of dtypes: 64 bits become 32."""

from typing import Any

import dm_env
import numpy as np
import tree
from dm_env import specs

from culmen.components.environments.wrappers.base import ObservationWrapper
from culmen.core.ranges import FLOAT32_MAX
from culmen.core.ranges import cast_exactly


class SinglePrecision(ObservationWrapper):
    """Casts observations and actions to 32 bits, and refuses values that these can't hold.

    Floats are rounded. Rewards stay as they are: the loops cast them.
    """

    _keeps_goals = True

    def __init__(self, environment: dm_env.Environment) -> None:
        super().__init__(environment)
        self._inner = environment.action_spec()
        self._spec = tree.map_structure(self._narrow_spec, environment.observation_spec())
        self._paths = tree.map_structure_with_path(
            lambda path, _: '/'.join(('observation', *map(str, path))), self._spec
        )
        self._action = tree.map_structure(self._narrow_spec, self._inner)
        self._widens = any(
            a.dtype != b.dtype
            for a, b in zip(tree.flatten(self._inner), tree.flatten(self._action))
        )

    def observation_spec(self) -> Any:
        return self._spec

    def action_spec(self) -> Any:
        return self._action

    def step(self, action: Any) -> dm_env.TimeStep:
        if self._widens and action is not None:
            action = tree.map_structure_up_to(self._inner, _widen, self._inner, action)
        return super().step(action)

    def _observe(self, observation: Any) -> Any:
        if isinstance(self._spec, specs.Array):
            return _narrow(self._spec, self._paths, observation)
        if type(self._spec) is dict and type(observation) is dict:
            try:
                return {
                    name: _narrow(spec, self._paths[name], observation[name])
                    for name, spec in self._spec.items()
                }
            except AttributeError:  # a deeper nest
                pass
        return tree.map_structure_up_to(self._spec, _narrow, self._spec, self._paths, observation)

    @staticmethod
    def _narrow_spec(spec: specs.Array) -> specs.Array:
        narrow = {'float64': np.float32, 'int64': np.int32, 'uint64': np.uint32}.get(
            str(spec.dtype)
        )
        if narrow is None:
            return spec
        if isinstance(spec, specs.DiscreteArray) or not isinstance(spec, specs.BoundedArray):
            return spec.replace(dtype=narrow)
        low, high = spec.minimum, spec.maximum
        if narrow is not np.float32:  # bounds that would wrap
            held = np.iinfo(np.dtype(narrow).name)
            low, high = np.clip(low, held.min, held.max), np.clip(high, held.min, held.max)
        with np.errstate(over='ignore'):  # bounds of floats may become infinite
            low, high = np.asarray(low, narrow), np.asarray(high, narrow)
        return spec.replace(dtype=narrow, minimum=low, maximum=high)


def _narrow(spec: specs.Array, path: str, value: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(value)
    if array.dtype == spec.dtype:
        return array
    if array.dtype == np.float64 and spec.dtype == np.float32 and array.size:
        # The usual case needs no copy for comparison.
        if -FLOAT32_MAX <= array.min() and array.max() <= FLOAT32_MAX:
            return array.astype(np.float32)
    return cast_exactly(path, array, spec.dtype)


def _widen(spec: specs.Array, value: Any) -> np.ndarray[Any, Any]:
    value = np.asarray(value, spec.dtype)
    if isinstance(spec, specs.BoundedArray):
        # A bound rounded to 32 bits may lie beyond the one in 64.
        value = np.clip(value, spec.minimum, spec.maximum)
    return value
