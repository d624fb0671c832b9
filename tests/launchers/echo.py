"""An agent whose evaluator acts by the counts that it is told, and environments that pay what is done."""

import dataclasses

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import functional
from culmen.core import Parts
from culmen.core import Replay
from culmen.core import Window
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import ActorCore
from culmen.core.types import LearnerCore

ACTION = specs.DiscreteArray(10**6, np.int32, 'action')
OBSERVATION = specs.Array((1,), np.float32, 'observation')


def told(actor_steps, learner_steps):
    """What the evaluator does when it is told of these counts."""
    return 1000 * actor_steps + learner_steps


@dataclasses.dataclass(frozen=True)
class Echo:
    """Acts by 0, learns to count, and evaluates by what it is told."""

    def build(self, spec: EnvironmentSpec) -> Parts:
        def init(key, lanes):
            del key
            return jnp.zeros(len(lanes.index), jnp.int32)

        def act(params, timestep, state, context):
            return state, state, ()

        def evaluate(params, timestep, state, context):
            return state + told(context.actor_steps, context.learner_steps), state, ()

        def update(state, sample, context):
            return state + 1, {'loss': state}, None

        return Parts(
            ActorCore(init, act),
            ActorCore(init, evaluate),
            LearnerCore(lambda key: jnp.float32(0), update, lambda state: state),
            Replay(Window(), 8, 2, 1, 0.5),
        )


def paying(ends: bool = False) -> functional.Functional:
    """Pays the action. Never ends; or, where the key says so, ends after three steps."""

    def begin(key):
        draw = jnp.sum(jax.random.key_data(key)) % 2 == 0
        return (jnp.int32(0), draw & ends), jnp.zeros(1)

    def advance(key, state, action):
        steps, draw = state[0] + 1, state[1]
        observation = jnp.full(1, steps, jnp.float32)
        return (steps, draw), functional.Outcome(observation, action, draw & (steps == 3))

    spec = EnvironmentSpec(OBSERVATION, ACTION, functional.REWARD, functional.DISCOUNT)
    return functional.Functional(spec, begin, advance)


ENDLESS, SOME_END = paying(), paying(ends=True)


def endless(seed: int) -> dm_env.Environment:
    return functional.DmEnvironment(ENDLESS, seed)


def some_end(seed: int) -> dm_env.Environment:
    return functional.DmEnvironment(SOME_END, seed)


class Twice(dm_env.Environment):
    """Pays twice the action."""

    def __init__(self, environment: dm_env.Environment) -> None:
        self._environment = environment

    def reset(self):
        return self._environment.reset()

    def step(self, action):
        timestep = self._environment.step(action)
        reward = timestep.reward
        return timestep if reward is None else timestep._replace(reward=2 * reward)

    def observation_spec(self):
        return self._environment.observation_spec()

    def action_spec(self):
        return self._environment.action_spec()


def twice(seed: int) -> dm_env.Environment:
    return Twice(endless(seed))


class Plain(dm_env.Environment):
    """The same, where no lane is seen to be written in JAX."""

    def __init__(self, environment: dm_env.Environment) -> None:
        self._environment = environment

    def reset(self):
        return self._environment.reset()

    def step(self, action):
        return self._environment.step(action)

    def observation_spec(self):
        return OBSERVATION

    def action_spec(self):
        return ACTION


class Game(dm_env.Environment):
    """Two sides, what one gains the other loses; and two judges. Two steps an episode."""

    def __init__(self, seed: int) -> None:
        self._steps = 2

    def reset(self):
        self._steps = 0
        return dm_env.restart(np.zeros(1, np.float32))

    def step(self, action):
        if self._steps == 2:
            return self.reset()
        self._steps += 1
        reward = {'black': -1.0, 'white': 1.0, 'judges': np.array([2.0, -2.0], np.float32)}
        step_type = dm_env.StepType.LAST if self._steps == 2 else dm_env.StepType.MID
        return dm_env.TimeStep(step_type, reward, 1.0, np.zeros(1, np.float32))

    def observation_spec(self):
        return OBSERVATION

    def action_spec(self):
        return ACTION

    def reward_spec(self):
        number = specs.Array((), np.float32)
        return {'black': number, 'white': number, 'judges': specs.Array((2,), np.float32)}


def game(seed: int) -> dm_env.Environment:
    return Game(seed)
