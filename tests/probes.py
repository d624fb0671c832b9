"""Small environments whose right values are known in advance, each for one ability of an agent.

When an agent fails on one of them, the probe says what is wrong with it: its values, what it reads
from the observation, its discounting, its choice of actions, its memory. All are environments of
dm_env made by `Probe(seed)`, restorable, with float32 observations of the shape [1] unless they say
otherwise. Numbers that a test may compare with are class attributes or functions of the discount
gamma of the agent.
"""

import copy
from typing import Any
from typing import ClassVar

import dm_env
import numpy as np
from dm_env import specs


class Probe(dm_env.Environment):
    """What they share: episodes of `length` steps, two actions, an observation of one number."""

    length = 1
    num_actions = 2

    def __init__(self, seed: int = 0) -> None:
        self._generator = np.random.default_rng(seed)
        self._elapsed: int | None = None

    def reset(self) -> dm_env.TimeStep:
        self._elapsed = 0
        self._begin()
        return dm_env.restart(self._observe())

    def step(self, action: Any) -> dm_env.TimeStep:
        if self._elapsed is None or self._elapsed == self.length:
            return self.reset()
        reward = float(self._reward(action))
        self._elapsed += 1
        if self._elapsed == self.length:
            return self._end(reward)
        return dm_env.transition(reward, self._observe())

    def observation_spec(self) -> Any:
        return specs.Array((1,), np.float32, name='observation')

    def action_spec(self) -> specs.Array:
        return specs.DiscreteArray(self.num_actions, dtype=np.int32, name='action')

    def get_state(self) -> object:
        return copy.deepcopy(vars(self))

    def set_state(self, state: Any) -> None:
        vars(self).update(copy.deepcopy(state))

    def _begin(self) -> None:
        """Draws what the episode is about."""

    def _observe(self) -> Any:
        return np.zeros(1, np.float32)

    def _reward(self, action: Any) -> float:
        raise NotImplementedError

    def _end(self, reward: float) -> dm_env.TimeStep:
        return dm_env.termination(reward, self._observe())


class ValueProbe(Probe):
    """One step, observation 0, reward 1 whatever is done: the value of 0 is 1 (for every action).

    Fails where the loss or the optimiser is wrong.
    """

    value = 1.0

    def _reward(self, action: Any) -> float:
        return 1.0


class ObservationProbe(Probe):
    """One step, observation -1 or 1 at random, the reward is the observation: so is the value.

    Fails where values do not depend on the observation.
    """

    values: ClassVar[dict[float, float]] = {-1.0: -1.0, 1.0: 1.0}

    def _begin(self) -> None:
        self._sign = float(self._generator.choice([-1.0, 1.0]))

    def _observe(self) -> Any:
        return np.full(1, self._sign, np.float32)

    def _reward(self, action: Any) -> float:
        return self._sign


class DiscountProbe(Probe):
    """Two steps, observations 0, then 1, reward 1 for the second: values gamma of 0 and 1 of 1.

    The end shows observation 0 again and is a termination: where its value is bootstrapped all the
    same, that of 1 exceeds 1. Fails where the discount or the termination is ignored.
    """

    length = 2

    @staticmethod
    def values(gamma: float) -> dict[float, float]:
        """The value of each observation."""
        return {0.0: gamma, 1.0: 1.0}

    def _observe(self) -> Any:
        return np.full(1, float(self._elapsed == 1), np.float32)

    def _reward(self, action: Any) -> float:
        return float(self._elapsed == 1)


class TruncationProbe(Probe):
    """Observation 0 and reward 1 for ever, cut off after `length` steps: value 1 / (1 - gamma).

    Fails where a truncation is taken for a termination: the value is then smaller.
    """

    length = 5

    @staticmethod
    def value(gamma: float) -> float:
        """The value of the observation."""
        return 1.0 / (1.0 - gamma)

    def _reward(self, action: Any) -> float:
        return 1.0

    def _end(self, reward: float) -> dm_env.TimeStep:
        return dm_env.truncation(reward, self._observe())


class ActionProbe(Probe):
    """One step, observation 0, reward 1 for action 1 and -1 for action 0: the action values.

    The best return is 1. Fails where the actions' values are mixed up or never chosen by.
    """

    action_values = (-1.0, 1.0)
    best_return = 1.0

    def _reward(self, action: Any) -> float:
        return self.action_values[int(action)]


