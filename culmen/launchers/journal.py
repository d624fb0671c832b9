"""Writes the log rows of a run in this process."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

from culmen.components.loggers import Logs
from culmen.environment_loops.batched import Episode
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.environment_loops.observers import Observer
from culmen.environment_loops.observers import hearing
from culmen.launchers import rows
from culmen.launchers.schedule import Clock
from culmen.launchers.schedule import Counts
from culmen.launchers.schedule import RowState


class Journal:
    """Receives the events of a run and writes their rows to its logs."""

    def __init__(
        self,
        logs: Logs,
        clock: Clock,
        reward_names: Sequence[str],
        labels: Sequence[str] = (),
        warning: rows.MetricWarning = lambda metrics: None,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Makes the journal of a run.

        Args:
            reward_names: names of the numbers in a nest of rewards.
            labels: of the environments, where there are several.
            warning: of the learner.
            observers: hear of each row of an episode and of an update.
        """
        self._say_warning = rows.SayOnce(warning)
        self._labels = labels
        self._on_episode = hearing(observers, 'on_episode')
        self._on_update = hearing(observers, 'on_update')
        self.logs = logs
        self.episodes = 0
        self.evaluations = 0
        self.rows = RowState()
        self.rate = 0.0  # recent steps per second
        self.episode_return: float | None = None  # of the last episode
        self._clock = clock
        self._reward_names = reward_names

    def episode(
        self, counts: Counts, episode: Episode, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Writes the row of an episode of training. Args: counts: at its end; metrics: of observers."""
        labels = self._labels
        label = labels[episode.lane % len(labels)] if labels else None
        row = rows.actor_row(counts, episode, self.rate, self._reward_names, metrics, label)
        self.episodes += 1
        self.episode_return = row['episode_return']
        self.logs.write('actor', row)
        for tell in self._on_episode:
            tell(*counts, row)

    def update(self, counts: Counts, get_metrics: Callable[[], Mapping[str, float]]) -> None:
        """Writes the due row of the learner's log, unless no update was made since the last row.

        Args: counts: of the newest update; get_metrics: of that update.
        """
        if counts.learner_steps != self.rows.logged_updates:
            metrics = get_metrics()
            self.logs.write('learner', rows.learner_row(counts, metrics))
            self._say_warning(metrics)
            for tell in self._on_update:
                tell(*counts, metrics)
        self.rows = self.rows.after(getattr(counts, self._clock), counts.learner_steps)

    def evaluation(self, counts: Counts, result: EvaluationResult) -> None:
        """Writes the rows of an evaluation."""
        self.evaluations += 1
        for row in rows.evaluator_rows(counts, result, self._labels):
            self.logs.write('evaluator', row)
