"""Environments with known numbers, and with one fault each."""

from typing import Any

import dm_env
import numpy as np
from dm_env import specs


class Counter(dm_env.Environment):
    """Observes the step it is at, pays 1, 2, 3, ..., and ends after `length` steps.

    Actions are recorded. `make_observation` maps the step to the observation.
    """

    def __init__(
        self,
        length: int = 10,
        observation_spec: Any = None,
        make_observation: Any = None,
        action_spec: Any = None,
    ) -> None:
        self.length = length
        self.spec = observation_spec or specs.Array((2,), np.float64, name='observation')
        self.make_observation = make_observation or (lambda step: np.full(2, step, np.float64))
        self._action_spec = action_spec or specs.DiscreteArray(3, name='action')
        self.at: int | None = None
        self.actions: list[Any] = []
        self.closed = False

    def reset(self) -> dm_env.TimeStep:
        self.at = 0
        return dm_env.restart(self.make_observation(0))

    def step(self, action: Any) -> dm_env.TimeStep:
        if self.at is None or self.at == self.length:
            return self.reset()
        self.actions.append(action)
        self.at += 1
        end = dm_env.termination if self.at == self.length else dm_env.transition
        return end(float(self.at), self.make_observation(self.at))

    def observation_spec(self) -> Any:
        return self.spec

    def action_spec(self) -> Any:
        return self._action_spec

    def close(self) -> None:
        self.closed = True

    def get_state(self) -> object:
        return self.at

    def set_state(self, state: Any) -> None:
        self.at = state


def make(seed: int, length: int = 4, scale: float = 1.0) -> dm_env.Environment:
    """What `module:function` names in the tests."""
    return Counter(length=length * int(scale))


def make_nothing(seed: int) -> object:
    """Not an environment."""
    return seed
