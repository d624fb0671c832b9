"""A comparison of groups of runs, from their folders to its numbers, its picture and its files."""

import os
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from culmen.components.files import expanded
from culmen.core import checks
from culmen.launchers.comparing import statistics
from culmen.launchers.comparing.runs import Evaluations
from culmen.launchers.comparing.runs import Groups
from culmen.launchers.comparing.runs import StoredRun
from culmen.launchers.comparing.runs import group_runs
from culmen.launchers.comparing.runs import read_runs
from culmen.launchers.comparing.statistics import Band
from culmen.launchers.comparing.statistics import Estimate
from culmen.launchers.plots import Floats

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_POINTS = 40  # of a curve
_THRESHOLDS = 81  # of a profile

Scale = tuple[float, float]  # the returns of a task that score 0 and 1


@dataclass(frozen=True)
class Comparison:
    """What groups of runs score. `print(comparison)` shows the table, a notebook the picture too."""

    groups: Groups
    tasks: tuple[str, ...]
    scores: Mapping[str, Floats]  # [seeds, tasks] by group; returns, or shares of a scale
    aggregates: Mapping[str, Mapping[str, Estimate]]  # by group and name
    improvements: Mapping[
        tuple[str, str], Estimate
    ]  # that a run of the first beats one of the second
    thresholds: Floats  # [n] of the profiles
    profiles: Mapping[str, Band]  # [n] by group
    by_steps: Mapping[str, tuple[Floats, Band]]  # (actor steps [m], IQM [m]) by group
    by_seconds: Mapping[
        str, tuple[Floats, Band]
    ]  # the same by seconds; none where logs have no seconds
    last: int  # evaluations that a score is the mean of
    is_scaled: bool
    repetitions: int

    @property
    def table(self) -> 'pd.DataFrame':
        """A row for each group: seeds, IQM, mean and median with their intervals, and the best seed."""
        import pandas as pd

        rows = []
        for label, estimates in self.aggregates.items():
            row: dict[str, Any] = {'group': label, 'seeds': len(self.scores[label])}
            for name, estimate in estimates.items():
                row |= {
                    name: estimate.value,
                    f'{name} low': estimate.low,
                    f'{name} high': estimate.high,
                }
            rows.append({**row, 'best': float(self.scores[label].mean(axis=1).max())})
        return pd.DataFrame(rows)

    def figure(self) -> 'Figure':
        """The picture: curves by steps and by seconds, intervals, profiles."""
        from culmen.launchers.comparing import figures

        return figures.draw(self)

    def save(self, folder: str | os.PathLike[str]) -> dict[str, Path]:
        """Writes comparison.png, index.html, scores.json and marl_eval.json into a folder.

        `scores.json` has what rliable takes, a matrix [seeds, tasks] for each group, and all numbers of the
        comparison. `marl_eval.json` has what id-marl-eval takes: the evaluations of each seed.
        Returns: the path of each, by its name.
        """
        from culmen.launchers.comparing import pages

        return pages.save(self, expanded(folder))

    def __str__(self) -> str:
        return str(self.table.to_string(index=False))

    def _repr_html_(self) -> str:
        from culmen.launchers.comparing import pages

        return pages.body(self)


