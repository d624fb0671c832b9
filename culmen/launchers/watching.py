"""Follows runs by what is in their folders: `culmen watch`. It needs no network and imports no JAX.

`Watch.look` gives the status of each run (culmen.launchers.status) with how much is left, and the points of
its returns. Logs are read on from where the last look ended, so a look costs the same however long a run is.
"""

import csv
import io
import math
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NamedTuple

from culmen.components.files import reading
from culmen.launchers import status as statuses
from culmen.launchers.folders import CONFIG
from culmen.launchers.folders import LOGS

GONE = 'gone'  # the state of a run whose folder was removed
_POINTS = 400  # of a curve, at most


class Points(NamedTuple):
    """A curve: steps, increasing, and the mean return around each."""

    steps: Sequence[float]
    returns: Sequence[float]


class Seen(NamedTuple):
    """A run at one look."""

    status: Mapping[str, Any]  # of `read_status`
    left: int | None  # steps to the end of its budget; learner steps where these alone are bounded
    seconds_left: float | None  # at the present rate
    returns: Points
    is_evaluated: bool  # whether the returns are of evaluations, or else of training

    @property
    def is_over(self) -> bool:
        """Whether the run does not run."""
        return self.status['state'] != statuses.RUNNING


class Watch:
    """Follows runs, also those that are added to a folder of runs."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Args: folders: of runs, or of several. Raises: FileNotFoundError that names one without a run."""
        self._folders = folders
        self._runs: dict[Path, _Run] = {}
        for folder in folders:
            if not _find(folder):
                raise FileNotFoundError(f'{folder} holds no run: there is no {CONFIG} in it.')

    def look(self) -> list[Seen]:
        """All runs as they are now, in the order of the folders. Raises: DamagedError that names a file."""
        for folder in self._folders:
            for run in _find(folder):
                self._runs.setdefault(run, _Run(run))
        return [run.look() for run in self._runs.values()]


def _find(folder: Path) -> list[Path]:
    return [folder] if (folder / CONFIG).is_file() else statuses.find_runs(folder)


class _Run:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logs: dict[Path, _Log] = {}
        self._status: dict[str, Any] | None = None

    def look(self) -> Seen:
        try:
            self._status = status = statuses.read_status(self._folder)
        except FileNotFoundError:
            if self._status is None:
                raise
            status = {**self._status, 'state': GONE}
        left, seconds = _find_left(status)
        evaluations, episodes = self._read('evaluator.csv'), self._read('actor*.csv')
        is_evaluated = len(evaluations.steps) > 1 or not episodes.steps
        returns = evaluations if is_evaluated else episodes
        return Seen(status, left, seconds, returns, is_evaluated)

    def _read(self, pattern: str) -> Points:
        """The points of all logs of a kind: each actor of a program has one."""
        merged: list[tuple[float, float]] = []
        for path in sorted((self._folder / LOGS).glob(pattern)):
            merged += self._logs.setdefault(path, _Log(path)).read()
        merged.sort()
        return Points([steps for steps, _ in merged], [mean for _, mean in merged])


def _find_left(status: Mapping[str, Any]) -> tuple[int | None, float | None]:
    """(steps, seconds) to the end of the budget, by the count that is bounded."""
    for count, rate in (('actor_steps', 'steps'), ('learner_steps', 'updates')):
        most = status[f'max_{count}']
        if most is not None:
            left = max(most - (status[count] or 0), 0)
            speed = status[f'{rate}_per_second'] if status['state'] == statuses.RUNNING else None
            return left, left / speed if speed else None
    return None, None


class _Log:
    """Returns in a log that grows, as points of equal weight. Neighbours are merged where there are many."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self._names: list[str] = []
        self._position = 0
        self._weight = 1  # rows of a point
        self._points: list[tuple[float, float]] = []
        self._rest: list[tuple[float, float]] = []  # rows of a point that is not complete

    def read(self) -> list[tuple[float, float]]:
        """(steps, mean return) of each point, after reading what is new. Raises: DamagedError."""
        with reading(self._path):
            if self._path.stat().st_size < self._position:  # a resumed run has cut it
                self._begin()
            with open(self._path, 'rb') as file:
                file.seek(self._position)
                new = file.read()
            new = new[: new.rfind(b'\n') + 1]
            self._position += len(new)
            rows = csv.reader(io.StringIO(new.decode()))
            if not self._names:
                self._names = next(rows, [])
            for row in rows:
                self._add(dict(zip(self._names, row, strict=True)))
        return self._points + ([_mean(self._rest)] if self._rest else [])

    def _add(self, row: Mapping[str, str]) -> None:
        value = float(row['episode_return'])
        if not math.isfinite(value):
            return
        self._rest.append((float(row['actor_steps']) or float(row['learner_steps']), value))
        if len(self._rest) == self._weight:
            self._points.append(_mean(self._rest))
            self._rest = []
        if len(self._points) == _POINTS:
            self._points = [_mean(self._points[i : i + 2]) for i in range(0, _POINTS, 2)]
            self._weight *= 2


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    steps, returns = zip(*points, strict=True)
    return sum(steps) / len(points), sum(returns) / len(points)
