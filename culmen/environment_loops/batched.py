"""N environments as one: a batch of lanes that steps together, with one time step of all of them.

The only place where environments are stepped from Python. Every step is held to the spec; an environment
that breaks it, or raises, is named with its lane. A step after LAST gives FIRST, as in dm_env, so
lanes end when they like.
"""

import re
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import numpy as np
from numpy.typing import NDArray

from culmen.components.environments.functional import DmEnvironment
from culmen.components.environments.functional import compiled
from culmen.components.environments.wrappers import StepLimit
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import leaf_paths
from culmen.core.specs import validate_timestep
from culmen.core.types import LAST
from culmen.core.types import Nest
from culmen.core.types import TimeStep


class Episode(NamedTuple):
    """An episode that ended."""

    lane: int
    # Undiscounted, summed in float64; of a nest of rewards one for each of `reward_names`.
    episode_return: float | list[float]
    episode_length: int  # steps: time steps that are not FIRST


class EnvironmentFailure(RuntimeError):
    """An environment raised, or its step broke its spec."""


class BatchedEnvironment:
    """Steps N environments together, one after another."""

    def __init__(
        self,
        environments: Sequence[dm_env.Environment],
        spec: EnvironmentSpec,
        num_lanes: int | None = None,
    ) -> None:
        """Args: environments: one a lane, all of the same spec; num_lanes: to `gather` without any."""
        self.environments = list(environments)
        self.spec = spec
        self.num_lanes = num_lanes or len(self.environments)
        self.episodes: list[Episode] = []  # ended in the last step
        self.new_steps = 0  # lanes whose last time step is not FIRST
        self._returns: Any = [0.0] * self.num_lanes
        self._lengths: Any = [0] * self.num_lanes
        self._observations = _Stacker(spec.observation, self.num_lanes)
        self._scalar_reward = (
            not isinstance(spec.reward, (dict, tuple, list)) and spec.reward.shape == ()
        )
        self._rewards = _Stacker(spec.reward, self.num_lanes)
        self._discounts = _Stacker(spec.discount, self.num_lanes)
        self._single_action = hasattr(spec.action, 'shape')
        self._timesteps: list[dm_env.TimeStep] = []
        self._frozen = [False] * self.num_lanes

    def reset(self) -> TimeStep:
        """Begins an episode in every lane."""
        self._frozen = [False] * self.num_lanes
        return self.gather(
            [
                self._guard(lane, environment.reset)
                for lane, environment in enumerate(self.environments)
            ]
        )

    def step(self, action: Nest) -> TimeStep:
        """Steps every lane. Actions: NumPy leaves [B, ...]."""
        action = as_actions(self.spec.action, action)
        if self._single_action:
            actions: Sequence[Any] = action
        else:
            actions = [
                jax.tree_util.tree_map(lambda leaf, i=i: leaf[i], action)
                for i in range(self.num_lanes)
            ]
        return self.gather(
            [
                self._timesteps[lane]
                if self._frozen[lane]
                else self._guard(lane, environment.step, actions[lane])
                for lane, environment in enumerate(self.environments)
            ]
        )

    def freeze(self, lane: int) -> None:
        """Steps a lane no more: its last time step is given again, and no episode ends in it."""
        self._frozen[lane] = True

    def was_cut(self, lane: int) -> bool:
        """Whether `max_steps` of `batch` ended the lane's episode, at the last step."""
        environment = self.environments[lane]
        return isinstance(environment, StepLimit) and environment.cut

    def _guard(
        self, lane: int, function: Callable[..., dm_env.TimeStep], *args: Any
    ) -> dm_env.TimeStep:
        try:
            return function(*args)
        except (Exception, SystemExit) as error:
            raise EnvironmentFailure(
                f'the environment of lane {lane} raised {type(error).__name__}: {error}'
            ) from error

    def gather(self, timesteps: list[dm_env.TimeStep]) -> TimeStep:
        """Unbatched time steps of the lanes -> one, in arrays of its own; sums up episodes."""
        self._timesteps = timesteps
        if self.episodes:
            self.episodes = []
        step_type = np.empty(self.num_lanes, np.int32)
        reward = self._rewards.empty()
        discount = self._discounts.empty()
        observation = self._observations.empty()
        self.new_steps = len(timesteps)
        for lane, timestep in enumerate(timesteps):
            kind = step_type[lane] = timestep.step_type
            good = self._observations.put(observation, lane, timestep.observation)
            if kind == 0:
                self._rewards.fill(reward, lane, 0.0)
                self._discounts.fill(discount, lane, 1.0)
                self._returns[lane] = 0.0
                self._lengths[lane] = 0
                self.new_steps -= 1
            elif self._scalar_reward and timestep.reward is not None:
                value = float(timestep.reward)
                good = good and value - value == 0.0 and 0 < kind <= LAST
                self._rewards.put(reward, lane, value)
                good = self._discounts.put(discount, lane, timestep.discount) and good
                self._returns[lane] += value
                self._lengths[lane] += 1
            else:
                good = self._rewards.put(reward, lane, timestep.reward) and good
                good = self._discounts.put(discount, lane, timestep.discount) and good
                good = good and all(
                    np.all(np.isfinite(leaf)) for leaf in jax.tree_util.tree_leaves(timestep.reward)
                )
                if good:
                    numbers = [
                        number
                        for leaf in jax.tree_util.tree_leaves(timestep.reward)
                        for number in np.ravel(np.asarray(leaf, np.float64)).tolist()
                    ]
                    sums = self._returns[lane] or [0.0] * len(numbers)
                    self._returns[lane] = [a + b for a, b in zip(sums, numbers, strict=True)]
                    self._lengths[lane] += 1
            if not good:
                self._refuse(lane, timestep)
            if kind == LAST and not self._frozen[lane]:
                self.episodes.append(Episode(lane, self._returns[lane], self._lengths[lane]))
        return TimeStep(step_type, reward, discount, observation)

    def _refuse(self, lane: int, timestep: dm_env.TimeStep) -> None:
        try:
            validate_timestep(self.spec, timestep)
        except ValueError as error:
            raise EnvironmentFailure(
                f'the environment of lane {lane} broke its spec: {error}'
            ) from error
        raise EnvironmentFailure(
            f'the environment of lane {lane} gave a time step that is not valid: {timestep}.'
        )

    def get_state(self) -> dict[str, Any]:
        """The running sums of the lanes; the environments' own states are the checkpoint's."""
        return {
            # A lane at FIRST has one number, whatever the others have.
            'returns': [np.asarray(each).tolist() for each in self._returns],
            'lengths': np.asarray(self._lengths).tolist(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `get_state`."""
        self._returns = list(state['returns'])
        self._lengths = list(state['lengths'])

    def close(self) -> None:
        """Closes every environment."""
        for environment in self.environments:
            environment.close()


class FunctionalBatch(BatchedEnvironment):
    """Lanes of one JAX environment: all are stepped in one compiled call."""

    def __init__(
        self,
        environments: Sequence[DmEnvironment],
        spec: EnvironmentSpec,
        max_steps: int | None = None,
    ) -> None:
        """Args: environments: one a lane, around the same JaxEnvironment; max_steps: as of `batch`."""
        self._lanes: Any = None  # of all, side by side; None: each environment has its own
        super().__init__(environments, spec)
        self._functions = compiled(environments[0].functions)
        self._max_steps = max_steps
        self._cut = np.zeros(self.num_lanes, bool)

    @property
    def environments(self) -> list[Any]:
        """One a lane, each as it stands now."""
        if self._lanes is not None:
            lanes = jax.tree_util.tree_map(np.asarray, self._lanes)
            for i, environment in enumerate(self._environments):
                environment.lane = jax.tree_util.tree_map(lambda leaf, i=i: leaf[i], lanes)
            self._lanes = None
        return self._environments

    @environments.setter
    def environments(self, environments: list[Any]) -> None:
        self._environments = environments

    def reset(self) -> TimeStep:
        """Begins an episode in every lane."""
        self._frozen = [False] * self.num_lanes
        keys = [
            environment.first_key if environment.lane is None else environment.lane.key
            for environment in self.environments
        ]
        self._lanes, timestep = self._functions.begin_all(np.stack(keys))
        return self._hear(timestep)

    def step(self, action: Nest) -> TimeStep:
        """Steps every lane, one that is frozen too. Actions: NumPy leaves [B, ...]."""
        if self._lanes is None:
            if any(environment.lane is None for environment in self._environments):
                return self.reset()  # fresh ones, whose state could not be restored
            self._lanes = jax.tree_util.tree_map(
                lambda *leaves: np.stack(leaves),
                *[environment.lane for environment in self._environments],
            )
        keys = self._lanes.key
        stepped = self._functions.advance_all(self._lanes, as_actions(self.spec.action, action))
        if self._cut.any():  # for the environments their episodes go on
            begun = self._functions.begin_all(keys)
            stepped = jax.tree_util.tree_map(
                lambda new, old: np.where(
                    self._cut.reshape((-1,) + (1,) * (np.ndim(old) - 1)), new, old
                ),
                begun,
                stepped,
            )
        self._lanes, timestep = stepped
        return self._hear(timestep)

    def was_cut(self, lane: int) -> bool:
        """Whether `max_steps` of `batch` ended the lane's episode, at the last step."""
        return bool(self._cut[lane])

    def _hear(self, timestep: TimeStep) -> TimeStep:
        timestep = jax.tree_util.tree_map(np.asarray, timestep)
        first, last = timestep.first(), timestep.last()
        finite = np.isfinite(timestep.reward) & np.isfinite(timestep.discount)
        if not finite.all():
            lane = int(np.argmin(finite))
            raise EnvironmentFailure(
                f'the environment of lane {lane} gave a reward or a discount that is not finite: '
                f'{timestep.reward[lane]}, {timestep.discount[lane]}.'
            )
        self.new_steps = self.num_lanes - int(first.sum())
        self._returns = np.where(
            first, 0.0, np.add(self._returns, timestep.reward, dtype=np.float64)
        )
        self._lengths = np.where(first, 0, np.add(self._lengths, 1))
        if self._max_steps is not None:
            self._cut = np.asarray(timestep.mid()) & (self._lengths >= self._max_steps)
            last = last | self._cut
            timestep = timestep._replace(
                step_type=np.where(self._cut, np.int32(LAST), timestep.step_type)
            )
        self.episodes = [
            Episode(int(lane), float(self._returns[lane]), int(self._lengths[lane]))
            for lane in last.nonzero()[0]
            if not self._frozen[lane]
        ]
        return timestep


def batch(
    environments: Sequence[dm_env.Environment], spec: EnvironmentSpec, max_steps: int | None = None
) -> BatchedEnvironment:
    """N environments as one; where they are lanes of one JAX environment, in one call a step.

    Args: max_steps: of an episode, which is truncated there; None: no limit.
    """
    if len(environments) > 1 and all(isinstance(each, DmEnvironment) for each in environments):
        if len({id(each.functions) for each in environments}) == 1:
            return FunctionalBatch(environments, spec, max_steps)
    if max_steps is not None:
        environments = [StepLimit(each, max_steps) for each in environments]
    return BatchedEnvironment(environments, spec)


def reward_names(spec: EnvironmentSpec) -> tuple[str, ...]:
    """The numbers of a nest of rewards by their paths: 'white', 'team/0' of an array; () for one number."""
    if getattr(spec.reward, 'shape', None) == ():
        return ()
    names = []
    for path, leaf in leaf_paths(spec.reward):
        for index in np.ndindex(*leaf.shape):
            name = '/'.join([*([path] if path else []), *map(str, index)])
            names.append(re.sub(r'[,"\r\n]', '_', name))  # what a header can't hold
    return tuple(names)


def as_actions(spec: Any, action: Nest) -> Nest:
    """NumPy actions in the dtypes that an environment asks for."""
    if isinstance(action, np.ndarray):
        return action if action.dtype == spec.dtype else action.astype(spec.dtype)
    return jax.tree_util.tree_map(
        lambda leaf_spec, leaf: np.asarray(leaf, leaf_spec.dtype), spec, action
    )


class _Stacker:
    """Puts the values of lanes into arrays [B, ...] of one spec; a lone array without tree maps."""

    def __init__(self, spec: Any, num_lanes: int) -> None:
        leaves, self._structure = jax.tree_util.tree_flatten(spec)
        self._shapes = [tuple(leaf.shape) for leaf in leaves]
        self._dtypes = [np.dtype(leaf.dtype) for leaf in leaves]
        self._batch = [(num_lanes, *shape) for shape in self._shapes]
        self._lone = jax.tree_util.treedef_is_leaf(self._structure)
        self._cast = [
            dtype.kind == 'f' and shape == ()
            for dtype, shape in zip(self._dtypes, self._shapes, strict=True)
        ]

    def empty(self) -> Nest:
        if self._lone:
            return np.empty(self._batch[0], self._dtypes[0])
        arrays = [
            np.empty(shape, dtype) for shape, dtype in zip(self._batch, self._dtypes, strict=True)
        ]
        return self._structure.unflatten(arrays)

    def fill(self, arrays: Nest, lane: int, value: float) -> None:
        for array in [arrays] if self._lone else self._structure.flatten_up_to(arrays):
            array[lane] = value

    def put(self, arrays: Nest, lane: int, value: Nest) -> bool:
        """Whether the value had the structure, shapes and dtypes of the spec, and so was put."""
        if self._lone:
            return self._put(arrays, lane, value, 0)
        try:
            values = self._structure.flatten_up_to(value)
        except ValueError:
            return False
        return all(
            self._put(array, lane, leaf, i)
            for i, (array, leaf) in enumerate(
                zip(self._structure.flatten_up_to(arrays), values, strict=True)
            )
        )

    def _put(self, array: NDArray[Any], lane: int, value: Any, i: int) -> bool:
        if not isinstance(value, np.ndarray):
            if value is None:
                return False
            if self._cast[
                i
            ]:  # a number for a float: rewards and discounts come as Python's and NumPy's
                array[lane] = value
                return True
            value = np.asarray(value)
        if value.shape != self._shapes[i]:
            return False
        if value.dtype != self._dtypes[i] and not self._cast[i]:
            return False
        array[lane] = value
        return True
