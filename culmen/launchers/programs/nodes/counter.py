"""The node that counts. Actors claim steps here before they take them, so that budgets are exact.

It also holds what has to agree with the counts: the rows of all logs, and the phase, which tells actors
to go on (`RUN`), to pause for a checkpoint (`HOLD`) or to leave (`OVER`). The launching process reads the
progress of the run and its result here.
"""

import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from typing import NamedTuple

from culmen.components.counts import RunCounts
from culmen.components.loggers import Logs
from culmen.components.loggers import Sink
from culmen.components.loggers import columns_of
from culmen.launchers.programs.nodes.facts import Facts
from culmen.launchers.programs.nodes.further import EVALUATOR
from culmen.launchers.programs.nodes.further import Further
from culmen.launchers.programs.nodes.further import played_by_all
from culmen.launchers.programs.stops import Stop

RUN, HOLD, OVER = 'run', 'hold', 'over'
FINISHED, STOPPED = 'finished', 'stopped'
_POLL_SECONDS = 0.5
_LOST = 'lost_'  # begins the names of counts of a checkpoint: what restarts have lost


class Grant(NamedTuple):
    """The answer to an actor's report."""

    steps: int  # that the actor may take; 0: none now
    actor_steps: int  # of all actors, as reported
    phase: str  # RUN, HOLD or OVER


class News(NamedTuple):
    """The answer to a learner's report."""

    actor_steps: int
    phase: str
    quiet: bool  # no actor acts: all are paused, have left or are down
    left: bool  # all actors have left
    stopped: bool  # a stop was requested
    evaluations: int  # done so far by every evaluator


class CounterState(NamedTuple):
    """The part of a checkpoint that this node saves."""

    counter: Mapping[str, int]
    actors: Mapping[str, Any]  # their states, by index
    evaluation: Mapping[str, Any] | None  # summary of the last one
    logs: Any  # their positions; None: they are not open


