"""Makes the rows of a run's logs and the summaries of evaluations, for every launcher."""

import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypeAlias

import numpy as np

from culmen.components.loggers import COLUMNS
from culmen.environment_loops.batched import Episode
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.launchers.schedule import Counts

# What a user should know of metrics; None: nothing.
MetricWarning: TypeAlias = Callable[[Mapping[str, float]], str | None]

NO_EVALUATION: dict[str, Any] = {'episodes': 0, 'return_mean': None, 'return_std': None}


def learner_columns(names: Sequence[str]) -> tuple[str, ...]:
    """The header of learner.csv. Args: names: of the learner's metrics; of rules, none is a bare 'loss'."""
    known = [name for name in COLUMNS['learner'] if name != 'loss' or name in names]
    return (*known, *(name for name in names if name not in known))


def learner_row(counts: Counts, metrics: Mapping[str, float]) -> dict[str, float]:
    """A row of learner.csv."""
    return {**counts._asdict(), **metrics}


def actor_row(
    counts: Counts,
    episode: Episode,
    steps_per_second: float,
    reward_names: Sequence[str] = (),
    metrics: Mapping[str, float] | None = None,
    environment: str | None = None,
) -> dict[str, Any]:
    """A row of actor.csv, for an episode of training.

    Args:
        counts: at its end.
        episode: the one that ended.
        steps_per_second: recent speed.
        reward_names: names of the numbers in a nest of rewards.
        metrics: of observers.
        environment: its label, where a run has several.
    """
    returns = np.atleast_1d(episode.episode_return).tolist()
    return {
        **counts._asdict(),
        'steps_per_second': steps_per_second,
        'episode_return': float(np.sum(returns)),
        'episode_length': episode.episode_length,
        **{
            f'episode_return/{name}': each
            for name, each in zip(reward_names, returns, strict=False)
        },
        **({} if environment is None else {'environment': environment}),
        **episode.metrics,
        **(metrics or {}),
    }


def summarise(result: EvaluationResult, labels: Sequence[str] = ()) -> dict[str, Any]:
    """The summary of an evaluation, as in the JSON line.

    Rewards of a nest are summed over its leaves, and each number also has its own mean and deviation.
    `metrics` has the means of the environment's named numbers, if there are any. `truncations` is present
    if `Evaluation.max_steps` ended episodes. Of several environments `environments` has the same of each.

    Args: labels: of the environments, where there are several.
    """
    returns = result.returns if result.returns.ndim == 1 else result.returns.sum(axis=1)
    summary: dict[str, Any] = {
        'episodes': len(returns),
        'return_mean': float(np.mean(returns)),
        'return_std': float(np.std(returns)),
    }
    for i, name in enumerate(result.reward_names):
        summary[f'return_mean/{name}'] = float(np.mean(result.returns[:, i]))
        summary[f'return_std/{name}'] = float(np.std(result.returns[:, i]))
    if result.metrics:
        given = {name: each[~np.isnan(each)] for name, each in result.metrics.items()}
        summary['metrics'] = {
            name: float(np.mean(each)) for name, each in given.items() if len(each)
        }
    if result.truncated.any():
        summary['truncations'] = int(result.truncated.sum())
    if labels:
        summary['environments'] = {
            label: summarise(each) for label, each in by_environment(result, labels).items()
        }
    return summary


def by_environment(result: EvaluationResult, labels: Sequence[str]) -> dict[str, EvaluationResult]:
    """The episodes of each environment, by its label."""
    assert result.environments is not None
    of_episodes = [labels[number] for number in result.environments]
    parts = {}
    for label in dict.fromkeys(labels):
        mine = np.asarray([of_episode == label for of_episode in of_episodes])
        parts[label] = result._replace(
            returns=result.returns[mine],
            lengths=result.lengths[mine],
            truncated=result.truncated[mine],
            metrics={name: each[mine] for name, each in result.metrics.items()},
            environments=None,
        )
    return parts


def evaluator_rows(
    counts: Counts, result: EvaluationResult, labels: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The rows of evaluator.csv for an evaluation, one for each environment.

    Args:
        counts: of the variables that it used.
        labels: of the environments, where there are several.
    """
    if not labels:
        return [_evaluator_row(counts, result)]
    return [
        {**_evaluator_row(counts, each), 'environment': label}
        for label, each in by_environment(result, labels).items()
    ]


def _evaluator_row(counts: Counts, result: EvaluationResult) -> dict[str, Any]:
    summary = summarise(result)
    row = {
        **counts._asdict(),
        'episode_return': summary['return_mean'],
        'episode_length': float(np.mean(result.lengths)),
        'episode_return_std': summary['return_std'],
        'episodes': summary['episodes'],
        'truncations': summary.get('truncations', 0),
    }
    for name in result.reward_names:
        row[f'episode_return/{name}'] = summary[f'return_mean/{name}']
        row[f'episode_return_std/{name}'] = summary[f'return_std/{name}']
    return {**row, **summary.get('metrics', {})}


class SayOnce:
    """Says on standard error what a learner warns of, the first time that it does."""

    def __init__(self, warning: MetricWarning) -> None:
        """Args: warning: of the LearnerCore."""
        self._warning = warning
        self._is_said = False

    def __call__(self, metrics: Mapping[str, float]) -> None:
        """Looks at metrics that are logged."""
        text = None if self._is_said else self._warning(metrics)
        if text is not None:
            self._is_said = True
            print(f'culmen: {text}', file=sys.stderr, flush=True)


def say_endless(summary: Mapping[str, Any]) -> None:
    """Says on standard error that no episode of a run's training has ended, so that no log has one."""
    if summary['actor_steps'] and not summary['episodes']:
        print(
            f'culmen: no episode ended in the {summary["actor_steps"]:,} steps of training, so actor.csv has '
            f'no row; the argument step_limit of an environment truncates its episodes.',
            file=sys.stderr,
        )


def say_cut(result: EvaluationResult, max_steps: int | None) -> bool:
    """Says on standard error how many episodes `max_steps` ended. Returns: whether it ended any."""
    cut = int(result.truncated.sum())
    if cut:
        print(
            f'culmen: {cut} of {len(result.lengths)} episodes of an evaluation did not end in '
            f'{max_steps:,} steps and were cut there, which counts as a truncation '
            f'(Evaluation.max_steps, --evaluation-max-steps).',
            file=sys.stderr,
        )
    return bool(cut)
