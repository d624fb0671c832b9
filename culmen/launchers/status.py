"""How far a run is, read from its folder: `culmen status`. It needs no network and imports no JAX.

`read_status` works for running and for ended runs, of every launcher. Whether a run is under way says the
folder's lock. A program writes the rest to status.json about once a second (culmen.launchers.programs.board):
its counts, tables and nodes. Other launchers write no such file, and their counts are those of the newest
rows of their logs.
"""

import csv
import re
import time
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from culmen.components.files import DamagedError
from culmen.components.files import read_json
from culmen.components.files import reading
from culmen.launchers import provenance
from culmen.launchers.folders import CHECKPOINTS
from culmen.launchers.folders import CONFIG
from culmen.launchers.folders import LOGS
from culmen.launchers.folders import RESULT
from culmen.launchers.folders import STATUS
from culmen.launchers.locking import Owner
from culmen.launchers.locking import find_owner
from culmen.launchers.results import environment_name

VERSION = 1  # of status.json

# States of a run. A run that has ended without a word, or whose launcher writes no status.json, is known by
# its files alone: it was KILLED if its lock is still there, and else it has ENDED.
RUNNING, FINISHED, STOPPED, FAILED = 'running', 'finished', 'stopped', 'failed'
KILLED, ENDED = 'killed', 'ended'

# What status.json holds beside its version, its state and who wrote it; None where nothing is known.
FIELDS = (
    'actor_steps', 'learner_steps', 'episodes', 'evaluations', 'steps_per_second', 'updates_per_second',
    'episode_return', 'evaluating', 'evaluation', 'evaluators', 'tables', 'nodes', 'restarts',
)  # fmt: skip
_COUNTS = ('actor_steps', 'learner_steps', 'episodes')
_TAIL_BYTES = 1 << 16


def read_status(folder: Path) -> dict[str, Any]:
    """The status of the run in a folder, as plain data.

    Returns: a dict with
        workdir, agent, environment, launcher, seed, max_actor_steps, max_learner_steps: of the run
        state: one of the states above; reason: of a failure, or None
        host, pid, since: of the process that runs it; None if it does not run
        seconds: since the newest of these facts, by the clock of this host; None if there is none
        checkpoint: {steps, seconds} of the newest, or None; learner steps where there are no actors
        commands: that have run it (culmen.launchers.provenance), the first one first
        and FIELDS, of which `tables` has {items, capacity, inserted, sampled, samples_per_insert, wanted,
        staleness, most_stale} by name, and `nodes` a list of {name, host, pid, state, doing, silent,
        actor_steps, steps_per_second, restarts: [{at, reason, caused_by}]}.
    Raises: FileNotFoundError if the folder holds no run; DamagedError that names a file.
    """
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f'{folder} holds no run: there is no {CONFIG} in it.')
    config = read_json(folder / CONFIG)
    # The lock is asked first: a run that ends in between has written its last words before it is released.
    owner = find_owner(folder)
    lives = owner is not None and owner.lives
    told = _read_told(folder, owner)
    summary = _read_summary(folder, config)
    with reading(folder / CONFIG):
        status = {
            'workdir': str(folder),
            'agent': config['agent']['name'],
            'environment': environment_name(config['environment']),
            **{name: config.get(name) for name in ('launcher', 'seed')},
            **{name: config.get(name) for name in ('max_actor_steps', 'max_learner_steps')},
        }
    status['state'] = _state(folder, told, owner, summary)
    status['reason'] = told.get('reason') or ((summary or {}).get('stopped') or {}).get('reason')
    status |= {name: getattr(owner, name) if lives else None for name in ('host', 'pid', 'since')}
    known = told if told else _from_files(folder, summary)
    status['seconds'] = _age(known.get('written'))
    status['checkpoint'] = _newest_checkpoint(folder)
    status['commands'] = provenance.read(folder)
    return status | {name: known.get(name) for name in FIELDS}


def find_runs(folder: Path) -> list[Path]:
    """The folders of runs within a folder of runs (of several seeds, of a sweep), by name."""
    found = {
        path.parent for depth in ('*', '*/*', '*/*/*') for path in folder.glob(f'{depth}/{CONFIG}')
    }
    return sorted(found, key=_by_numbers)


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    """A key by which seed-2 comes before seed-10."""
    parts = re.split(r'(\d+)', str(path))
    return [(int(part) if part.isdigit() else 0, part) for part in parts]