def compare(
    paths: Sequence[str | os.PathLike[str]],
    by: Sequence[str] = (),
    *,
    last: int = 5,
    scales: Mapping[str, Scale] | None = None,
    repetitions: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compares the runs at or below some folders.

    The score of a run is the mean of its last evaluations. Runs that differ in nothing but their seeds are a
    group; those of several environments are its tasks. Intervals are of 95%, by a bootstrap over seeds that
    is stratified by task (Agarwal et al., 2021, arXiv:2108.13264).

    Args:
        paths: workdirs, or folders that hold some.
        by: fields whose values make the groups instead, as 'agent.learning_rate'.
        last: evaluations that are averaged; a run with fewer has all of its.
        scales: for each task the returns that score 0 and 1. Several tasks need one each, since returns of
            different tasks have no common mean.
        repetitions: of a bootstrap.
        seed: of its draws: the same runs have the same intervals.
    Raises: FileNotFoundError for a path without runs; ValueError for runs without evaluations, for groups
        whose tasks or numbers of seeds differ, for scales that don't fit; ImportError without rliable.
    """
    for name, value in (('last', last), ('repetitions', repetitions)):
        checks.check_range(name, value, 1)
    groups = group_runs(read_runs(paths), by)
    tasks = tuple(next(iter(groups.values())))
    ends = _check_scales(tasks, dict(scales or {}))
    scores = {
        label: np.stack(
            [
                [_scaled(run.evaluations.returns[-last:].mean(), ends[task]) for run in runs[task]]
                for task in tasks
            ],
            axis=1,
        )
        for label, runs in groups.items()
    }
    every = np.concatenate([each.ravel() for each in scores.values()])
    thresholds = np.linspace(every.min(), every.max(), _THRESHOLDS)
    with statistics.seeded(seed):
        return Comparison(
            groups,
            tasks,
            scores,
            {name: statistics.aggregates(mine, repetitions) for name, mine in scores.items()},
            {
                (first, second): statistics.improvement(scores[first], scores[second], repetitions)
                for first in scores
                for second in scores
                if first != second
            },
            thresholds,
            {
                name: statistics.profile(mine, thresholds, repetitions)
                for name, mine in scores.items()
            },
            _curves(groups, tasks, ends, 'steps', repetitions),
            _curves(groups, tasks, ends, 'seconds', repetitions),
            last,
            bool(scales),
            repetitions,
        )


def _check_scales(tasks: Sequence[str], scales: dict[str, Scale]) -> dict[str, Scale | None]:
    for task, (low, high) in scales.items():
        if task not in tasks:
            raise ValueError(f'scales: {checks.unknown_name("task", task, tasks)}')
        if not (np.isfinite((low, high)).all() and low < high):
            raise ValueError(
                f'scales of {task!r} must be two finite numbers that rise, got {low}, {high}.'
            )
    missing = [task for task in tasks if task not in scales]
    if missing and (scales or len(tasks) > 1):
        raise ValueError(
            f'scales (--scale) must have each of several tasks, as --scale {missing[0]}=LOW,HIGH with the '
            f'returns that score 0 and 1: returns of different tasks have no common mean; '
            f'missing: {", ".join(missing)}.'
        )
    return {task: scales.get(task) for task in tasks}


def _scaled(returns: Any, ends: Scale | None) -> Any:
    return returns if ends is None else (returns - ends[0]) / (ends[1] - ends[0])


def _curves(
    groups: Groups,
    tasks: Sequence[str],
    ends: Mapping[str, Scale | None],
    clock: str,
    repetitions: int,
) -> dict[str, tuple[Floats, Band]]:
    """A curve for each group, at the points that all of its runs reached; {} where a run has no clock."""
    curves = {}
    for label, by_task in groups.items():
        runs = [run for task in tasks for run in by_task[task]]
        points = _points([run.evaluations for run in runs], clock)
        if points is None:
            return {}
        scores = np.stack([_at(by_task[task], points, clock, ends[task]) for task in tasks], axis=1)
        curves[label] = (points, statistics.curve(scores, repetitions))
    return curves


def _points(several: Sequence[Evaluations], clock: str) -> Floats | None:
    times = [getattr(each, clock) for each in several]
    if any(each is None for each in times):
        return None
    begin = max(float(each[0]) for each in times)
    end = min(float(each[-1]) for each in times)
    if begin > end:  # no point that all reached: the curve is the last evaluation of each
        return np.array([begin])
    every = np.unique(np.concatenate(times))
    inside = every[(every >= begin) & (every <= end)]
    return inside if len(inside) <= _POINTS else np.linspace(begin, end, _POINTS)


def _at(runs: Sequence[StoredRun], points: Floats, clock: str, ends: Scale | None) -> Floats:
    """Scores of runs at some points, [runs, points], between evaluations on a line."""
    return np.stack(
        [
            _scaled(
                np.interp(points, getattr(run.evaluations, clock), run.evaluations.returns), ends
            )
            for run in runs
        ]
    )
