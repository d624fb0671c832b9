"""The lanes of a compiled program, stepped together in groups of one environment each.

Lane i has environment i modulo the number of environments. Each group is one vmap; time steps, actions and
seeds are in the order of the lanes everywhere else. With a single environment nothing is grouped.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.environments import functional
from culmen.core.environments import JaxEnvironment
from culmen.core.metrics import Metric
from culmen.core.metrics import metrics_of
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Nest
from culmen.core.types import TimeStep
from culmen.environment_loops.episode_metrics import columns_of_lanes

# A LaneState [B, ...]; of several environments a tuple of one for each, of its lanes in order.
LanesState: TypeAlias = Any


class LaneGroups:
    """The environments of B lanes, as functions of all lanes at once. All functions are traced."""

    def __init__(self, environments: Sequence[JaxEnvironment], num_lanes: int) -> None:
        """Args: environments: of the same spec, no more than lanes; num_lanes: B."""
        self.environments = tuple(environments)
        self.num_lanes = num_lanes
        self._metrics = [metrics_of(each) for each in self.environments]
        # By column; lanes of environments without a number have NaN there.
        self.metrics: dict[str, Metric] = {
            metric.column: metric for each in self._metrics for metric in each
        }
        order = np.concatenate([self._lanes_of(group) for group in range(len(self.environments))])
        self._places = np.argsort(order)  # of each lane, where groups stand one after another

    @property
    def spec(self) -> EnvironmentSpec:
        """The specs of one environment."""
        return self.environments[0].spec()

    @property
    def columns_of_lanes(self) -> list[tuple[str, ...]]:
        """The columns of named numbers that each lane has."""
        groups = [columns_of_lanes([metrics]) for metrics in self._metrics]
        return [groups[lane % len(groups)] for lane in range(self.num_lanes)]

    def begin(self, keys: jax.Array) -> tuple[LanesState, TimeStep]:
        """Begins an episode in every lane. Args: keys: uint32[B, 2]. Returns: (lanes, FIRST [B, ...])."""
        return self._each(lambda environment, key: functional.begin(environment, key), keys)

    def advance(self, lanes: LanesState, action: Nest) -> tuple[LanesState, TimeStep]:
        """Takes a step in every lane. Args: action: leaves [B, ...]."""

        def step(environment: JaxEnvironment, lane: Any, action: Nest) -> Any:
            return functional.advance(environment, lane, action)

        return self._each(step, action, lanes)

    def keys(self, lanes: LanesState) -> jax.Array:
        """The keys of the lanes: uint32[B, 2]."""
        keys: jax.Array = self._join([group.key for group in self._groups(lanes)])
        return keys

    def measure(self, lanes: LanesState) -> dict[str, jax.Array]:
        """The named numbers of the lanes' last time steps by column: float32[B]."""
        if not self.metrics:
            return {}
        groups = self._groups(lanes)
        given: list[Mapping[str, Any]] = [
            jax.vmap(environment.measure)(group.state)  # type: ignore[attr-defined]
            if metrics
            else {}
            for environment, metrics, group in zip(
                self.environments, self._metrics, groups, strict=True
            )
        ]
        return {
            column: self._join(
                [
                    jnp.asarray(numbers[metric.name], jnp.float32)
                    if metric in metrics
                    else jnp.full(len(group.key), jnp.nan, jnp.float32)
                    for numbers, metrics, group in zip(given, self._metrics, groups, strict=True)
                ]
            )
            for column, metric in self.metrics.items()
        }

    def select(self, mask: jax.Array, new: LanesState, old: LanesState) -> LanesState:
        """The new states in the lanes of a mask, bool[B], and the old ones in the others."""

        def of_group(mask: jax.Array, new: Any, old: Any) -> Any:
            return jax.tree_util.tree_map(
                lambda a, b: jnp.where(jnp.reshape(mask, (-1,) + (1,) * (b.ndim - 1)), a, b),
                new,
                old,
            )

        if len(self.environments) == 1:
            return of_group(mask, new, old)
        return tuple(map(of_group, self._split(mask), new, old))

    def _each(
        self, function: Callable[..., Any], by_lane: Nest, states: LanesState | None = None
    ) -> tuple[LanesState, TimeStep]:
        """Calls a function of an environment and of one lane's values for all lanes."""
        values = self._split(by_lane)
        stepped = []
        for group, environment in enumerate(self.environments):
            args = (
                (values[group],) if states is None else (self._groups(states)[group], values[group])
            )
            one: Callable[..., Any] = lambda *args, environment=environment: function(
                environment, *args
            )
            stepped.append(jax.vmap(one)(*args))
        if len(stepped) == 1:
            return stepped[0]  # type: ignore[no-any-return]
        return tuple(lanes for lanes, _ in stepped), self._join([each for _, each in stepped])

    def _groups(self, lanes: LanesState) -> Sequence[Any]:
        return (lanes,) if len(self.environments) == 1 else lanes

    def _lanes_of(self, group: int) -> np.ndarray[Any, Any]:
        return np.arange(group, self.num_lanes, len(self.environments))

    def _split(self, by_lane: Nest) -> list[Nest]:
        """Values of all lanes as those of each group."""
        if len(self.environments) == 1:
            return [by_lane]
        step = len(self.environments)
        return [
            jax.tree_util.tree_map(lambda leaf, group=group: leaf[group::step], by_lane)
            for group in range(step)
        ]

    def _join(self, groups: Sequence[Nest]) -> Any:
        """Values of each group as those of all lanes, in order."""
        if len(groups) == 1:
            return groups[0]

        def join(*leaves: jax.Array) -> jax.Array:
            if self.num_lanes % len(leaves) == 0:  # each device has its own lanes of every group
                stacked = jnp.stack(leaves, axis=1)
                return jnp.reshape(stacked, (self.num_lanes, *stacked.shape[2:]))
            return jnp.concatenate(leaves)[self._places]

        return jax.tree_util.tree_map(join, *groups)


def lane_groups(
    environments: JaxEnvironment | Sequence[JaxEnvironment], num_lanes: int
) -> LaneGroups:
    """The lanes of one environment, or of several."""
    several = environments if isinstance(environments, Sequence) else (environments,)
    return LaneGroups(several, num_lanes)
