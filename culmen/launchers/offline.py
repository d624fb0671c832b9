"""The offline launcher: a learner that draws from recorded streams, in one process. Nobody acts.

The environment gives the spec and the evaluations; training never steps it. All that falls due is
counted in learner steps: evaluations, checkpoints, rows of the logs.
"""

import os
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import Literal

import jax

from culmen.components.counts import fold_seed
from culmen.components.files import OnLostRows
from culmen.components.files import expanded
from culmen.components.learners import Learner
from culmen.components.learners import metric_names
from culmen.components.loggers import Sink
from culmen.components.replay import DatasetReader
from culmen.components.replay import sample_spec
from culmen.core.experience import live
from culmen.core.experiment import Experiment
from culmen.launchers import configs
from culmen.launchers.building import Built
from culmen.launchers.building import build
from culmen.launchers.building import prepare
from culmen.launchers.local import ON_LOST_ROWS
from culmen.launchers.local import check_choice
from culmen.launchers.local import claim_workdir
from culmen.launchers.locking import Locks
from culmen.launchers.results import Result
from culmen.launchers.results import refusing
from culmen.launchers.training import Run

# Fields of an Experiment that say how actors run.
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

    The same experiment on the same workdir goes on where it stopped, to the bit. SIGINT and SIGTERM end a
    run after a checkpoint; the Result so far is returned.

    Args:
        experiment: what to run, for `max_learner_steps`; evaluations and checkpoints come every so
            many learner steps.
        workdir: of config, logs, checkpoints and the result; None: nothing is written.
        loggers: take every row of the logs too.
        device: where to learn; several: the batch is sharded over them; None: where JAX puts it.
        progress: whether to show it; None: by what standard error is.
        on_non_finite: what a loss that is not finite does: 'stop' the run after a checkpoint kept
            apart, or 'log' it and go on.
        until_return: an evaluation with this mean return ends the run.
        on_lost_rows: what damaged files of rows do, where all else of a recording is whole: 'drop' the
            items that need them and go on, or 'refuse'.
    Returns: the Result; its `resumed_at` and `steps_per_second` are of learner steps.
    Raises: Refused (a ValueError) for what is wrong before any compute; NonFiniteLossError;
        OSError that names a file.
    """
    locks = Locks()
    with refusing(), locks.released_on_error():
        check_choice('on_non_finite', on_non_finite, ('stop', 'log'))
        check_choice('on_lost_rows', on_lost_rows, ON_LOST_ROWS)
        for name, default in _OF_ACTORS.items():
            if getattr(experiment, name) != default:
                raise ValueError(
                    f'{name} is for launchers with actors; offline it must be left at {default}, '
                    f'got {getattr(experiment, name)}.'
                )
        folder = None if workdir is None else expanded(workdir)
        config = configs.to_json(experiment, launcher='offline', replay='in_process')
        stored = claim_workdir(locks, folder, experiment, config)
        if stored is not None:
            return stored
        training = OfflineTraining(
            experiment,
            build(experiment),
            folder,
            config,
            sinks=loggers,
            devices=[device] if isinstance(device, jax.Device) else device,
            progress=progress,
            stop_on_non_finite=on_non_finite == 'stop',
            until_return=until_return,
            on_lost_rows=on_lost_rows,
        )
    with locks:
        return training.run()


class OfflineTraining(Run):
    """A run without actors: a learner and the Datasets that it draws from."""

    def __init__(
        self,
        experiment: Experiment,
        built: Built,
        folder: Path | None,
        config: Mapping[str, Any],
        *,
        sinks: Sequence[Sink],
        devices: Sequence[jax.Device] | None,
        progress: bool | None,
        stop_on_non_finite: bool,
        until_return: float | None,
        on_lost_rows: OnLostRows = 'drop',
    ) -> None:
        super().__init__(
            experiment,
            built,
            folder,
            config,
            sinks=sinks,
            progress=progress,
            until_return=until_return,
            on_lost_rows=on_lost_rows,
        )
        built.close()
        parts, seed = built.parts, experiment.seed
        if live(parts.experience) is not None:
            raise ValueError(
                'experience must be of Datasets alone offline; an agent with a Replay or a Queue '
                'needs actors: culmen.run, or --launcher local.'
            )
        row_spec = prepare(parts, built.spec, built.lanes)
        samples = sample_spec(parts.experience, row_spec, num_lanes=1)
        self._metric_names = metric_names(parts.learner, samples)
        self._datasets = DatasetReader(
            parts.experience,
            row_spec,
            fold_seed(seed, 'table'),
            on_lost_rows=on_lost_rows,
        )
        self._learner = Learner(
            parts.learner,
            self._datasets,
            seed,
            updates_per_call=experiment.updates_per_call,
            devices=devices,
            stop_on_non_finite=stop_on_non_finite,
            max_updates=experiment.max_learner_steps,
        )
        self._learner.check_batch(samples)

    @property
    def actor_steps(self) -> int:
        """Nobody acts."""
        return 0

    @property
    def steps(self) -> int:
        """Learner steps."""
        return self._learner.learner_steps

    @property
    def _budget(self) -> int | None:
        return self._experiment.max_learner_steps

    def _train(self) -> None:
        updates = self._experiment.updates_per_call
        while not self._is_over():
            if self.steps + updates <= self._learner.max_updates:
                self._learner.step(updates)
            else:
                self._learner.run_rest()

    def _set_worker_state(self, saved: Any) -> int:
        self._datasets.seek(self._learner.learner_steps)
        return 0
