"""N environments as one: a batch of lanes that step together and share one batched time step.

Environments are stepped from Python only here and in `batching.py`. Every step is checked against the
spec. If an environment breaks the spec or raises, the error names its lane. As in dm_env, a step after
LAST gives FIRST, so episodes of different lanes may end at different ticks.
"""

import re
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import numpy as np
from numpy.typing import NDArray

from culmen.components.environments.wrappers import StepLimit
from culmen.core.metrics import metrics_of
from culmen.core.ranges import FLOAT32_MAX
from culmen.core.ranges import NUMBERS
from culmen.core.ranges import SpecError
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import leaf_paths
from culmen.core.specs import validate_timestep
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import Nest
from culmen.core.types import TimeStep
from culmen.environment_loops.boundary import Actions
from culmen.environment_loops.boundary import Stacker
from culmen.environment_loops.episode_metrics import EpisodeMetrics
from culmen.environment_loops.episode_metrics import MissingMetric
from culmen.environment_loops.episode_metrics import columns_of_lanes


class Episode(NamedTuple):
    """An episode that ended."""

    lane: int
    # Undiscounted, summed in float64; for a nest of rewards one number for each of `reward_names`.
    episode_return: float | list[float]
    episode_length: int  # steps: time steps that are not FIRST
    metrics: Mapping[str, float] = MappingProxyType(
        {}
    )  # named numbers of the environment, by column


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
        """Args: environments: one per lane, all of the same spec; num_lanes: if there are none."""
        self.environments = list(environments)
        self.spec = spec
        self.num_lanes = num_lanes or len(self.environments)
        self.episodes: list[Episode] = []  # that ended in the last step
        self.new_steps = 0  # lanes whose last time step is not FIRST
        self._returns: Any = [0.0] * self.num_lanes
        self._lengths: Any = [0] * self.num_lanes
        self._observations = Stacker('observation', spec.observation, self.num_lanes)
        self._rewards = Stacker('reward', spec.reward, self.num_lanes, as_float32=True)
        self._discounts = Stacker('discount', spec.discount, self.num_lanes, as_float32=True)
        self._scalar_reward = getattr(spec.reward, 'shape', None) == ()
        self._scalars = self._scalar_reward and getattr(spec.discount, 'shape', None) == ()
        self._actions = Actions(spec.action)
        self._single_action = hasattr(spec.action, 'shape')
        self._timesteps: list[dm_env.TimeStep] = []
        self._step_type: NDArray[Any] | None = None  # of the last time step
        self._frozen = [False] * self.num_lanes
        metrics = [metrics_of(each) for each in self.environments]
        self.metric_names = columns_of_lanes(metrics)  # columns of all lanes
        self._metrics = EpisodeMetrics(metrics) if self.metric_names else None
        self._holds_lanes = False

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
        """Steps every lane.

        Args: action: NumPy leaves [B, ...].
        Raises: EnvironmentFailure, ActionFailure: both name the lane and the leaf.
        """
        if not self._actions.are_few_in_range(action):
            action = self._actions(action, self._ignored)
        elif action.dtype != self._actions.dtype:
            action = action.astype(self._actions.dtype)
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
        """Stops stepping a lane: its last time step is repeated, and no episode ends in it."""
        self._frozen[lane] = True

    def hold(self, held: NDArray[np.bool_] | None, timestep: TimeStep) -> None:
        """Sets the lanes that the next step leaves where they are; the others are stepped again.

        Args:
            held: bool[B]; None: no lane.
            timestep: of all lanes, which those that are held, at FIRST, repeat.
        """
        if held is None:
            if self._holds_lanes:
                self._frozen = [False] * self.num_lanes
                self._holds_lanes = False
            return
        self._holds_lanes = True
        self._frozen = held.tolist()
        if not self._timesteps:  # after a resume
            observation = timestep.observation
            self._timesteps = [
                dm_env.restart(jax.tree_util.tree_map(lambda leaf, i=i: leaf[i], observation))
                for i in range(self.num_lanes)
            ]

    def was_cut(self, lane: int) -> bool:
        """Whether `max_steps` of `batch` ended the lane's episode at the last step."""
        environment = self.environments[lane]
        return isinstance(environment, StepLimit) and environment.cut

    def _guard(self, lane: int, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except SpecError as error:
            raise EnvironmentFailure(
                f'the environment of lane {lane} broke its spec: {error}'
            ) from error
        except MissingMetric as error:
            raise EnvironmentFailure(f'the environment of lane {lane}: {error}') from error
        except (Exception, SystemExit) as error:
            raise EnvironmentFailure(
                f'the environment of lane {lane} raised {type(error).__name__}: {error}'
            ) from error

    def _ignored(self) -> NDArray[Any]:
        """bool[B]: lanes that ignore their actions."""
        frozen = np.asarray(self._frozen)
        return frozen if self._step_type is None else frozen | (self._step_type == LAST)

    def gather(self, timesteps: list[dm_env.TimeStep]) -> TimeStep:
        """Joins the lanes' time steps into one batched time step in new arrays, and sums up episodes.

        Raises: EnvironmentFailure that names the lane and the leaf.
        """
        self._timesteps = timesteps
        if self.episodes:
            self.episodes = []
        num_lanes, scalars = self.num_lanes, self._scalars
        step_type = np.empty(num_lanes, np.int32)
        reward = np.empty(num_lanes, np.float32) if scalars else self._rewards.empty()
        discount = np.empty(num_lanes, np.float32) if scalars else self._discounts.empty()
        observation = self._observations.empty()
        stacker = self._observations
        shape, dtype = stacker.shape, stacker.dtype
        self.new_steps = len(timesteps)
        for lane, timestep in enumerate(timesteps):
            kind = None
            try:
                kind, paid, kept, seen = timestep
                if type(seen) is np.ndarray and seen.shape == shape and seen.dtype == dtype:
                    observation[lane] = seen
                    good = True
                else:
                    good = stacker.put(observation, lane, seen)
                if kind == FIRST:
                    good = self._begin(lane, timestep, reward, discount) and good
                elif scalars and type(paid) in NUMBERS and type(kept) in NUMBERS:
                    paid, kept = float(paid), float(kept)
                    good = (
                        good
                        and (kind == MID or kind == LAST)
                        and -FLOAT32_MAX <= paid <= FLOAT32_MAX
                        and 0.0 <= kept <= 1.0
                    )
                    if good:
                        reward[lane], discount[lane] = paid, kept
                        self._returns[lane] += paid
                        self._lengths[lane] += 1
                else:
                    good = good and (kind == MID or kind == LAST)
                    good = good and self._pay(lane, timestep, reward, discount)
                step_type[lane] = kind
            except (TypeError, ValueError, ArithmeticError):
                good = False
            if not good:
                self._refuse(lane, timestep)
            if kind == LAST and not self._frozen[lane]:
                self.episodes.append(Episode(lane, self._returns[lane], self._lengths[lane]))
        if stacker.is_small:
            total = sum(observation.ravel().tolist())  # in float64, so without overflow
            held = total - total == 0.0
        else:
            held = stacker.holds(observation)
        if not held:
            for lane, timestep in enumerate(timesteps):
                self._validate(lane, timestep)
        self._step_type = step_type
        if self._metrics is not None:
            self._measure(self._metrics, step_type, self._get_numbers)
        return TimeStep(step_type, reward, discount, observation)

    def _begin(self, lane: int, timestep: dm_env.TimeStep, reward: Nest, discount: Nest) -> bool:
        """Begins an episode in a lane."""
        self._rewards.fill(reward, lane, 0.0)
        self._discounts.fill(discount, lane, 1.0)
        self._returns[lane] = 0.0
        self._lengths[lane] = 0
        self.new_steps -= 1
        if timestep.reward is not None or timestep.discount is not None:
            validate_timestep(self.spec, timestep)
        return True

    def _pay(self, lane: int, timestep: dm_env.TimeStep, reward: Nest, discount: Nest) -> bool:
        """Puts the reward and the discount of a step, arrays or nests, and adds to the return."""
        if not self._rewards.put(reward, lane, timestep.reward):
            return False
        if not self._discounts.put(discount, lane, timestep.discount):
            return False
        self._lengths[lane] += 1
        paid = [
            number
            for leaf in self._rewards.leaves(timestep.reward)
            for number in np.ravel(np.asarray(leaf, np.float64)).tolist()
        ]
        if self._scalar_reward:
            self._returns[lane] += paid[0]
        else:
            sums = self._returns[lane] or [0.0] * len(paid)
            self._returns[lane] = [a + b for a, b in zip(sums, paid, strict=True)]
        kept = [np.asarray(leaf) for leaf in self._discounts.leaves(timestep.discount)]
        return all(bool((leaf >= 0).all() and (leaf <= 1).all()) for leaf in kept)

    def _get_numbers(self, lane: int) -> Mapping[str, Any]:
        numbers: Mapping[str, Any] = self._guard(
            lane, getattr(self.environments[lane], 'metrics', dict)
        )
        return numbers

    def _measure(
        self,
        metrics: EpisodeMetrics,
        step_type: NDArray[Any],
        get_numbers: Callable[[int], Mapping[str, Any]],
    ) -> None:
        """Adds the named numbers of a time step, and gives them to the episodes that end.

        Raises: EnvironmentFailure that names the lane and a number of which there was none.
        """
        ended = {episode.lane: i for i, episode in enumerate(self.episodes)}
        for lane, kind in enumerate(step_type.tolist()):
            if self._frozen[lane]:
                continue
            if kind == FIRST:
                metrics.begin(lane)
                continue
            numbers = get_numbers(lane)
            metrics.add(lane, numbers)
            if lane in ended:
                of_episode = self._guard(lane, metrics.end, lane, numbers)
                episode = self.episodes[ended[lane]]
                self.episodes[ended[lane]] = episode._replace(metrics=of_episode)

    def _validate(self, lane: int, timestep: dm_env.TimeStep) -> None:
        try:
            validate_timestep(self.spec, timestep)
        except ValueError as error:
            raise EnvironmentFailure(
                f'the environment of lane {lane} broke its spec: {error}'
            ) from error

    def _refuse(self, lane: int, timestep: dm_env.TimeStep) -> None:
        if not isinstance(timestep, dm_env.TimeStep):
            raise EnvironmentFailure(
                f'the environment of lane {lane} must give a dm_env.TimeStep, got {timestep!r}.'
            )
        self._validate(lane, timestep)
        raise EnvironmentFailure(
            f'the environment of lane {lane} gave a time step that is not valid: {timestep}.'
        )

    def get_state(self) -> dict[str, Any]:
        """The running sums of the lanes. The checkpoint saves the environments' own states."""
        return {
            # A lane at FIRST has a single number, even if the others have several.
            'returns': [np.asarray(each).tolist() for each in self._returns],
            'lengths': np.asarray(self._lengths).tolist(),
            **({} if self._metrics is None else {'metrics': self._metrics.get_state()}),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the result of `get_state`."""
        self._returns = list(state['returns'])
        self._lengths = list(state['lengths'])
        if self._metrics is not None and 'metrics' in state:
            self._metrics.set_state(state['metrics'])

    def close(self) -> None:
        """Closes every environment."""
        for environment in self.environments:
            environment.close()


def reward_names(spec: EnvironmentSpec) -> tuple[str, ...]:
    """Names of the numbers in a nest of rewards, from their paths ('white', 'team/0'); () for a scalar."""
    if getattr(spec.reward, 'shape', None) == ():
        return ()
    names = []
    for path, leaf in leaf_paths(spec.reward):
        for index in np.ndindex(*leaf.shape):
            name = '/'.join([*([path] if path else []), *map(str, index)])
            names.append(re.sub(r'[,"\r\n]', '_', name))  # characters that a CSV header can't hold
    return tuple(names)
