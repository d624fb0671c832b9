"""The host's side of the compiled loop: begins runs, calls the compiled functions and reports the results."""

import dataclasses
import functools
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from culmen.components.counts.wide import Wide
from culmen.components.dispatch import compile_lazily
from culmen.components.dispatch import distinct
from culmen.components.files import OnLostRows
from culmen.components.replay.device.datasets import DatasetRows
from culmen.core.agent import Parts
from culmen.core.environments import JaxEnvironment
from culmen.core.rules import updates
from culmen.core.types import Lanes
from culmen.core.types import Params
from culmen.environment_loops.compiled import carry as carries
from culmen.environment_loops.compiled.carry import Carry
from culmen.environment_loops.compiled.carry import Seeds
from culmen.environment_loops.compiled.carry import fold_seeds
from culmen.environment_loops.compiled.plan import Plan
from culmen.environment_loops.compiled.plan import Settings
from culmen.environment_loops.compiled.plan import as_arrays
from culmen.environment_loops.compiled.plan import make_plan
from culmen.environment_loops.compiled.report import Limits
from culmen.environment_loops.compiled.report import Record
from culmen.environment_loops.compiled.report import Report
from culmen.environment_loops.compiled.report import as_limits
from culmen.environment_loops.compiled.report import report_each
from culmen.environment_loops.compiled.shards import Shards
from culmen.environment_loops.compiled.ticks import pretrain
from culmen.environment_loops.compiled.ticks import run_ticks


class Status(NamedTuple):
    """What the host reads after every call; still on the device."""

    metrics: dict[str, jax.Array]  # float32[]: of the last update of each rule
    non_finite: jax.Array  # as of `mark_non_finite`
    faults: jax.Array  # bool[tables], as in `DeviceTables.faults`
    rule_steps: tuple[Wide, ...]  # as in `Carry`


