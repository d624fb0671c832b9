"""Workdirs that earlier versions wrote (tests/golden) are loaded, evaluated and resumed.

They are held to counts, shapes, logs and returns, not to bits: other versions of JAX round otherwise.
"""

import csv
import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

import culmen
from culmen.components.files import seal
from culmen.launchers import compiled
from culmen.launchers import compiled_many
from culmen.launchers import launchpad
from culmen.launchers import offline
from culmen.launchers.results import Refused
from tests.conftest import is_installed

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
EPISODE = 3  # steps; all returns are 1 or -1
MORE = 24  # steps after those of the golden run
PROGRAMS = ('threads', 'processes')
# One of each launcher stands for the others, in the oldest and in the newest set.
KEPT = ('local-replay', 'local-recorded', 'reverb-queue', 'compiled-replay', 'many-replay',
        'offline-dataset', 'threads-replay', 'processes-prioritised')  # fmt: skip

SETS = sorted(path for path in GOLDEN.iterdir() if (path / 'recording').is_dir())


def marked(path: pathlib.Path):
    """The name of a golden run as a parameter of tests."""
    launcher = path.name.partition('-')[0]
    marks = []
    if launcher in ('reverb', *PROGRAMS):
        needed = ('reverb', 'launchpad') if launcher in PROGRAMS else ('reverb',)
        missing = [name for name in needed if not is_installed(name)]
        marks = [pytest.mark.launchpad, pytest.mark.skipif(bool(missing), reason=f'no {missing}')]
    if path.name not in KEPT or path.parent not in (SETS[0], SETS[-1]):
        marks.append(pytest.mark.deep)
    return pytest.param(path, marks=marks, id=f'{path.parent.name}-{path.name}')


RUNS = [
    marked(path) for each in SETS for path in sorted(each.iterdir()) if path.name != 'recording'
]
golden = pytest.mark.parametrize('golden', RUNS)


def copied(golden, tmp_path, monkeypatch):
    """The workdirs of a golden run, in a folder of this test that is the current one."""
    for name in (golden.name, 'recording'):
        shutil.copytree(golden.parent / name, tmp_path / name)
    for path in tmp_path.rglob('*'):
        if path.is_file():
            path.chmod(
                0o644
            )  # a checkout may be of a group, and pickles must be their owner's alone
    monkeypatch.chdir(tmp_path)
    return sorted(path.parent for path in pathlib.Path(golden.name).rglob('config.json'))


def config_of(workdir):
    return json.loads((workdir / 'config.json').read_text())


def result_of(workdir):
    """What a finished run wrote, or None."""
    path = workdir / 'result.json'
    return json.loads(path.read_text()) if path.exists() else None


def clock_of(workdir):
    """The count by which a run's events fall due."""
    return 'learner_steps' if config_of(workdir)['launcher'] == 'offline' else 'actor_steps'


def extended(workdir):
    """The experiment of a workdir with a larger budget."""
    experiment = culmen.load(workdir).experiment
    budget = f'max_{clock_of(workdir)}'
    return dataclasses.replace(experiment, **{budget: getattr(experiment, budget) + MORE})


def run(workdirs, experiments):
    """Runs experiments in the launcher that made their workdirs."""
    config = config_of(workdirs[0])
    launcher = config['launcher']
    if len(workdirs) > 1:
        return compiled_many.run_many(experiments, workdirs, as_one=True, progress=False)
    workdir, experiment = workdirs[0], experiments[0]
    if launcher in PROGRAMS:
        program = launchpad.make_program(experiment, workdir, num_actors=config['num_actors'])
        return [launchpad.launch(program, launcher, progress=False)]
    if launcher == 'local':
        record = 'recording' if workdir.name == 'local-recorded' else None
        options = {'replay': config['replay'], 'record': record, 'progress': False}
        return [culmen.run(experiment, workdir, **options)]
    run_other = {'compiled': compiled.run, 'offline': offline.run}[launcher]
    return [run_other(experiment, workdir, progress=False)]


def logs_of(workdir):
    """The lines of each log."""
    return {
        path.stem: list(csv.reader(path.read_text().splitlines()))
        for path in (workdir / 'logs').glob('*.csv')
    }