class CounterNode:
    """Holds counts, claims, logs and the phase of a program. Other nodes call all methods but `run`."""

    def __init__(
        self,
        *,
        stop: Stop,
        num_actors: int,
        max_actor_steps: int | None,
        logs: Path,
        sinks: Sequence[Sink] = (),
        until_return: float | None = None,
        columns: Mapping[str, Sequence[str]] | None = None,
        evaluators: Mapping[str, Sequence[str]] = MappingProxyType({}),
        state: CounterState | None = None,
    ) -> None:
        """Starts to count.

        Args:
            stop: ends `run`.
            num_actors: how many actors claim.
            max_actor_steps: of the whole run; None: no bound.
            logs: the folder of the CSV files.
            sinks: receive every row too.
            until_return: the run ends when the mean return of an evaluation reaches this.
            columns: of the logs by label; None: those that all runs have.
            evaluators: further ones by label, with the columns of their logs.
            state: the result of `get_state`, to resume from.
        """
        self._stop = stop
        self._lock = threading.RLock()
        self._max_actor_steps = max_actor_steps
        self._until_return = until_return
        self._counter = RunCounts()
        self._claimed = [0] * num_actors
        self._still = [False] * num_actors  # have paused, since the last request
        self._left = [False] * num_actors
        self._down = [False] * num_actors  # have ended, and are not back yet
        self._phase = RUN
        self._stopped = False
        self._outcome: str | None = None
        self._states: dict[str, Any] = {}
        self._timings: dict[str, Any] = {}
        self._facts = Facts()
        self._evaluation: Mapping[str, Any] | None = None
        self._evaluating: str | None = None
        self._further = Further(evaluators, None if state is None else state.counter)
        self._columns = columns_of() if columns is None else columns
        self._episode_return: float | None = None
        self._begin: float | None = None
        self._end = 0.0
        self._open: Callable[[Mapping[str, Any]], Logs] = lambda columns: Logs(logs, columns, sinks)
        self._logs: Logs | None = None
        self._saved_logs: Any = None
        # In the whole run, by restarts of the learner and the tables.
        self._lost = {'updates': 0, 'items': 0}
        if state is not None:
            self._counter.set_state(dict(state.counter))
            self._lost = {name: int(state.counter.get(_LOST + name, 0)) for name in self._lost}
            self._states = dict(state.actors)
            self._evaluation = state.evaluation
            self._saved_logs = state.logs
        self._resumed_at = self._counter.get_counts()['actor_steps']

    def run(self) -> None:
        """Flushes the logs now and then until the program ends."""
        while not self._stop.wait(_POLL_SECONDS):
            with self._lock:
                if self._logs is not None:
                    self._logs.poll()
        with self._lock:
            if self._logs is not None:
                self._logs.close()

    def _write(self, label: str, row: Mapping[str, Any]) -> None:
        assert self._logs is not None, 'rows come after the learner has opened the logs'
        self._logs.write(label, row)

    # Actors.

    def exchange(
        self,
        actor: int,
        steps: int,
        episodes: int,
        rows: Sequence[Mapping[str, Any]],
        need: int,
        want: int,
    ) -> Grant:
        """An actor reports the steps it took, gives back the others, and claims new ones.

        Args:
            actor: its index.
            steps: taken since the last report; their items are stored.
            episodes: that ended in these steps.
            rows: for its log.
            need: steps of its next tick; fewer are of no use.
            want: steps that it would like; 0 for none.
        """
        with self._lock:
            self._claimed[actor] = 0
            self._down[actor] = False
            counts = self._counter.increment(actor_steps=steps, episodes=episodes)
            for row in rows:
                self._write(f'actor-{actor}', row)
                self._episode_return = row['episode_return']
            reported = counts['actor_steps']
            if steps:
                self._end = time.monotonic()
            if self._max_actor_steps is not None and reported >= self._max_actor_steps:
                self._phase = OVER
            granted = 0
            if self._phase == RUN:
                self._still[actor] = False
                granted = self._grant(actor, reported, need, want)
            self._facts.acted(actor, steps, '' if granted else 'waiting')
            return Grant(granted, reported, self._phase)

    def _grant(self, actor: int, reported: int, need: int, want: int) -> int:
        if want == 0:
            return 0
        granted = max(need, want)
        if self._max_actor_steps is not None:
            free = self._max_actor_steps - reported - sum(self._claimed)
            if free <= 0:
                return 0  # others have claimed the rest, and may still give some back
            granted = max(need, min(want, free))
        self._claimed[actor] = granted
        if self._begin is None:
            self._begin = time.monotonic()
        return granted

    def get_phase(self) -> str:
        """RUN, HOLD or OVER."""
        return self._phase

    def hold(self, actor: int, state: Any) -> None:
        """Called by an actor that has reported everything and pauses. Args: state: for the checkpoint."""
        with self._lock:
            self._states[str(actor)] = state
            self._still[actor] = self._phase != RUN
            self._facts.acted(actor, 0, 'paused')

    def leave(self, actor: int, state: Any) -> None:
        """Called by an actor that has reported everything and stops acting."""
        with self._lock:
            self._states[str(actor)] = state
            self._claimed[actor] = 0
            self._left[actor] = True
            self._facts.acted(actor, 0, 'done')

    def get_actor(self, actor: int) -> Any:
        """The state with which an actor last paused, for one that is started again; None: it never has."""
        with self._lock:
            return self._states.get(str(actor))

    # The learner.

    def open_logs(
        self, columns: Sequence[str], learner_steps: int | None = None, items: int = 0
    ) -> int:
        """Opens the logs of all nodes, or reopens a resumed run's. A learner begins with this call.

        If this node knows of an earlier learner, the new one has begun from a checkpoint: updates since then
        are lost, and a pause for another checkpoint ends.

        Args:
            columns: of the learner's log.
            learner_steps: that the learner begins with; None: those of the checkpoint.
            items: of the tables that are dropped.
        Returns: how many evaluations are done.
        """
        with self._lock:
            counts = self._counter.get_counts()
            if learner_steps is not None and learner_steps < counts['learner_steps']:
                self._lost['updates'] += counts['learner_steps'] - learner_steps
                self._counter.set_state({**counts, 'learner_steps': learner_steps})
            self._lost['items'] += items
            if self._logs is not None:
                self.resume()
                # Further evaluators go on with the one of the experiment.
                self._further.go_on_from(counts['evaluations'])
                return counts['evaluations']
            known = self._columns
            actors = {f'actor-{i}': known['actor'] for i in range(len(self._claimed))}
            self._logs = self._open(
                {
                    **actors,
                    'learner': tuple(columns),
                    EVALUATOR: known[EVALUATOR],
                    **self._further.columns,
                }
            )
            if self._saved_logs is not None:
                self._logs.set_state(self._saved_logs)
            return counts['evaluations']

    def sync(self, learner_steps: int, row: Mapping[str, Any] | None) -> News:
        """The learner reports its updates, and a row of its log if one is due."""
        with self._lock:
            done = self._counter.get_counts()['learner_steps']
            counts = self._counter.increment(learner_steps=learner_steps - done)
            self._facts.heard('learner', '')
            if row is not None:
                self._write('learner', row)
            return News(
                counts['actor_steps'],
                self._phase,
                all(map(any, zip(self._still, self._left, self._down, strict=True))),
                all(self._left),
                self._stopped,
                played_by_all(self._counts()),
            )

    def tell(self, tables: Mapping[str, Any]) -> None:
        """The learner tells of its tables. Args: tables: the result of `LearnerFacts.get`."""
        with self._lock:
            self._facts.told(tables)

    def pause(self) -> None:
        """Asks the actors to pause."""
        with self._lock:
            if self._phase == RUN:
                self._phase = HOLD
                self._still = [False] * len(self._still)

    def resume(self) -> None:
        """Lets them act again."""
        with self._lock:
            self._still = [False] * len(self._still)
            if self._phase == HOLD:
                self._phase = RUN

    def finish(self) -> None:
        """Ends the run: the budget of updates is used up, or a return was reached."""
        with self._lock:
            self._phase = OVER

    def get_state(self) -> CounterState:
        """The state of the program for a checkpoint, without learner and tables."""
        with self._lock:
            lost = {_LOST + name: num for name, num in self._lost.items() if num}
            return CounterState(
                {**self._counts(), **lost},
                dict(self._states),
                self._evaluation,
                None if self._logs is None else self._logs.get_state(),
            )

    def _counts(self) -> dict[str, int]:
        """The counts of a checkpoint: those of every run, and what each further evaluator has played."""
        return {**self._counter.get_state(), **self._further.counts()}

    def complete(self, outcome: str) -> None:
        """Marks the run as saved. Args: outcome: FINISHED or STOPPED."""
        with self._lock:
            if self._logs is not None:
                self._logs.flush()
            self._outcome = outcome

    # The evaluators.

    def get_played(self, label: str) -> int:
        """How many evaluations of the run an evaluator has played: the number of its next one."""
        with self._lock:
            return self._further.played(label, self._counter.get_counts())

    def evaluating(self, text: str, label: str = EVALUATOR) -> None:
        """An evaluator reports the progress of a long evaluation."""
        with self._lock:
            self._facts.heard(label, text)
            if label == EVALUATOR:
                self._evaluating = text

    def evaluated(
        self, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], label: str = EVALUATOR
    ) -> None:
        """An evaluator reports an evaluation. Only the experiment's own can end the run by its return.

        Args:
            rows: for its log, one for each environment.
            summary: as in a Result.
            label: of the evaluator.
        """
        with self._lock:
            for row in rows:
                self._write(label, row)
            self._facts.heard(label, '')
            if label != EVALUATOR:
                self._further.add(label, summary)
                return
            self._counter.increment(evaluations=1)
            self._evaluation, self._evaluating = dict(summary), None
            if self._until_return is not None and summary['return_mean'] >= self._until_return:
                self._phase = OVER

    # The launching process.

    def stop(self) -> None:
        """Requests a checkpoint and then the end."""
        with self._lock:
            self._stopped = self._outcome is None
            self._phase = OVER

    def lost(self, actor: int) -> None:
        """An actor has ended and will be started again. Its claims are free; what it took is not counted."""
        with self._lock:
            self._claimed[actor] = 0
            self._down[actor] = True

    def get_status(self) -> dict[str, Any]:
        """How far the run is."""
        with self._lock:
            counts = self._counter.get_counts()
            seconds = 0.0 if self._begin is None else self._end - self._begin
            steps = counts['actor_steps'] - self._resumed_at
            return {
                **counts,
                'begun': self._begin is not None,
                'steps_per_second': steps / seconds if seconds > 0 else 0.0,
                'episode_return': self._episode_return,
                'evaluation': self._evaluation,
                'evaluators': dict(self._further.summaries),
                'evaluating': self._evaluating,
                'outcome': self._outcome,
                'lost': dict(self._lost),
                'timings': dict(self._timings),
            }

    def get_facts(self) -> dict[str, Any]:
        """What is known of the nodes and the tables, as from `Facts.get`."""
        with self._lock:
            return self._facts.get()

    def report(self, name: str, timings: Mapping[str, Any]) -> None:
        """A node reports how it spent its time: its seconds, how many of them it waited, and its calls."""
        with self._lock:
            self._timings[name] = dict(timings)
