"""Joins N environments into one; lanes of one JAX environment are stepped in one compiled call."""

from collections.abc import Sequence
from typing import Any

import dm_env
import jax
import numpy as np
from numpy.typing import NDArray

from culmen.components.environments.functional import DmEnvironment
from culmen.components.environments.functional import compiled
from culmen.components.environments.wrappers import StepLimit
from culmen.core.ranges import FLOAT32_MAX
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import Nest
from culmen.core.types import TimeStep
from culmen.environment_loops.batched import BatchedEnvironment
from culmen.environment_loops.batched import Episode


class FunctionalBatch(BatchedEnvironment):
    """Lanes of one JAX environment, all stepped in one compiled call."""

    def __init__(
        self,
        environments: Sequence[DmEnvironment],
        spec: EnvironmentSpec,
        max_steps: int | None = None,
    ) -> None:
        """Args: environments: one per lane, around the same JaxEnvironment; max_steps: as for `batch`."""
        self._lanes: Any = None  # the stacked state of all; None: each environment has its own
        super().__init__(environments, spec)
        self._functions = compiled(environments[0].functions)
        self._max_steps = max_steps
        self._cut = np.zeros(self.num_lanes, bool)
        self._held: tuple[NDArray[np.bool_], TimeStep] | None = None

    @property
    def environments(self) -> list[Any]:
        """The environments, one per lane, in their present states."""
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
        return self._take(timestep)

    def step(self, action: Nest) -> TimeStep:
        """Steps every lane, even a frozen one, but no held one. Args, Raises: as `BatchedEnvironment`."""
        if self._lanes is None:
            if any(environment.lane is None for environment in self._environments):
                return self.reset()  # new environments, whose states could not be restored
            self._lanes = jax.tree_util.tree_map(
                lambda *leaves: np.stack(leaves),
                *[environment.lane for environment in self._environments],
            )
        keys = self._lanes.key
        action = self._actions(action, self._ignored)
        stepped = self._functions.advance_all(self._lanes, action)
        if self._cut.any():  # the environments themselves go on with their episodes
            begun = self._functions.begin_all(keys)
            stepped = _choose(self._cut, begun, stepped)
        if self._held is not None:
            held, timestep = self._held
            stepped = _choose(held, (self._lanes, timestep), stepped)
        self._lanes, timestep = stepped
        return self._take(timestep)

    def hold(self, held: NDArray[np.bool_] | None, timestep: TimeStep) -> None:
        """As in `BatchedEnvironment`."""
        self._held = None if held is None else (held, timestep)

    def was_cut(self, lane: int) -> bool:
        """Whether `max_steps` of `batch` ended the lane's episode at the last step."""
        return bool(self._cut[lane])

    def _take(self, timestep: TimeStep) -> TimeStep:
        timestep = jax.tree_util.tree_map(np.asarray, timestep)
        first, last = timestep.first(), timestep.last()
        if not self._holds(timestep):
            for lane in np.flatnonzero(~np.asarray(self._frozen)).tolist():
                of_lane = jax.tree_util.tree_map(lambda leaf, lane=lane: leaf[lane], timestep)
                self._validate(lane, dm_env.TimeStep(*of_lane))
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
        self._step_type = np.asarray(timestep.step_type)
        self.episodes = [
            Episode(int(lane), float(self._returns[lane]), int(self._lengths[lane]))
            for lane in last.nonzero()[0]
            if not self._frozen[lane]
        ]
        if self._metrics is not None:
            measured = self._functions.measure_all(self._lanes.state)
            by_lane = {name: np.asarray(values) for name, values in measured.items()}
            self._measure(
                self._metrics,
                self._step_type,
                lambda lane: {name: values[lane] for name, values in by_lane.items()},
            )
        return timestep

    def _holds(self, timestep: TimeStep) -> bool:
        """Whether time steps of the spec's shapes and dtypes are valid."""
        step_type, reward, discount, observation = timestep
        return bool(
            step_type.min() >= FIRST
            and step_type.max() <= LAST
            and reward.min() >= -FLOAT32_MAX
            and reward.max() <= FLOAT32_MAX
            and discount.min() >= 0
            and discount.max() <= 1
            and self._observations.holds(observation)
        )


def _choose(lanes: NDArray[np.bool_], chosen: Any, others: Any) -> Any:
    """Nests [B, ...]: the first of two in some lanes, the second in the others."""
    return jax.tree_util.tree_map(
        lambda a, b: np.where(lanes.reshape((-1,) + (1,) * (np.ndim(b) - 1)), a, b), chosen, others
    )


def batch(
    environments: Sequence[dm_env.Environment], spec: EnvironmentSpec, max_steps: int | None = None
) -> BatchedEnvironment:
    """Joins N environments into one. Lanes of one JAX environment take one compiled call per step.

    Args: max_steps: after which an episode is truncated; None: no limit.
    """
    if len(environments) > 1 and all(isinstance(each, DmEnvironment) for each in environments):
        scalars = all(getattr(each, 'shape', None) == () for each in (spec.reward, spec.discount))
        if scalars and len({id(each.functions) for each in environments}) == 1:
            return FunctionalBatch(environments, spec, max_steps)
    if max_steps is not None:
        environments = [StepLimit(each, max_steps) for each in environments]
    return BatchedEnvironment(environments, spec)
