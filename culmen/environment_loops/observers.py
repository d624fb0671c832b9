"""Observers: what a user's code may watch of a run in one process, and end.

An observer inherits from `Observer` and overrides the events that it wants; the others do nothing. In the
order in which they happen:

| event | when |
| --- | --- |
| `check_experiment(experiment)` | before anything is computed or written |
| `on_begin(actor_steps, learner_steps)` | when the run begins, or goes on from a checkpoint |
| `observe(timestep, action)` | each tick, with the actions taken on its time step |
| `get_metrics(lane)` | when the lane's episode has ended: further columns of actor.csv |
| `on_episode(actor_steps, learner_steps, row)` | then, with the row |
| `on_update(actor_steps, learner_steps, metrics)` | with each row of learner.csv |
| `on_evaluation(actor_steps, learner_steps, summary)` | after each evaluation; a text from it ends the run |
| `on_checkpoint(actor_steps, learner_steps)` | when a checkpoint has been taken |
| `on_end(summary)` | when the run has ended, after its last checkpoint |

An observer that has `get_state()` and `set_state(state)` (anything that pickles) is part of checkpoints: its
state is set after `check_experiment` and before `on_begin`.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

from culmen.core.experiment import Experiment
from culmen.core.types import TimeStep


class Observer(Protocol):
    """Watches a run. Its own methods do nothing; the module's docstring lists the events.

    A class that has only some of these methods, without inheriting them, is an observer too. What one raises
    fails the run.
    """

    def check_experiment(self, experiment: Experiment) -> None:
        """Raises: ValueError for an experiment that the observer can't watch."""
        return

    def on_begin(self, actor_steps: int, learner_steps: int) -> None:
        """Called with the counts from which the run begins; a resumed run's are not 0."""
        return

    def observe(self, timestep: TimeStep, action: Any) -> None:
        """Called each tick with the time step of all lanes and the actions taken on it, [B, ...]."""
        return

    def get_metrics(self, lane: int) -> Mapping[str, float]:
        """The metrics of the lane's episode, which has ended."""
        return {}

    def on_episode(self, actor_steps: int, learner_steps: int, row: Mapping[str, Any]) -> None:
        """Called with each row of actor.csv."""
        return

    def on_update(self, actor_steps: int, learner_steps: int, metrics: Mapping[str, float]) -> None:
        """Called with the metrics of each row of learner.csv, those of the newest update."""
        return

    def on_evaluation(
        self, actor_steps: int, learner_steps: int, summary: Mapping[str, Any]
    ) -> str | None:
        """Called after each evaluation of training.

        Args: summary: return_mean, return_std, episodes and what else the summary of a run has of it.
        Returns: why the run ends here; None: it goes on.
        """
        return None

    def on_checkpoint(self, actor_steps: int, learner_steps: int) -> None:
        """Called when a checkpoint has been taken; its files may still be written."""
        return

    def on_end(self, summary: Mapping[str, Any]) -> None:
        """Called with the summary of the run, whether it is finished or was interrupted."""
        return


def hearing(observers: Sequence[Observer], event: str) -> list[Callable[..., Any]]:
    """The methods of this name of all observers that have it and override what does nothing."""
    nothing = getattr(Observer, event)
    return [
        getattr(observer, event)
        for observer in observers
        if hasattr(observer, event) and getattr(type(observer), event, None) is not nothing
    ]
