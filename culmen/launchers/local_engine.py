"""The engine of one process: its workers as plain objects in one loop."""

import os
import sys
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from culmen.components import environments
from culmen.components.actors import Actor
from culmen.components.checkpointing import from_paths
from culmen.components.checkpointing import to_paths
from culmen.components.counts import fold_seed
from culmen.components.dispatch import Contexts
from culmen.components.learners import Learner
from culmen.components.learners import metric_names
from culmen.components.replay import InProcessTable
from culmen.components.replay import Readers
from culmen.components.replay import Recorder
from culmen.components.replay import RowSpec
from culmen.components.replay import Writers
from culmen.components.replay import check_recording
from culmen.components.replay import sample_spec
from culmen.components.replay.reverb import ReverbTable
from culmen.core.experience import Experience
from culmen.core.experience import live
from culmen.core.experiment import Experiment
from culmen.core.pretraining import pretraining
from culmen.core.rules import mirrored
from culmen.core.specs import first_timestep
from culmen.core.types import Params
from culmen.environment_loops.batched import Episode
from culmen.environment_loops.batching import batch as make_batch
from culmen.environment_loops.evaluation import Evaluator
from culmen.environment_loops.host import EnvironmentLoop
from culmen.launchers.building import Built
from culmen.launchers.building import make_evaluator
from culmen.launchers.engines import Advance
from culmen.launchers.initial import read_initial
from culmen.launchers.journal import Journal
from culmen.launchers.options import RunOptions
from culmen.launchers.results import environment_name
from culmen.launchers.schedule import Clock
from culmen.launchers.schedule import Counts
from culmen.launchers.workdir import Restored
from culmen.launchers.workdir import Workdir
from culmen.launchers.workdir import WorkerState


def _make_table(
    replay: str, experience: Experience, row_spec: RowSpec, num_lanes: int, seed: int
) -> InProcessTable | ReverbTable:
    """The table that the actor writes to. Raises: ValueError if the agent has none."""
    acted_on = live(experience)
    if acted_on is None:
        raise ValueError(
            'experience is of Datasets alone, which no actor writes to: the offline launcher '
            'trains on it (culmen.launchers.offline.run, --launcher offline).'
        )
    if replay == 'reverb':
        return ReverbTable(acted_on, row_spec, num_lanes)
    return InProcessTable(acted_on, row_spec, num_lanes, fold_seed(seed, 'table'))


