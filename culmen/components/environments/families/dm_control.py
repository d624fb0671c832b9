"""The DeepMind Control Suite (Tassa et al., 2018, https://arxiv.org/abs/1801.00690).

Most episodes end by a time limit, which is a truncation (discount 1); a few tasks terminate.
Observations are dicts; `single_precision` is on by default, `flatten_observation` makes one vector.
"""

import os
import pickle
import sys
import zlib
from typing import Annotated
from typing import Any

import dm_env
import numpy as np

from culmen.components.environments import arguments
from culmen.components.environments import rendering
from culmen.core.checks import Range
from culmen.core.ranges import as_float32
from culmen.core.ranges import cast_exactly
from culmen.core.specs import in_float32


def names() -> list[str]:
    """Every task, as 'cartpole/swingup'."""
    return sorted('/'.join(task) for task in _suite('dm_control').ALL_TASKS)


def check(identity: str) -> None:
    """Raises ValueError with the nearest tasks where there is no such task."""
    known = ['/'.join(task) for task in _suite(f'dm_control/{identity}').ALL_TASKS]
    arguments.check_name('dm_control', identity, known)


def make(
    identity: str, seed: int, *, time_limit: Annotated[float | None, Range(0, open_low=True)] = None
) -> dm_env.Environment:
    """Builds a task.

    Args: time_limit: seconds of an episode; None: the task's own.
    """
    check(identity)
    domain, _, task = identity.partition('/')
    task_kwargs: dict[str, Any] = {'random': seed}
    if time_limit is not None:
        task_kwargs['time_limit'] = time_limit
    return ControlEnvironment(_suite(f'dm_control/{identity}').load(domain, task, task_kwargs))


class ControlEnvironment(dm_env.Environment):
    """A task of the suite, with observations in a plain dict of new arrays."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._observation_spec = {
            name: spec.replace(name=name) for name, spec in environment.observation_spec().items()
        }
        self._action_spec = environment.action_spec()

    def reset(self) -> dm_env.TimeStep:
        return self._timestep(self._environment.reset())

    def step(self, action: Any) -> dm_env.TimeStep:
        return self._timestep(self._environment.step(action))

    def _timestep(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        step_type, reward, discount, observation = timestep
        # Some entries are views of the simulation, which the next step changes.
        observation = {
            name: cast_exactly(f'observation/{name}', observation[name], spec.dtype)
            for name, spec in self._observation_spec.items()
        }
        if reward is not None:
            reward = as_float32('reward', reward)
            discount = as_float32('discount', discount)
        return dm_env.TimeStep(step_type, reward, discount, observation)

    def observation_spec(self) -> Any:
        return self._observation_spec

    def action_spec(self) -> Any:
        return self._action_spec

    def reward_spec(self) -> Any:
        return in_float32(self._environment.reward_spec())

    def discount_spec(self) -> Any:
        return in_float32(self._environment.discount_spec())

    @property
    def physics(self) -> Any:
        """The simulation."""
        return self._environment.physics

    def render(self, height: int = 240, width: int = 320) -> np.ndarray[Any, Any]:
        """The first camera's picture."""
        return np.array(self._environment.physics.render(height=height, width=width, camera_id=0))

    def get_state(self) -> object:
        # The whole environment, since tasks write into the model (targets, masses) too. Its twelve megabytes
        # of textures compress well: the state takes 50 ms and 0.7 MB.
        return zlib.compress(pickle.dumps(self._environment, protocol=pickle.HIGHEST_PROTOCOL), 1)

    def set_state(self, state: Any) -> None:
        self._environment = pickle.loads(zlib.decompress(state))


def _suite(environment: str) -> Any:
    chosen = 'MUJOCO_GL' in os.environ or rendering.has_display()
    if chosen or 'dm_control.suite' in sys.modules:
        return arguments.load('dm_control.suite', environment, 'dm-control')
    # dm_control chooses a backend when it is imported; without this setting, one that needs a display.
    os.environ['MUJOCO_GL'] = 'egl'
    try:
        return arguments.load('dm_control.suite', environment, 'dm-control')
    except Exception:  # without EGL nothing can be drawn, but everything else works
        os.environ['MUJOCO_GL'] = 'disable'
        return arguments.load('dm_control.suite', environment, 'dm-control')
    finally:
        del os.environ['MUJOCO_GL']
