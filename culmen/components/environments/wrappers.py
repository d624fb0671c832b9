"""Wrappers of dm_env environments. Each works on any environment, and is saved with it.

`wrap` puts them around an environment in the one order in which they compose; its keyword arguments
are the arguments that every environment takes by name. They change what the stream is (an action
lasts four steps, a velocity is hidden); what a learner does to the stream (n-step sums,
normalisation) is not here.
"""

import copy
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Annotated
from typing import Any

import dm_env
import numpy as np
import tree
from dm_env import specs

from culmen.components.environments import arguments
from culmen.components.environments import rendering
from culmen.components.environments import saving
from culmen.components.environments.arguments import Range
from culmen.components.files import expanded
from culmen.core import checks
from culmen.core.ranges import FLOAT32_MAX
from culmen.core.ranges import as_float32
from culmen.core.ranges import cast_exactly
from culmen.core.specs import StackedArray
from culmen.core.specs import in_float32

_LEGAL = 'legal_actions'


def wrap(
    environment: dm_env.Environment,
    seed: int,
    *,
    noop_starts: Annotated[int, Range(0)] = 0,
    action_repeat: Annotated[int, Range(1)] = 1,
    step_limit: Annotated[int | None, Range(1)] = None,
    clip_reward: Annotated[float | None, Range(0, open_low=True)] = None,
    delayed_reward: Annotated[int, Range(0)] = 0,
    canonical_actions: bool = False,
    hide_observation: int | str | tuple[int | str, ...] = (),
    flatten_observation: bool = False,
    single_precision: bool = False,
    frame_stack: Annotated[int, Range(1)] = 1,
    observation_action_reward: bool = False,
) -> dm_env.Environment:
    """Wraps an environment, innermost first in the order of the arguments.

    Args:
        environment: what is wrapped.
        seed: of what the wrappers draw (the number of no-ops).
        noop_starts: an episode begins with 1 to so many no-ops; 0: none.
        action_repeat: steps that an action lasts.
        step_limit: steps (of the agent) after which an episode is truncated; None: never.
        clip_reward: rewards are clipped to [-clip_reward, clip_reward].
        delayed_reward: rewards are paid together every so many steps and at the end; 0: at once.
        canonical_actions: continuous actions are in [-1, 1].
        hide_observation: entries left out: indices of the last axis, or names of a dict.
        flatten_observation: the whole observation is one vector.
        single_precision: float64 observations and actions become float32, int64 int32.
        frame_stack: consecutive observations that are seen together.
        observation_action_reward: the observation holds the previous action and reward.
    """
    if noop_starts:
        environment = NoopStarts(environment, noop_starts, seed)
    if action_repeat != 1:
        environment = ActionRepeat(environment, action_repeat)
    if step_limit is not None:
        environment = StepLimit(environment, step_limit)
    if clip_reward is not None:
        environment = ClipReward(environment, clip_reward)
    if delayed_reward > 1:
        environment = DelayedReward(environment, delayed_reward)
    if canonical_actions:
        environment = CanonicalActions(environment)
    if hide_observation != ():
        environment = HideObservation(environment, hide_observation)
    if flatten_observation:
        environment = FlattenObservation(environment)
    if single_precision:
        environment = SinglePrecision(environment)
    if frame_stack != 1:
        environment = FrameStack(environment, frame_stack)
    if observation_action_reward:
        environment = ObservationActionReward(environment)
    return environment


