"""Environments that are several lanes by themselves, and each lane of one as a dm_env environment.

A family (or a user) writes a `VectorEnvironment`, which steps all of its lanes in one call, and a
`VectorMaker` that makes one for given seeds. Every lane of a loop is then a `VectorLane` around the same
maker. Alone, a lane has a vector environment of one lane, made at its first step. In the batched loop the
lanes are joined into one (`culmen.environment_loops.batching`).
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import dm_env
import jax
import numpy as np
from numpy.typing import NDArray

from culmen.core import specs as core_specs
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import Nest
from culmen.core.types import TimeStep


class VectorEnvironment(Protocol):
    """Lanes that step together. All arrays are NumPy's, new at every step, with the lanes B in front.

    It begins the next episode of a lane by itself, on the step after LAST, whose action it ignores, and
    gives the true last observation at LAST. At FIRST rewards are 0 and discounts 1.
    """

    def reset(self) -> TimeStep:
        """Begins an episode in every lane. Returns: FIRST, leaves [B, ...]."""
        ...

    def step(
        self,
        action: Nest,
        begins: NDArray[np.bool_] | None = None,
        stays: NDArray[np.bool_] | None = None,
    ) -> TimeStep:
        """Takes a step.

        Args:
            action: leaves [B, ...].
            begins: bool[B]: lanes that begin an episode instead, wherever they are; None: none.
            stays: bool[B]: lanes that are left as they are; what is returned of them is not read; None:
                none.
        """
        ...

    def metrics(self, lane: int) -> Mapping[str, Any]:
        """The named numbers of a lane's last time step (culmen.core.metrics)."""
        ...

    def render(self, lane: int) -> NDArray[np.uint8]:
        """Draws a lane: uint8[H, W, 3]. Raises: ValueError where it can't be drawn."""
        ...

    def close(self) -> None:
        """Ends its threads and processes."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class VectorMaker:
    """Makes vector environments of one kind. Lanes around the same object are joined."""

    spec: EnvironmentSpec  # of one lane, with one reward and one discount
    make: Callable[[Sequence[int]], VectorEnvironment]  # the seeds of its lanes -> the environment
    metrics: tuple[str, ...] = ()  # the numbers that are logged
    source: 'VectorMaker | None' = None  # the one of which this one logs other numbers


class VectorLane(dm_env.Environment):
    """One lane of a vector environment. It can't be saved in mid-episode."""

    restorable = False

    def __init__(self, maker: VectorMaker, seed: int) -> None:
        """Makes no vector environment yet. Args: seed: of the lane."""
        self.maker = maker
        self.seed = seed
        self._vector: VectorEnvironment | None = None
        self._ignores_action = True  # whether the next step ignores its action
        self._joined: tuple[JoinedLanes, int] | None = None

    def around(self, maker: VectorMaker) -> 'VectorLane':
        """Another lane with the seed of this one, before its first episode."""
        return VectorLane(maker, self.seed)

    def join(self, lanes: 'JoinedLanes', number: int) -> None:
        """Gives the lane to others that are stepped with it. Raises: ValueError if it has begun."""
        if self._vector is not None or self._joined is not None:
            raise ValueError('a lane that has begun, or was joined, can not be joined with others.')
        self._joined = lanes, number

    def metric_names(self) -> tuple[str, ...]:
        """The numbers that are logged."""
        return self.maker.metrics

    def metrics(self) -> Mapping[str, Any]:
        """The numbers of the last time step; none before the first."""
        vector, number = self._source()
        return {} if vector is None else vector.metrics(number)

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode."""
        if self._vector is None:
            return self._tell(self._begin().reset())
        action = core_specs.zeros_like(self.maker.spec.action, (1,))
        return self._tell(self._vector.step(action, begins=np.ones(1, bool)))

    def step(self, action: Any) -> dm_env.TimeStep:
        """Takes a step; gives FIRST after LAST, and before the first episode.

        Raises: SpecError that names an action which is not of the spec; RuntimeError if it is joined.
        """
        if self._vector is None:
            return self._tell(self._begin().reset())
        spec = self.maker.spec.action
        if self._ignores_action:
            action = core_specs.zeros_like(spec)
        else:
            core_specs.check_action(spec, action)
        batch = jax.tree_util.tree_map(
            lambda leaf, value: np.asarray(value, leaf.dtype)[None], spec, action
        )
        return self._tell(self._vector.step(batch))

    def _begin(self) -> VectorEnvironment:
        if self._joined is not None:
            raise RuntimeError('this lane is stepped with the others that it was joined with.')
        self._vector = self.maker.make([self.seed])
        return self._vector

    def _source(self) -> tuple[VectorEnvironment | None, int]:
        """Where this lane is: (vector environment, number of the lane)."""
        if self._joined is None:
            return self._vector, 0
        lanes, number = self._joined
        return lanes.vector, number

    def _tell(self, timestep: TimeStep) -> dm_env.TimeStep:
        told = lane_timestep(timestep, 0)
        self._ignores_action = told.last()
        return told

    def observation_spec(self) -> Any:
        return self.maker.spec.observation

    def action_spec(self) -> Any:
        return self.maker.spec.action

    def reward_spec(self) -> Any:
        return self.maker.spec.reward

    def discount_spec(self) -> Any:
        return self.maker.spec.discount

    def render(self) -> NDArray[np.uint8]:
        """uint8[H, W, 3]. Raises: ValueError where it can't be drawn."""
        if self._joined is None and self._vector is None:
            self.reset()
        vector, number = self._source()
        if vector is None:
            raise ValueError('nothing can be drawn before the first episode.')
        return vector.render(number)

    def close(self) -> None:
        """Ends what steps the lane, and with it the lanes that it was joined with."""
        if self._joined is not None:
            self._joined[0].close()
        elif self._vector is not None:
            self._vector.close()
            self._vector = None
            self._ignores_action = True


