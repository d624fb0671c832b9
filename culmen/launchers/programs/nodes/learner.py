"""The node that learns. It makes the updates that are due, serves variables, and writes checkpoints.

Between updates it asks the counter how far the actors are. At multiples of `Evaluation.every` it makes the
updates that are due there and keeps the variables for the evaluator. At multiples of `Checkpoint.every` it
asks the actors to pause, goes on with updates until they have paused, and saves, so that counts, tables
and variables agree.
"""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from culmen.components.checkpointing import Checkpointer
from culmen.components.counts import fold_seed
from culmen.components.dispatch import run_small_networks_inline
from culmen.components.files import OnLostRows
from culmen.components.learners import NonFiniteLossError
from culmen.components.replay import Readers
from culmen.components.replay import sample_spec
from culmen.components.replay.served import ServedReader
from culmen.core.experience import live
from culmen.core.experiment import Experiment
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Lanes
from culmen.core.types import LearnerCore
from culmen.core.types import Version
from culmen.launchers.building import build_agent
from culmen.launchers.building import trace
from culmen.launchers.building import with_functions
from culmen.launchers.initial import read_initial
from culmen.launchers.programs.nodes.backlog import largest_backlog
from culmen.launchers.programs.nodes.counter import FINISHED
from culmen.launchers.programs.nodes.counter import STOPPED
from culmen.launchers.programs.nodes.counter import CounterState
from culmen.launchers.programs.nodes.counter import News
from culmen.launchers.programs.nodes.evaluations import KeptEvaluations
from culmen.launchers.programs.nodes.facts import LearnerFacts
from culmen.launchers.programs.nodes.further import played_by_all
from culmen.launchers.programs.nodes.making import make_learner
from culmen.launchers.programs.nodes.replay import REVERB
from culmen.launchers.programs.nodes.replay import connect
from culmen.launchers.programs.nodes.replay import prepare
from culmen.launchers.programs.nodes.tables import FarTables
from culmen.launchers.programs.nodes.tables import NearTables
from culmen.launchers.programs.nodes.variables import NewVariables
from culmen.launchers.programs.nodes.variables import Published
from culmen.launchers.programs.nodes.waits import ActorWaits
from culmen.launchers.programs.remote import NotReady
from culmen.launchers.programs.remote import Remote
from culmen.launchers.programs.stops import Stop
from culmen.launchers.rows import SayOnce
from culmen.launchers.rows import learner_columns
from culmen.launchers.rows import learner_row
from culmen.launchers.schedule import Counts
from culmen.launchers.schedule import Schedule
from culmen.launchers.workdir import RunState
from culmen.launchers.workdir import WorkerState

_SYNC_SECONDS = 0.02  # between reports to the counter
_IDLE_SECONDS = (0.0005, 0.005)  # while no update is due: at first, and at most
_QUIET_SECONDS = 5.0  # for actors to pause, after a stop was requested


