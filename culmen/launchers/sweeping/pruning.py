"""Ends trials of a search early: an observer that reports the evaluations of a run to Optuna."""

import json
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from culmen.core.experiment import Experiment
from culmen.environment_loops.observers import Observer
from culmen.launchers.sweeping.studies import Place
from culmen.launchers.sweeping.studies import make_pruner
from culmen.launchers.sweeping.studies import require_optuna


class Pruning(Observer):
    """Reports the evaluations of a trial's run, and ends the run when the study's pruner asks for it."""

    def __init__(self, number: int, find_trial: Callable[[], Any]) -> None:
        """Args: number: of the trial; find_trial: gives it."""
        self._number = number
        self._find_trial = find_trial
        self._trial: Any = None

    def check_experiment(self, experiment: Experiment) -> None:
        """Raises: ValueError for an experiment that is evaluated at its end alone."""
        if experiment.evaluation.every is None:
            raise ValueError(
                '--evaluate-every is needed for --pruner, which looks at evaluations; or --pruner none.'
            )

    def on_evaluation(
        self, actor_steps: int, learner_steps: int, summary: Mapping[str, Any]
    ) -> str | None:
        """Reports the mean return. Returns: why the run ends; None: it goes on."""
        if self._trial is None:
            self._trial = self._find_trial()
        step, trial = actor_steps or learner_steps, self._trial
        known = trial.study.get_trials(deepcopy=False)[self._number].intermediate_values
        if step not in known:  # a resumed run may evaluate again what it reported
            trial.report(float(summary['return_mean']), step)
        return f'pruned at {step} steps' if trial.should_prune() else None

    def __repr__(self) -> str:
        return f'Pruning(trial={self._number})'


def pruning_of(text: str) -> Pruning:
    """The Pruning of a run in a process of its own. Args: text: of `pruning_text`."""
    given = json.loads(text)

    def find_trial() -> Any:
        optuna = require_optuna()
        study = Place(given['url'], given['name']).open(pruner=make_pruner(given['pruner']))
        return optuna.trial.Trial(study, study.trials[given['trial']]._trial_id)

    return Pruning(given['trial'], find_trial)


def pruning_text(place: Place, pruner: str, trial: int) -> str:
    """What another process needs to report to a trial."""
    return json.dumps({'url': place.url, 'name': place.name, 'pruner': pruner, 'trial': trial})
