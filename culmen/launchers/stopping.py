"""Early stopping: an observer that ends a run by what its evaluations say."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Annotated
from typing import Any

from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.experiment import Experiment
from culmen.environment_loops.observers import Observer


@dataclass
class StopWhen(Observer):
    """Ends a run when its evaluations reach a return, or no longer get better.

    culmen.run(experiment, 'runs/catch', observers=[culmen.StopWhen(return_at_least=0.9, evaluations=3)])

    The run is finished then: its result says `stopped`, and why. The same call on its workdir trains no
    further; a call with other rules or without one goes on. The experiment needs evaluations during
    training.
    Raises: ValueError that names a field, or that nothing would end a run.
    """

    return_at_least: float | None = None  # mean return of an evaluation that ends the run
    evaluations: Annotated[int, Range(1)] = 1  # in a row that have to reach it
    # Evaluations in a row, none of which is better than the best before them; None: any number.
    patience: Annotated[int | None, Range(1)] = None
    improvement: Annotated[float, Range(0)] = 0.0  # by which a return is better, at least
    _reached: int = field(default=0, init=False, repr=False)  # evaluations in a row
    _best: float | None = field(default=None, init=False, repr=False)
    _since: int = field(default=0, init=False, repr=False)  # evaluations that were not better

    def __post_init__(self) -> None:
        check_fields(self, 'StopWhen.')
        if self.return_at_least is None and self.patience is None:
            raise ValueError('StopWhen needs return_at_least or patience, got None for both.')
        for name, value, needs in (
            ('evaluations', self.evaluations != 1, 'return_at_least'),
            ('improvement', self.improvement != 0, 'patience'),
        ):
            if value and getattr(self, needs) is None:
                raise ValueError(f'StopWhen.{name} is for {needs}, which is None.')

    def check_experiment(self, experiment: Experiment) -> None:
        """Raises: ValueError for an experiment that is evaluated at its end alone."""
        if experiment.evaluation.every is None:
            raise ValueError(
                'evaluation.every must be a number of steps for StopWhen, got None: it looks at evaluations '
                'during training.'
            )

    def on_begin(self, actor_steps: int, learner_steps: int) -> None:
        """Forgets the evaluations of another run that it watched before."""
        if not (actor_steps or learner_steps):
            self.set_state((0, None, 0))

    def on_evaluation(
        self, actor_steps: int, learner_steps: int, summary: Mapping[str, Any]
    ) -> str | None:
        """Counts the evaluation. Returns: why the run ends; None: it goes on."""
        mean = float(summary['return_mean'])
        if self._best is None or mean > self._best + self.improvement:
            self._best, self._since = mean, 0
        else:
            self._since += 1
        wanted = self.return_at_least
        self._reached = self._reached + 1 if wanted is not None and mean >= wanted else 0
        if wanted is not None and self._reached >= self.evaluations:
            return f'the return of {self._reached} evaluations in a row was at least {wanted:g}'
        if self.patience is not None and self._since >= self.patience:
            return f'{self._since} evaluations in a row were not better than {self._best:g}'
        return None

    def get_state(self) -> tuple[int, float | None, int]:
        """The counts, for a checkpoint."""
        return self._reached, self._best, self._since

    def set_state(self, state: tuple[int, float | None, int]) -> None:
        """Restores the result of `get_state`."""
        self._reached, self._best, self._since = state
