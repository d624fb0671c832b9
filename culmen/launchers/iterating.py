"""`culmen.iterate`: the loop of a run in its user's hands, an update at a time."""

import os
from collections.abc import Generator
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from culmen.core.experiment import Experiment
from culmen.core.types import Params
from culmen.launchers import local
from culmen.launchers.loading import stored_result
from culmen.launchers.results import Result
from culmen.launchers.run import Run
from culmen.launchers.run import drive_by_updates
from culmen.launchers.workdir import Workdir


class Update:
    """A tick in which the learner made updates: the newest of them, as far as the run is."""

    def __init__(self, run: Run[Any]) -> None:
        self._run = run
        self.actor_steps, self.learner_steps = run.counts
        self.episodes = run.journal.episodes  # of training, so far
        self.episode_return = (
            run.journal.episode_return
        )  # of the last of them; None: none has ended
        self.evaluation: Mapping[str, Any] | None = run.last_evaluation  # as in a summary

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the newest update, 'loss' first. Asking waits for the device.

        Raises: RuntimeError once the loop has gone on.
        """
        self._check('metrics')
        return dict(self._run.engine.metrics)

    @property
    def variables(self) -> Params:
        """What actors and evaluators read, after the newest update. Raises: RuntimeError, as `metrics`."""
        self._check('variables')
        return self._run.engine.variables

    def _check(self, name: str) -> None:
        if self._run.counts != (self.actor_steps, self.learner_steps):
            raise RuntimeError(
                f'{name} of update {self.learner_steps} are asked for before the loop goes on; '
                f'it is at update {self._run.counts.learner_steps}.'
            )

    def __repr__(self) -> str:
        return f'Update(actor_steps={self.actor_steps}, learner_steps={self.learner_steps})'


class Updates(Iterator[Update]):
    """Iterates over the updates of a run; `result` is its Result when it has ended or was left.

    As a context manager it ends the run where the block is left.
    """

    def __init__(self, home: Workdir, run: Run[Any] | None, experiment: Experiment) -> None:
        """Args: run: to be driven within its folder; None: the run in the folder is finished."""
        self._results = [] if run is not None else [stored_result(home, experiment)]
        self._updates: Iterator[Update | None] = iter(())
        if run is not None:
            self._updates = _drive(home, run, self._results)
        next(self._updates, None)  # to where the folder is held

    def __next__(self) -> Update:
        update = next(self._updates)
        assert update is not None
        return update

    def __enter__(self) -> 'Updates':
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the loop: the run ends after a checkpoint, and the same call on its workdir goes on."""
        if isinstance(self._updates, Generator):
            self._updates.close()

    @property
    def result(self) -> Result:
        """The Result of the run, interrupted if the loop was left. Raises: RuntimeError while it runs."""
        if not self._results:
            raise RuntimeError(
                'the run has no result yet: its loop has neither ended nor was it left.'
            )
        return self._results[0]


def _drive(
    home: Workdir, run: Run[Any], results: list[Result]
) -> Generator[Update | None, None, None]:
    """Drives a run within its folder, and adds its Result to `results`.

    It holds no reference to who iterates over it, so that a loop that is left ends the run at once.
    """
    with home:
        try:
            yield None
        except GeneratorExit:
            run.engine.close()
            raise
        driving = drive_by_updates(run)
        while not results:
            try:
                next(driving)
            except StopIteration as end:
                results.append(end.value)
                return
            if run.interruption.is_asked():
                continue
            try:
                yield Update(run)
            except GeneratorExit:
                run.interruption.ask()


def iterate(
    experiment: Experiment,
    workdir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Updates:
    """Trains as `culmen.run` does, with its numbers to the bit, and pauses after every update.

    for update in culmen.iterate(experiment, 'runs/catch'):
        print(update.learner_steps, update.metrics['loss'])

    Updates that are due in one tick are made together, and updates that are too few for a whole call are
    made at the end, without a pause. Evaluations and checkpoints happen where the experiment has them.
    The loop may be left at any time; the run then ends after a checkpoint. Signals end it as they end
    `culmen.run`, when the next update is asked for. A run that is left before the first update was asked
    for has written nothing.

    Args: as for `culmen.run`; options: replay, loggers, observers, device, actor_device, progress,
        on_non_finite, until_return, record, trust, on_lost_rows.
    Returns: an iterator over the updates; its `result` is the Result.
    Raises: as `culmen.run`.
    """
    return Updates(*local.prepare(experiment, workdir, **options), experiment)
