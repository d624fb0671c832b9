"""The folder of a run: which run owns it, and where that run resumes.

culmen.launchers.folders has the names of its files. Only this file depends on the content of a checkpoint.
"""

import os
import warnings
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NamedTuple

from culmen.components.checkpointing import Checkpointer
from culmen.components.checkpointing import Saved
from culmen.components.checkpointing.disk import UnknownFormatError
from culmen.components.files import LOCK
from culmen.components.files import DamagedError
from culmen.components.files import OnLostRows
from culmen.components.files import check_writable
from culmen.components.files import expanded
from culmen.components.files import read_json
from culmen.components.files import reading
from culmen.core.experiment import Experiment
from culmen.launchers import configs
from culmen.launchers import provenance
from culmen.launchers.folders import CHECKPOINTS as CHECKPOINTS
from culmen.launchers.folders import CONFIG as CONFIG
from culmen.launchers.folders import LOGS as LOGS
from culmen.launchers.folders import RESULT as RESULT
from culmen.launchers.folders import write_json as write_json
from culmen.launchers.locking import Locks
from culmen.launchers.options import NO_ENDS
from culmen.launchers.options import Ends
from culmen.launchers.restoring import fitting
from culmen.launchers.restoring import refusing_checkpoints
from culmen.launchers.results import SUMMARY_FIELDS
from culmen.launchers.results import environment_name
from culmen.launchers.schedule import Clock
from culmen.launchers.schedule import Counts
from culmen.launchers.schedule import RowState
from culmen.launchers.schedule import ScheduleState

VERSION = 1  # of RunState


class WorkerState(NamedTuple):
    """What the workers of a run hold, as plain values and arrays. None: the launcher has no such worker."""

    learner: dict[str, Any]  # of Learner: 'newest' variables, 'updates', and results in flight
    timestep: Any = None  # the present time step of the loop
    lanes: Any = None  # of the batch of environments
    actor: Any = None
    table: Any = None
    recording: Any = None
    datasets: Any = None  # priorities of Datasets, by name of the table
    actors: Mapping[str, Any] | None = None  # actors of a program, by index
    evaluations: Sequence[Mapping[str, Any]] | None = None  # of a program: kept, not yet played


class RunState(NamedTuple):
    """A run at a checkpoint."""

    counts: Counts
    counter: Mapping[str, int]
    schedule: ScheduleState
    last_evaluation: Mapping[str, Any] | None  # the summary of it
    logs: Mapping[str, Any]  # the position of each log
    workers: WorkerState

    def as_dict(self) -> dict[str, Any]:
        """The state as plain data, for a checkpoint."""
        workers = self.workers
        loop = {'actor_steps': self.counts.actor_steps}
        events: dict[str, Any] = {
            'evaluation': self.schedule.evaluation,
            'checkpoint': self.schedule.checkpoint,
            'learner_row': self.schedule.rows.next,
            'logged_updates': self.schedule.rows.logged_updates,
            'evaluated_at': self.schedule.evaluated_at and tuple(self.schedule.evaluated_at),
            'last_evaluation': self.last_evaluation,
        }
        if workers.evaluations is not None:
            events['evaluations'] = workers.evaluations
        rest = {name: getattr(workers, name) for name in _OPTIONAL}
        content: dict[str, Any] = {
            'version': VERSION,
            'loop': loop if workers.timestep is None else {**loop, 'timestep': workers.timestep},
            'learner': workers.learner,
            'counter': self.counter,
            'logs': self.logs,
            'events': events,
        }
        return content | {name: value for name, value in rest.items() if value is not None}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> 'RunState':
        """The inverse of `as_dict`, for data of this version or an earlier one.

        Raises: UnknownFormatError that names a later version; KeyError, TypeError and ValueError for data
            that is not such a state.
        """
        version = state.get('version', 1)
        if version != VERSION:
            raise UnknownFormatError(
                f'the checkpoint holds a run of version {version!r:.20}; this version of Culmen reads '
                f'version {VERSION}.'
            )
        for name in ('loop', 'learner', 'counter', 'logs', 'events'):
            if not isinstance(state[name], dict):
                raise ValueError(f'{name} must be a mapping')
        loop, learner, events = state['loop'], state['learner'], state['events']
        at = events['evaluated_at']
        return cls(
            Counts(int(loop['actor_steps']), int(learner['updates'])),
            {name: int(value) for name, value in state['counter'].items()},
            ScheduleState(
                events['evaluation'],
                int(events['checkpoint']),
                RowState(int(events['learner_row']), int(events['logged_updates'])),
                None if at is None else Counts(*map(int, at)),
            ),
            events['last_evaluation'],
            state['logs'],
            WorkerState(
                learner,
                timestep=loop.get('timestep'),
                evaluations=events.get('evaluations'),
                **{name: state.get(name) for name in _OPTIONAL},
            ),
        )

    @property
    def variables(self) -> dict[str, Any]:
        """The newest variables, by path."""
        newest: dict[str, Any] = self.workers.learner['newest']
        return newest


