"""Reads the evaluations of runs, and puts runs that differ by their seeds into one group."""

import json
import os
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NamedTuple

from culmen.components.files import expanded
from culmen.components.files import read_json
from culmen.components.files import reading
from culmen.components.loggers import LogFiles
from culmen.core import checks
from culmen.launchers.plots import Floats

# What a comparison does not tell runs apart by: seeds make a group, environments make tasks.
_NOT_OF_A_GROUP = ('seed', 'environment')


class Evaluations(NamedTuple):
    """The evaluations of one run in one environment, in order."""

    steps: Floats  # [n] actor steps; learner steps of a run without actors
    seconds: Floats | None  # [n] since the run began; None: its logs have none
    returns: Floats  # [n] the mean return of each evaluation


class StoredRun(NamedTuple):
    """One run in one environment, as its folder tells it."""

    folder: Path
    typed: str  # the path that it was found under
    config: Mapping[str, Any]
    task: str
    evaluations: Evaluations

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.config['seed'])


Groups = Mapping[str, Mapping[str, Sequence[StoredRun]]]  # runs by group and task, by seed


def read_runs(paths: Sequence[str | os.PathLike[str]]) -> list[StoredRun]:
    """Reads every run at or below each path.

    Raises: FileNotFoundError where there is none below a path; ValueError for a run without evaluations;
        DamagedError that names a file that can't be read.
    """
    found: list[StoredRun] = []
    for path in paths:
        folders = list(_run_folders(expanded(path)))
        if not folders:
            raise FileNotFoundError(
                f'{path} holds no run: no folder in it has config.json and logs.'
            )
        for folder in folders:
            found += _read_run(folder, os.fspath(path))
    return found


def _run_folders(folder: Path) -> Iterator[Path]:
    if (folder / 'config.json').is_file() and (folder / 'logs').is_dir():
        yield folder
        return
    for each in sorted(folder.iterdir()) if folder.is_dir() else []:
        if each.is_dir() and not each.is_symlink():
            yield from _run_folders(each)


def _read_run(folder: Path, typed: str) -> Iterator[StoredRun]:
    path = folder / 'config.json'
    with reading(path):
        config = read_json(path)
        environments = config['environment']
        several = environments if isinstance(environments, list) else [environments]
        masks: dict[str, Any] = {str(each['name']): None for each in several}
    with reading(f'{folder}: a log'):
        logs = LogFiles(folder / 'logs')
        frame = logs['evaluator'] if 'evaluator' in logs else ()
        if len(frame) and 'environment' in frame:
            masks = {label: frame['environment'] == label for label in frame['environment']}
        parts = {task: _evaluations(frame, mine) for task, mine in masks.items() if len(frame)}
    if not parts:
        raise ValueError(
            f'{folder} has no evaluation yet: a comparison needs rows in logs/evaluator.csv.'
        )
    for task, evaluations in parts.items():
        yield StoredRun(folder, typed, config, task, evaluations)


def _evaluations(frame: Any, mine: Any) -> Evaluations:
    """The evaluations of a log. Args: mine: [rows] which are meant; None: all."""
    frame = frame if mine is None else frame[mine]
    clock = 'actor_steps' if frame['actor_steps'].any() else 'learner_steps'
    return Evaluations(
        frame[clock].to_numpy(float),
        frame['seconds'].to_numpy(float) if 'seconds' in frame else None,
        frame['episode_return'].to_numpy(float),
    )


