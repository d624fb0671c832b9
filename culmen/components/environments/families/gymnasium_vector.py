"""Environments of gymnasium as one vector environment of gymnasium: `gymnasium_vector/CartPole-v1`.

The lanes are stepped by gymnasium's SyncVectorEnv one after another, or by its AsyncVectorEnv in a process
each. A vector environment begins new episodes by itself, in the step after the last one
(AutoresetMode.NEXT_STEP), as dm_env does.

A lane has the bits of `gymnasium/<id>` with its seed. Only in Box2D may later episodes differ, since here
one world serves all of them.
"""

import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import Literal

import dm_env
import jax
import numpy as np
from numpy.typing import NDArray

from culmen.components.environments import arguments
from culmen.components.environments.arguments import Argument
from culmen.components.environments.families import gymnasium as of_one
from culmen.components.environments.families.gymnasium_spaces import action_writer
from culmen.components.environments.families.gymnasium_spaces import mask_reader
from culmen.components.environments.families.gymnasium_spaces import observation_reader
from culmen.components.environments.vector import VectorEnvironment
from culmen.components.environments.vector import VectorLane
from culmen.components.environments.vector import VectorMaker
from culmen.components.environments.vector import batched_timestep
from culmen.core.checks import Range
from culmen.core.metrics import is_number
from culmen.core.specs import DISCOUNT
from culmen.core.specs import REWARD
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Nest
from culmen.core.types import TimeStep

_GO, _STAY, _BEGIN = range(3)  # what a lane does at the next step


def names() -> list[str]:
    """Every id of gymnasium's own that can be built, as 'CartPole-v1'."""
    return of_one.names()


def check(identity: str) -> None:
    """Raises ValueError with the nearest ids where there is no such environment."""
    try:
        of_one.check(identity)
    except ValueError as error:  # a MissingPackage is one too
        raise type(error)(str(error).replace('gymnasium/', 'gymnasium_vector/')) from error


def options(identity: str) -> tuple[dict[str, Argument], bool]:
    """The arguments of the environment's own constructor, and whether it takes others besides."""
    return of_one.options(identity)


def make(
    identity: str,
    seed: int,
    *,
    vectorization_mode: Literal['sync', 'async'] = 'sync',
    max_episode_steps: Annotated[int | None, Range(1)] = None,
    legal_actions: bool = False,
    **options: Any,
) -> dm_env.Environment:
    """Builds one lane. In the loop of one process it is stepped with the others, in one call.

    Args:
        vectorization_mode: 'sync' steps the lanes one after another, 'async' each in a process of its own;
            evaluations are 'sync' unless they say otherwise.
        max_episode_steps: steps after which an episode is truncated; None: as registered.
        legal_actions: whether `info['action_mask']` joins the observation, as for `gymnasium/<id>`.
        **options: arguments of the environment's constructor.
    """
    check(identity)
    lane = _Lane(
        identity, 0, max_episode_steps, tuple(sorted(options.items(), key=lambda item: item[0]))
    )
    key = vectorization_mode, legal_actions, repr(lane)
    if key not in _MAKERS:
        _MAKERS[key] = _maker(lane, vectorization_mode, legal_actions)
    return VectorLane(_MAKERS[key], seed)


_MAKERS: dict[Any, VectorMaker] = {}


@dataclasses.dataclass(frozen=True)
class _Lane:
    """Builds the environment of a lane, in the process that steps it."""

    identity: str
    seed: int
    max_episode_steps: int | None
    options: tuple[tuple[str, Any], ...]
    owner: int | None = None  # the process of the loop; None: this one

    @property
    def name(self) -> str:
        return f'gymnasium_vector/{self.identity}'

    def __call__(self) -> Any:
        if self.owner is not None and os.getpid() != self.owner:
            # Ctrl-C is for the process of the loop, which ends the others when it has saved.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        spec = of_one.registered(self.identity)
        build, limit = of_one.builder(spec, self.max_episode_steps, dict(self.options))
        return _Steered(build(), self.seed, limit, self.name)


class _Steered:
    """An environment in a vector environment that may stay where it is, or begin an episode, when told to.

    Its observations and actions are as in the specs. The vector environment calls it like a gymnasium.Env.
    """

    def __init__(self, environment: Any, seed: int, limit: int | None, name: str) -> None:
        self._environment = environment
        self._name = name
        self._limit = float('inf') if limit is None else limit
        self._elapsed = 0
        self.order = _GO
        self.metadata = dict(environment.metadata)
        self.render_mode = environment.render_mode
        self.observation_space = environment.observation_space
        self.action_space = environment.action_space
        # Some environments draw from their spaces.
        self.action_space.seed(seed)
        self.observation_space.seed(seed)
        _, self._read = observation_reader(self.observation_space, 'observation', name)
        _, self._write = action_writer(self.action_space, 'action', name)
        self._last: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        order, self.order = self.order, _GO
        if order != _STAY:
            observation, info = self._environment.reset(seed=seed, options=options)
            self._elapsed = 0
            self._last = self._read(observation), info
        return self._last  # type: ignore[no-any-return]

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, Any]:
        if self.order != _GO:
            observation, info = self.reset()
            return observation, 0.0, False, False, info
        observation, reward, terminated, truncated, info = self._environment.step(
            self._write(action)
        )
        self._elapsed += 1
        self._last = self._read(observation), info
        truncated = not terminated and (truncated or self._elapsed >= self._limit)
        return self._last[0], reward, bool(terminated), bool(truncated), info

    def draw(self) -> NDArray[np.uint8]:
        return of_one.draw(self._environment, self._name)

    def get_wrapper_attr(self, name: str) -> Any:
        return getattr(self, name)

    def set_wrapper_attr(self, name: str, value: Any, *, force: bool = True) -> None:
        setattr(self, name, value)

    @property
    def unwrapped(self) -> Any:
        return self

    def close(self) -> None:
        self._environment.close()