class Wrapper(dm_env.Environment):
    """Delegates everything, attributes included, to the environment that it wraps."""

    # The attributes that change as the environment runs: they are saved with it.
    _state: tuple[str, ...] = ()

    def __init__(self, environment: dm_env.Environment) -> None:
        self._environment = environment

    @property
    def environment(self) -> dm_env.Environment:
        """The environment inside."""
        return self._environment

    def reset(self) -> dm_env.TimeStep:
        return self._environment.reset()

    def step(self, action: Any) -> dm_env.TimeStep:
        return self._environment.step(action)

    def observation_spec(self) -> Any:
        return self._environment.observation_spec()

    def action_spec(self) -> Any:
        return self._environment.action_spec()

    def reward_spec(self) -> Any:
        return self._environment.reward_spec()

    def discount_spec(self) -> Any:
        return self._environment.discount_spec()

    def close(self) -> None:
        self._environment.close()

    @property
    def restorable(self) -> bool:
        """Whether the environment inside can be saved."""
        return saving.is_restorable(self._environment)

    def get_state(self) -> object:
        """The state of the environment inside and of this wrapper; ValueError without one."""
        if not saving.is_restorable(self._environment):
            raise ValueError(f'{type(self._environment).__name__} can not be saved in mid-episode.')
        own = {name: copy.deepcopy(getattr(self, name)) for name in self._state}
        return self._environment.get_state(), own

    def set_state(self, state: Any) -> None:
        """Puts back what `get_state` returned, in a fresh environment with the same wrappers."""
        inner, own = state
        self._environment.set_state(inner)
        for name, value in own.items():
            setattr(self, name, copy.deepcopy(value))

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or '_environment' not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._environment, name)


class Float32Rewards(Wrapper):
    """A wrapper that computes with rewards: they, and discounts, are float32 from here on."""

    def reward_spec(self) -> Any:
        return in_float32(self._environment.reward_spec())

    def discount_spec(self) -> Any:
        return in_float32(self._environment.discount_spec())

    def _advance(self, action: Any) -> dm_env.TimeStep:
        """A step of the environment inside, None at FIRST and float32 after it."""
        timestep = self._environment.step(action)
        if timestep.first():
            return timestep
        return timestep._replace(
            reward=_map(_reward, timestep.reward), discount=_map(_discount, timestep.discount)
        )


class ActionRepeat(Float32Rewards):
    """An action lasts `num_repeats` steps or to an end: rewards add up, discounts multiply."""

    def __init__(self, environment: dm_env.Environment, num_repeats: int) -> None:
        super().__init__(environment)
        checks.check_range('num_repeats', num_repeats, 1)
        self._num_repeats = num_repeats

    def step(self, action: Any) -> dm_env.TimeStep:
        timestep = self._advance(action)
        if not timestep.mid():
            return timestep
        reward, discount = _map(np.float64, timestep.reward), timestep.discount
        for _ in range(self._num_repeats - 1):
            timestep = self._advance(action)
            reward = _map(np.add, reward, timestep.reward)
            discount = _map(np.multiply, discount, timestep.discount)
            if timestep.last():
                break
        return timestep._replace(reward=_map(_reward, reward), discount=discount)


class StepLimit(Wrapper):
    """Episodes of more than `max_steps` steps are truncated: LAST, with the discount as it was."""

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
    """An episode begins with 1 to `max_noops` no-ops (action 0, or 0 within the bounds)."""

    _state = ('_generator',)

    def __init__(self, environment: dm_env.Environment, max_noops: int, seed: int) -> None:
        super().__init__(environment)
        checks.check_range('max_noops', max_noops, 1)
        self._max_noops = max_noops
        self._generator = np.random.default_rng([seed, 0x6E6F6F70])
        self._noop = tree.map_structure(_zero_action, environment.action_spec())

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


class ClipReward(Float32Rewards):
    """Rewards are clipped to [-limit, limit]."""

    def __init__(self, environment: dm_env.Environment, limit: float) -> None:
        super().__init__(environment)
        checks.check_range('limit', limit, 0, open_low=True)
        self._limit = limit

    def step(self, action: Any) -> dm_env.TimeStep:
        timestep = self._advance(action)
        if timestep.first():
            return timestep
        return timestep._replace(reward=_map(self._clip, timestep.reward))

    def _clip(self, reward: Any) -> Any:
        return as_float32('reward', np.minimum(np.maximum(reward, -self._limit), self._limit))


