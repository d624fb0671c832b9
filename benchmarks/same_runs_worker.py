"""The short runs that benchmarks/same_runs.py compares, one process for several of them.

It runs in a checkout, which PYTHONPATH names before this folder, and asks only what every revision has:
`culmen.run` and `load`, the launchers, the command line, and the rows of tests/agents/registry.py.
"""

import dataclasses
import gc
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax
import numpy as np
from same_runs_experiments import DATASETS
from same_runs_experiments import Stopper
from same_runs_experiments import experiment

import culmen
from tests.agents import registry

MIXED = ('demonstrated',)  # has a Dataset beside a table of its own
KINDS = {row.kind: row.name for row in registry.AGENTS if row.kind}
# Fields of a summary that differ from one run to the next.
VOLATILE = ('steps_per_second', 'workdir')


class Run(NamedTuple):
    """A run, or several that belong together."""

    go: Callable[[pathlib.Path], dict[str, Any]]  # folder -> outcome
    # What has to agree: 'bits'; 'counts', where draws have no seed; 'about', where nodes race.
    held_to: str = 'bits'
    quick: bool = False


def runs() -> dict[str, Run]:
    """All runs by name: a launcher, a row of the registry, and what is special."""
    acting = [row.name for row in registry.AGENTS if row.name not in DATASETS]
    seeded = [name for name in acting if name not in MIXED]
    kinds = [name for name in acting if name in KINDS.values()]
    found: dict[str, Run] = {}
    for name in acting:
        found[f'local/{name}'] = Run(_alone('local', name), quick=name in kinds)
    for name in seeded:
        found[f'compiled/{name}'] = Run(_alone('compiled', name), quick=name in kinds)
    for name in DATASETS:
        found[f'offline/{name}'] = Run(_alone('offline', name), quick=name == 'bc')
    for name in kinds:
        found[f'local/{name},resumed'] = Run(_resumed('local', name), quick=name == 'dqn')
        if name in seeded:
            found[f'compiled/{name},resumed'] = Run(_resumed('compiled', name))
    found['offline/bc,resumed'] = Run(_resumed('offline', 'bc'))
    for changes in ({'lag': 0}, {'lag': 2}, {'updates_per_call': 2}, {'num_environments': 1}):
        for name in ('dqn', 'ppo'):
            found[f'local/{name},{_text(changes)}'] = Run(_alone('local', name, **changes))
    found['compiled/dqn,num_environments=1'] = Run(_alone('compiled', 'dqn', num_environments=1))
    found['local/dqn,no workdir'] = Run(lambda folder: _outcome(_run('local', experiment('dqn'))))
    found['local/dqn_all_options,recorded'] = Run(_recorded)
    for as_one in (False, True):
        how = 'as one' if as_one else 'in turns'
        for name, field in (('dqn', 'discount'), ('ppo', 'learning_rate'), ('sac', 'target_rate')):
            quick = as_one and name == 'dqn'
            found[f'many/{name},{how}'] = Run(_many(name, field, as_one), quick=quick)
    found['many/dqn,resumed'] = Run(_many('dqn', 'discount', True, stopped=True))
    for name in ('train', 'sweep', 'options', 'list'):
        found[f'command/{name}'] = Run(globals()[f'_command_{name}'])
    for name in [*acting, *DATASETS]:
        launcher = 'offline' if name in DATASETS else 'local'
        found[f'first/{name}'] = Run(_alone(launcher, name, max_learner_steps=1))
    for name in kinds:
        if name not in MIXED:
            # A queue gives its samples in order; the others draw without a seed.
            held_to = 'bits' if registry.of(name).kind == 'queue' else 'counts'
            found[f'reverb/{name}'] = Run(_alone('reverb', name), held_to)
            for backend in ('threads', 'processes'):
                found[f'{backend}/{name}'] = Run(_alone(backend, name), 'about')
    return found


def _text(changes: Mapping[str, Any]) -> str:
    return ','.join(f'{name}={value}' for name, value in changes.items())


def _run(launcher: str, of: culmen.Experiment, folder: Any = None, **options: Any) -> Any:
    """The Result of an experiment in a launcher."""
    options = {'progress': False, **options}
    if launcher == 'local':
        return culmen.run(of, folder, trust=True, **options)
    if launcher == 'reverb':
        return culmen.run(of, folder, replay='reverb', **options)
    if launcher in ('compiled', 'offline'):
        return getattr(culmen.launchers, launcher).run(of, folder, **options)
    program = culmen.launchers.launchpad.make_program(of, folder, num_actors=2)
    return culmen.launchers.launchpad.launch(program, launcher, **options)


