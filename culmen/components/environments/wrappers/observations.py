"""Wrappers that map each observation separately."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import dm_env
import numpy as np
import tree
from dm_env import specs

from culmen.components.environments.wrappers.base import LEGAL_ACTIONS
from culmen.components.environments.wrappers.base import ObservationWrapper
from culmen.core import checks
from culmen.core.goals import ACHIEVED
from culmen.core.goals import DESIRED
from culmen.core.ranges import cast_exactly


class HideObservation(ObservationWrapper):
    """Leaves entries out of the observation, which an agent must then remember or infer.

    Names leave out fields of a dict; indices leave out entries of the last axis of an array (the
    velocities of gymnasium/CartPole-v1 are (1, 3)).
    """

    def __init__(
        self, environment: dm_env.Environment, hidden: int | str | Sequence[int | str]
    ) -> None:
        super().__init__(environment)
        if isinstance(hidden, str):
            hidden = [name.strip() for name in hidden.split(',')]
        elif isinstance(hidden, int):
            hidden = [hidden]
        inner = environment.observation_spec()
        spec, self._legal = _split_legal(inner)
        label = 'hide_observation'
        if isinstance(spec, Mapping):
            for name in hidden:
                if name not in spec:
                    raise ValueError(f'{label}: {checks.unknown_name("field", str(name), spec)}')
            self._names = [name for name in spec if name not in hidden]
            self._keeps_goals = {ACHIEVED, DESIRED} <= set(self._names)
            self._kept: Any = None
            hidden_spec: Any = {name: spec[name] for name in self._names}
        elif isinstance(spec, specs.Array) and spec.shape:
            size = spec.shape[-1]
            for index in hidden:
                if not checks.accepts(int, index) or not -size <= int(index) < size:
                    raise ValueError(
                        f'{label} must hold indices in [0, {size}) of the last axis, got {index!r}.'
                    )
            left_out = {int(index) % size for index in hidden}
            self._kept = np.array([i for i in range(size) if i not in left_out], np.intp)
            self._names = [] if self._kept.size == 0 else ['']
            hidden_spec = _map_spec(spec, self._keep)
        else:
            raise ValueError(f'{label} needs an array with an axis or a dict, got the spec {spec}.')
        if not self._names:
            raise ValueError(f'{label} must leave something to see, got {tuple(hidden)}.')
        self._spec = _join_legal(hidden_spec, inner) if self._legal else hidden_spec

    def observation_spec(self) -> Any:
        return self._spec

    def _keep(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return values[..., self._kept]

    def _observe(self, observation: Any) -> Any:
        visible = _split_legal(observation)[0] if self._legal else observation
        if self._kept is None:
            visible = {name: visible[name] for name in self._names}
        else:
            visible = self._keep(np.asarray(visible))
        return _join_legal(visible, observation) if self._legal else visible


class FlattenObservation(ObservationWrapper):
    """Flattens the whole observation to one vector, with its leaves in order of their names."""

    def __init__(self, environment: dm_env.Environment) -> None:
        super().__init__(environment)
        inner = environment.observation_spec()
        spec, self._legal = _split_legal(inner)
        leaves = tree.flatten(spec)
        self._dtype = np.result_type(*(leaf.dtype for leaf in leaves))
        size = sum(int(np.prod(leaf.shape)) for leaf in leaves)
        flat = specs.Array((size,), self._dtype, name='observation')
        self._spec = _join_legal(flat, inner) if self._legal else flat

    def observation_spec(self) -> Any:
        return self._spec

    def _observe(self, observation: Any) -> Any:
        visible = _split_legal(observation)[0] if self._legal else observation
        leaves = [np.ravel(leaf) for leaf in tree.flatten(visible)]
        flat = np.concatenate(leaves)
        if flat.dtype != self._dtype:
            flat = cast_exactly('observation', flat, self._dtype)
        return _join_legal(flat, observation) if self._legal else flat


def _map_spec(spec: specs.Array, function: Any) -> specs.Array:
    """The spec of an array after a function that selects entries."""
    shape = function(np.empty(spec.shape, bool)).shape
    if not isinstance(spec, specs.BoundedArray):
        return specs.Array(shape, spec.dtype, name=spec.name)
    low, high = (
        function(np.broadcast_to(bound, spec.shape)) for bound in (spec.minimum, spec.maximum)
    )
    return specs.BoundedArray(shape, spec.dtype, low, high, name=spec.name)


def _split_legal(observation: Any) -> tuple[Any, bool]:
    """An observation (or spec) without `legal_actions`, and whether it has them."""
    if not isinstance(observation, Mapping) or LEGAL_ACTIONS not in observation:
        return observation, False
    rest = {name: value for name, value in observation.items() if name != LEGAL_ACTIONS}
    return (rest['observation'] if list(rest) == ['observation'] else rest), True


def _join_legal(visible: Any, observation: Any) -> dict[str, Any]:
    fields = dict(visible) if isinstance(visible, Mapping) else {'observation': visible}
    return {**fields, LEGAL_ACTIONS: observation[LEGAL_ACTIONS]}
