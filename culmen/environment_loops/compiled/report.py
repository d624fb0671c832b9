"""What happened in one compiled call: the device records it at each tick, and the host reads it."""

import functools
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from culmen.components.counts import wide
from culmen.components.counts.wide import Wide
from culmen.core.experience import version_shape
from culmen.environment_loops.batched import Episode
from culmen.environment_loops.compiled import episodes
from culmen.environment_loops.compiled.lanes import LaneGroups
from culmen.environment_loops.compiled.plan import Plan

_UNLIMITED = 2**31 - 1


class Limits(NamedTuple):
    """The limits of a call, which ends at the first one reached; or the amounts that it has used.

    Each is int32[], or int32[K] for K runs side by side.
    """

    ticks: Any
    actor_steps: Any
    updates: Any


def as_limits(ticks: int, actor_steps: int | None, updates: int | None) -> Limits:
    """Limits as int32[]. None means no limit."""
    limits = (ticks, actor_steps, updates)
    return Limits(
        *(np.int32(_UNLIMITED if each is None else min(each, _UNLIMITED)) for each in limits)
    )


class Record(NamedTuple):
    """One entry per tick of a call, leaves [max_ticks, ...]; only the first `ticks` entries are valid."""

    ended: episodes.Ended
    actor_steps: jax.Array  # int32[]: since the call began
    updates: jax.Array  # int32[]: since the call began
    metrics: jax.Array  # float32[metrics]: of the last update of each rule, by name
    faults: jax.Array  # int32[B]: of each lane, as in `Faults`
    rule_steps: tuple[Wide, ...] = ()  # as in `Carry`


def empty_record(plan: Plan) -> Record:
    """The record of a call before its first tick."""
    shape = (plan.max_ticks,) if plan.num_runs is None else (plan.max_ticks, plan.num_runs)
    numbers = jnp.zeros(shape, jnp.int32)
    return Record(
        episodes.zero_ended((*shape, plan.num_lanes), plan.groups.metrics),
        numbers,
        numbers,
        jnp.zeros((*shape, len(plan.computed_metrics)), jnp.float32),
        jnp.zeros((*shape, plan.num_lanes), jnp.int32),
        (Wide(jnp.zeros(shape, jnp.uint32), jnp.zeros(shape, jnp.uint32)),)
        * sum(version_shape(plan.parts.experience)),
    )


def write_entry(record: Any, entry: Any, tick: jax.Array) -> Any:
    """Writes an entry into a record at a tick. Args: record, entry: nests of the same structure."""
    return jax.tree_util.tree_map(
        lambda rows, new: jax.lax.dynamic_update_index_in_dim(rows, new, tick, 0), record, entry
    )


class Report:
    """Results of one compiled call for one run; reading any of them waits for the device."""

    def __init__(self, fetch: Callable[[], tuple[Record, Limits]], groups: LaneGroups) -> None:
        """Args: fetch: called when first read; returns the record and how much of the limits the run used.
        groups: the lanes.
        """
        self._fetch = fetch
        self._groups = groups

    @functools.cached_property
    def _fetched(self) -> tuple[Record, Limits]:
        return self._fetch()

    @property
    def ticks(self) -> int:
        """Ticks of the call."""
        return int(np.asarray(self._fetched[1].ticks))

    @property
    def actor_steps(self) -> int:
        """Steps of the environments in the call."""
        return int(np.asarray(self._fetched[1].actor_steps))

    @property
    def updates(self) -> int:
        """Updates of the call."""
        return int(np.asarray(self._fetched[1].updates))

    def actor_steps_by_tick(self) -> NDArray[Any]:
        """int32[ticks]: since the call began."""
        return np.asarray(self._fetched[0].actor_steps)[: self.ticks]

    def updates_by_tick(self) -> NDArray[Any]:
        """int32[ticks]: since the call began."""
        return np.asarray(self._fetched[0].updates)[: self.ticks]

    def metrics(self, tick: int) -> NDArray[Any]:
        """float32[metrics]: of the last update up to a tick."""
        return np.asarray(self._fetched[0].metrics)[tick]

    def rule_steps(self, tick: int) -> list[int]:
        """The updates so far of each of several rules, up to a tick; of a lone one []."""
        low_high = [(each.low[tick], each.high[tick]) for each in self._fetched[0].rule_steps]
        return [wide.as_int(Wide(low, high)) for low, high in low_high]

    def faults(self) -> NDArray[Any]:
        """int32[ticks, B], as in `Faults`."""
        return np.asarray(self._fetched[0].faults)[: self.ticks]

    def episodes(self) -> Iterator[tuple[int, Episode]]:
        """Yields (tick, episode) of the episodes that ended, in order."""
        groups = self._groups
        return episodes.iterate(
            self._fetched[0].ended, self.ticks, groups.metrics, groups.columns_of_lanes
        )


def report_each(record: Record, used: Limits, num_runs: int, groups: LaneGroups) -> list[Report]:
    """The reports of runs side by side; all are fetched from the device together."""
    fetch_all = functools.cache(lambda: jax.device_get((record, used)))

    def fetch(run: int) -> tuple[Record, Limits]:
        record, used = fetch_all()
        of_run = jax.tree_util.tree_map(lambda leaf: leaf[:, run], record)
        return of_run, Limits(*(count[run] for count in used))

    return [Report(functools.partial(fetch, run), groups) for run in range(num_runs)]
