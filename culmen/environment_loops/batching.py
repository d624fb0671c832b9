"""Joins N environments into one.

Lanes of one JAX environment are stepped in one compiled call, those of one vector environment in one of its.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import dm_env
import jax
import numpy as np
from dm_env import specs
from numpy.typing import NDArray

from culmen.components.environments.functional import DmEnvironment
from culmen.components.environments.functional import compiled
from culmen.components.environments.vector import JoinedLanes
from culmen.components.environments.vector import VectorLane
from culmen.components.environments.wrappers import StepLimit
from culmen.core.ranges import FLOAT32_MAX
from culmen.core.ranges import SpecError
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import conform
from culmen.core.specs import leaf_paths
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import Nest
from culmen.core.types import TimeStep
from culmen.environment_loops.batched import BatchedEnvironment
from culmen.environment_loops.batched import EnvironmentFailure
from culmen.environment_loops.batched import Episode


class WholeBatch(BatchedEnvironment):
    """Lanes whose time steps come as one batch, and are checked as one."""

    def __init__(
        self,
        environments: Sequence[Any],
        spec: EnvironmentSpec,
        max_steps: int | None = None,
    ) -> None:
        """Args: environments: one per lane; max_steps: as for `batch`."""
        super().__init__(environments, spec)
        self._max_steps = max_steps
        self._cut = np.zeros(self.num_lanes, bool)

    def was_cut(self, lane: int) -> bool:
        """Whether `max_steps` of `batch` ended the lane's episode at the last step."""
        return bool(self._cut[lane])

    def _take(self, timestep: TimeStep) -> TimeStep:
        """Checks a time step, cuts episodes at `max_steps`, and sums up episodes."""
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
            self._measure(self._metrics, self._step_type, self._numbers())
        return timestep

    def _numbers(self) -> Callable[[int], Mapping[str, Any]]:
        """The named numbers of the last time step by lane."""
        raise NotImplementedError

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


class FunctionalBatch(WholeBatch):
    """Lanes of one JAX environment, all stepped in one compiled call."""

    def __init__(
        self,
        environments: Sequence[DmEnvironment],
        spec: EnvironmentSpec,
        max_steps: int | None = None,
    ) -> None:
        """Args: environments: one per lane, around the same JaxEnvironment; max_steps: as for `batch`."""
        self._lanes: Any = None  # the stacked state of all; None: each environment has its own
        super().__init__(environments, spec, max_steps)
        self._functions = compiled(environments[0].functions)
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
        return self._take(jax.tree_util.tree_map(np.asarray, timestep))

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
        return self._take(jax.tree_util.tree_map(np.asarray, timestep))

    def hold(self, held: NDArray[np.bool_] | None, timestep: TimeStep) -> None:
        """As in `BatchedEnvironment`."""
        self._held = None if held is None else (held, timestep)

    def _numbers(self) -> Callable[[int], Mapping[str, Any]]:
        measured = self._functions.measure_all(self._lanes.state)
        by_lane = {name: np.asarray(values) for name, values in measured.items()}
        return lambda lane: {name: values[lane] for name, values in by_lane.items()}


