"""The compiled launcher: environments in JAX, acting, replay and learning in one compiled function.

The host calls this function again and again, for some tenths of a second each. A call reports what happened
at every tick, so log rows, evaluations and checkpoints come at the same steps as in the local launcher.
"""

import functools
import os
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import NamedTuple
from typing import Protocol

import jax
import numpy as np

from culmen.components.checkpointing import from_paths
from culmen.components.checkpointing import to_paths
from culmen.components.counts import wide
from culmen.components.dispatch import distinct
from culmen.components.files import OnLostRows
from culmen.components.learners import NonFiniteLossError
from culmen.components.learners import first_non_finite
from culmen.components.learners import named_metrics
from culmen.components.learners import own_metrics
from culmen.components.loggers import Sink
from culmen.components.replay.device import saving
from culmen.core.experiment import Experiment
from culmen.core.types import Params
from culmen.environment_loops.compiled import Carry
from culmen.environment_loops.compiled import CompiledEvaluator
from culmen.environment_loops.compiled import CompiledLoop
from culmen.environment_loops.compiled import Report
from culmen.launchers import configs
from culmen.launchers.compiled_feeds import Feeds
from culmen.launchers.compiled_plan import CompiledPlan as CompiledPlan
from culmen.launchers.compiled_plan import as_devices
from culmen.launchers.compiled_plan import check_environments
from culmen.launchers.compiled_plan import check_shares
from culmen.launchers.compiled_plan import make_plan as make_plan
from culmen.launchers.engines import Advance
from culmen.launchers.initial import read_initial
from culmen.launchers.journal import Journal
from culmen.launchers.loading import stored_result
from culmen.launchers.options import RunOptions
from culmen.launchers.results import Result
from culmen.launchers.results import refusing
from culmen.launchers.run import Run
from culmen.launchers.run import drive
from culmen.launchers.schedule import Clock
from culmen.launchers.schedule import Counts
from culmen.launchers.workdir import Restored
from culmen.launchers.workdir import Workdir
from culmen.launchers.workdir import WorkerState

_CALL_SECONDS = 0.2  # that a call should take


def run(
    experiment: Experiment,
    workdir: str | os.PathLike[str] | None = None,
    *,
    plan: CompiledPlan | None = None,
    loggers: Sequence[Sink] = (),
    device: jax.Device | Sequence[jax.Device] | None = None,
    progress: bool | None = None,
    on_non_finite: Literal['stop', 'log'] = 'stop',
    until_return: float | None = None,
    on_lost_rows: OnLostRows = 'drop',
) -> Result:
    """Trains in compiled calls, and evaluates the final variables.

    The agent is the same as in every launcher. The environment has to be written in JAX, and the lag is 0.
    The same experiment on the same workdir resumes where it stopped, bit for bit. SIGINT and SIGTERM end a
    run after a checkpoint, and the Result so far is returned.

    Args:
        experiment: what to run.
        workdir: for config, logs, checkpoints and the result; None: nothing is written.
        plan: the result of `make_plan`, so that several runs compile once. Its experiment may differ in seed,
            swept settings, budgets, and times of evaluations and checkpoints. None: made here.
        loggers: receive every row of the logs too.
        device: where to run; several devices share the environments and every batch. None: JAX's default.
            Not with `plan`, which has its own.
        progress: whether to show progress; None: depends on what standard error is.
        on_non_finite: how to treat a loss that is not finite: 'stop' the run after a checkpoint in a place
            of its own, or 'log' the loss and continue.
        until_return: the run ends when the mean return of an evaluation reaches this.
        on_lost_rows: what to do if only files of rows in a checkpoint or a recording are damaged: 'drop'
            the items that need them and continue, or 'refuse'.
    Returns: the Result.
    Raises: Refused (a ValueError) for what is wrong before any compute; NonFiniteLossError;
        EnvironmentFailure and ActionFailure that name the lane; OSError that names a file.
    """
    with refusing():
        options = RunOptions(loggers, progress, on_non_finite, until_return, on_lost_rows)
        if plan is not None and device is not None:
            raise ValueError(f'device must be None with a plan, which has its own, got {device}.')
        config = configs.to_json(experiment, launcher='compiled', replay='device')
        home = Workdir(workdir, experiment, config, ends=options.ends)
    if home.summary is not None:
        return stored_result(home, experiment)
    with home:
        with refusing():
            if plan is None:
                devices = as_devices(device)
                check_shares(experiment, devices)
                plan = make_plan(experiment, devices=devices, on_lost_rows=on_lost_rows)
            else:
                check_environments(experiment, plan.built, plan.environments, plan.evaluations)
            engine = CompiledEngine(
                plan, experiment, options.stop_on_non_finite, resumed=home.has_checkpoint
            )
        return drive(Run(experiment, plan.built, engine, home, options))


