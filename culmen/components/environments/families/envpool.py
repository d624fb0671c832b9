"""Environments of EnvPool, many lanes in C++ threads: `envpool/CartPole-v1`, `envpool/Pong-v5`.

EnvPool's interface for gymnasium is used, since the one for dm_env has discount 0 at truncations too. Where
an episode reaches its limit of steps and its end at once, EnvPool says that it was truncated. Its pictures
have the channels in front, here they are the last axis.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Annotated
from typing import Any

import dm_env
import jax
import numpy as np
from dm_env import specs
from numpy.typing import NDArray

from culmen.components.environments import arguments
from culmen.components.environments.arguments import Argument
from culmen.components.environments.families.gymnasium_spaces import batch_reader
from culmen.components.environments.families.gymnasium_spaces import batch_writer
from culmen.components.environments.vector import VectorEnvironment
from culmen.components.environments.vector import VectorLane
from culmen.components.environments.vector import VectorMaker
from culmen.components.environments.vector import batched_timestep
from culmen.core.checks import Range
from culmen.core.metrics import is_number
from culmen.core.specs import DISCOUNT
from culmen.core.specs import REWARD
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import StackedArray
from culmen.core.types import Nest
from culmen.core.types import TimeStep

# Fields of EnvPool's configs that are not options: lanes and seeds are the loop's, the name says the task, a
# wrapper stacks frames, and the others do nothing in this interface.
_OWN = frozenset(
    'num_envs batch_size seed env_seed gym_reset_return_info max_num_players base_path task task_name '
    'env_name frame_stack reward_threshold zero_discount_on_life_loss thread_affinity_offset '
    'version'.split()
)
_TYPES = (bool, int, float, str)
_LEFT_OUT = {
    **dict.fromkeys(
        ('Cig-v1', 'MultiDuel-v1'), 'it waits for other players, which EnvPool does not start'
    ),
    'VizdoomCustom-v1': 'it needs files of a scenario of its own',
}


def names() -> list[str]:
    """Every id of the installed EnvPool, as 'CartPole-v1'."""
    known = _envpool('envpool').list_all_envs()
    return sorted(name for name in known if name not in _LEFT_OUT)


def check(identity: str) -> None:
    """Raises ValueError: with the nearest ids for an unknown one, or with why one is left out."""
    known = _envpool(f'envpool/{identity}').list_all_envs()
    arguments.check_name('envpool', identity, known, _LEFT_OUT)


def options(identity: str) -> tuple[dict[str, Argument], bool]:
    """The fields of the environment's config, and False: it takes no others."""
    check(identity)
    config = _config(identity)
    return {
        name: Argument(name, int | float if type(value) is float else type(value))
        for name, value in config.items()
        if name not in _OWN and type(value) in _TYPES
    }, False


def make(
    identity: str,
    seed: int,
    *,
    num_threads: Annotated[int, Range(0)] = 0,
    max_episode_steps: Annotated[int | None, Range(1)] = None,
    **options: Any,
) -> dm_env.Environment:
    """Builds one lane. In the loop of one process it is stepped with the others, in one call.

    Args:
        num_threads: that step the lanes; 0: as many as there are lanes, and at most as many as processors.
        max_episode_steps: steps after which an episode is truncated; None: as registered.
        **options: fields of EnvPool's config of the environment.
    """
    check(identity)
    if max_episode_steps is not None:
        options['max_episode_steps'] = max_episode_steps
    key = (identity, num_threads, *((name, repr(options[name])) for name in sorted(options)))
    if key not in _MAKERS:
        _MAKERS[key] = _maker(identity, {'num_threads': num_threads, **options})
    return VectorLane(_MAKERS[key], seed)


_MAKERS: dict[Any, VectorMaker] = {}


def _maker(identity: str, config: dict[str, Any]) -> VectorMaker:
    name = f'envpool/{identity}'
    envpool = _envpool(name)
    registered = _config(identity)
    players = registered['max_num_players']
    if players != 1:
        raise ValueError(
            f'{name} has {players} players; environments of EnvPool with one are taken.'
        )
    given = {**config, 'gym_reset_return_info': True}
    spec = envpool.make_spec(identity, **given)
    with _about_bounds():
        spaces = spec.gymnasium_observation_space, spec.gymnasium_action_space
    observation, read = batch_reader(spaces[0], 'observation', name)
    action, write = batch_writer(spaces[1], 'action', name)
    stacked = registered.get('stack_num', 1) if 'stack_num' not in config else config['stack_num']
    observation = jax.tree_util.tree_map(lambda leaf: _picture_spec(leaf, stacked), observation)
    has_seeds = 'env_seed' in registered
    is_drawn = has_seeds  # both came with versions 1.x

    def make(seeds: Sequence[int]) -> VectorEnvironment:
        # Without a seed for each, lane i of EnvPool has the first one's plus i.
        own: dict[str, Any] = {'seed': seeds[0] % (2**31 - len(seeds))}
        if has_seeds and len(seeds) > 1:
            own = {'env_seed': list(seeds)}
        drawn = {'render_mode': 'rgb_array'} if is_drawn else {}
        with _about_bounds():
            pool = envpool.make(
                identity, env_type='gymnasium', num_envs=len(seeds), **own, **given, **drawn
            )
        return _Lanes(name, pool, len(seeds), read, write, is_drawn)

    return VectorMaker(EnvironmentSpec(observation, action, REWARD, DISCOUNT), make)


