"""One run on any engine: its logs, evaluations, checkpoints and result.

`Run.requests` is a whole run, from top to bottom. When it needs its engine it yields a request to advance or
to evaluate, and the driver answers it. `drive` answers with the run's own engine; the launcher of many
compiled runs collects the requests of all runs and answers them with one compiled call.
"""

import contextlib
import time
from collections.abc import Generator
from collections.abc import Mapping
from typing import Any
from typing import Generic
from typing import TypeVar

import jax
import numpy as np

from culmen.components.learners import NonFiniteLossError
from culmen.components.loggers import Logs
from culmen.components.loggers import make_progress
from culmen.core.experiment import Experiment
from culmen.environment_loops.batched import reward_names
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.environment_loops.evaluation import Interrupted
from culmen.environment_loops.observers import hearing
from culmen.launchers import rows
from culmen.launchers.building import Built
from culmen.launchers.engines import Advance
from culmen.launchers.engines import Engine
from culmen.launchers.engines import Evaluate
from culmen.launchers.factories import labels_of
from culmen.launchers.journal import Journal
from culmen.launchers.options import Interruption
from culmen.launchers.options import RunOptions
from culmen.launchers.policies import MakePolicy
from culmen.launchers.restoring import fitting
from culmen.launchers.restoring import refusing_checkpoints
from culmen.launchers.restoring import tell_losses
from culmen.launchers.results import Result
from culmen.launchers.results import exits_fail
from culmen.launchers.schedule import Counts
from culmen.launchers.schedule import Schedule
from culmen.launchers.schedule import ScheduleState
from culmen.launchers.workdir import Restored
from culmen.launchers.workdir import RunState
from culmen.launchers.workdir import Workdir
from culmen.launchers.workdir import make_summary

_POLL_SECONDS = 0.1

EngineT = TypeVar('EngineT', bound=Engine)