def _alone(launcher: str, name: str, **changes: Any) -> Callable[[pathlib.Path], dict[str, Any]]:
    def go(folder: pathlib.Path) -> dict[str, Any]:
        of = experiment(name, **changes)
        outcome = _outcome(_run(launcher, of, folder))
        if name in KINDS.values() and not changes:
            outcome['evaluated'] = _evaluated(of, folder)
        return outcome

    return go


def _evaluated(of: culmen.Experiment, folder: pathlib.Path) -> Any:
    """What its variables, loaded from the workdir, play."""
    loaded = culmen.load(folder, of.agent, of.environment, trust=True)
    result = loaded.evaluate(2, progress=False)
    return {
        'returns': np.asarray(result.returns).tolist(),
        'lengths': np.asarray(result.lengths).tolist(),
    }


def _resumed(launcher: str, name: str) -> Callable[[pathlib.Path], dict[str, Any]]:
    def go(folder: pathlib.Path) -> dict[str, Any]:
        partial = _run(launcher, experiment(name), folder, loggers=[Stopper()])
        if not partial.interrupted:
            raise RuntimeError('the run was over before it was stopped')
        outcome = _outcome(_run(launcher, experiment(name), folder))
        return _wherever_stopped(outcome) if launcher == 'compiled' else outcome

    return go


def _recorded(folder: pathlib.Path) -> dict[str, Any]:
    of = experiment('dqn_all_options')
    outcome = _outcome(_run('local', of, folder / 'run', record=folder / 'recording'))
    for path in sorted((folder / 'recording').rglob('*.npz')):
        with np.load(path) as rows:
            lane = path.relative_to(folder).parent
            for field in rows.files:
                outcome['arrays'].setdefault(f'{lane}/{field}', []).append(rows[field])
    outcome['arrays'] = {
        name: np.concatenate(value) if isinstance(value, list) else value
        for name, value in outcome['arrays'].items()
    }
    return outcome


def _many(
    name: str, field: str, as_one: bool, stopped: bool = False
) -> Callable[[pathlib.Path], dict[str, Any]]:
    """Two seeds, each with two values of a field."""

    def go(folder: pathlib.Path) -> dict[str, Any]:
        agent = registry.of(name).agent
        several = [
            experiment(name, agent=dataclasses.replace(agent, **{field: value}), seed=seed)
            for value in registry.of(name).traced[field]
            for seed in (3, 4)
        ]
        folders = [folder / str(i) for i in range(len(several))]
        train = culmen.launchers.compiled_many.run_many
        options: dict[str, Any] = {'as_one': as_one, 'progress': False}
        if stopped:
            train(several, folders, loggers=[[Stopper()] for _ in several], **options)
        outcomes = [_outcome(each) for each in train(several, folders, **options)]
        if stopped:
            outcomes = [_wherever_stopped(each) for each in outcomes]
        return _together({str(i): each for i, each in enumerate(outcomes)})

    return go


def _wherever_stopped(outcome: dict[str, Any]) -> dict[str, Any]:
    """Without the step at which a compiled run stopped: its host hears every so many tenths of a second."""
    del outcome['summary']['resumed_at'], outcome['result']['resumed_at'], outcome['checkpoints']
    return outcome


def _together(outcomes: Mapping[str, Any]) -> dict[str, Any]:
    """Several outcomes as one."""
    arrays = {
        f'{name}/{path}': value
        for name, each in outcomes.items()
        for path, value in each.pop('arrays').items()
    }
    return {'runs': outcomes, 'arrays': arrays}


def _culmen(*arguments: Any) -> str:
    """Standard output of the command line."""
    command = [sys.executable, '-m', 'culmen', *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'culmen ended with {done.returncode}: {done.stderr.strip()}')
    return done.stdout


_SMALL = (
    '--environment', 'jax/catch', '--steps', 120, '--seed', 3, '--evaluate-every', 50,
    '--evaluation-episodes', 2, '--agent.hidden_sizes', 8, '--agent.min_replay_size', 20,
    '--agent.batch_size', 4, '--agent.samples_per_insert', 1, '--agent.replay_capacity', 60,
)  # fmt: skip