class VectorBatch(WholeBatch):
    """Lanes of one vector environment, all stepped in one call."""

    def __init__(
        self,
        environments: Sequence[VectorLane],
        spec: EnvironmentSpec,
        max_steps: int | None = None,
    ) -> None:
        """Args: environments: of one maker, none of which has begun; max_steps: as for `batch`."""
        super().__init__(environments, spec, max_steps)
        self._together = JoinedLanes(environments)
        self._leaves = [
            ('step_type', specs.Array((), np.int32)),
            *((name, specs.Array((), np.float32)) for name in ('reward', 'discount')),
            *leaf_paths(spec.observation, 'observation'),
        ]
        # The last time step, which lanes that are not stepped repeat.
        self._shown: TimeStep | None = None
        self._held: NDArray[np.bool_] | None = None
        # Lanes that show a FIRST of before a resume, and so begin anew when they are stepped.
        self._renewed = np.zeros(self.num_lanes, bool)

    def reset(self) -> TimeStep:
        """Begins an episode in every lane."""
        self._frozen = [False] * self.num_lanes
        self._renewed[:] = False
        return self._show(self._call(self._together.reset))

    def step(self, action: Nest) -> TimeStep:
        """Steps every lane but those that are frozen or held. Args, Raises: as `BatchedEnvironment`."""
        stays = self._staying()
        if self._together.vector is None:  # new environments, whose states could not be restored
            timestep = self._call(self._together.reset)
            if stays is not None:
                self._renewed |= stays
                timestep = _choose(stays, self._shown, timestep)
            return self._show(timestep)
        action = self._actions(action, self._ignored)
        begins = self._cut | self._renewed
        if stays is not None:
            begins &= ~stays
        timestep = self._call(
            self._together.vector.step, action, begins if begins.any() else None, stays
        )
        self._renewed &= ~begins
        return self._show(timestep if stays is None else _choose(stays, self._shown, timestep))

    def hold(self, held: NDArray[np.bool_] | None, timestep: TimeStep) -> None:
        """As in `BatchedEnvironment`."""
        self._held = held
        if self._shown is None:  # after a resume
            self._shown = timestep

    def _staying(self) -> NDArray[np.bool_] | None:
        """bool[B]: lanes that the next step leaves where they are; None: none."""
        stays = np.asarray(self._frozen)
        stays = stays if self._held is None else stays | self._held
        return stays if stays.any() else None

    def _show(self, timestep: TimeStep) -> TimeStep:
        self._shown = self._take(timestep)
        return self._shown

    def _call(self, function: Callable[..., TimeStep], *args: Any) -> TimeStep:
        try:
            return self._stacked(function(*args))
        except EnvironmentFailure:
            raise
        except (Exception, SystemExit) as error:
            raise EnvironmentFailure(
                f'the vector environment of all {self.num_lanes} lanes raised '
                f'{type(error).__name__}: {error}'
            ) from error

    def _stacked(self, timestep: TimeStep) -> TimeStep:
        """A time step in the containers of the spec. Raises: SpecError that names a leaf."""
        of_spec = conform('observation', self.spec.observation, timestep.observation)
        timestep = timestep._replace(observation=of_spec)
        for (path, spec), leaf in zip(
            self._leaves, jax.tree_util.tree_leaves(tuple(timestep)), strict=True
        ):
            wanted = (self.num_lanes, *spec.shape)
            if leaf.shape != wanted or leaf.dtype != spec.dtype:
                raise SpecError(
                    f'{path} must be {spec.dtype}{list(wanted)} as in its spec, got '
                    f'{leaf.dtype}{list(leaf.shape)}.'
                )
        return timestep

    def _numbers(self) -> Callable[[int], Mapping[str, Any]]:
        vector = self._together.vector
        assert vector is not None
        return vector.metrics


def _choose(lanes: NDArray[np.bool_], chosen: Any, others: Any) -> Any:
    """Nests [B, ...]: the first of two in some lanes, the second in the others."""
    return jax.tree_util.tree_map(
        lambda a, b: np.where(lanes.reshape((-1,) + (1,) * (np.ndim(b) - 1)), a, b), chosen, others
    )


def batch(
    environments: Sequence[dm_env.Environment], spec: EnvironmentSpec, max_steps: int | None = None
) -> BatchedEnvironment:
    """Joins N environments into one. Lanes of one JAX or vector environment take one call per step.

    Args: max_steps: after which an episode is truncated; None: no limit.
    """
    scalars = all(getattr(each, 'shape', None) == () for each in (spec.reward, spec.discount))
    if len(environments) > 1 and scalars:
        if _are_of_one(DmEnvironment, 'functions', environments):
            return FunctionalBatch(environments, spec, max_steps)
        if _are_of_one(VectorLane, 'maker', environments):
            return VectorBatch(environments, spec, max_steps)
    if max_steps is not None:
        environments = [StepLimit(each, max_steps) for each in environments]
    return BatchedEnvironment(environments, spec)


def _are_of_one(kind: type, of: str, environments: Sequence[Any]) -> bool:
    """Whether all are of a type, around the same object."""
    return (
        all(isinstance(each, kind) for each in environments)
        and len({id(getattr(each, of)) for each in environments}) == 1
    )