class Run(Generic[EngineT]):
    """A run of an experiment in this process."""

    def __init__(
        self,
        experiment: Experiment,
        built: Built,
        engine: EngineT,
        workdir: Workdir,
        options: RunOptions,
        interruption: Interruption | None = None,
    ) -> None:
        """Makes a run that has not started.

        Args: interruption: shared with other runs, if the caller handles signals; None: the run's own.
        """
        self.engine = engine
        self.interruption = interruption or Interruption()
        self._hears_signals = interruption is None
        self.evaluating: str | None = None  # progress of an evaluation that takes long
        self.last_evaluation: Mapping[str, Any] | None = None
        self._experiment = experiment
        self._built = built
        self._workdir = workdir
        self._options = options
        self._schedule = Schedule.of(experiment, engine.clock)
        self._state = self._schedule.begin()
        self._resumed_at = 0
        self._rate_from = (0.0, 0)
        self._evaluation_seconds = 0.0
        self._said_cut = False
        self._labels = labels_of(experiment)
        self._journal: Journal | None = None
        self._stopped: dict[str, str] | None = None  # by which observer, and why

    @property
    def counts(self) -> Counts:
        """How far the run is."""
        return self.engine.counts

    @property
    def journal(self) -> Journal:
        """The journal of the run, which must have started."""
        assert self._journal is not None
        return self._journal

    @property
    def rate(self) -> float:
        """Recent steps per second."""
        return 0.0 if self._journal is None else self._journal.rate

    @property
    def last_return(self) -> float | None:
        """The mean return of the last evaluation."""
        return None if self.last_evaluation is None else self.last_evaluation['return_mean']

    def tell(self, text: str) -> None:
        """Shows the progress of an evaluation."""
        self.evaluating = text
        self._show()

    def requests(self) -> Generator[Advance | Evaluate, EvaluationResult | None, Result]:
        """Makes the run: yields requests to its engine, and returns the Result.

        The answer to an Evaluate is an EvaluationResult, or Interrupted raised here.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(exits_fail())
            stack.callback(self.engine.close)
            self._open(stack)
            result = yield from self._train()
        return result

    def _train(self) -> Generator[Advance | Evaluate, EvaluationResult | None, Result]:
        engine, workdir, options = self.engine, self._workdir, self._options
        for tell in hearing(options.observers, 'on_begin'):
            tell(*engine.counts)
        begin = time.monotonic()
        self._rate_from = (begin, self._steps)
        finished = stopped = False
        try:
            while not (finished or stopped):
                yield self._until()
                stopped = self.interruption.is_asked()
                finished = yield from self._attend(stopped)
        except NonFiniteLossError as error:
            error.checkpoint = workdir.save_apart(*self._content())
            raise
        engine.end()
        self._show()
        seconds = time.monotonic() - begin - self._evaluation_seconds
        summary = make_summary(
            workdir.config,
            workdir.name,
            engine.counts,
            self.journal.episodes,
            resumed_at=self._resumed_at,
            steps_per_second=(self._steps - self._resumed_at) / seconds if seconds > 0 else 0.0,
            evaluation=self.last_evaluation or rows.NO_EVALUATION,
        )
        if self._stopped is not None:
            summary['stopped'] = self._stopped
        if finished:
            rows.say_endless(summary)
            workdir.wait()
            self.journal.logs.flush()
            workdir.finish(summary)
        for tell in hearing(options.observers, 'on_end'):
            tell(summary)
        return self._result(summary, finished)

    def _open(self, stack: contextlib.ExitStack) -> None:
        """Opens the logs, and resumes from a checkpoint if there is one."""
        engine, workdir, options = self.engine, self._workdir, self._options
        restored = workdir.restore(
            python=engine.has_python, trust=options.trust, on_lost_rows=options.on_lost_rows
        )
        workdir.begin()
        names = reward_names(self._built.spec)
        columns = {**self._built.columns, 'learner': rows.learner_columns(engine.metric_names)}
        logs = Logs(workdir.logs, columns, options.loggers)
        self._journal = Journal(
            logs,
            engine.clock,
            names,
            self._labels,
            self._built.parts.learner.warning,
            options.observers,
        )
        stack.callback(logs.close)
        if restored is None:
            engine.start(None)
        else:
            self._go_on(restored)
        stack.callback(workdir.wait)
        self._progress = make_progress(options.progress, self._schedule.budget)
        stack.callback(self._progress.close)
        if self._hears_signals:
            stack.enter_context(self.interruption.by_signals())

    def _go_on(self, restored: Restored) -> None:
        with refusing_checkpoints(), fitting(restored.path):
            dropped = self.engine.start(restored)
            state = restored.state
            self.journal.episodes = state.counter['episodes']
            self.journal.evaluations = state.counter['evaluations']
            self.journal.logs.set_state(state.logs)
            self.journal.rows = state.schedule.rows
            self._state = self._schedule.resume(state.schedule)
            self.last_evaluation = state.last_evaluation
            self._resumed_at = self._steps
        tell_losses(restored.path, restored.saved, dropped)

    @property
    def _steps(self) -> int:
        return self._schedule.steps(self.engine.counts)

    def _until(self) -> Advance:
        """The request to train until the next event, or until it is time to show progress."""
        now = time.monotonic()
        self._poll(now)
        return Advance(
            self._schedule.next_event(self._state),
            self.journal.rows.next,
            now + _POLL_SECONDS,
            self.interruption.is_asked,
        )

    def _attend(self, stopped: bool) -> Generator[Evaluate, EvaluationResult | None, bool]:
        """Writes, evaluates and saves what is due.

        Args: stopped: whether a checkpoint has to be the last.
        Returns: whether the run is finished.
        """
        engine, schedule = self.engine, self._schedule
        finished = schedule.is_over(engine.counts)
        if finished:
            engine.finish()
        counts = engine.counts
        if finished or self.journal.rows.is_due(self._steps):
            self.journal.update(counts, self._get_metrics)
        if finished or schedule.is_evaluation_due(self._state, counts):
            if counts == self._state.evaluated_at or (yield from self._evaluate(counts)):
                self._state = schedule.after_evaluation(self._state, counts)
                finished = finished or self._has_reached_return() or self._stopped is not None
            else:
                finished = False
        if finished or stopped or schedule.is_checkpoint_due(self._state, counts):
            self._state = schedule.after_checkpoint(self._state, counts)
            engine.check_finite()
            self._workdir.save(self._steps, *self._content())
            for tell in hearing(self._options.observers, 'on_checkpoint'):
                tell(*counts)
        return finished

    def _get_metrics(self) -> Mapping[str, float]:
        self.engine.check_finite()
        return self.engine.metrics

    def _evaluate(self, counts: Counts) -> Generator[Evaluate, EvaluationResult | None, bool]:
        """Evaluates the newest variables. Returns: False if it was stopped and has to be repeated."""
        self.engine.check_finite()
        begin = time.monotonic()
        try:
            result = yield Evaluate(self.engine.variables, self._steps, counts)
        except Interrupted:
            return False
        finally:
            self.evaluating = None
            now = time.monotonic()
            self._evaluation_seconds += now - begin
            self._rate_from = (now, self._steps)
        assert result is not None
        self.last_evaluation = rows.summarise(result, self._labels)
        self.journal.evaluation(counts, result)
        if not self._said_cut:
            self._said_cut = rows.say_cut(result, self._experiment.evaluation.max_steps)
        self._ask_observers(counts)
        return True

    def _ask_observers(self, counts: Counts) -> None:
        """Tells observers of the last evaluation; one may end a run whose budget is not used up."""
        for observer in self._options.observers:
            for tell in hearing([observer], 'on_evaluation'):
                reason = tell(*counts, self.last_evaluation)
                if reason is not None and not self._schedule.is_over(counts):
                    self._stopped = self._stopped or {'reason': reason, 'by': repr(observer)}

    def _has_reached_return(self) -> bool:
        wanted, reached = self._options.until_return, self.last_return
        return wanted is not None and reached is not None and reached >= wanted

    def _content(self) -> tuple[RunState, Any, Any]:
        """(state, values to pickle, the table) for a checkpoint."""
        engine, journal = self.engine, self.journal
        schedule: ScheduleState = self._state._replace(rows=journal.rows)
        state = RunState(
            engine.counts,
            {
                **engine.counts._asdict(),
                'episodes': journal.episodes,
                'evaluations': journal.evaluations,
            },
            schedule,
            self.last_evaluation,
            journal.logs.get_state(),
            engine.get_state(),
        )
        return state, engine.get_python(), engine.table

    def _poll(self, now: float) -> None:
        since, steps = self._rate_from
        if now - since >= 0.5:
            self.journal.rate = (self._steps - steps) / (now - since)
            self._rate_from = (now, self._steps)
        self._workdir.poll()
        self.journal.logs.poll()
        self._show()

    def _show(self) -> None:
        self._progress.update(
            self._steps,
            self.engine.counts.learner_steps,
            self.journal.rate,
            self.journal.episode_return,
            self.last_return,
            self.evaluating,
        )

    def _result(self, summary: Mapping[str, Any], finished: bool) -> Result:
        params = jax.tree_util.tree_map(np.asarray, self.engine.variables)
        return Result(
            experiment=self._experiment,
            workdir=self._workdir.name,
            summary=summary,
            interrupted=not finished,
            signal=self.interruption.signal,
            params=params,
            logs=self.journal.logs,
            make_policy=MakePolicy(self._experiment, self._built.spec, params, self.engine.counts),
        )


def drive(run: Run[Any]) -> Result:
    """Drives a run to its end with its own engine. Returns and raises what the run does."""
    driving = drive_by_updates(run, pause=False)
    try:
        while True:
            next(driving)
    except StopIteration as end:
        result: Result = end.value
        return result


def drive_by_updates(run: Run[Any], pause: bool = True) -> Generator[None, None, Result]:
    """Drives a run as `drive`, and yields after each tick in which the learner made updates.

    A pause changes no number: an engine may return from an `Advance` at any tick.

    Args: pause: whether to yield at all; False: the run goes on to its end.
    """
    engine, requests = run.engine, run.requests()
    evaluator = engine.evaluator(run.interruption.is_asked, run.tell)
    answer: EvaluationResult | None = None
    try:
        request = next(requests)
        while True:
            updates = engine.counts.learner_steps
            try:
                if isinstance(request, Evaluate):
                    answer = evaluator.evaluate(request.variables, request.number, *request.counts)
                else:
                    answer = engine.advance(_until_update(request, updates, pause), run.journal)
            except BaseException as error:
                request = requests.throw(error)
                continue
            if pause and engine.counts.learner_steps > updates:
                yield
            request = requests.send(answer)
    except StopIteration as end:
        result: Result = end.value
        return result


def _until_update(request: Advance, updates: int, pause: bool) -> Advance:
    """The request, or one that ends with the next update."""
    if not pause:
        return request
    counts = request.counts
    return request._replace(
        counts=counts._replace(learner_steps=min(counts.learner_steps, updates + 1))
    )