def _command_train(folder: pathlib.Path) -> dict[str, Any]:
    """A run from the command line, loaded and evaluated from there."""
    told = json.loads(_culmen('train', 'dqn', *_SMALL, '--workdir', folder / 'run', '--json'))
    evaluated = json.loads(_culmen('evaluate', folder / 'run', '--episodes', 3, '--json'))
    return {
        **_files(folder / 'run'),
        'told': _steady(told),
        'evaluated': _steady(evaluated),
        'arrays': _arrays(culmen.load(folder / 'run').params),
    }


def _command_sweep(folder: pathlib.Path) -> dict[str, Any]:
    """Seeds and values of a number, compiled, from the command line."""
    told = json.loads(
        _culmen('train', 'dqn', *_SMALL, '--launcher', 'compiled', '--seeds', 2, '--sweep',
                'agent.learning_rate=1e-3,1e-2', '--workdir', folder / 'runs', '--json')
    )  # fmt: skip
    found = {
        str(path.parent.relative_to(folder)): {
            **_files(path.parent),
            'summary': _steady(json.loads(path.read_text())),
            'arrays': _arrays(culmen.load(path.parent).params),
        }
        for path in sorted((folder / 'runs').rglob('result.json'))
    }
    return _together(found) | {'told': [_steady(each) for each in told['runs']]}


def _command_options(folder: pathlib.Path) -> dict[str, Any]:
    """The names of all options."""
    commands = ['train'], ['train', 'dqn'], ['train', 'ppo'], ['evaluate'], ['plot'], ['list']
    return {
        ' '.join(command): sorted(set(re.findall(r'--[\w.-]+', _culmen(*command, '--help'))))
        for command in commands
    } | {'arrays': {}}


def _command_list(folder: pathlib.Path) -> dict[str, Any]:
    """The names of agents and environments."""
    return {
        kind: [each['name'] for each in json.loads(_culmen('list', kind, '--json'))]
        for kind in ('agents', 'environments')
    } | {'arrays': {}}


def _outcome(result: Any) -> dict[str, Any]:
    """What is compared of a Result."""
    outcome: dict[str, Any] = {'summary': _steady(result.summary)}
    if result.workdir is None:
        outcome['logs'] = {
            label: _log(frame.to_csv(index=False)) for label, frame in result.logs.items()
        }
    else:
        outcome |= _files(pathlib.Path(result.workdir))
    return outcome | {'arrays': _arrays(result.params)}


def _files(workdir: pathlib.Path) -> dict[str, Any]:
    """What is compared of a workdir."""
    return {
        'config': json.loads((workdir / 'config.json').read_text()),
        'result': _steady(json.loads((workdir / 'result.json').read_text())),
        'logs': {
            path.stem: _log(path.read_text()) for path in sorted((workdir / 'logs').glob('*.csv'))
        },
        'checkpoints': sorted(path.name for path in (workdir / 'checkpoints').glob('0*')),
    }


def _steady(summary: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps({k: v for k, v in summary.items() if k not in VOLATILE}))


def _log(text: str) -> dict[str, list[str]]:
    """The columns of a CSV file, those of time aside."""
    head, *rows = [line.split(',') for line in text.splitlines()]
    return {
        name: [row[i] for row in rows]
        for i, name in enumerate(head)
        if 'second' not in name and 'time' not in name
    }


def _arrays(params: Any) -> dict[str, np.ndarray]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def main() -> None:
    """Takes a folder for outcomes and names of runs; `--list` instead prints all names."""
    if sys.argv[1] == '--list':
        print(json.dumps({name: [run.held_to, run.quick] for name, run in runs().items()}))
        return
    store, *names = sys.argv[1:]
    known = runs()
    for name in names:
        began = time.monotonic()
        scratch = pathlib.Path(tempfile.mkdtemp(prefix='same-runs-'))
        try:
            outcome = known[name].go(scratch / 'run')
        except Exception as error:
            traceback.print_exc()
            outcome = {'raised': f'{type(error).__name__}: {error}', 'arrays': {}}
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        _store(pathlib.Path(store), name, outcome | {'seconds': time.monotonic() - began})
        jax.clear_caches()
        gc.collect()


def _store(folder: pathlib.Path, name: str, outcome: dict[str, Any]) -> None:
    """Writes the arrays, then all else: what is there is whole."""
    path = str(folder / name.replace('/', '-').replace(' ', '-'))
    np.savez(f'{path}.npz', **outcome.pop('arrays'))
    unfinished = pathlib.Path(f'{path}.unfinished')
    unfinished.write_text(json.dumps(outcome))
    unfinished.replace(f'{path}.json')