@golden
def test_it_is_loaded_and_evaluated(golden, tmp_path, monkeypatch):
    for workdir in copied(golden, tmp_path, monkeypatch):
        loaded = culmen.load(workdir)
        stored = result_of(workdir) or {}
        for name in (
            'agent',
            'environment',
            'launcher',
            'seed',
            'actor_steps',
            'learner_steps',
            'episodes',
        ):
            assert loaded.summary[name] == stored.get(name, loaded.summary[name])
        assert all(np.isfinite(leaf).all() for leaf in jax.tree_util.tree_leaves(loaded.params))
        result = loaded.evaluate(3, progress=False)
        assert list(result.lengths) == [EPISODE] * 3
        assert set(np.abs(result.returns)) == {1.0}


@pytest.mark.slow
@golden
def test_it_goes_on(golden, tmp_path, monkeypatch):
    workdirs = copied(golden, tmp_path, monkeypatch)
    before = [(culmen.load(each).summary, logs_of(each), result_of(each)) for each in workdirs]
    if all(stored is not None for _, _, stored in before):
        # A finished run gives what it wrote.
        for (_, _, stored), same in zip(
            before, run(workdirs, [culmen.load(each).experiment for each in workdirs]), strict=True
        ):
            assert same.summary == {**stored, 'resumed_at': stored[clock_of(workdirs[0])]}
    experiments = [extended(each) for each in workdirs]
    results = run(workdirs, experiments)
    for workdir, experiment, result, (old, logs, stored) in zip(
        workdirs, experiments, results, before, strict=True
    ):
        clock = clock_of(workdir)
        exact = config_of(workdir)['launcher'] not in PROGRAMS
        budget = getattr(experiment, f'max_{clock}')
        assert not result.interrupted
        assert result.summary['resumed_at'] == old[clock]
        assert budget <= result.summary[clock] <= budget + (0 if exact else 3)
        assert result.summary['learner_steps'] > old['learner_steps']
        assert -1.0 <= result.summary['evaluation']['return_mean'] <= 1.0
        assert all(np.isfinite(leaf).all() for leaf in jax.tree_util.tree_leaves(result.params))
        assert result_of(workdir) == result.summary
        check_logs(logs, logs_of(workdir))
        if exact:
            check_counts(workdir, experiment, result, stored)


def check_logs(old, new):
    """New rows follow those that were there."""
    assert set(old) == set(new) > {'learner', 'evaluator'}
    for label, lines in new.items():
        head, *rows = lines
        assert lines[: len(old[label])] == old[label], label
        assert all(len(row) == len(head) for row in rows)
        assert np.isfinite(np.array(rows, float)).all() or not rows
    for label in ('learner', 'evaluator'):
        assert len(new[label]) > len(old[label])


def check_counts(workdir, experiment, result, stored):
    """All that falls due in a run whose counts are exact."""
    clock, logs = clock_of(workdir), result.logs
    budget = getattr(experiment, f'max_{clock}')
    due = set(range(20, budget + 1, 20)) | {budget} | ({stored[clock]} if stored else set())
    assert logs['evaluator'][clock].tolist() == sorted(due)
    assert result.summary['episodes'] == result.summary['actor_steps'] // EPISODE
    assert len(logs['actor']) == result.summary['episodes']
    if workdir.name == 'local-recorded':
        files = [np.load(path) for path in pathlib.Path('recording').rglob('*.npz')]
        assert sum((file['step_type'] != 0).sum() for file in files) == budget


@pytest.mark.parametrize('name', ['local-replay', 'compiled-replay', 'offline-dataset'])
def test_one_of_a_later_version_is_refused_by_its_format(name, tmp_path, monkeypatch):
    workdirs = copied(SETS[-1] / name, tmp_path, monkeypatch)
    experiment = extended(workdirs[0])
    for path in workdirs[0].rglob('manifest.json'):
        manifest = json.loads(path.read_text())
        del manifest['crc32']
        path.write_bytes(seal({**manifest, 'format': 99}))
    said = 'has format 99; this version of Culmen reads formats'
    with pytest.raises(ValueError, match=said):
        culmen.load(workdirs[0])
    with pytest.raises(Refused, match=said):
        run(workdirs, [experiment])