class CompiledLoop:
    """The compiled loop of an experiment; one object serves any number of seeds.

    It runs one run, or K runs side by side (`run_all`) with stacked carries: leaves [K, ...]. Runs may differ
    in their seeds and in their settings: numbers of the agent's config that are traced.
    """

    def __init__(
        self,
        environment: JaxEnvironment | Sequence[JaxEnvironment],
        parts: Parts,
        lanes: Lanes,
        rebuild: Callable[[Settings], Parts] | None = None,
        devices: Sequence[jax.Device] = (),
        on_lost_rows: OnLostRows = 'drop',
    ) -> None:
        """Makes a plan, and reads the Datasets; computes nothing.

        Args:
            environment: with a scalar reward and a scalar discount; or several of one spec: lane i has
                environment i modulo their number.
            parts: the agent, built.
            lanes: of its one actor.
            rebuild: builds the agent for a run with settings; None: no run has settings.
            devices: to run on. Several devices share the lanes of a run (their number must divide the number
                of lanes) and every batch, or share the runs side by side. (): JAX's default device.
            on_lost_rows: what to do with lost rows of a recording.
        Raises: ValueError that names the part of the environment or of the experience that can't be compiled.
        """
        shards = Shards(devices) if devices else None
        self._plan = make_plan(environment, parts, lanes, rebuild, shards, on_lost_rows)
        self._pretrain: _Compiled | None = None
        self.updates_before = self._plan.updates_before
        self._data: dict[str, DatasetRows] | None = None  # on the device, from the first call on
        self._begin = jax.jit(functools.partial(carries.begin, self._plan))
        self._variables = jax.jit(functools.partial(carries.variables, self._plan))
        self._compiled: dict[int | None, _Compiled] = {
            None: _Compiled(self._plan)
        }  # keys: the number of runs side by side
        self.num_lanes = self._plan.num_lanes
        self.tables = self._plan.tables
        self.faults = self._plan.faults
        self.metric_names = self._plan.metric_names
        self.computed_metrics = self._plan.computed_metrics
        self.rules = tuple(updates(parts.learner))

    def _of(self, num_runs: int | None) -> Plan:
        return dataclasses.replace(self._plan, num_runs=num_runs)

    def max_ticks(self, num_runs: int = 1) -> int:
        """The most ticks that one call of this many runs can report."""
        return self._of(num_runs).max_ticks

    def begin(self, seed: int, settings: Mapping[str, Any] | None = None) -> Carry:
        """Begins a run and observes its first time step.

        Args:
            seed: of the experiment.
            settings: of the run, numbers by name.
        Raises: EnvironmentFailure that names the lane and the leaf.
        """
        seeds = fold_seeds(seed, self._plan.lanes)
        begun, faults = self._begin(seeds, as_arrays(settings or {}))
        self.faults.check(faults)
        carry: Carry = distinct(begun)
        return carry

    def run(
        self, carry: Carry, ticks: int, actor_steps: int | None = None, updates: int | None = None
    ) -> tuple[Carry, Report]:
        """Runs ticks until a limit is reached. Donates the given carry, which must not be used again.

        Args:
            ticks: at most `max_ticks`.
            actor_steps, updates: limits of this call; None: no limit. B lanes may exceed it by B - 1 steps.
        Returns: (carry, what happened).
        """
        limits = as_limits(min(ticks, self.max_ticks()), actor_steps, updates)
        carry, record, used = self._compiled[None](carry, limits, self._rows())
        return carry, Report(lambda: (record, used), self._plan.groups)

    def pretrain(self, carry: Carry, updates: int) -> tuple[Carry, int]:
        """Makes updates before the first action. Donates the given carry, which must not be used again.

        Args: updates: at most so many.
        Returns: (carry, how many).
        """
        if self._pretrain is None:
            self._pretrain = _Compiled(self._plan, _pretrain, whole_results=1)
        carry, made = self._pretrain(carry, np.int32(updates), self._rows())
        return carry, int(made)

    def run_all(
        self, carry: Carry, ticks: int, limits: Sequence[tuple[int | None, int | None]]
    ) -> tuple[Carry, list[Report]]:
        """Runs K runs side by side, each until a limit of its own. Donates the given carry.

        Args:
            carry: of K runs, leaves [K, ...]; with several devices K must be a multiple of them.
            ticks: at most `max_ticks(K)`.
            limits: (actor steps, updates) of this call for each run; (0, 0): the run does nothing.
        Returns: (carry, what happened in each run).
        """
        num_runs = len(limits)
        ticks = min(ticks, self.max_ticks(num_runs))
        of_runs = Limits(*np.stack([as_limits(ticks, *limit) for limit in limits], axis=1))
        if num_runs not in self._compiled:
            self._compiled[num_runs] = _Compiled(self._of(num_runs))
        carry, record, used = self._compiled[num_runs](carry, of_runs, self._rows())
        return carry, report_each(record, used, num_runs, self._plan.groups)

    def _rows(self) -> dict[str, DatasetRows]:
        """The rows of the Datasets on the device."""
        if self._data is None:
            shards = self._plan.shards
            rows = {name: each.rows() for name, each in self.tables.datasets.items()}
            self._data = jax.device_put(rows, None if shards is None else shards.whole)
        return self._data

    def variables(self, carry: Carry) -> Params:
        """A copy of the variables that actors and evaluators read, on one device."""
        variables = distinct(self._variables(carry.without_tables()))
        if self._plan.shards is None:
            return variables
        return jax.device_put(variables, self._plan.shards.devices[0])

    def status(self, carry: Carry) -> Status:
        """What the host reads after every call."""
        faults = self.tables.faults(carry.tables.items)
        return Status(carry.metrics, carry.non_finite, faults, carry.rule_steps)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Traces the loop with settings. Raises: what tracing raises if they can't be traced."""
        one = jax.ShapeDtypeStruct((), np.uint32)
        lanes = jax.ShapeDtypeStruct((self.num_lanes,), np.uint32)
        shapes = jax.eval_shape(lambda: as_arrays(settings))
        seeds = Seeds(one, one, lanes, one, one, one)
        carry, _ = jax.eval_shape(functools.partial(carries.begin, self._plan), seeds, shapes)
        limits = jax.eval_shape(lambda: as_limits(1, 1, 1))
        data = {name: each.rows() for name, each in self.tables.datasets.items()}
        jax.eval_shape(functools.partial(_run, self._plan), carry, limits, data)

    @property
    def num_compilations(self) -> int:
        """1 for all single runs, and 1 more for each number of runs side by side."""
        return sum(compiled.num_compilations for compiled in self._compiled.values())


def _run(
    plan: Plan, carry: Carry, limits: Limits, data: dict[str, DatasetRows]
) -> tuple[Carry, Record, Limits]:
    return run_ticks(dataclasses.replace(plan, data=data), carry, limits)


def _pretrain(
    plan: Plan, carry: Carry, updates: jax.Array, data: dict[str, DatasetRows]
) -> tuple[Carry, jax.Array]:
    return pretrain(dataclasses.replace(plan, data=data), carry, updates)


class _Compiled:
    """A jitted function of a plan, by default `run_ticks`; compiled at the first call."""

    def __init__(
        self, plan: Plan, function: Callable[..., Any] = _run, whole_results: int = 2
    ) -> None:
        """Args: whole_results: of the function, beside the carry."""
        function = functools.partial(function, plan)
        self._shardings: Any = None
        if plan.shards is None:
            self._function = compile_lazily(function, donate_argnums=0)
            return
        whole = plan.shards.whole
        self._shardings = carries.shardings(plan)
        self._function = compile_lazily(
            function,
            donate_argnums=0,
            in_shardings=(self._shardings, whole, whole),
            out_shardings=(
                self._shardings,
                *[whole] * (whole_results - 1),
                whole if plan.num_runs is None else plan.shards.along(0),
            ),
        )

    def __call__(self, carry: Carry, limits: Any, data: dict[str, DatasetRows]) -> Any:
        if self._shardings is not None:
            carry = jax.device_put(carry, self._shardings)
        return self._function(carry, limits, data)

    @property
    def num_compilations(self) -> int:
        return int(self._function._cache_size())
