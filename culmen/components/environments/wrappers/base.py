"""The base of all wrappers: it delegates everything, and is saved with the environment inside."""

import copy
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from culmen.components.environments import saving
from culmen.core.goals import Goals
from culmen.core.goals import goals_of

LEGAL_ACTIONS = 'legal_actions'  # a field of an observation that is a dict


class Wrapper(dm_env.Environment):
    """Delegates everything, attributes included, to the environment that it wraps."""

    # The attributes that change as the environment runs, which are saved with it.
    _state: tuple[str, ...] = ()
    # A wrapper runs in Python, whatever is inside (culmen.core.environments.model_of).
    jax_environment = None
    # Whether the reward and the fields of goals come through as they are, so that the goals inside hold.
    _keeps_goals: bool = False

    def __init__(self, environment: dm_env.Environment) -> None:
        self._environment = environment

    @property
    def environment(self) -> dm_env.Environment:
        """The environment inside."""
        return self._environment

    def reset(self) -> dm_env.TimeStep:
        return self._environment.reset()

    def step(self, action: Any) -> dm_env.TimeStep:
        return self._environment.step(action)

    def observation_spec(self) -> Any:
        return self._environment.observation_spec()

    def action_spec(self) -> Any:
        return self._environment.action_spec()

    def reward_spec(self) -> Any:
        return self._environment.reward_spec()

    def discount_spec(self) -> Any:
        return self._environment.discount_spec()

    def close(self) -> None:
        self._environment.close()

    def goals(self) -> Goals | None:
        """The goals of the environment inside; None where this wrapper changes rewards or observations."""
        return goals_of(self._environment) if self._keeps_goals else None

    @property
    def restorable(self) -> bool:
        """Whether the environment inside can be saved."""
        return saving.is_restorable(self._environment)

    def get_state(self) -> object:
        """The state of the environment inside and of this wrapper; ValueError without one."""
        if not saving.is_restorable(self._environment):
            raise ValueError(f'{type(self._environment).__name__} can not be saved in mid-episode.')
        own = {name: copy.deepcopy(getattr(self, name)) for name in self._state}
        return self._environment.get_state(), own

    def set_state(self, state: Any) -> None:
        """Puts back what `get_state` returned, in a fresh environment with the same wrappers."""
        inner, own = state
        self._environment.set_state(inner)
        for name, value in own.items():
            setattr(self, name, copy.deepcopy(value))

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or '_environment' not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._environment, name)


class ObservationWrapper(Wrapper):
    """A wrapper that maps each observation separately, without state."""

    def reset(self) -> dm_env.TimeStep:
        timestep = self._environment.reset()
        return timestep._replace(observation=self._observe(timestep.observation))

    def step(self, action: Any) -> dm_env.TimeStep:
        step_type, reward, discount, observation = self._environment.step(action)
        return dm_env.TimeStep(step_type, reward, discount, self._observe(observation))

    def _observe(self, observation: Any) -> Any:
        raise NotImplementedError


def zero_action(spec: specs.Array) -> np.ndarray[Any, Any]:
    zero = np.zeros(spec.shape, spec.dtype)
    if isinstance(spec, specs.BoundedArray):
        zero = np.clip(zero, spec.minimum, spec.maximum).astype(spec.dtype)
    return zero
