"""Wrappers of time: how long an action lasts, how an episode begins, when it ends."""

from typing import Any

import dm_env
import numpy as np
import tree

from culmen.components.environments.wrappers.base import Wrapper
from culmen.components.environments.wrappers.base import zero_action
from culmen.components.environments.wrappers.rewards import Float32Rewards
from culmen.components.environments.wrappers.rewards import as_reward
from culmen.components.environments.wrappers.rewards import map_rewards
from culmen.core import checks


class ActionRepeat(Float32Rewards):
    """Repeats an action `num_repeats` times or to the episode's end; rewards add up, discounts multiply."""

    def __init__(self, environment: dm_env.Environment, num_repeats: int) -> None:
        super().__init__(environment)
        checks.check_range('num_repeats', num_repeats, 1)
        self._num_repeats = num_repeats

    def step(self, action: Any) -> dm_env.TimeStep:
        timestep = self._advance(action)
        if not timestep.mid():
            return timestep
        reward, discount = map_rewards(np.float64, timestep.reward), timestep.discount
        for _ in range(self._num_repeats - 1):
            timestep = self._advance(action)
            reward = map_rewards(np.add, reward, timestep.reward)
            discount = map_rewards(np.multiply, discount, timestep.discount)
            if timestep.last():
                break
        return timestep._replace(reward=map_rewards(as_reward, reward), discount=discount)


class StepLimit(Wrapper):
    """Truncates episodes after `max_steps` steps: LAST, with an unchanged discount."""

    _keeps_goals = True
    _state = ('_elapsed', '_reset_next_step')

    def __init__(self, environment: dm_env.Environment, max_steps: int) -> None:
        super().__init__(environment)
        checks.check_range('max_steps', max_steps, 1)
        self._max_steps = max_steps
        self._elapsed = 0
        self._reset_next_step = True
        self.cut = False  # whether the limit ended the episode, at the last time step

    def reset(self) -> dm_env.TimeStep:
        self._elapsed = 0
        self._reset_next_step = self.cut = False
        return self._environment.reset()

    def step(self, action: Any) -> dm_env.TimeStep:
        if self._reset_next_step:
            return self.reset()
        timestep = self._environment.step(action)
        self._elapsed += 1
        self.cut = timestep.mid() and self._elapsed >= self._max_steps
        if self.cut:
            timestep = timestep._replace(step_type=dm_env.StepType.LAST)
        self._reset_next_step = timestep.last()
        return timestep


class NoopStarts(Wrapper):
    """Begins each episode with 1 to `max_noops` no-ops (action 0, or 0 within the bounds)."""

    _keeps_goals = True
    _state = ('_generator',)

    def __init__(self, environment: dm_env.Environment, max_noops: int, seed: int) -> None:
        super().__init__(environment)
        checks.check_range('max_noops', max_noops, 1)
        self._max_noops = max_noops
        self._generator = np.random.default_rng([seed, 0x6E6F6F70])
        self._noop = tree.map_structure(zero_action, environment.action_spec())

    def reset(self) -> dm_env.TimeStep:
        return self._start(self._environment.reset())

    def step(self, action: Any) -> dm_env.TimeStep:
        timestep = self._environment.step(action)
        return self._start(timestep) if timestep.first() else timestep

    def _start(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        for _ in range(int(self._generator.integers(1, self._max_noops + 1))):
            timestep = self._environment.step(self._noop)
            if timestep.last():
                timestep = self._environment.reset()
        return dm_env.restart(timestep.observation)
