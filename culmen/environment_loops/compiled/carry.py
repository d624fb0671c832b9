"""The state of a run between two ticks, and how it begins.

A checkpoint names the leaves by these fields: renaming a field makes older checkpoints unreadable.
"""

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.counts import fold_seed
from culmen.components.counts.wide import Wide
from culmen.components.environments import functional
from culmen.components.replay.device.datasets import Feed
from culmen.components.replay.device.tables import TablesState
from culmen.core.experience import version_shape
from culmen.core.types import Lanes
from culmen.core.types import Params
from culmen.core.types import TimeStep
from culmen.environment_loops.compiled.episodes import Sums
from culmen.environment_loops.compiled.episodes import zero_sums
from culmen.environment_loops.compiled.lanes import LanesState
from culmen.environment_loops.compiled.plan import Plan
from culmen.environment_loops.compiled.plan import Settings


class Keys(NamedTuple):
    """The keys of a run, uint32[2] each. The key of a call is folded from one of them and a count."""

    actor: jax.Array
    learner: jax.Array
    table: jax.Array


class Carry(NamedTuple):
    """The state of a run between two ticks; for K runs side by side, leaves [K, ...]."""

    lanes: LanesState
    timestep: TimeStep  # [B, ...]: observed, not yet acted on
    actor: Any
    training_state: Any
    tables: TablesState
    sums: Sums
    metrics: dict[str, jax.Array]  # float32[]: of the last update of each rule
    non_finite: jax.Array  # as of `mark_non_finite`
    ticks: Wide  # calls of the actor
    actor_steps: Wide
    learner_steps: Wide
    keys: Keys
    settings: Settings
    rule_steps: tuple[Wide, ...] = ()  # of each of several rules, in order; () for a lone one
    feeds: dict[str, Feed] = {}  # the next draws of Datasets, by name of the table

    def without_tables(self) -> 'Carry':
        """The carry without the tables, which are most of its memory."""
        return self._replace(tables=TablesState({}, {}))


class Seeds(NamedTuple):
    """The seeds of a run's parts, folded from the run's seed: uint32[] each."""

    training_state: Any
    actor_state: Any
    lanes: Any  # uint32[B]
    actor: Any
    learner: Any
    table: Any


def fold_seeds(seed: int, lanes: Lanes) -> Seeds:
    """The seeds of a run's parts; the lanes' seeds equal those of the host's loop."""
    seeds = Seeds(
        training_state=fold_seed(seed, 'init', 0),
        actor_state=fold_seed(fold_seed(seed, 'actor', 0), 'init', 1),
        lanes=[fold_seed(seed, 'environment', int(lane)) for lane in lanes.index],
        actor=fold_seed(seed, 'actor'),
        learner=fold_seed(seed, 'learner'),
        table=fold_seed(seed, 'table'),
    )
    return Seeds(*(np.asarray(folded, np.uint32) for folded in seeds))


def begin(plan: Plan, seeds: Seeds, settings: Settings) -> tuple[Carry, jax.Array]:
    """Begins one run, inside a trace. Returns: (carry, int32[B]: faults of the first time step)."""
    parts, tables = plan.agent(settings)
    lanes, timestep = plan.groups.begin(functional.lane_keys(seeds.lanes))
    index = Lanes(jnp.asarray(plan.lanes.index), plan.lanes.total)
    zero = Wide(jnp.uint32(0), jnp.uint32(0))
    carry = Carry(
        lanes=lanes,
        timestep=timestep,
        actor=parts.actor.init(jax.random.key(seeds.actor_state), index),
        training_state=parts.learner.init(jax.random.key(seeds.training_state)),
        tables=tables.observe(tables.init(), timestep),
        sums=zero_sums(plan.num_lanes, plan.groups.metrics),
        metrics={name: jnp.float32(0) for name in plan.computed_metrics},
        non_finite=jnp.zeros(version_shape(plan.parts.experience), jnp.int32),
        ticks=zero,
        actor_steps=zero,
        learner_steps=zero,
        keys=Keys(key_data(seeds.actor), key_data(seeds.learner), key_data(seeds.table)),
        settings=settings,
        rule_steps=(zero,) * sum(version_shape(plan.parts.experience)),
        feeds={name: each.no_feed() for name, each in tables.datasets.items() if each.is_fed},
    )
    return carry, plan.faults.of(timestep)


def variables(plan: Plan, carry: Carry) -> Params:
    """The variables of one run, which actors and evaluators read."""
    parts, _ = plan.agent(carry.settings)
    return parts.learner.variables(carry.training_state)


def shardings(plan: Plan) -> Any:
    """The shardings of a Carry: each device has its share of the runs, or of one run's lanes."""
    shards = plan.shards
    assert shards is not None
    shared = shards.along(0)
    if plan.num_runs is not None:
        return shared
    rows = jax.tree_util.tree_map(
        shards.along,
        plan.tables.lane_axes(jax.eval_shape(plan.tables.init).rows),
        is_leaf=lambda axis: axis is None or isinstance(axis, int),
    )
    fields: Mapping[str, Any] = dict.fromkeys(Carry._fields, shards.whole) | {
        'lanes': shared,
        'timestep': shared,
        'sums': shared,
        'tables': TablesState(rows, shards.whole),  # type: ignore[arg-type]
    }
    return Carry(**fields)


def key_data(seed: Any) -> jax.Array:
    """The key of a seed: uint32[2]."""
    return jax.random.key_data(jax.random.key(seed))
