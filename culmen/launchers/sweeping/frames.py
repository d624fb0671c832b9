"""The runs of a sweep as a data frame and as a table with intervals, from their folders."""

import os
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from culmen.components.files import expanded
from culmen.components.files import read_json
from culmen.components.files import reading
from culmen.components.loggers import LogFiles
from culmen.core.checks import check_range
from culmen.launchers.comparing import statistics
from culmen.launchers.comparing.runs import leaves
from culmen.launchers.folders import CONFIG
from culmen.launchers.folders import LOGS
from culmen.launchers.plots import Floats
from culmen.launchers.status import find_runs
from culmen.launchers.status import read_status

if TYPE_CHECKING:
    import pandas as pd

LAST = 5  # evaluations that make a score, as in culmen compare
_REPETITIONS = 2000  # of a bootstrap
_COUNTS = ('actor_steps', 'learner_steps', 'episodes')


def sweep_frame(path: str | os.PathLike[str], last: int = LAST) -> 'pd.DataFrame':
    """A row for each run below a folder, running ones too: of a sweep, of several seeds, of a search.

    Columns: run (its folder below the path), each field of config.json in which the runs differ
    ('agent.learning_rate'), seed, state and actor_steps, learner_steps, episodes as in `culmen status`,
    evaluations (how many), score (the mean return of the last ones), best (the best of them all), last (the
    last), and stopped (why an observer ended the run, or None).

    Args: path: the folder; last: evaluations that make a score.
    Raises: FileNotFoundError if there is no run; DamagedError that names a file that can't be read.
    """
    import pandas as pd

    check_range('last', last, 1)
    folder = expanded(path)
    runs = [folder] if (folder / CONFIG).is_file() else find_runs(folder)
    if not runs:
        raise FileNotFoundError(f'{path} holds no run: no folder in it has {CONFIG}.')
    configs = [_read_leaves(run) for run in runs]
    swept = [
        name
        for name in dict.fromkeys(name for config in configs for name in config)
        if name != 'seed' and len({repr(config.get(name)) for config in configs}) > 1
    ]
    rows = []
    for run, config in zip(runs, configs, strict=True):
        status, returns = read_status(run), evaluation_returns(run)
        rows.append(
            {
                'run': str(run.relative_to(folder)),
                **{name: config.get(name) for name in swept},
                'seed': config['seed'],
                'state': status['state'],
                **{name: status[name] for name in _COUNTS},
                'evaluations': len(returns),
                'score': float(returns[-last:].mean()) if len(returns) else np.nan,
                'best': float(returns.max()) if len(returns) else np.nan,
                'last': float(returns[-1]) if len(returns) else np.nan,
                'stopped': status['reason'],
            }
        )
    return pd.DataFrame(rows)


def _read_leaves(run: Path) -> dict[str, Any]:
    path = run / CONFIG
    with reading(path):
        return {name: value for name, value in leaves(read_json(path)) if not _is_where(name)}


def _is_where(name: str) -> bool:
    """Whether a field of config.json says where the run is made, not what."""
    return name in ('launcher', 'replay', 'num_actors')


def evaluation_returns(run: Path) -> Floats:
    """The mean return of each evaluation of a run, in order; of several environments their mean, [n]."""
    with reading(f'{run}: a log'):
        logs: Mapping[str, Any] = LogFiles(run / LOGS) if (run / LOGS).is_dir() else {}
        frame = logs['evaluator'] if 'evaluator' in logs else ()
        if not len(frame):
            return np.zeros(0)
        clock = 'actor_steps' if frame['actor_steps'].any() else 'learner_steps'
        means: Floats = frame.groupby(clock)['episode_return'].mean().to_numpy(float)
        return means


def score(run: Path, last: int = LAST) -> float | None:
    """The score of a run: the mean of its last evaluations; None: it has none."""
    returns = evaluation_returns(run)
    return float(returns[-last:].mean()) if len(returns) else None


def make_table(groups: Mapping[str, Sequence[Path]], last: int = LAST) -> list[dict[str, Any]]:
    """What groups of runs scored, the best mean first; groups without an evaluation are left out.

    Args: groups: runs that differ in their seeds alone, by the values that they share.
    Returns: rows of run (the group's name), seeds, best, mean, and low and high: the 95% interval of the
        mean, by the bootstrap of `culmen compare`; None for one seed, and without rliable.
    """
    rows = []
    with statistics.seeded(0):
        for name, folders in groups.items():
            scores = [
                each for each in (score(folder, last) for folder in folders) if each is not None
            ]
            if scores:
                found = _mean(np.asarray(scores))
                rows.append(
                    {
                        'run': name,
                        'seeds': len(scores),
                        'best': max(scores),
                        'mean': found.value,
                        'low': found.low,
                        'high': found.high,
                    }
                )
    return sorted(rows, key=lambda row: -row['mean'])


def _mean(scores: Floats) -> statistics.Estimate:
    try:
        return statistics.mean(scores[:, np.newaxis], _REPETITIONS)
    except ImportError:  # there is no interval without rliable
        return statistics.Estimate(float(scores.mean()))