class Status(NamedTuple):
    """What the host reads after every call."""

    metrics: dict[str, float]  # of the last update of each rule
    non_finite: Any  # as of `mark_non_finite`
    faults: list[bool]  # as in `DeviceTables.faults`
    rule_steps: list[int]  # the updates of each of several rules; of a lone one []

    @classmethod
    def of(cls, looked: Any) -> 'Status':
        """Converts the result of `CompiledLoop.status`, once it is on the host."""
        metrics, non_finite, faults, rule_steps = looked
        values = {name: float(value) for name, value in metrics.items()}
        return cls(values, non_finite, faults.tolist(), [wide.as_int(each) for each in rule_steps])


class CarryHolder(Protocol):
    """Holds the state of a run on the device, either alone or stacked with the states of other runs."""

    @property
    def carry(self) -> Carry:
        """A copy of the whole state."""
        ...

    @property
    def variables(self) -> Params:
        """The newest variables."""
        ...

    def get_status(self) -> Status:
        """What is looked at after every call."""
        ...


class OwnCarry:
    """The state of a run that is not stacked with others."""

    def __init__(self, loop: CompiledLoop, carry: Carry) -> None:
        self._loop = loop
        self.carry = carry

    @property
    def variables(self) -> Params:
        """The newest variables."""
        return self._loop.variables(self.carry)

    def get_status(self) -> Status:
        """What is looked at after every call."""
        return Status.of(jax.device_get(self._loop.status(self.carry)))


