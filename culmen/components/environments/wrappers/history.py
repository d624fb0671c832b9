"""Wrappers that add the past to observations: frames, actions and rewards."""

from collections.abc import Mapping
from typing import Any

import dm_env
import numpy as np
import tree
from dm_env import specs

from culmen.components.environments.wrappers.base import LEGAL_ACTIONS
from culmen.components.environments.wrappers.base import Wrapper
from culmen.components.environments.wrappers.base import zero_action
from culmen.components.environments.wrappers.rewards import as_reward
from culmen.core import checks
from culmen.core.ranges import as_float32
from culmen.core.specs import StackedArray


class FrameStack(Wrapper):
    """Each observation holds the last `num_frames`, oldest first, on its last axis.

    A frame [H, W] becomes [H, W, k], [H, W, C] becomes [H, W, k * C], a vector [n] becomes [k * n].
    At FIRST every frame is the first. The spec of a leaf is a `StackedArray`, by which tables store
    each frame once. `legal_actions` are not stacked.
    """

    _state = ('_frames',)

    def __init__(self, environment: dm_env.Environment, num_frames: int) -> None:
        super().__init__(environment)
        checks.check_range('num_frames', num_frames, 1)
        self._num_frames = num_frames
        self._inner = environment.observation_spec()
        paths = tree.flatten_with_path(self._inner)
        self._is_array = isinstance(self._inner, specs.Array)
        self._stacked = [not (path and path[0] == LEGAL_ACTIONS) for path, _ in paths]
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
    """Adds the previous action and reward to the observation: `previous_action`, `previous_reward`.

    A dict gains the two fields; anything else becomes the field `observation`. At FIRST both are 0
    (an action: 0 within its bounds). The reward is float32.
    """

    def __init__(self, environment: dm_env.Environment) -> None:
        super().__init__(environment)
        inner = environment.observation_spec()
        self._is_mapping = isinstance(inner, Mapping)
        self._action = environment.action_spec()
        self._first = tree.map_structure(zero_action, self._action)
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
            # A copy, since the policy may reuse its buffer.
            action = np.array(action, self._action.dtype)
            reward = np.array(as_float32('reward', timestep.reward))
        else:
            action = tree.map_structure_up_to(self._action, _as_own, self._action, action)
            reward = tree.map_structure_up_to(
                self._reward,
                lambda _, paid: np.array(as_reward(paid)),
                self._reward,
                timestep.reward,
            )
        return timestep._replace(observation=self._join(timestep.observation, action, reward))

    def _join(self, observation: Any, action: Any, reward: Any) -> dict[str, Any]:
        fields = dict(observation) if self._is_mapping else {'observation': observation}
        return {**fields, 'previous_action': action, 'previous_reward': reward}


def _as_own(spec: specs.Array, value: Any) -> np.ndarray[Any, Any]:
    return np.array(value, spec.dtype)


def _bounds(spec: specs.Array) -> tuple[Any, Any]:
    if isinstance(spec, specs.BoundedArray):
        return spec.minimum, spec.maximum
    if np.issubdtype(spec.dtype, np.floating):
        return -np.inf, np.inf
    if np.issubdtype(spec.dtype, np.integer):
        return np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max
    return False, True