class DelayedReward(Float32Rewards):
    """Rewards are held back and paid together every `period` steps of an episode and at its end."""

    _state = ('_elapsed', '_held')

    def __init__(self, environment: dm_env.Environment, period: int) -> None:
        super().__init__(environment)
        checks.check_range('period', period, 1)
        self._period = period
        self._elapsed = 0
        self._held: Any = None

    def reset(self) -> dm_env.TimeStep:
        return self._delay(self._environment.reset())

    def step(self, action: Any) -> dm_env.TimeStep:
        return self._delay(self._advance(action))

    def _delay(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        if timestep.first():
            self._elapsed, self._held = 0, None
            return timestep
        self._elapsed += 1
        reward = timestep.reward
        held = _map(np.float64, reward) if self._held is None else _map(np.add, self._held, reward)
        if timestep.last() or self._elapsed % self._period == 0:
            self._held = None
            return timestep._replace(reward=_map(_reward, held))
        self._held = held
        return timestep._replace(reward=_map(_nothing, reward))


class CanonicalActions(Wrapper):
    """Continuous actions are in [-1, 1]: clipped there, then stretched to the inner bounds."""

    def __init__(self, environment: dm_env.Environment) -> None:
        super().__init__(environment)
        inner = environment.action_spec()
        if not any(_is_continuous(leaf) for leaf in tree.flatten(inner)):
            raise ValueError(f'canonical_actions needs continuous actions, got the spec {inner}.')
        self._inner = inner
        self._spec = tree.map_structure(self._canonical, inner)
        is_huge = any(_is_continuous(leaf) and _is_huge(leaf) for leaf in tree.flatten(inner))
        self._stretch = _stretch_huge if is_huge else _stretch

    def action_spec(self) -> Any:
        return self._spec

    def step(self, action: Any) -> dm_env.TimeStep:
        if action is not None:  # ignored after LAST
            if isinstance(self._inner, specs.Array):
                action = self._stretch(self._inner, action)
            else:
                action = tree.map_structure_up_to(self._inner, self._stretch, self._inner, action)
        return self._environment.step(action)

    @staticmethod
    def _canonical(spec: specs.Array) -> specs.Array:
        if not _is_continuous(spec):
            return spec
        if not isinstance(spec, specs.BoundedArray) or not (
            np.isfinite(spec.minimum).all() and np.isfinite(spec.maximum).all()
        ):
            raise ValueError(
                f'canonical_actions needs actions within finite bounds, got the spec {spec}.'
            )
        return specs.BoundedArray(spec.shape, spec.dtype, -1.0, 1.0, name=spec.name)


class ObservationWrapper(Wrapper):
    """A wrapper that maps each observation by itself, on its own: no state."""

    def reset(self) -> dm_env.TimeStep:
        timestep = self._environment.reset()
        return timestep._replace(observation=self._observe(timestep.observation))

    def step(self, action: Any) -> dm_env.TimeStep:
        step_type, reward, discount, observation = self._environment.step(action)
        return dm_env.TimeStep(step_type, reward, discount, self._observe(observation))

    def _observe(self, observation: Any) -> Any:
        raise NotImplementedError


class HideObservation(ObservationWrapper):
    """Leaves entries out of the observation: what an agent must then remember or infer.

    Names leave out fields of a dict; indices leave out entries of the last axis of an array (the
    velocities of gymnasium/CartPole-v1 are (1, 3)).
    """

    def __init__(
        self, environment: dm_env.Environment, hidden: int | str | Sequence[int | str]
    ) -> None:
        super().__init__(environment)
        if isinstance(hidden, str):
            hidden = [name.strip() for name in hidden.split(',')]
        elif isinstance(hidden, int):
            hidden = [hidden]
        inner = environment.observation_spec()
        spec, self._legal = _split_legal(inner)
        label = 'hide_observation'
        if isinstance(spec, Mapping):
            for name in hidden:
                if name not in spec:
                    raise ValueError(f'{label}: {checks.unknown_name("field", str(name), spec)}')
            self._names = [name for name in spec if name not in hidden]
            self._kept: Any = None
            hidden_spec: Any = {name: spec[name] for name in self._names}
        elif isinstance(spec, specs.Array) and spec.shape:
            size = spec.shape[-1]
            for index in hidden:
                if not checks.accepts(int, index) or not -size <= int(index) < size:
                    raise ValueError(
                        f'{label} must hold indices in [0, {size}) of the last axis, got {index!r}.'
                    )
            left_out = {int(index) % size for index in hidden}
            self._kept = np.array([i for i in range(size) if i not in left_out], np.intp)
            self._names = [] if self._kept.size == 0 else ['']
            hidden_spec = _map_spec(spec, self._keep)
        else:
            raise ValueError(f'{label} needs an array with an axis or a dict, got the spec {spec}.')
        if not self._names:
            raise ValueError(f'{label} must leave something to see, got {tuple(hidden)}.')
        self._spec = _join_legal(hidden_spec, inner) if self._legal else hidden_spec

    def observation_spec(self) -> Any:
        return self._spec

    def _keep(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return values[..., self._kept]

    def _observe(self, observation: Any) -> Any:
        visible = _split_legal(observation)[0] if self._legal else observation
        if self._kept is None:
            visible = {name: visible[name] for name in self._names}
        else:
            visible = self._keep(np.asarray(visible))
        return _join_legal(visible, observation) if self._legal else visible


class FlattenObservation(ObservationWrapper):
    """The whole observation as one vector, its leaves in order of their names."""

    def __init__(self, environment: dm_env.Environment) -> None:
        super().__init__(environment)
        inner = environment.observation_spec()
        spec, self._legal = _split_legal(inner)
        leaves = tree.flatten(spec)
        self._dtype = np.result_type(*(leaf.dtype for leaf in leaves))
        size = sum(int(np.prod(leaf.shape)) for leaf in leaves)
        flat = specs.Array((size,), self._dtype, name='observation')
        self._spec = _join_legal(flat, inner) if self._legal else flat

    def observation_spec(self) -> Any:
        return self._spec

    def _observe(self, observation: Any) -> Any:
        visible = _split_legal(observation)[0] if self._legal else observation
        leaves = [np.ravel(leaf) for leaf in tree.flatten(visible)]
        flat = np.concatenate(leaves)
        if flat.dtype != self._dtype:
            flat = cast_exactly('observation', flat, self._dtype)
        return _join_legal(flat, observation) if self._legal else flat


class SinglePrecision(ObservationWrapper):
    """Observations and actions in 32 bits; what these can't hold is refused.

    Floats are rounded. Rewards stay as they are: the loops cast them.
    """

    def __init__(self, environment: dm_env.Environment) -> None:
        super().__init__(environment)
        self._inner = environment.action_spec()
        self._spec = tree.map_structure(self._narrow_spec, environment.observation_spec())
        self._paths = tree.map_structure_with_path(
            lambda path, _: '/'.join(('observation', *map(str, path))), self._spec
        )
        self._action = tree.map_structure(self._narrow_spec, self._inner)
        self._widens = any(
            a.dtype != b.dtype
            for a, b in zip(tree.flatten(self._inner), tree.flatten(self._action))
        )

    def observation_spec(self) -> Any:
        return self._spec

    def action_spec(self) -> Any:
        return self._action

    def step(self, action: Any) -> dm_env.TimeStep:
        if self._widens and action is not None:
            action = tree.map_structure_up_to(self._inner, _widen, self._inner, action)
        return super().step(action)

    def _observe(self, observation: Any) -> Any:
        if isinstance(self._spec, specs.Array):
            return _narrow(self._spec, self._paths, observation)
        if type(self._spec) is dict and type(observation) is dict:
            try:
                return {
                    name: _narrow(spec, self._paths[name], observation[name])
                    for name, spec in self._spec.items()
                }
            except AttributeError:  # a deeper nest
                pass
        return tree.map_structure_up_to(self._spec, _narrow, self._spec, self._paths, observation)

    @staticmethod
    def _narrow_spec(spec: specs.Array) -> specs.Array:
        narrow = {'float64': np.float32, 'int64': np.int32, 'uint64': np.uint32}.get(
            str(spec.dtype)
        )
        if narrow is None:
            return spec
        if isinstance(spec, specs.DiscreteArray) or not isinstance(spec, specs.BoundedArray):
            return spec.replace(dtype=narrow)
        low, high = spec.minimum, spec.maximum
        if narrow is not np.float32:  # bounds that would wrap
            held = np.iinfo(np.dtype(narrow).name)
            low, high = np.clip(low, held.min, held.max), np.clip(high, held.min, held.max)
        with np.errstate(over='ignore'):  # bounds of floats may become infinite
            low, high = np.asarray(low, narrow), np.asarray(high, narrow)
        return spec.replace(dtype=narrow, minimum=low, maximum=high)


class FrameStack(Wrapper):
    """Each observation holds the last `num_frames`, oldest first, on its last axis.

    A frame [H, W] becomes [H, W, k], [H, W, C] becomes [H, W, k * C], a vector [n] becomes [k * n].
    At FIRST every frame is the first. The spec of a leaf is a `StackedArray`, by which tables store
    each frame once. `legal_actions` are those of now alone.
    """

    _state = ('_frames',)

    def __init__(self, environment: dm_env.Environment, num_frames: int) -> None:
        super().__init__(environment)
        checks.check_range('num_frames', num_frames, 1)
        self._num_frames = num_frames
        self._inner = environment.observation_spec()
        paths = tree.flatten_with_path(self._inner)
        self._is_array = isinstance(self._inner, specs.Array)
        self._stacked = [not (path and path[0] == _LEGAL) for path, _ in paths]
        self._new_axis = [len(leaf.shape) in (0, 2) for _, leaf in paths]
        self._spec = tree.unflatten_as(
            self._inner,
            [
                self._stack_spec(leaf, new_axis) if stacked else leaf
                for (_, leaf), stacked, new_axis in zip(paths, self._stacked, self._new_axis)
            ],
        )
        # Per leaf, the stack of the last observation.
        self._frames: list[Any] = []

    def observation_spec(self) -> Any:
        return self._spec

    def reset(self) -> dm_env.TimeStep:
        return self._stack(self._environment.reset())

    def step(self, action: Any) -> dm_env.TimeStep:
        return self._stack(self._environment.step(action))

    def _stack(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        observation = timestep.observation
        leaves = [observation] if self._is_array else tree.flatten_up_to(self._inner, observation)
        is_first = timestep.first()
        frames = []
        for index, leaf in enumerate(leaves):
            if self._stacked[index]:
                # Frames that get an axis of their own are kept on the first, where shifting them is
                # one copy of memory, and shown on the last.
                leaf, axis = np.asarray(leaf), -1
                if self._new_axis[index]:
                    leaf, axis = leaf[None], 0
                if is_first:
                    leaf = np.concatenate([leaf] * self._num_frames, axis=axis)
                elif axis == 0:
                    leaf = np.concatenate([self._frames[index][1:], leaf])
                else:
                    old = self._frames[index][..., leaf.shape[-1] :]
                    leaf = np.concatenate([old, leaf], axis=-1)
            frames.append(leaf)
        self._frames = frames
        shown = [
            np.moveaxis(leaf, 0, -1) if stacked and new_axis else leaf
            for leaf, stacked, new_axis in zip(frames, self._stacked, self._new_axis)
        ]
        return timestep._replace(
            observation=shown[0] if self._is_array else tree.unflatten_as(self._inner, shown)
        )

    def _stack_spec(self, spec: specs.Array, new_axis: bool) -> StackedArray:
        def stacked(bound: Any) -> Any:
            bound = np.asarray(bound)
            if bound.ndim == 0:
                return bound
            bound = np.broadcast_to(bound, spec.shape)
            bound = bound[..., None] if new_axis else bound
            return np.concatenate([bound] * self._num_frames, axis=-1)

        low, high = _bounds(spec)
        shape = spec.shape + (1,) if new_axis else spec.shape
        shape = shape[:-1] + (shape[-1] * self._num_frames,)
        return StackedArray(
            shape, spec.dtype, stacked(low), stacked(high), self._num_frames, spec.name
        )


class ObservationActionReward(Wrapper):
    """The observation holds what was done and paid before it: `previous_action`, `previous_reward`.

    A dict gains the two fields; anything else becomes the field `observation`. At FIRST both are 0
    (an action: 0 within its bounds). The reward is float32.
    """

    def __init__(self, environment: dm_env.Environment) -> None:
        super().__init__(environment)
        inner = environment.observation_spec()
        self._is_mapping = isinstance(inner, Mapping)
        self._action = environment.action_spec()
        self._first = tree.map_structure(_zero_action, self._action)
        reward = environment.reward_spec()
        self._reward = tree.map_structure(
            lambda s: specs.Array(s.shape, np.float32, s.name), reward
        )
        self._is_plain = isinstance(self._action, specs.Array) and isinstance(reward, specs.Array)
        for name in ('previous_action', 'previous_reward'):
            if self._is_mapping and name in inner:
                raise ValueError(
                    f'observation_action_reward: the observation has a field {name} already.'
                )
        self._spec = self._join(inner, self._action, self._reward)

    def observation_spec(self) -> Any:
        return self._spec

    def reset(self) -> dm_env.TimeStep:
        return self._with_previous(self._environment.reset(), None)

    def step(self, action: Any) -> dm_env.TimeStep:
        return self._with_previous(self._environment.step(action), action)

    def _with_previous(self, timestep: dm_env.TimeStep, action: Any) -> dm_env.TimeStep:
        if timestep.first():
            action = tree.map_structure(np.copy, self._first)
            reward = tree.map_structure(lambda spec: np.zeros(spec.shape, np.float32), self._reward)
        elif self._is_plain:
            # A copy: the policy may use its buffer again.
            action = np.array(action, self._action.dtype)
            reward = np.array(as_float32('reward', timestep.reward))
        else:
            action = tree.map_structure_up_to(self._action, _as_own, self._action, action)
            reward = tree.map_structure_up_to(
                self._reward, lambda _, paid: np.array(_reward(paid)), self._reward, timestep.reward
            )
        return timestep._replace(observation=self._join(timestep.observation, action, reward))

    def _join(self, observation: Any, action: Any, reward: Any) -> dict[str, Any]:
        fields = dict(observation) if self._is_mapping else {'observation': observation}
        return {**fields, 'previous_action': action, 'previous_reward': reward}


class VideoRecorder(Wrapper):
    """Writes the first episodes of an environment to an mp4 file, a frame a step.

    The file is complete when the episodes have ended or the environment is closed. A recording is
    no part of the environment's state.
    """

    def __init__(
        self,
        environment: dm_env.Environment,
        path: str,
        num_episodes: int = 1,
        frames_per_second: int = 30,
    ) -> None:
        """Opens nothing before the first frame.

        Args:
            environment: what is drawn, by `rendering.render`.
            path: of the mp4 file; its folder is made.
            num_episodes: episodes that are recorded.
            frames_per_second: of the file.
        Raises: ValueError for another ending of the path; MissingPackage without imageio[ffmpeg].
        """
        super().__init__(environment)
        if not str(path).endswith('.mp4'):
            raise ValueError(f'the path of a video must end with .mp4, got {path!r}.')
        checks.check_range('num_episodes', num_episodes, 1)
        checks.check_range('frames_per_second', frames_per_second, 1)
        arguments.load('imageio_ffmpeg', 'a video', 'imageio[ffmpeg]')
        self._imageio = arguments.load('imageio.v2', 'a video', 'imageio[ffmpeg]')
        self._path = str(expanded(path))
        self._episodes_left = num_episodes
        self._recording = False
        self._frames_per_second = frames_per_second
        self._writer: Any = None

    def reset(self) -> dm_env.TimeStep:
        if self._recording:  # of an episode that somebody else ends here
            self._end_episode()
        return self._record(self._environment.reset())

    def step(self, action: Any) -> dm_env.TimeStep:
        return self._record(self._environment.step(action))

    def close(self) -> None:
        self._finish()
        super().close()

    def _record(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        if self._episodes_left:
            frame = rendering.render(self._environment)
            if self._writer is None:
                os.makedirs(os.path.dirname(os.path.abspath(self._path)), exist_ok=True)
                # Without it the encoder is started through a fork, which JAX forbids.
                os.environ.setdefault('IMAGEIO_FFMPEG_NO_PREVENT_SIGINT', '1')
                self._writer = self._imageio.get_writer(
                    self._path, fps=self._frames_per_second, macro_block_size=1
                )
            # The codec takes even sides only.
            height, width = frame.shape[:2]
            self._writer.append_data(
                np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')
            )
            self._recording = not timestep.last()
            if timestep.last():
                self._end_episode()
        return timestep

    def _end_episode(self) -> None:
        self._recording = False
        self._episodes_left -= 1
        if not self._episodes_left:
            self._finish()

    def _finish(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._episodes_left = 0


def _map(function: Any, *values: Any) -> Any:
    """Rewards are nearly always plain numbers: no nest is walked for those."""
    if isinstance(values[0], (float, int, np.ndarray, np.generic)):
        return function(*values)
    return tree.map_structure(function, *values)


def _reward(value: Any) -> Any:
    return as_float32('reward', value)


def _discount(value: Any) -> Any:
    return as_float32('discount', value)


def _nothing(reward: Any) -> Any:
    return np.zeros_like(reward)[()]


def _is_continuous(spec: specs.Array) -> bool:
    return bool(np.issubdtype(spec.dtype, np.floating))


def _stretch(spec: Any, action: Any) -> Any:
    """A canonical action within the bounds of a spec."""
    if not _is_continuous(spec):
        return action
    action = np.clip(np.asarray(action, spec.dtype), -1.0, 1.0)
    scaled = spec.minimum + (action + 1.0) * (0.5 * (spec.maximum - spec.minimum))
    # Rounding may step over a bound.
    return np.clip(scaled, spec.minimum, spec.maximum).astype(spec.dtype)


def _stretch_huge(spec: Any, action: Any) -> Any:
    """The same where the distance of the bounds may be more than a float can hold."""
    if not _is_continuous(spec):
        return action
    action = np.clip(np.asarray(action, spec.dtype), -1.0, 1.0)
    low, high = 0.5 * spec.minimum, 0.5 * spec.maximum
    scaled = (low + high) + action * (high - low)
    return np.clip(scaled, spec.minimum, spec.maximum).astype(spec.dtype)


def _is_huge(spec: specs.BoundedArray) -> bool:
    with np.errstate(over='ignore'):
        return not bool(np.all(np.isfinite(spec.maximum - spec.minimum)))


def _zero_action(spec: specs.Array) -> np.ndarray[Any, Any]:
    zero = np.zeros(spec.shape, spec.dtype)
    if isinstance(spec, specs.BoundedArray):
        zero = np.clip(zero, spec.minimum, spec.maximum).astype(spec.dtype)
    return zero


def _as_own(spec: specs.Array, value: Any) -> np.ndarray[Any, Any]:
    return np.array(value, spec.dtype)


def _narrow(spec: specs.Array, path: str, value: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(value)
    if array.dtype == spec.dtype:
        return array
    if array.dtype == np.float64 and spec.dtype == np.float32 and array.size:
        # The usual case, without a copy to compare with.
        if -FLOAT32_MAX <= array.min() and array.max() <= FLOAT32_MAX:
            return array.astype(np.float32)
    return cast_exactly(path, array, spec.dtype)


def _widen(spec: specs.Array, value: Any) -> np.ndarray[Any, Any]:
    value = np.asarray(value, spec.dtype)
    if isinstance(spec, specs.BoundedArray):
        # A bound in 32 bits may lie beyond the one in 64.
        value = np.clip(value, spec.minimum, spec.maximum)
    return value


def _bounds(spec: specs.Array) -> tuple[Any, Any]:
    if isinstance(spec, specs.BoundedArray):
        return spec.minimum, spec.maximum
    if np.issubdtype(spec.dtype, np.floating):
        return -np.inf, np.inf
    if np.issubdtype(spec.dtype, np.integer):
        return np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max
    return False, True


def _map_spec(spec: specs.Array, function: Any) -> specs.Array:
    """The spec of an array after a function that picks among its entries."""
    shape = function(np.empty(spec.shape, bool)).shape
    if not isinstance(spec, specs.BoundedArray):
        return specs.Array(shape, spec.dtype, name=spec.name)
    low, high = (
        function(np.broadcast_to(bound, spec.shape)) for bound in (spec.minimum, spec.maximum)
    )
    return specs.BoundedArray(shape, spec.dtype, low, high, name=spec.name)


def _split_legal(observation: Any) -> tuple[Any, bool]:
    """An observation (or spec) without `legal_actions`, and whether it has them."""
    if not isinstance(observation, Mapping) or _LEGAL not in observation:
        return observation, False
    rest = {name: value for name, value in observation.items() if name != _LEGAL}
    return (rest['observation'] if list(rest) == ['observation'] else rest), True


def _join_legal(visible: Any, observation: Any) -> dict[str, Any]:
    fields = dict(visible) if isinstance(visible, Mapping) else {'observation': visible}
    return {**fields, _LEGAL: observation[_LEGAL]}