def group_runs(runs: Sequence[StoredRun], by: Sequence[str] = ()) -> Groups:
    """Runs by group and task.

    Without `by` a group has the runs whose configs differ in nothing but seed and environment. Its label is
    the agent's name and the fields in which the groups differ.

    Args: by: fields of the config, as 'agent.learning_rate', whose values make the groups.
    Raises: ValueError for a field that a config has not; for groups whose tasks or numbers of seeds differ,
        so that they can't be compared; for one seed twice in a group.
    """
    if by:
        keys = [tuple(_field(run, name) for name in by) for run in runs]
        labels = {
            key: ', '.join(
                f'{name.rpartition(".")[2]}={_text(value)}'
                for name, value in zip(by, key, strict=True)
            )
            for key in keys
        }
    else:
        configs = [_of_group(run) for run in runs]
        keys = [(_text(config),) for config in configs]
        if _has_twice(runs, keys):
            keys = [(*key, run.typed) for key, run in zip(keys, runs, strict=True)]
        labels = _labels(dict(zip(keys, configs, strict=True)), keys, runs)
    groups: dict[str, dict[str, list[StoredRun]]] = {}
    for key, run in zip(keys, runs, strict=True):
        groups.setdefault(labels[key], {}).setdefault(run.task, []).append(run)
    _check(groups)
    return {
        label: {
            task: sorted(mine, key=lambda run: run.seed) for task, mine in sorted(tasks.items())
        }
        for label, tasks in groups.items()
    }


def _of_group(run: StoredRun) -> dict[str, Any]:
    return {name: value for name, value in run.config.items() if name not in _NOT_OF_A_GROUP}


def _has_twice(runs: Sequence[StoredRun], keys: Sequence[Any]) -> bool:
    marks = [(key, run.task, run.seed) for key, run in zip(keys, runs, strict=True)]
    return len(set(marks)) < len(marks)


def _field(run: StoredRun, name: str) -> Any:
    """The value of a field of the run's config, a list as text so that it can be a key."""
    value: Any = run.config
    for part in name.split('.'):
        value = value[0] if isinstance(value, list) and value else value
        if not isinstance(value, dict) or part not in value:
            known = [field for field, _ in leaves(run.config)]
            raise ValueError(f'{run.folder}: {checks.unknown_name("field", name, known)}')
        value = value[part]
    return _text(value)


def leaves(config: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """The fields of a config by their paths ('agent.learning_rate'), nested ones too."""
    if isinstance(config, dict) and config:
        for key, value in config.items():
            yield from leaves(value, f'{name}.{key}' if name else key)
    else:
        yield name, config


def _labels(
    configs: Mapping[tuple[str, ...], Any], keys: Sequence[Any], runs: Sequence[StoredRun]
) -> dict[Any, str]:
    """A label for each key: the agent, and the fields (and folders) in which the keys differ."""
    fields_of = {key: dict(leaves(config)) for key, config in configs.items()}
    typed = dict(zip(keys, (run.typed for run in runs), strict=True))
    names = {key: str(mine.get('agent.name', 'run')) for key, mine in fields_of.items()}
    labels = {}
    for key, mine in fields_of.items():
        alike = [other for other in fields_of if names[other] == names[key]]
        fields = [
            field
            for field in mine
            if any(_text(fields_of[other].get(field)) != _text(mine[field]) for other in alike)
        ]
        parts = [f'{field.rpartition(".")[2]}={_text(mine[field])}' for field in fields]
        labels[key] = ', '.join([names[key], *parts])
    shared = [label for label in labels.values() if list(labels.values()).count(label) > 1]
    return {
        key: f'{label}, {typed[key]}' if label in shared else label for key, label in labels.items()
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _check(groups: Mapping[str, Mapping[str, Sequence[StoredRun]]]) -> None:
    every = sorted({task for tasks in groups.values() for task in tasks})
    for label, tasks in groups.items():
        missing = [task for task in every if task not in tasks]
        if missing:
            raise ValueError(
                f'groups must have the same tasks; {label!r} has no run of {_and(missing)}, '
                f'and others have.'
            )
        for task, runs in tasks.items():
            seeds = [run.seed for run in runs]
            twice = [seed for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1]
            if twice:
                folders = [str(run.folder) for run in runs if run.seed == twice[0]]
                raise ValueError(
                    f'{label!r} has seed {twice[0]} of {task} more than once: {_and(folders)}; '
                    f'compare them with --by a field in which they differ.'
                )
        counts = {task: len(runs) for task, runs in tasks.items()}
        if len(set(counts.values())) > 1:
            told = ', '.join(f'{count} of {task}' for task, count in counts.items())
            raise ValueError(f'{label!r} must have as many seeds of each task, got {told}.')


def _and(names: Iterable[str]) -> str:
    return ', '.join(names)
