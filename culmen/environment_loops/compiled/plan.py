"""What is fixed before a run begins: environment, agent, tables, devices and the number of runs."""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any
from typing import TypeAlias

import jax
import numpy as np

from culmen.components.actors.actor import extras_spec
from culmen.components.files import OnLostRows
from culmen.components.learners import RULE_STEPS
from culmen.components.learners import metric_names
from culmen.components.replay import RowSpec
from culmen.components.replay import sample_spec
from culmen.components.replay.device import DeviceTables
from culmen.components.replay.device.datasets import DatasetRows
from culmen.components.replay.recording.recorded import Recorded
from culmen.core.agent import Parts
from culmen.core.environments import JaxEnvironment
from culmen.core.experience import live
from culmen.core.experience import recorded
from culmen.core.experience import within
from culmen.core.pretraining import pretraining
from culmen.core.rules import updates
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import first_timestep
from culmen.core.types import Lanes
from culmen.environment_loops.compiled.lanes import LaneGroups
from culmen.environment_loops.compiled.lanes import lane_groups
from culmen.environment_loops.compiled.shards import Shards
from culmen.environment_loops.faults import Faults

_MAX_REPORTED = 2**16  # most time steps (ticks x lanes x runs) of one call
_MIN_TICKS = 16

Settings: TypeAlias = dict[str, Any]  # swept numbers of an agent's config by name; traced


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """What is compiled: an agent in an environment, with its tables."""

    groups: LaneGroups
    parts: Parts
    lanes: Lanes
    row_spec: RowSpec
    tables: DeviceTables
    metric_names: tuple[str, ...]
    faults: Faults
    rebuild: Callable[[Settings], Parts] | None = None  # None: a run has no settings
    shards: Shards | None = None  # None: one device
    num_runs: int | None = None  # K runs side by side, leaves [K, ...]; None: a single run
    recorded: Mapping[str, Recorded] = MappingProxyType({})  # of each Dataset, by name of the table
    # The rows of each Dataset on the device, which all runs share; an input of a compiled call.
    data: Mapping[str, DatasetRows] = MappingProxyType({})

    @property
    def computed_metrics(self) -> tuple[str, ...]:
        """The metrics that updates give, without the counts of rules."""
        counts = [within(rule, RULE_STEPS) for rule in updates(self.parts.learner) if rule]
        return tuple(name for name in self.metric_names if name not in counts)

    @property
    def updates_before(self) -> dict[str, int]:
        """The updates before the first action, by rule."""
        return pretraining(self.parts.experience)

    @property
    def num_lanes(self) -> int:
        """The number of lanes, B."""
        return len(self.lanes.index)

    @property
    def max_ticks(self) -> int:
        """The most ticks that one call can report."""
        return max(_MAX_REPORTED // (self.num_lanes * (self.num_runs or 1)), _MIN_TICKS)

    def over_runs(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Turns a function of one run into one of all runs (vmap)."""
        return function if self.num_runs is None else jax.vmap(function)

    def agent(self, settings: Settings) -> tuple[Parts, DeviceTables]:
        """The agent and the tables of a run with these settings."""
        if self.rebuild is None or not settings:
            return self.parts, self.tables
        parts = self.rebuild(settings)
        return parts, DeviceTables(parts.experience, self.row_spec, self.num_lanes, self.recorded)

    def share(self, batch: Any) -> Any:
        """Splits the rows of a run's batch over the devices, if there are several."""
        if self.shards is None or self.num_runs is not None:
            return batch
        return self.shards.share(batch)


def make_plan(
    environments: JaxEnvironment | Sequence[JaxEnvironment],
    parts: Parts,
    lanes: Lanes,
    rebuild: Callable[[Settings], Parts] | None = None,
    shards: Shards | None = None,
    on_lost_rows: OnLostRows = 'drop',
) -> Plan:
    """Plans a single run, and reads its Datasets. Args and Raises: as for `CompiledLoop`."""
    groups = lane_groups(environments, len(lanes.index))
    spec = groups.spec
    if getattr(spec.reward, 'shape', None) != ():
        raise ValueError(
            f'reward must be one number in a compiled program, got {spec.reward}; the local '
            f'launcher takes nests of them.'
        )
    faults = Faults(spec)
    row_spec = _row_spec(parts, spec, lanes)
    if live(parts.experience) is None:
        raise ValueError(
            'experience is of Datasets alone, which no actor writes to: the offline launcher '
            'trains on it (culmen.launchers.offline.run, --launcher offline).'
        )
    read = {
        name: Recorded(dataset, row_spec, on_lost_rows, with_frames=False)
        for name, dataset in recorded(parts.experience).items()
    }
    sizes = {name: len(each) for name, each in read.items()}
    tables = DeviceTables(parts.experience, row_spec, len(lanes.index), read)
    samples = sample_spec(parts.experience, row_spec, len(lanes.index), sizes)
    names = metric_names(parts.learner, samples)
    return Plan(
        groups,
        parts,
        lanes,
        row_spec,
        tables,
        names,
        faults,
        rebuild,
        shards,
        recorded=read,
    )


def _row_spec(parts: Parts, spec: EnvironmentSpec, lanes: Lanes) -> RowSpec:
    """The specs of what a row of the stream holds."""
    learner, first = parts.learner, first_timestep(spec, len(lanes.index))
    params = jax.eval_shape(lambda: learner.variables(learner.init(jax.random.key(0))))
    return RowSpec(spec, *extras_spec(parts.actor, params, first, lanes))


def as_arrays(settings: Mapping[str, Any]) -> Settings:
    """Settings as arrays that can be traced: int32[] or float32[]."""
    return {
        name: np.asarray(value, np.int32 if isinstance(value, int) else np.float32)
        for name, value in settings.items()
    }