def _read_told(folder: Path, owner: Owner | None) -> dict[str, Any]:
    """What status.json holds; {} without one, and if it is of an earlier launch than the one that runs."""
    path = folder / STATUS
    if not path.exists():
        return {}
    told = read_json(path)
    with reading(path):
        if told['version'] != VERSION:
            raise DamagedError(
                f'{path} has version {told["version"]!r:.20}; this version of Culmen reads {VERSION}.'
            )
        _check(told)
        ours = owner is None or not owner.lives or (told['host'], told['pid']) == owner[:2]
    return told if ours else {}


def _check(told: Mapping[str, Any]) -> None:
    """Checks what commands compute with. Raises: an error that `reading` turns into a DamagedError."""
    for name in (*_COUNTS, 'steps_per_second', 'updates_per_second', 'written'):
        if told[name] is not None and not isinstance(told[name], int | float):
            raise ValueError(f'{name} must be a number, got {told[name]!r:.40}')
    for node in told['nodes']:
        if not isinstance(node['name'], str) or not isinstance(node['restarts'], list):
            raise ValueError(f'{node!r:.80} is no node')
    for table in told['tables'].values():
        if not isinstance(table, dict):
            raise ValueError(f'{table!r:.80} is no table')


def _state(
    folder: Path, told: Mapping[str, Any], owner: Owner | None, summary: Mapping[str, Any] | None
) -> str:
    if owner is not None and owner.lives:
        return RUNNING
    if told:
        return KILLED if told['state'] == RUNNING else str(told['state'])
    if owner is not None:
        return KILLED
    if summary is None:
        return ENDED
    return STOPPED if summary.get('stopped') else FINISHED


def _read_summary(folder: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The summary of a run that has used up its budget or was ended by an observer; None for others."""
    if not (folder / RESULT).exists():
        return None
    summary = read_json(folder / RESULT)
    with reading(folder / RESULT):
        budgets = {'actor_steps': 'max_actor_steps', 'learner_steps': 'max_learner_steps'}
        given = [(summary[count], config.get(name)) for count, name in budgets.items()]
        over = any(budget is not None and count >= budget for count, budget in given)
    return summary if over or summary.get('stopped') else None


def _from_files(folder: Path, summary: Mapping[str, Any] | None) -> dict[str, Any]:
    """Counts of the newest rows of the logs, and what the result holds if the run is finished."""
    known: dict[str, Any] = {'evaluators': {}, 'tables': {}, 'nodes': [], 'restarts': 0}
    for path in sorted((folder / LOGS).glob('*.csv')):
        with reading(path):
            row = _last_row(path)
        for name in _COUNTS if not path.stem.startswith('evaluator') else _COUNTS[:2]:
            if name in row:
                known[name] = max(known.get(name, 0), int(row[name]))
        if path.stem.startswith('actor') and row:
            known['steps_per_second'] = known.get('steps_per_second', 0) + row['steps_per_second']
            known['episode_return'] = row['episode_return']
        if path.stem.startswith('evaluator') and row:
            evaluation = {
                'episodes': int(row['episodes']),
                'return_mean': row['episode_return'],
                'return_std': row['episode_return_std'],
            }
            if path.stem == 'evaluator':
                known['evaluation'] = evaluation
            else:
                known['evaluators'][path.stem] = evaluation
        if row:
            known['written'] = max(known.get('written', 0.0), path.stat().st_mtime)
    if summary is not None:
        known |= {name: summary[name] for name in (*_COUNTS, 'steps_per_second', 'evaluation')}
        known['written'] = (folder / RESULT).stat().st_mtime
    return known


def _last_row(path: Path) -> dict[str, float]:
    """The numbers of the last complete row of a log; {} if it has none."""
    with open(path, 'rb') as file:
        header = file.readline().decode().rstrip('\n')
        begin = file.tell()
        file.seek(max(begin, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors='replace').split('\n')[:-1]
    if not lines:
        return {}
    return dict(_numbers(*csv.reader([header, lines[-1]])))


def _numbers(names: list[str], cells: list[str]) -> Iterator[tuple[str, float]]:
    for name, cell in zip(names, cells, strict=True):
        if name != 'environment' and cell:
            yield name, float(cell)


def _newest_checkpoint(folder: Path) -> dict[str, Any] | None:
    kept = folder / CHECKPOINTS
    if not kept.is_dir():
        return None
    named = [path for path in kept.iterdir() if path.name.isdigit() and path.is_dir()]
    if not named:
        return None
    newest = max(named, key=lambda path: path.name)
    return {'steps': int(newest.name), 'seconds': _age(newest.stat().st_mtime)}


def _age(written: float | None) -> float | None:
    return None if written is None else max(time.time() - written, 0.0)
