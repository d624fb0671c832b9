"""What is needed to find a step that is in a table twice, or one that is missing.

Each observation says which run of which environment it is of, in which episode and at which step. The numbers
are small fractions, so that any network may read them.
"""

import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.agents import dqn
from culmen.core import ActorCore
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Queue
from culmen.core import Window

RUNS, STEPS = 2**20, 2**10  # more than there are
LENGTH = 4  # steps of an episode


class Ledger(dm_env.Environment):
    """Episodes of LENGTH steps: [run, episode, step]. Action 1 is worth 1 at the end."""

    def __init__(self, seed: int) -> None:
        # Each life of an actor has environments of other seeds.
        self._run = int(np.random.default_rng(seed).integers(1, RUNS))
        self._episode = -1
        self._step = LENGTH

    def reset(self):
        self._episode, self._step = self._episode + 1, 0
        return dm_env.restart(self._observe())

    def step(self, action):
        if self._step == LENGTH:
            return self.reset()
        self._step += 1
        if self._step == LENGTH:
            return dm_env.termination(float(action), self._observe())
        return dm_env.transition(0.0, self._observe())

    def _observe(self):
        return np.array([self._run / RUNS, self._episode / STEPS, self._step / STEPS], np.float32)

    def observation_spec(self):
        return specs.BoundedArray((3,), np.float32, 0.0, 1.0)

    def action_spec(self):
        return specs.DiscreteArray(2)


class Failing(Ledger):
    """Raises in its first lives, as often as a file says, which outlives them."""

    def __init__(self, seed: int, counter: str, times: int) -> None:
        super().__init__(seed)
        self._path, self._times = Path(counter), times

    def step(self, action):
        if self._episode == 6 and self._step == 2:
            failed = len(self._path.read_bytes()) if self._path.exists() else 0
            if failed < self._times:
                with open(self._path, 'ab') as file:
                    file.write(b'x')
                raise RuntimeError(f'the floor gave way, number {failed}')
        return super().step(action)


class Stuck(Ledger):
    """Does not return from a step, in the process that finds no file; the next one does."""

    def __init__(self, seed: int, marker: str) -> None:
        super().__init__(seed)
        self._path = Path(marker)

    def step(self, action):
        if self._episode == 6 and self._step == 2 and not self._path.exists():
            self._path.write_text(str(os.getpid()))
            while True:
                pass
        return super().step(action)


class Slow(Ledger):
    """Takes longer for a step in the process of one node."""

    def __init__(self, seed: int, node: str, seconds: float) -> None:
        super().__init__(seed)
        self._seconds = seconds if sys.argv[-1].endswith(f'={node}') else 0.0

    def step(self, action):
        time.sleep(self._seconds)
        return super().step(action)


def slow(seed: int, node: str = 'actor-0', seconds: float = 0.25) -> Slow:
    return Slow(seed, node, seconds)


def ledger(seed: int) -> Ledger:
    return Ledger(seed)


def failing(seed: int, counter: str, times: int = 2) -> Failing:
    return Failing(seed, counter, times)


def stuck(seed: int, marker: str) -> Stuck:
    return Stuck(seed, marker)


@dataclass(frozen=True)
class OnFullDisk(dqn.DQN):
    """DQN whose learner writes no more than some bytes to a file, if it begins while there is a marker."""

    marker: str = ''
    bytes: int = 30_000

    def build(self, spec):
        if sys.argv[-1].endswith('=learner') and os.path.exists(self.marker):
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.bytes, hard))
        return super().build(spec)


def read(observation: Any) -> np.ndarray:
    """int[..., 3]: run, episode, step."""
    return np.rint(np.asarray(observation) * [RUNS, STEPS, STEPS]).astype(np.int64)


@dataclass(frozen=True)
class Bookkeeper:
    """Keeps every step that it learns from in its training state, of whole episodes, each drawn once.

    Its parameters are the number of its updates; `stale` is how old they were at most.
    """

    max_updates: int = 600
    max_size: int = 2

    def build(self, spec):
        def select_action(params, timestep, state, context):
            lanes = timestep.step_type.shape
            action = jax.random.randint(context.key, lanes, 0, spec.action.num_values)
            return action.astype(spec.action.dtype), state, jnp.full(lanes, params)

        def update(state, sample, context):
            rows = sample.steps.observation  # [lanes, LENGTH + 2, 3]
            place = jnp.minimum(state['updates'], self.max_updates - 1)
            stale = jnp.max(context.rule_steps - sample.steps.extras)
            state = {
                'updates': state['updates'] + 1,
                'book': state['book'].at[place].set(rows),
                'stale': jnp.maximum(state['stale'], stale),
                'early': jnp.minimum(
                    state['early'], jnp.min(context.rule_steps - sample.steps.extras)
                ),
            }
            return (
                state,
                {'loss': jnp.zeros(()), 'stale': state['stale'], 'early': state['early']},
                None,
            )

        def init(key):
            zero = jnp.zeros((), jnp.int32)
            book = jnp.zeros((self.max_updates, 2, LENGTH + 2, 3), jnp.float32)
            return {'updates': zero, 'book': book, 'stale': zero, 'early': zero}

        actor = ActorCore(lambda key, lanes: jnp.zeros(len(lanes.index)), select_action)
        window = Window(length=LENGTH + 1, period=LENGTH + 1, cross_episodes=True)
        return Parts(
            actor=actor,
            evaluator=actor,
            learner=LearnerCore(init, update, lambda state: state['updates']),
            experience=Queue(window, None, max_size=self.max_size),
        )