class ObservationActionProbe(Probe):
    """One step, observation -1 or 1, reward 1 for action 0 at -1 and action 1 at 1, otherwise -1.

    The best return is 1, that of any policy blind to the observation 0 on average.
    """

    best_return = 1.0

    def _begin(self) -> None:
        self._sign = float(self._generator.choice([-1.0, 1.0]))

    def _observe(self) -> Any:
        return np.full(1, self._sign, np.float32)

    def _reward(self, action: Any) -> float:
        return 1.0 if int(action) == int(self._sign > 0) else -1.0


class MemoryProbe(Probe):
    """A cue, -1 or 1, is seen at FIRST, then 0; the last of `length` actions must name it.

    Reward 1 for action 0 after -1 and action 1 after 1, otherwise -1, 0 for the steps before. The
    best return is 1; without memory it is 0 on average.
    """

    length = 3
    best_return = 1.0

    def _begin(self) -> None:
        self._sign = float(self._generator.choice([-1.0, 1.0]))

    def _observe(self) -> Any:
        return np.full(1, self._sign if self._elapsed == 0 else 0.0, np.float32)

    def _reward(self, action: Any) -> float:
        if self._elapsed != self.length - 1:
            return 0.0
        return 1.0 if int(action) == int(self._sign > 0) else -1.0


class ContinuousProbe(Probe):
    """One step, observation 0, an action [1] in [-1, 1], reward -(action - 0.5)^2: best is 0.5."""

    best_action = 0.5
    best_return = 0.0

    def action_spec(self) -> specs.Array:
        return specs.BoundedArray((1,), np.float32, -1.0, 1.0, name='action')

    def _reward(self, action: Any) -> float:
        return -((float(np.asarray(action).reshape(())) - self.best_action) ** 2)


class LegalActionsProbe(Probe):
    """Two steps and three actions, of which the mask allows those that are drawn at each step.

    The observation is {'observation': float32[1], 'legal_actions': bool[3]}. Action a pays
    `rewards[a]`; action 2 pays most and is never legal. An illegal action raises ValueError, so an
    agent that explores, acts or evaluates outside the mask is found at once. Values are right only
    where the maximum of the bootstrap is masked too: the number is that of a step to go (0 at the
    second), actions 0 and 1 are each legal alone or together with equal probability, and so the
    best mean of a step is (rewards[0] + 2 * rewards[1]) / 3.
    """

    length = 2
    num_actions = 3
    rewards = (0.0, 1.0, 10.0)
    masks = ((True, False, False), (False, True, False), (True, True, False))
    best_mean_reward = 2.0 / 3.0

    @classmethod
    def action_values(cls, gamma: float) -> dict[float, tuple[float, float]]:
        """The values of actions 0 and 1, for each number that is observed."""
        last = cls.rewards[:2]
        return {
            0.0: (last[0], last[1]),
            1.0: tuple(each + gamma * cls.best_mean_reward for each in last),  # type: ignore[dict-item]
        }

    def _begin(self) -> None:
        self._mask = self._draw()

    def _draw(self) -> Any:
        return np.array(self.masks[int(self._generator.integers(len(self.masks)))], bool)

    def observation_spec(self) -> Any:
        return {
            'observation': specs.Array((1,), np.float32, name='observation'),
            'legal_actions': specs.Array((self.num_actions,), bool, name='legal_actions'),
        }

    def _observe(self) -> Any:
        number = np.full(1, float(self._elapsed == 0), np.float32)
        return {'observation': number, 'legal_actions': self._mask.copy()}

    def _reward(self, action: Any) -> float:
        if not self._mask[int(action)]:
            raise ValueError(f'action {int(action)} is illegal: legal_actions is {self._mask}.')
        self._mask = self._draw()
        return self.rewards[int(action)]


PROBES = (
    ValueProbe,
    ObservationProbe,
    DiscountProbe,
    TruncationProbe,
    ActionProbe,
    ObservationActionProbe,
    MemoryProbe,
    ContinuousProbe,
    LegalActionsProbe,
)