def _maker(lane: _Lane, mode: str, legal_actions: bool) -> VectorMaker:
    name = lane.name
    vector = arguments.load('gymnasium.vector', name)
    one = lane()
    try:
        observation, _ = observation_reader(one.observation_space, 'observation', name)
        action, _ = action_writer(one.action_space, 'action', name)
        masks = None
        if legal_actions:
            masks = mask_reader(one.action_space, action, 'legal_actions', name)
            if masks is None:
                raise ValueError(f'{name}: legal_actions=True needs a discrete action space.')
    finally:
        one.close()
    shown = (
        observation if masks is None else {'observation': observation, 'legal_actions': masks[0]}
    )

    def make(seeds: Sequence[int]) -> VectorEnvironment:
        lanes = [dataclasses.replace(lane, seed=seed, owner=os.getpid()) for seed in seeds]
        if mode == 'sync':
            made = vector.SyncVectorEnv(lanes)
        else:  # JAX has threads, so a process is not forked
            made = vector.AsyncVectorEnv(lanes, context='spawn')
        return _Lanes(name, made, seeds, observation, None if masks is None else masks[1])

    return VectorMaker(EnvironmentSpec(shown, action, REWARD, DISCOUNT), make)


class _Lanes:
    """The lanes of a vector environment of gymnasium."""

    def __init__(
        self, name: str, vector: Any, seeds: Sequence[int], spec: Any, read_mask: Any
    ) -> None:
        self._name = name
        self._vector = vector
        self._seeds = list(seeds)
        self._spec = spec
        self._read_mask = read_mask
        self._ended = np.zeros(len(seeds), bool)
        # Lanes that gymnasium resets at the next step: those at LAST, but for those that stayed there.
        self._resets = np.zeros(len(seeds), bool)
        self._infos: Any = {}

    def reset(self) -> TimeStep:
        observation, self._infos = self._vector.reset(seed=self._seeds)
        no = np.zeros(len(self._seeds), bool)
        self._ended = self._resets = no
        return self._tell(observation, no, ~no, no, no)

    def step(
        self,
        action: Nest,
        begins: NDArray[np.bool_] | None = None,
        stays: NDArray[np.bool_] | None = None,
    ) -> TimeStep:
        no = np.zeros(len(self._seeds), bool)
        stays = no if stays is None else stays
        begun = self._ended & ~self._resets
        begun = begun if begins is None else begun | begins
        if stays.any() or begun.any():
            orders = np.where(stays, _STAY, np.where(begun, _BEGIN, _GO))
            self._vector.set_attr('order', orders.tolist())
        first = (self._ended | begun) & ~stays
        observation, reward, terminated, truncated, self._infos = self._vector.step(action)
        self._resets = terminated | truncated
        self._ended = np.where(stays, self._ended, self._resets)
        return self._tell(observation, reward, first, terminated, truncated)

    def _tell(
        self, observation: Any, reward: Any, first: Any, terminated: Any, truncated: Any
    ) -> Any:
        observation = jax.tree_util.tree_map(
            lambda spec, leaf: np.asarray(leaf, spec.dtype), self._spec, observation
        )
        if self._read_mask is not None:
            masks = [self._mask(lane) for lane in range(len(self._seeds))]
            stacked = jax.tree_util.tree_map(lambda *leaves: np.stack(leaves), *masks)
            observation = {'observation': observation, 'legal_actions': stacked}
        return batched_timestep(observation, reward, first, terminated, truncated)

    def _mask(self, lane: int) -> Any:
        mask = _of_lane(self._infos, 'action_mask', lane)
        if mask is None and not self._ended[lane]:
            raise ValueError(
                f"{self._name} gives no info['action_mask'], which legal_actions=True needs."
            )
        return self._read_mask(mask)

    def metrics(self, lane: int) -> Mapping[str, Any]:
        values = {
            name: _of_lane(self._infos, name, lane)
            for name in self._infos
            if not name.startswith('_')
        }
        return {name: value for name, value in values.items() if is_number(value)}

    def render(self, lane: int) -> NDArray[np.uint8]:
        return np.asarray(self._vector.call('draw')[lane])

    def close(self) -> None:
        try:
            self._vector.close()
        except (EOFError, OSError, multiprocessing.TimeoutError):  # a process has failed
            self._vector.close(terminate=True)


def _of_lane(infos: Mapping[str, Any], name: str, lane: int) -> Any:
    """What a lane's `info` has by a name; None: nothing."""
    has = infos.get(f'_{name}')
    if name not in infos or (has is not None and not has[lane]):
        return None
    values = infos[name]
    if isinstance(values, Mapping):
        return {key: _of_lane(values, key, lane) for key in values if not key.startswith('_')}
    return values[lane]