_OPTIONAL = ('lanes', 'actor', 'table', 'recording', 'datasets', 'actors')


class Restored(NamedTuple):
    """A checkpoint that a run resumes from."""

    path: Path
    state: RunState
    saved: Saved  # with its pickle and its rows


class Workdir:
    """The folder of one run, which holds a lock on it; or no folder, for a run that writes nothing.

    As a context manager it releases the folder.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        experiment: Experiment,
        config: Mapping[str, Any],
        locks: Locks | None = None,
        record: Path | None = None,
        ends: Ends = NO_ENDS,
    ) -> None:
        """Claims the folder. If the run in it is finished, `summary` is set from its result instead.

        Args:
            folder: of the run; None: nothing is written.
            experiment: what is run.
            config: of `configs.to_json`.
            locks: may be shared by several runs; None: new ones.
            record: another folder that the run writes to.
            ends: what may have ended the run before its budget.
        Raises: ValueError for the folder of another experiment; Refused for a folder that another run uses,
            or that can't be written to.
        """
        self.folder = None if folder is None else expanded(folder)
        self.config = config
        self._experiment = experiment
        self._ends = ends
        self._locks = locks or Locks()
        self._folders = self.folder, record
        self._checkpointer = (
            None
            if self.folder is None
            else Checkpointer(self.folder / CHECKPOINTS, experiment.checkpoint.keep)
        )
        self.summary = self._find_summary()
        if self.summary is not None:
            return
        self._locks.take(*self._folders)
        with self._locks.released_on_error():
            self.summary = self._find_summary()  # it may have ended meanwhile
        if self.summary is not None:
            self._locks.release(*self._folders)

    def __enter__(self) -> 'Workdir':
        return self

    def __exit__(self, *_: Any) -> None:
        self._locks.release(*self._folders)

    def _find_summary(self) -> dict[str, Any] | None:
        summary = None
        if self.folder is not None:
            with refusing_checkpoints():
                if self._is_ours(self.folder):
                    summary = finished_summary(
                        self.folder, self._experiment, self.config, self._ends
                    )
                if summary is None:
                    check_writable('workdir', self.folder)
        return summary

    def _is_ours(self, folder: Path) -> bool:
        """Whether the folder holds a run of this experiment. Raises: ValueError for anything else in it."""
        if not (folder / CONFIG).exists():
            if folder.exists() and (not folder.is_dir() or set(os.listdir(folder)) - {LOCK}):
                raise ValueError(
                    f'workdir must be a new or empty folder, or that of a run, got {folder}.'
                )
            return False
        with reading(folder / CONFIG):
            different = configs.same_experiment(read_json(folder / CONFIG), self.config)
        if different:
            raise ValueError(
                f'{folder} holds another experiment: {", ".join(different)} differ; '
                f'choose another workdir.'
            )
        return True

    @property
    def logs(self) -> Path | None:
        """The folder of the logs."""
        return None if self.folder is None else self.folder / LOGS

    @property
    def name(self) -> str | None:
        """The folder, for a Result."""
        return None if self.folder is None else str(self.folder)

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return self._checkpointer is not None and bool(self._checkpointer.names())

    # Checkpoints.

    def restore(
        self, *, python: bool = False, trust: bool = False, on_lost_rows: OnLostRows = 'drop'
    ) -> Restored | None:
        """The checkpoint to resume from; None if there is none.

        Args: as for `Checkpointer.restore`.
        Raises: Refused that says what is wrong with the checkpoints.
        """
        if self._checkpointer is None or self.folder is None:
            return None
        with refusing_checkpoints():
            saved = self._checkpointer.restore(
                python=python, trust=trust, on_lost_rows=on_lost_rows
            )
            if saved is None:
                return None
            path = self.folder / CHECKPOINTS / saved.name
            with fitting(path):
                return Restored(path, RunState.from_dict(saved.state), saved)

    def begin(self) -> None:
        """Makes the folder, and writes its config and which command runs it.

        A run that goes on has no result until it is finished.
        """
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / RESULT).unlink(missing_ok=True)
            write_json(self.folder / CONFIG, self.config)
            provenance.note(self.folder)

    def save(self, number: int, state: RunState, python: Any, table: Any) -> None:
        """Saves a checkpoint. Args: number: orders checkpoints; others: as for `Checkpointer.save`."""
        if self._checkpointer is not None:
            self._checkpointer.save(number, state.as_dict(), python, table)

    def save_apart(self, state: RunState, python: Any, table: Any) -> str | None:
        """Saves a run whose loss is not finite, next to its checkpoints. Returns: the path."""
        if self._checkpointer is None or self.folder is None:
            return None
        steps, updates = state.counts
        name = f'non-finite-{updates}'
        self._checkpointer.save(steps, state.as_dict(), python, table, name=name)
        self._checkpointer.wait()
        return str(self.folder / CHECKPOINTS / name)

    def poll(self) -> None:
        """Raises: the error of the last save, as soon as it has failed (on a full disk, for example)."""
        if self._checkpointer is not None:
            self._checkpointer.poll()

    def wait(self) -> None:
        """Waits until the last checkpoint is on the disk. Raises: its error."""
        if self._checkpointer is not None:
            self._checkpointer.wait()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Writes the result of a run that is finished."""
        if self.folder is not None:
            write_json(self.folder / RESULT, summary)


