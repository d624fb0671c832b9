"""The experiments of bsuite (Osband et al., 2020, https://arxiv.org/abs/1908.03568), fully seeded.

bsuite leaves the seeds of most experiments None, so two runs differ. Here the generator of every
experiment that draws anything is seeded; `bandit`, `deep_sea` and `discounting_chain` draw nothing
while they run (what differs between them is part of the id). `mnist*` downloads its data.
"""

import inspect
from typing import Any

import dm_env
import numpy as np

from culmen.components.environments import arguments
from culmen.components.environments import rendering
from culmen.components.environments import saving
from culmen.core import checks
from culmen.core.ranges import as_float32
from culmen.core.specs import in_float32

_DISCOUNTS = {0.0: np.float32(0), 1.0: np.float32(1)}  # the usual ones, made only once


def names() -> list[str]:
    """Every id of bsuite's sweep, as 'catch/0'."""
    return sorted(_sweep('bsuite').SETTINGS)


def check(identity: str) -> None:
    """Raises ValueError with the nearest ids where there is no such experiment."""
    settings = _sweep(f'bsuite/{identity}').SETTINGS
    if identity not in settings:
        raise ValueError(checks.unknown_name('environment', f'bsuite/{identity}', _full(settings)))


def make(identity: str, seed: int) -> dm_env.Environment:
    """Builds an experiment. Its settings are part of the id; its time limits are terminations."""
    check(identity)
    bsuite = arguments.load('bsuite.bsuite', f'bsuite/{identity}')
    settings = dict(_sweep(f'bsuite/{identity}').SETTINGS[identity])
    experiment, _, _ = identity.partition('/')
    if 'seed' in inspect.signature(bsuite.EXPERIMENT_NAME_TO_ENVIRONMENT[experiment]).parameters:
        settings['seed'] = seed
    try:
        environment = bsuite.load(experiment, settings)
    except OSError as error:
        raise ValueError(f'bsuite/{identity} downloads its data, which failed: {error}.') from error
    layers = _layers(environment)
    if experiment == 'deep_sea_stochastic':  # it draws, but takes no seed
        layers[-1]._rng = np.random.RandomState(seed)
    return BsuiteEnvironment(environment, layers)


class BsuiteEnvironment(dm_env.Environment):
    """A bsuite experiment, which passes on its attributes (`bsuite_info`, ...)."""

    def __init__(self, environment: Any, layers: list[Any]) -> None:
        self._environment = environment
        self._layers = layers
        self._observation: Any = None

    def reset(self) -> dm_env.TimeStep:
        timestep = self._environment.reset()
        self._observation = timestep.observation
        return timestep

    def step(self, action: Any) -> dm_env.TimeStep:
        # bsuite expects Python's integers; NumPy's follow other rules of arithmetic.
        step_type, reward, discount, observation = self._environment.step(
            0 if action is None else int(action)
        )
        self._observation = observation
        if reward is not None:
            reward = as_float32('reward', reward)
            known = _DISCOUNTS.get(discount)
            discount = as_float32('discount', discount) if known is None else known
        return dm_env.TimeStep(step_type, reward, discount, observation)

    def observation_spec(self) -> Any:
        return self._environment.observation_spec()

    def action_spec(self) -> Any:
        return self._environment.action_spec()

    def reward_spec(self) -> Any:
        return in_float32(self._environment.reward_spec())

    def discount_spec(self) -> Any:
        return in_float32(self._environment.discount_spec())

    def render(self) -> np.ndarray[Any, Any]:
        """The last observation in grey, where it is a board or a row."""
        if self._observation is None:
            self.reset()
        picture = np.atleast_2d(np.asarray(self._observation, np.float64))
        low, high = picture.min(), picture.max()
        grey = (255 * (picture - low) / max(high - low, 1e-6)).astype(np.uint8)
        return rendering.enlarge(np.repeat(grey[..., None], 3, axis=-1))

    def get_state(self) -> object:
        observation = None if self._observation is None else np.array(self._observation)
        return saving.capture(self._layers), observation

    def set_state(self, state: Any) -> None:
        captured, self._observation = state
        saving.restore(self._layers, captured)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or '_environment' not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._environment, name)


def _layers(environment: Any) -> list[Any]:
    layers = [environment]
    while '_env' in vars(layers[-1]):
        layers.append(layers[-1]._env)
    return layers


def _sweep(environment: str) -> Any:
    return arguments.load('bsuite.sweep', environment)


def _full(identities: Any) -> list[str]:
    return [f'bsuite/{identity}' for identity in identities]
