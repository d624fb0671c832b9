"""Wrappers of rewards."""

from typing import Any

import dm_env
import numpy as np
import tree

from culmen.components.environments.wrappers.base import Wrapper
from culmen.core import checks
from culmen.core.ranges import as_float32
from culmen.core.specs import in_float32


class Float32Rewards(Wrapper):
    """The base of wrappers that compute with rewards; it casts rewards and discounts to float32."""

    def reward_spec(self) -> Any:
        return in_float32(self._environment.reward_spec())

    def discount_spec(self) -> Any:
        return in_float32(self._environment.discount_spec())

    def _advance(self, action: Any) -> dm_env.TimeStep:
        """Steps the environment inside; reward and discount are None at FIRST and float32 after it."""
        timestep = self._environment.step(action)
        if timestep.first():
            return timestep
        return timestep._replace(
            reward=map_rewards(as_reward, timestep.reward),
            discount=map_rewards(_discount, timestep.discount),
        )


class ClipReward(Float32Rewards):
    """Clips rewards to [-limit, limit]."""

    def __init__(self, environment: dm_env.Environment, limit: float) -> None:
        super().__init__(environment)
        checks.check_range('limit', limit, 0, open_low=True)
        self._limit = limit

    def step(self, action: Any) -> dm_env.TimeStep:
        timestep = self._advance(action)
        if timestep.first():
            return timestep
        return timestep._replace(reward=map_rewards(self._clip, timestep.reward))

    def _clip(self, reward: Any) -> Any:
        return as_float32('reward', np.minimum(np.maximum(reward, -self._limit), self._limit))


class DelayedReward(Float32Rewards):
    """Sums rewards and pays the sum every `period` steps of an episode and at its end."""

    _state = ('_elapsed', '_held')

    def __init__(self, environment: dm_env.Environment, period: int) -> None:
        super().__init__(environment)
        checks.check_range('period', period, 1)
        self._period = period
        self._elapsed = 0
        self._held: Any = None

    def reset(self) -> dm_env.TimeStep:
        return self._delay(self._environment.reset())

    def step(self, action: Any) -> dm_env.TimeStep:
        return self._delay(self._advance(action))

    def _delay(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        if timestep.first():
            self._elapsed, self._held = 0, None
            return timestep
        self._elapsed += 1
        reward = timestep.reward
        held = (
            map_rewards(np.float64, reward)
            if self._held is None
            else map_rewards(np.add, self._held, reward)
        )
        if timestep.last() or self._elapsed % self._period == 0:
            self._held = None
            return timestep._replace(reward=map_rewards(as_reward, held))
        self._held = held
        return timestep._replace(reward=map_rewards(_nothing, reward))


def map_rewards(function: Any, *values: Any) -> Any:
    """Maps rewards; for plain numbers, the usual case, without walking a nest."""
    if isinstance(values[0], (float, int, np.ndarray, np.generic)):
        return function(*values)
    return tree.map_structure(function, *values)


def as_reward(value: Any) -> Any:
    return as_float32('reward', value)


def _discount(value: Any) -> Any:
    return as_float32('discount', value)


def _nothing(reward: Any) -> Any:
    return np.zeros_like(reward)[()]
