"""The offline launcher: a learner in one process draws from recorded streams. There are no actors.

The environment is used for its spec and for evaluations; training never steps it. Evaluations,
checkpoints and log rows are scheduled in learner steps.
"""

import os
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Literal

import jax

from culmen.components.counts import fold_seed
from culmen.components.dispatch import run_small_networks_inline
from culmen.components.files import OnLostRows
from culmen.components.learners import Learner
from culmen.components.learners import metric_names
from culmen.components.loggers import Sink
from culmen.components.replay import Readers
from culmen.components.replay import RowSpec
from culmen.components.replay import sample_spec
from culmen.core.experience import Experience
from culmen.core.experience import live
from culmen.core.experiment import Experiment
from culmen.core.rules import mirrored
from culmen.core.types import Params
from culmen.environment_loops.evaluation import Evaluator
from culmen.launchers import configs
from culmen.launchers.building import Built
from culmen.launchers.building import build
from culmen.launchers.building import make_evaluator
from culmen.launchers.building import trace
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

# Fields of an Experiment that concern actors, with the values they must have.
_OF_ACTORS = {'max_actor_steps': None, 'num_environments': 1, 'lag': 1}


def run(
    experiment: Experiment,
    workdir: str | os.PathLike[str] | None = None,
    *,
    loggers: Sequence[Sink] = (),
    device: jax.Device | Sequence[jax.Device] | None = None,
    progress: bool | None = None,
    on_non_finite: Literal['stop', 'log'] = 'stop',
    until_return: float | None = None,
    on_lost_rows: OnLostRows = 'drop',
) -> Result:
    """Trains on the Datasets of an agent, and evaluates the final variables.

    The same experiment on the same workdir resumes where it stopped, bit for bit. SIGINT and SIGTERM end a
    run after a checkpoint, and the Result so far is returned.

    Args:
        experiment: what to run, for `max_learner_steps`; periods of evaluations and checkpoints are in
            learner steps.
        workdir: for config, logs, checkpoints and the result; None: nothing is written.
        loggers: receive every row of the logs too.
        device: where to learn; several: the batch is sharded over them; None: where JAX puts it.
        progress: whether to show progress; None: depends on what standard error is.
        on_non_finite: how to treat a loss that is not finite: 'stop' the run after a checkpoint in a
            place of its own, or 'log' the loss and continue.
        until_return: the run ends when the mean return of an evaluation reaches this.
        on_lost_rows: what to do if only files of rows in a recording are damaged: 'drop' the items that
            need them and continue, or 'refuse'.
    Returns: the Result; its `resumed_at` and `steps_per_second` count learner steps.
    Raises: Refused (a ValueError) for what is wrong before anything is computed; NonFiniteLossError;
        OSError that names a file.
    """
    with refusing():
        options = RunOptions(loggers, progress, on_non_finite, until_return, on_lost_rows)
        for name, default in _OF_ACTORS.items():
            if getattr(experiment, name) != default:
                raise ValueError(
                    f'{name} is for launchers with actors; offline it must be left at {default}, '
                    f'got {getattr(experiment, name)}.'
                )
        config = configs.to_json(experiment, launcher='offline', replay='in_process')
        home = Workdir(workdir, experiment, config, ends=options.ends)
    if home.summary is not None:
        return stored_result(home, experiment)
    with home:
        with refusing():
            built = build(experiment)
            built.close()
            _check_recorded(built.parts.experience)
            shapes = trace(built.parts, built.spec, built.lanes)
            run_small_networks_inline(shapes.params)
            devices = [device] if isinstance(device, jax.Device) else device
            engine = OfflineEngine(
                experiment,
                built,
                shapes.row_spec,
                options,
                devices,
                resumed=home.has_checkpoint,
            )
        return drive(Run(experiment, built, engine, home, options))


def _check_recorded(experience: Experience) -> None:
    """Refuses an agent that needs actors. Raises: ValueError."""
    if live(experience) is not None:
        raise ValueError(
            'experience must be of Datasets alone offline; an agent with a Replay or a Queue '
            'needs actors: culmen.run, or --launcher local.'
        )


class OfflineEngine:
    """A learner and the Datasets that it draws from (culmen.launchers.engines.Engine)."""

    clock: Clock = 'learner_steps'
    has_python = False
    table = None

    def __init__(
        self,
        experiment: Experiment,
        built: Built,
        row_spec: RowSpec,
        options: RunOptions,
        devices: Sequence[jax.Device] | None,
        *,
        resumed: bool = False,
    ) -> None:
        """Makes the learner.

        Args: resumed: whether `start` gets a checkpoint; others: as for `run`.
        Raises: ValueError for settings that do not fit.
        """
        parts, seed = built.parts, experiment.seed
        self._experiment = experiment
        self._built = built
        self._readers = Readers.of(
            parts.experience,
            row_spec,
            fold_seed(seed, 'table'),
            on_lost_rows=options.on_lost_rows,
        )
        samples = sample_spec(parts.experience, row_spec, 1, self._readers.sizes)
        self.metric_names = metric_names(parts.learner, samples)
        self._learner = Learner(
            parts.learner,
            mirrored(parts.learner, self._readers),
            seed,
            updates_per_call=experiment.updates_per_call,
            devices=devices,
            stop_on_non_finite=options.stop_on_non_finite,
            max_updates=experiment.max_learner_steps,
        )
        self._learner.check_batch(samples)
        initial = read_initial(experiment, parts.learner, resumed=resumed)
        if initial is not None:
            self._learner.begin_with(initial)

    @property
    def counts(self) -> Counts:
        """The updates so far; actor steps are 0."""
        return Counts(0, self._learner.learner_steps)

    @property
    def variables(self) -> Params:
        """The newest variables."""
        return self._learner.newest_variables

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the last update."""
        return self._learner.metrics

    def evaluator(self, stop: Callable[[], bool], tell: Callable[[str], None]) -> Evaluator:
        """Makes the evaluator, which has environments of its own."""
        return make_evaluator(
            self._experiment, self._built.parts.evaluator, self._built.spec, stop, tell
        )

    def start(self, restored: Restored | None) -> int:
        """Resumes from a checkpoint, if there is one."""
        if restored is not None:
            workers = restored.state.workers
            self._learner.set_state(workers.learner)
            self._readers.set_state(workers.datasets, self._learner.rule_steps)
        return 0

    def advance(self, request: Advance, journal: Journal) -> None:
        """Makes updates, one call at a time."""
        learner, updates = self._learner, self._experiment.updates_per_call
        until = min(request.counts.learner_steps, request.row_at)
        while (
            learner.learner_steps < until
            and time.monotonic() < request.seconds
            and not request.stop()
        ):
            if learner.learner_steps + updates <= learner.max_updates:
                learner.step_in_turn(updates)
            else:
                self.finish()

    def finish(self) -> None:
        """Makes the last updates, too few for a whole call."""
        while self._learner.learner_steps < self._learner.max_updates:
            self._learner.step_in_turn()

    def check_finite(self) -> None:
        """Raises: NonFiniteLossError."""
        self._learner.check_finite()

    def get_state(self) -> WorkerState:
        """The state of the learner and of the Datasets, for a checkpoint."""
        return WorkerState(self._learner.get_state(), datasets=self._readers.get_state() or None)

    def get_python(self) -> None:
        """Returns None: nothing needs a pickle."""

    def end(self) -> None:
        """Does nothing: nothing is left to write."""

    def close(self) -> None:
        """Does nothing: no resources are held."""
