"""A counting environment and a core that tells what it saw."""

import dm_env
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.core.specs import make_environment_spec
from culmen.core.types import ActorCore
from culmen.core.types import where_first


class Counting(dm_env.Environment):
    """Observes its own step number; an episode has `length` steps; the reward is the action."""

    def __init__(self, length=3, start=0.0, fail_at=None, bad=None):
        self._length, self._start, self._fail_at, self._bad = length, start, fail_at, bad
        self._t = None
        self.actions = []
        self.closed = False

    def reset(self):
        self._t = 0
        return dm_env.restart(self._observation())

    def step(self, action):
        self.actions.append(int(action))
        if self._fail_at == len(self.actions):
            raise RuntimeError('out of fuel')
        if self._t is None or self._t == self._length:
            return self.reset()
        self._t += 1
        reward = float(action)
        if self._bad == 'nan' and self._t == 2:
            reward = float('nan')
        make = dm_env.termination if self._t == self._length else dm_env.transition
        return make(reward, self._observation())

    def _observation(self):
        if self._bad == 'shape' and self._t == 2:
            return np.zeros(2, np.float32)
        if self._bad == 'dtype' and self._t == 2:
            return np.zeros(1, np.float64)
        return np.full(1, self._start + self._t, np.float32)

    def observation_spec(self):
        return specs.Array((1,), np.float32)

    def action_spec(self):
        return specs.DiscreteArray(1000)

    def close(self):
        self.closed = True


SPEC = make_environment_spec(Counting())


def counting_core():
    """The action is the number of time steps of this episode, this one included."""

    def init(key, lanes):
        return jnp.zeros(lanes.index.shape, jnp.int32)

    def select_action(params, timestep, state, context):
        state = where_first(timestep, jnp.zeros_like(state), state) + 1
        return (
            state,
            state,
            {'seen': timestep.observation, 'actor_steps': state * 0 + context.actor_steps},
        )

    return ActorCore(init, select_action)


class Held:
    """Variables that never change."""

    def get_variables(self, have):
        return (0, {'w': np.zeros(1, np.float32)}) if have is None else None


class Recorder:
    """A table that keeps the stream."""

    held = None

    def __init__(self):
        self.events = []

    def observe(self, timestep):
        self.events.append(('observe', timestep))

    def act(self, action, extras, version):
        self.events.append(('act', action, extras, version))