class LearnerNode(ActorWaits):
    """Learns, serves variables and saves the run."""

    def __init__(
        self,
        experiment: Experiment,
        spec: EnvironmentSpec,
        *,
        has_functions: bool = False,
        tables: str = REVERB,
        num_lanes: int,
        lead: float,
        checkpoints: Path,
        restore: str | None,
        lost_table: bool,
        far_tables: bool = False,
        stop_on_non_finite: bool,
        on_lost_rows: OnLostRows = 'drop',
        life: int = 0,
        device: str | None = None,
        stop: Stop,
        counter: Remote,
        replay: Remote,
    ) -> None:
        """Makes the learner, and restores it if there is a checkpoint.

        Args:
            experiment: what is run; spec: of its environments, without their functions.
            has_functions: whether there are any; tables: the kind of the replay's server.
            num_lanes: of the whole program; lead: by how many samples the actors may be ahead.
            checkpoints: their folder; restore: the name of the one to resume from.
            lost_table: whether its tables are lost and have to fill as at the beginning.
            far_tables: whether the replay is on another host, and can't write to this one's checkpoints.
            stop_on_non_finite: whether a loss that is not finite ends the run.
            on_lost_rows: what to do with lost rows of a recording.
            life: how often this launch has started the learner again.
            device: where to learn, by name; None: where JAX puts it.
            stop: ends every wait; counter, replay: the other nodes.
        """
        prepare(tables)
        self._experiment = experiment
        self._life = life
        self._stop = stop
        self._counter = counter
        self._replay = replay
        self._tables = (FarTables if far_tables else NearTables)(replay)
        spec = with_functions(experiment, spec) if has_functions else spec
        parts = build_agent(experiment.agent, spec)
        shapes = trace(parts, spec, Lanes(np.arange(num_lanes, dtype=np.int32), num_lanes))
        run_small_networks_inline(shapes.params)
        self._open_tables(parts.experience, shapes.row_spec, num_lanes, tables, lead, on_lost_rows)
        self._actor_steps = 0  # of the program, as last reported
        self._learner = make_learner(
            experiment, parts, self._facts.readers, stop_on_non_finite, device
        )
        self._folder = checkpoints
        self._checkpointer = Checkpointer(checkpoints, experiment.checkpoint.keep)
        self._schedule = Schedule.of(experiment)
        self._state = self._schedule.begin()
        # An evaluation that waits for the updates due at its step: (actor steps, updates).
        self._pending: tuple[int, int] | None = None
        self._say_warning = SayOnce(parts.learner.warning)
        self._behind = largest_backlog(parts.experience, lead, num_lanes)
        self._evaluations = KeptEvaluations()
        self.get_evaluation = self._evaluations.get  # evaluators call it
        self._saving = False  # the actors have been asked to pause
        self._stopped_at: float | None = None  # when a stop was first seen
        self._outcome = STOPPED
        self._begin(parts.learner, restore, lost_table)
        sizes = self._readers.sizes
        self._open_logs(sample_spec(parts.experience, shapes.row_spec, num_lanes, sizes))
        super().__init__(parts.experience, num_lanes, self._reader)
        self._begin_to_serve()

    def _open_tables(
        self,
        experience: Any,
        row_spec: Any,
        num_lanes: int,
        kind: str,
        lead: float,
        on_lost_rows: OnLostRows,
    ) -> None:
        written = live(experience)
        assert written is not None
        connection = connect(kind, self._replay, self._stop.is_set)
        self._reader = ServedReader(written, row_spec, num_lanes, connection, lead=lead)
        # Beside a table of actors, Datasets are due whenever it is.
        seed = fold_seed(self._experiment.seed, 'table')
        self._readers = Readers.of(experience, row_spec, seed, self._reader, on_lost_rows)
        self._facts = LearnerFacts(experience, self._readers, self._reader.counts)

    def _open_logs(self, samples: Any) -> None:
        played = self._counter.open_logs(
            learner_columns(self._learner.metric_names(samples)),
            self._learner.learner_steps,
            self._replay.take_dropped() if self._life else 0,
        )
        if self._life:
            self._evaluations.skip(played)

    def _begin_to_serve(self) -> None:
        self._published = Published(self._life)
        self._pretrained = threading.Event()  # whether the updates before the first action are made
        self._publish()

    def _begin(self, core: LearnerCore, restore: str | None, lost_table: bool) -> None:
        """Goes on from a checkpoint, or begins with what another run has learned. Args: as for `__init__`."""
        if restore is not None:
            state = RunState.from_dict(self._checkpointer.read(restore).state)
            self._set_state(state, lost_table)
        self._facts.begin(self._learner.rule_steps)
        initial = read_initial(self._experiment, core, resumed=restore is not None)
        if initial is not None:
            self._learner.begin_with(initial)

    # The others.

    def get_start(self, again: bool = False) -> dict[str, Any]:
        """What actors and evaluators need at the start, once nothing is left to learn before it.

        Args: again: whether an actor asks that has been started again.
        """
        if not self._pretrained.wait(_SYNC_SECONDS):
            raise NotReady
        return {'first_windows': self.get_first_windows(again)}

    def get_variables(self, have: Version, life: int) -> NewVariables | None:
        """Variables for an actor, as from `Published.get`."""
        return self._published.get(have, life)

    # The run.

    def run(self) -> None:
        """Learns until the budget is used up or a stop is requested."""
        begin, waited = time.perf_counter(), 0.0
        try:
            waited = self._learn()
        except NonFiniteLossError as error:
            self._save_apart(error)
            raise
        timings = {
            'seconds': time.perf_counter() - begin,
            'waited': {'for items': waited},
            'updates': self._learner.learner_steps,
            'traffic': {'counter': self._counter.traffic(), 'replay': self._replay.traffic()},
        }
        self._counter.report('learner', timings)
        self._counter.complete(self._outcome)
        self._reader.close()

    def _learn(self) -> float:
        """Makes the updates that are due until the run ends. Returns: seconds of waiting for items."""
        learner, updates = self._learner, self._experiment.updates_per_call
        sync_at, waited, idle = 0.0, 0.0, _IDLE_SECONDS[0]
        told = False
        self._pretrain()
        while not self._stop():
            now = time.monotonic()
            if now >= sync_at:
                news = self._sync()
                sync_at = now + _SYNC_SECONDS
                if self._attend(news, now):
                    break
            left = learner.max_updates - learner.learner_steps
            self.begin_look()
            rule = learner.next_due(updates) if updates <= left else None
            due = rule is not None
            if self._pending is not None and (not due or learner.learner_steps >= self._pending[1]):
                self._keep_for_evaluation(self._pending[0])
            if rule is not None:
                learner.step(self._actor_steps, updates=updates, rule=rule)
                self._publish()
                idle = _IDLE_SECONDS[0]
                continue
            if left < updates:
                learner.run_rest(self._actor_steps)  # the budget has less than a whole call left
                self._publish()
            self.settle()
            if learner.learner_steps >= learner.max_updates and not told:
                self._counter.finish()
                told = True
            if news.left and not news.stopped:
                self._end()
                break
            # Asking all the time would take the core from the nodes that it waits for.
            begin = time.perf_counter()
            asked = self.await_question(idle)
            waited += time.perf_counter() - begin
            idle = _IDLE_SECONDS[0] if asked else min(1.5 * idle, _IDLE_SECONDS[1])
        return waited

    def _pretrain(self) -> None:
        """Makes the updates before the first action. The actors wait for them in `get_start`."""
        while not self._stop():
            sync_at = time.monotonic() + _SYNC_SECONDS
            if self._learner.pretrain(lambda at=sync_at: time.monotonic() >= at or self._stop()):  # type: ignore[misc]
                break
            self._sync()
        self._publish()
        self._pretrained.set()

    def _attend(self, news: News, now: float) -> bool:
        """Handles stop requests and checkpoints: waits until the actors have paused, then saves.

        Returns: whether the run ends here.
        """
        if news.stopped:
            self._stopped_at = self._stopped_at or now
            if not (news.left or now - self._stopped_at >= _QUIET_SECONDS):
                return False
            self._outcome = STOPPED
            self._save()
            return True
        is_due = self._schedule.is_checkpoint_due(self._state, self._counts)
        if not self._saving and news.phase == 'run' and is_due:
            self._counter.pause()
            self._saving = True
        elif self._saving and news.quiet:
            if news.phase == 'hold':
                self._state = self._schedule.after_checkpoint(self._state, self._counts)
                self._save()
            self._counter.resume()
            self._saving = False
        return False

    def _end(self) -> None:
        """After the budget is used up: makes the last updates, their evaluation and the last checkpoint."""
        self._learner.run_rest(self._actor_steps)
        self._publish()
        news = self._sync(last=True)
        while news.evaluations < self._evaluations.next and not news.stopped:
            self._stop.sleep(_SYNC_SECONDS)
            news = self._counter.sync(self._learner.learner_steps, None)
        self._outcome = STOPPED if news.evaluations < self._evaluations.next else FINISHED
        self._save()

    def _sync(self, last: bool = False) -> News:
        learner = self._learner
        news = self._counter.sync(learner.learner_steps, None)
        self._facts.tell(self._counter.tell)
        self._evaluations.drop(news.evaluations)
        steps = self._actor_steps = news.actor_steps
        counts, due = self._counts, self._state.rows
        over = last or news.phase == 'over'
        if due.is_due(steps) or last:
            if counts.learner_steps > due.logged_updates:
                learner.check_finite()
                metrics = learner.metrics
                row = learner_row(counts, metrics)
                self._say_warning(metrics)
                self._counter.sync(counts.learner_steps, row)
            self._state = self._state._replace(rows=due.after(*counts))
        if last:
            if self._pending is not None:
                self._keep_for_evaluation(self._pending[0])
            self._keep_for_evaluation(steps)
            self._evaluations.close()
        elif self._schedule.is_evaluation_due(self._state, counts) and not over:
            # If the run is over, the final variables are evaluated at this step.
            self._pending = self._pending or (steps, learner.learner_steps + self._behind)
        return news

    def _keep_for_evaluation(self, actor_steps: int) -> None:
        self._pending = None
        at = Counts(actor_steps, self._learner.learner_steps)
        evaluated_at = self._state.evaluated_at
        self._state = self._schedule.after_evaluation(self._state, at)
        if at == evaluated_at:
            return
        self._learner.check_finite()
        self._evaluations.keep(at, self._learner.newest_variables)

    def _publish(self) -> None:
        news = self._learner.get_variables(self._published.version)
        self._published.publish(news, self._reader.largest_priorities)

    # Checkpoints.

    @property
    def _counts(self) -> Counts:
        return Counts(self._actor_steps, self._learner.learner_steps)

    def _save(self) -> None:
        self._learner.check_finite()
        self._checkpointer.save(self._actor_steps, self._get_state().as_dict(), table=self._tables)
        self._checkpointer.wait()

    def _save_apart(self, error: NonFiniteLossError) -> None:
        name = f'non-finite-{self._learner.learner_steps}'
        self._checkpointer.save(self._actor_steps, self._get_state().as_dict(), name=name)
        self._checkpointer.wait()
        error.checkpoint = str(self._folder / name)

    def _get_state(self) -> RunState:
        program: CounterState = self._counter.get_state()
        return RunState(
            self._counts,
            program.counter,
            self._state,
            program.evaluation,
            program.logs,
            WorkerState(
                self._learner.get_state(),
                table=self._reader.get_state(),
                actors=program.actors,
                evaluations=self._evaluations.get_state(played_by_all(program.counter)),
                datasets=self._readers.get_state() or None,
            ),
        )

    def _set_state(self, state: RunState, lost_table: bool) -> None:
        self._learner.set_state(state.workers.learner)
        self._readers.set_state(state.workers.datasets, self._learner.rule_steps)
        self._actor_steps = state.counts.actor_steps
        self._reader.set_state(state.workers.table, lost_table)
        self._state = self._schedule.resume(state.schedule)
        self._evaluations.set_state(
            state.workers.evaluations or (),
            played_by_all(state.counter),
            self._learner.newest_variables,
        )