class _Lanes:
    """The lanes of a pool."""

    def __init__(
        self,
        name: str,
        pool: Any,
        num_lanes: int,
        read: Callable[[Any], Nest],
        write: Callable[[Nest], Any],
        is_drawn: bool,
    ) -> None:
        self._name = name
        self._pool = pool
        self._read, self._write = read, write
        self._is_drawn = is_drawn
        self._ended = np.zeros(num_lanes, bool)
        self._info: Any = {}
        self._observation: Any = None  # the last of each lane

    def reset(self) -> TimeStep:
        with _about_bounds():  # which later versions read here
            observation, self._info = self._pool.reset()
        lanes = len(self._ended)
        no = np.zeros(lanes, bool)
        self._ended = no
        return batched_timestep(self._see(observation), np.zeros(lanes, np.float32), ~no, no, no)

    def step(
        self,
        action: Nest,
        begins: NDArray[np.bool_] | None = None,
        stays: NDArray[np.bool_] | None = None,
    ) -> TimeStep:
        if begins is not None or stays is not None:
            return self._step_some(action, begins, stays)
        observation, reward, terminated, truncated, self._info = self._pool.step(
            self._write(action)
        )
        first, self._ended = self._ended, terminated | truncated
        return batched_timestep(self._see(observation), reward, first, terminated, truncated)

    def _step_some(
        self,
        action: Nest,
        begins: NDArray[np.bool_] | None,
        stays: NDArray[np.bool_] | None,
    ) -> TimeStep:
        """Begins episodes in some lanes and steps others: EnvPool takes either for chosen lanes."""
        num_lanes = len(self._ended)
        none = np.zeros(num_lanes, bool)
        begins, stays = (none if each is None else each for each in (begins, stays))
        begins = begins & ~stays
        reward, terminated, truncated = np.zeros(num_lanes, np.float32), none.copy(), none.copy()
        observation = jax.tree_util.tree_map(np.copy, self._observation)
        first = self._ended | begins
        ended = self._ended & stays
        for chosen, resets in ((begins, True), (~(begins | stays), False)):
            at = np.flatnonzero(chosen)
            if not at.size:
                continue
            if resets:
                seen, info = self._pool.reset(at.astype(np.int32))
            else:
                some = jax.tree_util.tree_map(lambda leaf, at=at: leaf[at], self._write(action))
                seen, reward[at], terminated[at], truncated[at], info = self._pool.step(
                    some, at.astype(np.int32)
                )
            self._info = jax.tree_util.tree_map(
                lambda old, new, at=at: _put(old, new, at), self._info, info
            )
            observation = jax.tree_util.tree_map(
                lambda old, new, at=at: _put(old, new, at), observation, self._see_some(seen)
            )
        self._ended = ended | terminated | truncated
        self._observation = observation
        return batched_timestep(observation, reward, first, terminated, truncated)

    def _see(self, observation: Any) -> Nest:
        self._observation = self._see_some(observation)
        return self._observation

    def _see_some(self, observation: Any) -> Nest:
        return jax.tree_util.tree_map(_picture, self._read(observation))

    def metrics(self, lane: int) -> Mapping[str, Any]:
        numbers = {name: values[lane] for name, values in self._info.items() if np.ndim(values)}
        return {name: value for name, value in numbers.items() if is_number(value)}

    def render(self, lane: int) -> NDArray[np.uint8]:
        if not self._is_drawn:
            raise ValueError(f'{self._name} can not be drawn: EnvPool draws from version 1 on.')
        return np.asarray(self._pool.render(env_ids=[lane])[0])

    def close(self) -> None:
        self._pool = None  # its threads end with it


@contextlib.contextmanager
def _about_bounds() -> Iterator[None]:
    """Without gymnasium's warnings about the precision of bounds."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


def _put(old: Any, new: Any, at: NDArray[Any]) -> Any:
    """The values of some lanes into a copy of those of all."""
    values = np.array(old)
    values[at] = new
    return values


def _is_picture(shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether an array is a picture [C, H, W]."""
    return dtype == np.uint8 and len(shape) == 3 and shape[0] < min(shape[1:])


def _picture(batch: NDArray[Any]) -> NDArray[Any]:
    # Not copied: a table that stores one frame of a stack finds it in one piece.
    return np.moveaxis(batch, 1, -1) if _is_picture(batch.shape[1:], batch.dtype) else batch


def _picture_spec(spec: specs.Array, num_frames: int) -> specs.Array:
    """[C, H, W] -> [H, W, C], and the frames of a stack; the first observation has only one."""
    if not _is_picture(spec.shape, spec.dtype):
        return spec
    channels, height, width = spec.shape
    low, high = (np.min(spec.minimum), np.max(spec.maximum))
    shape = (height, width, channels)
    if num_frames > 1:
        return StackedArray(shape, spec.dtype, low, high, num_frames, name=spec.name)
    return specs.BoundedArray(shape, spec.dtype, low, high, name=spec.name)


@functools.cache
def _config(identity: str) -> Mapping[str, Any]:
    config: Mapping[str, Any] = _envpool(f'envpool/{identity}').make_spec(identity).config._asdict()
    return config


def _envpool(environment: str) -> Any:
    return arguments.load('envpool', environment, banner=True)
