"""Agents and an environment to name on a command line and in configs."""

import dataclasses
from collections.abc import Callable
from typing import Any
from typing import ClassVar
from typing import Literal

import dm_env
import numpy as np
from dm_env import specs

from culmen.agents import dqn
from culmen.core import Agent
from culmen.core import check_range
from culmen.core import check_types


def squared(error):
    return error**2


@dataclasses.dataclass(frozen=True)
class Toy:
    """An agent of which only the settings are looked at."""

    learning_rate: float = 1e-3
    hidden_sizes: tuple[int, ...] = (64, 64)
    batch_size: int = 32
    kind: Literal['adam', 'sgd'] = 'adam'
    clip: float | None = None
    double: bool = True
    loss: Callable[..., Any] | None = None

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        'paper': {'learning_rate': 2.5e-4, 'batch_size': 256, 'hidden_sizes': (512,)}
    }

    def __post_init__(self) -> None:
        check_types(self)
        check_range('batch_size', self.batch_size, 1)

    def build(self, spec):
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Around:
    """An agent made of another."""

    base: Agent
    scale: float = 1.0
    other: Toy = dataclasses.field(default_factory=lambda: Toy(kind='sgd'))

    def build(self, spec):
        raise NotImplementedError


class Traced(dqn.DQN):
    """DQN that tells how often its functions are traced."""

    traces: ClassVar[list[str]] = []

    def build(self, spec):
        parts = super().build(spec)

        def told(name, function):
            def wrapped(*arguments):
                self.traces.append(name)
                return function(*arguments)

            return wrapped

        return parts._replace(
            learner=parts.learner._replace(update=told('update', parts.learner.update)),
            evaluator=parts.evaluator._replace(
                select_action=told('evaluate', parts.evaluator.select_action)
            ),
        )


class Corridor(dm_env.Environment):
    """Four cells; to the right is the reward. Every episode takes four steps."""

    def __init__(self, seed: int, prize: float = 1.0) -> None:
        self.prize, self.steps, self.cell = prize, -1, 0

    def reset(self):
        self.steps, self.cell = 0, 0
        return dm_env.restart(self._observation())

    def step(self, action):
        if not 0 <= self.steps < 4:
            return self.reset()
        self.steps += 1
        self.cell += int(action)
        if self.steps == 4:
            return dm_env.termination(self.prize * self.cell / 4, self._observation())
        return dm_env.transition(0.0, self._observation())

    def render(self):
        picture = np.zeros((16, 64, 3), np.uint8)
        picture[:, 16 * min(self.cell, 3) : 16 * min(self.cell, 3) + 16] = 255
        return picture

    def observation_spec(self):
        return specs.BoundedArray((2,), np.float32, 0, 4, name='observation')

    def action_spec(self):
        return specs.DiscreteArray(2, dtype=np.int32)

    def _observation(self):
        return np.array([self.cell, self.steps], np.float32)


def corridor(seed: int, prize: float = 1.0) -> dm_env.Environment:
    return Corridor(seed, prize)


class BrokenCorridor(Corridor):
    """Raises in its third episode."""

    def step(self, action):
        self.count = getattr(self, 'count', 0) + 1
        if self.count > 10:
            raise RuntimeError('the floor gave way')
        return super().step(action)


def broken_corridor(seed: int) -> dm_env.Environment:
    return BrokenCorridor(seed)