class LocalEngine:
    """An actor, a learner and a table as plain objects in one loop (culmen.launchers.engines.Engine)."""

    clock: Clock = 'actor_steps'
    has_python = True

    def __init__(
        self,
        experiment: Experiment,
        built: Built,
        row_spec: RowSpec,
        workdir: Workdir,
        options: RunOptions,
        *,
        replay: str,
        devices: Sequence[jax.Device] | None,
        actor_device: jax.Device | None,
        record: Path | None,
    ) -> None:
        """Makes the workers. Args: as for `run`. Raises: ValueError for settings that do not fit."""
        spec, parts, lanes = built.spec, built.parts, built.lanes
        seed, num_lanes = experiment.seed, len(lanes.index)
        self._experiment = experiment
        self._built = built
        self._options = options
        self._table = _make_table(replay, parts.experience, row_spec, num_lanes, seed)
        self._readers = Readers.of(
            parts.experience, row_spec, fold_seed(seed, 'table'), self._table, options.on_lost_rows
        )
        samples = sample_spec(parts.experience, row_spec, num_lanes, self._readers.sizes)
        self.metric_names = metric_names(parts.learner, samples)
        self._recorder: Recorder | None = None
        if record is not None:
            run = recorded_run(workdir, record)
            check_recording(record, run, resumed=workdir.has_checkpoint)
            self._recorder = Recorder(record, row_spec, num_lanes, run)
        self._learner = Learner(
            parts.learner,
            mirrored(parts.learner, self._readers),
            seed,
            updates_per_call=experiment.updates_per_call,
            lag=built.lag,
            devices=devices,
            stop_on_non_finite=options.stop_on_non_finite,
            max_updates=experiment.max_learner_steps,
            updates_before=pretraining(parts.experience),
        )
        self._pretrained = False
        self._learner.check_batch(samples)
        initial = read_initial(experiment, parts.learner, resumed=workdir.has_checkpoint)
        if initial is not None:
            self._learner.begin_with(initial)
        self._actor = Actor(
            parts.actor,
            self._learner,
            lanes,
            Contexts(seed, 'actor', 0),
            fold_seed(seed, 'actor', 0),
            writer=self._table if self._recorder is None else Writers(self._table, self._recorder),
            device=actor_device,
        )
        self._environment = make_batch(built.environments, spec)
        self._observers = options.observers
        self._loop = EnvironmentLoop(
            self._environment,
            self._actor,
            learner=self._learner,
            observers=options.observers,
            on_episode=self._take_episode,
            on_tick=self._is_time,
        )

    @property
    def counts(self) -> Counts:
        """How far the run is."""
        return Counts(self._loop.actor_steps, self._learner.learner_steps)

    @property
    def variables(self) -> Params:
        """The newest variables."""
        return self._learner.newest_variables

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the last update."""
        return self._learner.metrics

    @property
    def table(self) -> InProcessTable | ReverbTable:
        """The table that holds the rows."""
        return self._table

    def start(self, restored: Restored | None) -> int:
        """Begins the recording, or resumes from a checkpoint."""
        dropped = 0
        if restored is not None:
            dropped = self._go_on(restored)
        elif self._recorder is not None:
            self._recorder.begin()
        if isinstance(self._table, ReverbTable):  # whose server a resumed run starts anew
            print(
                f'culmen: Reverb listens on port {self._table.port} of every interface, and asks '
                'for no password: a client that reaches it can read, alter and empty the tables, but run no '
                'code.',
                file=sys.stderr,
            )
        return dropped

    def evaluator(self, stop: Callable[[], bool], tell: Callable[[str], None]) -> Evaluator:
        """Makes the evaluator, which has environments of its own."""
        return make_evaluator(
            self._experiment, self._built.parts.evaluator, self._built.spec, stop, tell
        )

    def advance(self, request: Advance, journal: Journal) -> None:
        """Runs the loop; it pauses between the updates and the action of a tick."""
        self._journal, self._stop, self._seconds = journal, request.stop, request.seconds
        self._actor_steps = min(request.counts.actor_steps, request.row_at)
        self._learner_steps = request.counts.learner_steps
        self._loop.run()

    def _is_time(self) -> bool:
        # The first time step has been observed, and no action is taken on it before pretraining is done.
        self._pretrained = self._pretrained or self._learner.pretrain(self._must_pause)
        return not self._pretrained or self._must_pause()

    def _must_pause(self) -> bool:
        return (
            self._loop.actor_steps >= self._actor_steps
            or self._learner.learner_steps >= self._learner_steps
            or time.monotonic() >= self._seconds
            or self._stop()
        )

    def _take_episode(self, episode: Episode, metrics: Mapping[str, float]) -> None:
        self._journal.episode(self.counts, episode, metrics)

    def finish(self) -> None:
        """Makes the last updates, too few for a whole call."""
        self._learner.run_rest(self._loop.actor_steps)

    def check_finite(self) -> None:
        """Raises: NonFiniteLossError."""
        self._learner.check_finite()

    def end(self) -> None:
        """Writes the last rows of the recording."""
        if self._recorder is not None:
            self._recorder.close()

    def close(self) -> None:
        """Closes the environments and the server of the tables."""
        self._environment.close()
        if isinstance(self._table, ReverbTable):
            self._table.close()

    def get_state(self) -> WorkerState:
        """The state of the workers, for a checkpoint."""
        return WorkerState(
            self._learner.get_state(),
            timestep=to_paths(self._loop.get_state()['timestep']),
            lanes=self._environment.get_state(),
            actor=self._actor.get_state(),
            table=self._table.get_state(),
            recording=None if self._recorder is None else self._recorder.get_state(),
            datasets=self._readers.get_state() or None,
        )

    def get_python(self) -> dict[str, Any]:
        """Environments and observers; None in place of one that can't be saved."""
        return {
            'environments': [
                environment.get_state() if environments.is_restorable(environment) else None
                for environment in self._environment.environments
            ],
            'observers': [
                observer.get_state() if hasattr(observer, 'get_state') else None
                for observer in self._observers
            ],
        }

    def _go_on(self, restored: Restored) -> int:
        state, saved = restored.state.workers, restored.saved
        self._learner.set_state(state.learner)
        timestep = first_timestep(self._built.spec, len(self._built.lanes.index))
        self._loop.set_state(
            {
                'timestep': from_paths('timestep', timestep, state.timestep),
                'actor_steps': restored.state.counts.actor_steps,
            }
        )
        self._environment.set_state(state.lanes)
        self._actor.set_state(state.actor)
        if isinstance(self._table, ReverbTable):
            dropped = self._table.set_state(state.table, saved.table)
        else:
            dropped = self._table.set_state(state.table, saved.rows, saved.lost)
        self._readers.set_state(state.datasets, self._learner.rule_steps)
        if self._recorder is not None:
            self._recorder.set_state(state.recording, drop=self._options.on_lost_rows == 'drop')
        self._set_python(saved.python)
        return dropped

    def _set_python(self, python: Any) -> None:
        for environment, old in zip(
            self._environment.environments, python['environments'], strict=True
        ):
            if old is not None:
                environment.set_state(old)
        for observer, old in zip(self._observers, python['observers'], strict=False):
            if old is not None and hasattr(observer, 'set_state'):
                observer.set_state(old)


def recorded_run(workdir: Workdir, record: Path) -> dict[str, Any]:
    """How a recording names its run. The two folders may be moved, but only together."""
    config, folder = workdir.config, workdir.folder
    return {
        'agent': config['agent']['name'],
        'environment': environment_name(config['environment']),
        'seed': config['seed'],
        'workdir': None if folder is None else os.path.relpath(folder, record),
    }