def make_summary(
    config: Mapping[str, Any],
    folder: str | None,
    counts: Counts,
    episodes: int,
    *,
    resumed_at: int,
    steps_per_second: float = 0.0,
    evaluation: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The SUMMARY_FIELDS of a run, in the order in which they are printed."""
    values = (
        config['agent']['name'],
        environment_name(config['environment']),
        config['launcher'],
        config['seed'],
        *counts,
        episodes,
        steps_per_second,
        resumed_at,
        folder,
        evaluation,
    )
    return dict(zip(SUMMARY_FIELDS, values, strict=True))


def clock_of(config: Mapping[str, Any]) -> Clock:
    """The count that decides when the events of a run are due."""
    return 'learner_steps' if config['launcher'] == 'offline' else 'actor_steps'


def finished_summary(
    folder: Path, experiment: Experiment, config: Mapping[str, Any], ends: Ends = NO_ENDS
) -> dict[str, Any] | None:
    """The summary of a run that has used up one of its budgets, or was ended before; None for others."""
    summary = _stored_summary(folder)
    if summary is None:
        return None
    budgets = {
        'actor_steps': experiment.max_actor_steps,
        'learner_steps': experiment.max_learner_steps,
    }
    given = [(budget, summary[count]) for count, budget in budgets.items() if budget is not None]
    if all(steps < budget for budget, steps in given) and not ends.have_ended(summary):
        return None
    return {**summary, 'resumed_at': summary[clock_of(config)]}


def _stored_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a finished run; None if there is none or it can't be read."""
    path = folder / RESULT
    if not path.exists():
        return None
    try:
        with reading(path):
            summary = read_json(path)
            for name in SUMMARY_FIELDS:
                if name not in summary:
                    raise ValueError(f'{name} is missing')
            for name in ('actor_steps', 'learner_steps'):
                if type(summary[name]) is not int:
                    raise ValueError(f'{name} must be an int, got {summary[name]!r:.40}')
    except DamagedError as error:
        warnings.warn(f'{error} It is made anew from the newest checkpoint.', stacklevel=2)
        return None
    return summary