class CompiledEngine:
    """A run as calls of a compiled function (culmen.launchers.engines.Engine)."""

    clock: Clock = 'actor_steps'
    has_python = False

    def __init__(
        self,
        plan: CompiledPlan,
        experiment: Experiment,
        stop_on_non_finite: bool,
        *,
        resumed: bool = False,
    ) -> None:
        """Begins the run and observes its first time step.

        Args:
            plan: of this experiment, or of one that shares it.
            experiment: what is run.
            stop_on_non_finite: whether a loss that is not finite ends the run.
            resumed: whether `start` gets a checkpoint.
        Raises: ValueError that names what of `Experiment.initial` does not fit.
        """
        self.plan = plan
        self.seed, self.settings = experiment.seed, plan.settings_of(experiment)
        self.metric_names = plan.loop.metric_names
        self.ticks = 16  # in the next call
        self._updates_at_once = 16  # in the next call of pretraining
        self.counts = Counts(0, 0)
        carry = plan.loop.begin(self.seed, self.settings)
        initial = read_initial(experiment, plan.built.parts.learner, resumed=resumed)
        if initial is not None:
            own = carry.training_state
            state = from_paths('training_state', own, {**to_paths(own), **initial})
            carry = distinct(carry._replace(training_state=state))
        self.holder: CarryHolder = OwnCarry(plan.loop, carry)
        self.feeds = Feeds(plan.loop.tables, self.seed)
        self._stop_on_non_finite = stop_on_non_finite
        self._timed = False

    @property
    def variables(self) -> Params:
        """The newest variables."""
        return self.holder.variables

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the last update; empty before the first."""
        status = self.holder.get_status()
        return self._named(status.metrics, status.rule_steps, self.counts.learner_steps)

    def _named(
        self, computed: Mapping[str, float], rule_steps: Sequence[int], learner_steps: int
    ) -> dict[str, float]:
        """Computed metrics as a log has them: of the rules that have made an update, and their counts."""
        rules = self.plan.loop.rules
        found: dict[str, float] = {}
        for rule, steps in zip(rules, rule_steps or [learner_steps], strict=True):
            if steps:
                found |= named_metrics(rule, own_metrics(rule, computed), steps)
        return found

    def evaluator(self, stop: Callable[[], bool], tell: Callable[[str], None]) -> CompiledEvaluator:
        """Makes the run's evaluator; all runs of a plan share its compiled functions."""
        return self.plan.evaluator.of(self.seed, stop, self.settings, tell)

    def start(self, restored: Restored | None) -> int:
        """Resumes from a checkpoint, if there is one."""
        return 0 if restored is None else self._go_on(restored)

    def left(self, request: Advance) -> tuple[int, int]:
        """The actor steps and updates that a request allows; (0, 0): none."""
        steps, updates = (
            due - count for due, count in zip(request.counts, self.counts, strict=True)
        )
        return (0, 0) if steps <= 0 or updates <= 0 or request.stop() else (steps, updates)

    def advance(self, request: Advance, journal: Journal) -> None:
        """Makes one compiled call."""
        steps, updates = self.left(request)
        if steps and self.is_pretraining:
            self._pretrain(updates)
        elif steps:
            begin = time.perf_counter()
            carry = self.holder.carry
            if self.feeds and self.feeds.refill(self.draws):
                carry = carry._replace(feeds=distinct(self.feeds.now))
            carry, report = self.plan.loop.run(carry, self.next_ticks, steps, updates)
            self.holder = OwnCarry(self.plan.loop, carry)
            self.take(report, journal)
            self.adapt(time.perf_counter() - begin)

    @property
    def is_pretraining(self) -> bool:
        """Whether updates before the first action are left."""
        steps = self.rule_steps if self.plan.loop.updates_before else {}
        return any(steps[rule] < most for rule, most in self.plan.loop.updates_before.items())

    def _pretrain(self, updates: int) -> None:
        """Makes one compiled call of updates before the first action. Args: updates: that are allowed."""
        begin = time.perf_counter()
        carry = self.holder.carry
        if self.feeds.refill(self.draws):
            carry = carry._replace(feeds=distinct(self.feeds.now))
        at_once = min(updates, self._updates_at_once, self.feeds.left(self.draws))
        carry, made = self.plan.loop.pretrain(carry, at_once)
        self.holder = OwnCarry(self.plan.loop, carry)
        self.counts = self.counts._replace(learner_steps=self.counts.learner_steps + made)
        self.check_finite()
        factor = _CALL_SECONDS / max(time.perf_counter() - begin, 1e-3)
        self._updates_at_once = max(int(self._updates_at_once * min(max(factor, 0.5), 4.0)), 1)

    @property
    def rule_steps(self) -> dict[str, int]:
        """The updates of each rule so far."""
        rules, counts = self.plan.loop.rules, [self.counts.learner_steps]
        if len(rules) > 1:
            counts = list(self.holder.get_status().rule_steps)
        return dict(zip(rules, counts, strict=True))

    @property
    def draws(self) -> dict[str, int]:
        """The draws of each Dataset so far, by name of the table: the updates of its rule."""
        steps = self.rule_steps
        return {name: steps[rule] for name, rule in self.plan.loop.tables.rules.items()}

    @property
    def next_ticks(self) -> int:
        """The ticks of the next call; `feeds` are filled for its updates."""
        return min(self.ticks, self.feeds.ticks(self.draws)) if self.feeds else self.ticks

    def adapt(self, seconds: float) -> None:
        """Makes the next call shorter or longer. Args: seconds: of the last one."""
        if self._timed:  # the first one compiles, so its time says nothing
            factor = min(max(_CALL_SECONDS / max(seconds, 1e-3), 0.5), 4.0)
            self.ticks = min(max(int(self.ticks * factor), 1), self.plan.loop.max_ticks())
        self._timed = True

    def take(self, report: Report, journal: Journal) -> None:
        """Counts the steps and updates of a call, and reports it to the journal.

        Raises: EnvironmentFailure, ActionFailure, NonFiniteLossError; ValueError for what a table refused.
        """
        before = self.counts
        self.counts = Counts(
            before.actor_steps + report.actor_steps, before.learner_steps + report.updates
        )
        self.plan.loop.faults.check(report.faults())
        self.check_finite()
        new_steps, new_updates = report.actor_steps_by_tick(), report.updates_by_tick()

        def counts_at(tick: int) -> Counts:
            return Counts(
                before.actor_steps + int(new_steps[tick]),
                before.learner_steps + int(new_updates[tick]),
            )

        def metrics_at(tick: int) -> dict[str, float]:
            computed = self.plan.loop.computed_metrics
            values = dict(zip(computed, report.metrics(tick).tolist(), strict=True))
            return self._named(values, report.rule_steps(tick), counts_at(tick).learner_steps)

        for tick, episode in report.episodes():
            journal.episode(counts_at(tick), episode)
        while journal.rows.is_due(self.counts.actor_steps):
            row_at = journal.rows.next - before.actor_steps
            tick = int(np.searchsorted(new_steps, row_at))
            journal.update(counts_at(tick), functools.partial(metrics_at, tick))

    def finish(self) -> None:
        """Does nothing: compiled calls make every update at the tick at which it is due."""

    def check_finite(self) -> None:
        """Checks for a loss that was not finite, and for something that a table refused.

        Raises: NonFiniteLossError that names the first such update, if the run stops for it; ValueError.
        """
        status = self.holder.get_status()
        update, of = first_non_finite(self.plan.loop.rules, status.non_finite)
        if update and self._stop_on_non_finite:
            raise NonFiniteLossError(
                f'the loss of update {update}{of} was not finite (metrics: {status.metrics}).'
            )
        for complaint, fault in zip(self.plan.loop.tables.complaints, status.faults, strict=True):
            if fault:
                raise ValueError(complaint)

    def get_state(self) -> WorkerState:
        """The state for a checkpoint, without closed rows."""
        carry = self.holder.carry
        carry = carry._replace(tables=saving.open_rows(carry.tables), settings={}, feeds={})
        return WorkerState(
            {
                'newest': to_paths(self.variables),
                'updates': self.counts.learner_steps,
                'carry': to_paths(carry),
            }
        )

    def get_python(self) -> None:
        """Returns None: nothing needs a pickle."""

    @property
    def table(self) -> saving.SavedRows:
        """The closed rows, for a checkpoint."""
        carry = self.holder.carry
        return saving.SavedRows(carry.tables, wide.as_int(carry.ticks))

    def _go_on(self, restored: Restored) -> int:
        begun, saved = self.holder.carry, restored.saved
        empty = jax.eval_shape(lambda carry: carry, begun)
        template = empty._replace(
            tables=jax.eval_shape(saving.open_rows, empty.tables), settings={}, feeds={}
        )
        carry = from_paths('carry', template, restored.state.workers.learner['carry'])
        ticks = wide.as_int(carry.ticks)
        tables = saving.with_rows(empty.tables, carry.tables, ticks, saved.rows, saved.lost)
        tables, dropped = self.plan.loop.tables.drop(tables, ticks, saved.lost)
        carry = distinct(carry._replace(tables=tables, settings=begun.settings, feeds=begun.feeds))
        self.holder = OwnCarry(self.plan.loop, carry)
        self.counts = Counts(wide.as_int(carry.actor_steps), wide.as_int(carry.learner_steps))
        return dropped

    def end(self) -> None:
        """Does nothing: nothing is left to write."""

    def close(self) -> None:
        """Does nothing: the state is freed with the run."""