class JoinedLanes:
    """Lanes of one maker, stepped by one vector environment, which is made at the first reset."""

    def __init__(self, lanes: Sequence[VectorLane]) -> None:
        """Args: lanes: none of which has begun. Raises: ValueError if one has."""
        self._maker = lanes[0].maker
        self._seeds = [lane.seed for lane in lanes]
        for number, lane in enumerate(lanes):
            lane.join(self, number)
        self.vector: VectorEnvironment | None = None

    def reset(self) -> TimeStep:
        """Begins an episode in every lane."""
        if self.vector is not None:
            everywhere = np.ones(len(self._seeds), bool)
            action = core_specs.zeros_like(self._maker.spec.action, (len(self._seeds),))
            return self.vector.step(action, begins=everywhere)
        self.vector = self._maker.make(self._seeds)
        return self.vector.reset()

    def close(self) -> None:
        """Closes the vector environment."""
        vector, self.vector = self.vector, None
        if vector is not None:
            vector.close()


def lane_timestep(timestep: TimeStep, lane: int) -> dm_env.TimeStep:
    """One lane of a batched time step, as dm_env has it."""
    of_lane = jax.tree_util.tree_map(lambda leaf: np.asarray(leaf[lane]), timestep.observation)
    kind = int(timestep.step_type[lane])
    if kind == FIRST:
        return dm_env.restart(of_lane)
    return dm_env.TimeStep(
        dm_env.StepType(kind), timestep.reward[lane], timestep.discount[lane], of_lane
    )


def batched_timestep(
    observation: Nest,
    reward: NDArray[Any],
    first: NDArray[np.bool_],
    terminated: NDArray[np.bool_],
    truncated: NDArray[np.bool_],
) -> TimeStep:
    """The time step of lanes from what gymnasium's interface gives.

    Args: first: bool[B]: lanes that began an episode, in which the other numbers don't count.
    """
    ended = terminated | truncated
    with np.errstate(
        over='ignore'
    ):  # an infinite reward is refused with its lane, where lanes are joined
        paid = np.where(first, 0, reward).astype(np.float32)
    return TimeStep(
        np.where(first, FIRST, np.where(ended, LAST, MID)).astype(np.int32),
        paid,
        np.where(terminated & ~first, np.float32(0), np.float32(1)),
        observation,
    )
