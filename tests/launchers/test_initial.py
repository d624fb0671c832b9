"""Runs that begin with the training state of another: in every launcher, in part, and what does not fit."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import culmen
from culmen.launchers import compiled
from culmen.launchers import compiled_many
from culmen.launchers import initial
from culmen.launchers import launchpad
from culmen.launchers import offline
from culmen.launchers.results import Refused
from tests.conftest import is_installed
from tests.launchers import compiled_runs
from tests.launchers.beginners import Beginner

LAUNCHERS = [
    'local',
    'offline',
    'compiled',
    'one after another',
    'side by side',
    pytest.param(
        'threads',
        marks=[
            pytest.mark.launchpad,
            pytest.mark.skipif(
                not (is_installed('launchpad') and is_installed('reverb')),
                reason='Launchpad is not installed',
            ),
        ],
    ),
]


def experiment(launcher='local', seed=5, agent=None, **changes):
    """Ten updates."""
    settings = {
        'agent': agent or Beginner(offline=launcher == 'offline'),
        'environment': compiled_runs.CATCH,
        'max_learner_steps': 10,
        'seed': seed,
        'evaluation': culmen.Evaluation(episodes=1),
    }
    return culmen.Experiment(**{**settings, **changes})


def start(launcher, experiment, workdir=None, **options):
    if launcher == 'offline':
        return offline.run(experiment, workdir, progress=False, **options)
    if launcher == 'compiled':
        return compiled.run(experiment, workdir, progress=False, **options)
    if launcher in ('one after another', 'side by side'):
        other = dataclasses.replace(experiment, seed=77, initial=None)
        folders = None if workdir is None else [workdir, f'{workdir}-other']
        results = compiled_many.run_many(
            [experiment, other], folders, as_one=launcher == 'side by side', progress=False
        )
        assert results[1].params['updates'] == 10
        return results[0]
    if launcher == 'threads':
        return launchpad.launch(
            launchpad.make_program(experiment, workdir), 'threads', progress=False
        )
    return culmen.run(experiment, workdir, progress=False, **options)


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    """A run of ten updates, and its workdir."""
    folder = tmp_path_factory.mktemp('first') / 'run'
    return culmen.run(experiment(seed=1), folder, progress=False), folder


def least(result):
    """The smallest count of updates that acted, as the last row of learner.csv has it."""
    return int(result.logs['learner']['least'].iloc[-1])


@pytest.mark.slow
@pytest.mark.parametrize('launcher', LAUNCHERS)
def test_a_run_begins_with_all_that_another_has_learned(first, tmp_path, launcher):
    result, folder = first
    plain = start(launcher, experiment(launcher))
    again = start(launcher, experiment(launcher, initial=str(folder)), tmp_path / 'again')
    assert again.summary['learner_steps'] == 10
    assert again.params['updates'] == 20
    np.testing.assert_array_equal(again.params['weights'], result.params['weights'])
    assert (plain.params['weights'] != result.params['weights']).all()
    assert again.logs['learner']['loss'].iloc[-1] == -20
    if launcher != 'offline':
        # A subtree: the statistics are new, and the other's parameters are the first that act.
        part = start(launcher, experiment(launcher, initial=f'{folder}:params'), tmp_path / 'part')
        assert (part.params['updates'], least(part)) == (20, 10)
        assert part.logs['learner']['loss'].iloc[-1] == -10
        assert least(plain) == 0


@pytest.mark.slow
def test_any_launcher_s_run_may_be_the_first(tmp_path):
    for launcher in ('compiled', 'offline'):
        start(launcher, experiment(launcher), tmp_path / launcher)
        result = start('local', experiment(initial=f'{tmp_path / launcher}:params/updates'))
        assert result.params['updates'] == 20
    # Another path, of the same shape.
    renamed = f'{tmp_path / "compiled"}:params/updates=statistics/least'
    assert start('local', experiment(initial=renamed)).params['updates'] == 10


@pytest.mark.slow
@pytest.mark.parametrize('launcher', ['local', 'compiled'])
def test_a_resumed_run_goes_on_from_its_own_checkpoint(first, tmp_path, launcher):
    other = tmp_path / 'other'
    shutil.copytree(first[1], other)
    settings = {'initial': str(other), 'max_learner_steps': 40}
    settings['checkpoint'] = culmen.Checkpoint(every=32)
    begun = experiment(launcher, **settings)
    unbroken = start(launcher, begun, tmp_path / 'unbroken')
    short = dataclasses.replace(begun, max_learner_steps=20)
    assert start(launcher, short, tmp_path / 'broken').params['updates'] == 30
    shutil.rmtree(other)
    resumed = start(launcher, begun, tmp_path / 'broken')
    assert resumed.params['updates'] == 50
    for name in ('updates', 'weights'):
        np.testing.assert_array_equal(resumed.params[name], unbroken.params[name])
    config = json.loads((tmp_path / 'broken' / 'config.json').read_text())
    assert config['initial'] == str(other)
    with pytest.raises(Refused, match='holds another experiment: initial differ'):
        start(launcher, dataclasses.replace(begun, initial=None), tmp_path / 'broken')


@pytest.mark.slow
def test_a_workdir_from_before_there_were_initial_states_goes_on(tmp_path):
    culmen.run(experiment(), tmp_path, progress=False)
    config = json.loads((tmp_path / 'config.json').read_text())
    del config['initial']
    (tmp_path / 'config.json').write_text(json.dumps(config))
    longer = culmen.run(experiment(max_learner_steps=12), tmp_path, progress=False)
    assert longer.params['updates'] == 12


# What is refused.


@pytest.mark.slow
@pytest.mark.parametrize('launcher', LAUNCHERS)
def test_what_does_not_fit_is_refused_leaf_by_leaf_before_anything_runs(first, tmp_path, launcher):
    agent = Beginner(size=4, offline=launcher == 'offline')
    words = r'params/weights must be float32\[4\], got float32\[3\]\. WORKDIR:PATH'
    with pytest.raises(Refused, match=words):
        start(launcher, experiment(launcher, agent=agent, initial=str(first[1])), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('{none}', r'none holds no run: there is no config.json'),
        ('{run}:weights', r'weights is no path of its training state, \[.params/updates'),
        ('{run}:weights=params', r'weights is no path of this training state, \[.params/updates'),
        (
            '{run}:params/weights=params,params/updates=params/weights',
            r'params/weights must be float32\[3\], got nothing; params/weights/updates is unknown '
            r'here; params/weights/weights is unknown here; params/updates must be int32\[\], got '
            r'float32\[3\]',
        ),
        ('{run}:', 'initial must be WORKDIR, WORKDIR:PATH,PATH or WORKDIR:HERE=THERE, .* got'),
        ('{run}:params,', 'initial must be WORKDIR, '),
        ('{run}:=params', 'initial must be WORKDIR, '),
        (':params', 'initial must be WORKDIR, '),
        ('', 'initial must be WORKDIR, '),
    ],
)  # fmt: skip
def test_other_refusals_say_what_is_accepted(first, tmp_path, text, words):
    text = text.format(none=tmp_path / 'none', run=first[1])
    with pytest.raises(Refused, match=words):
        start('local', experiment(initial=text), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_a_run_without_a_checkpoint_is_refused(first, tmp_path):
    folder = tmp_path / 'other'
    shutil.copytree(first[1], folder)
    shutil.rmtree(folder / 'checkpoints')
    with pytest.raises(Refused, match='initial: .*checkpoints holds no checkpoint'):
        start('local', experiment(initial=str(folder)))


def test_the_name_of_a_folder_may_hold_a_colon(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert initial.parse('a:b') == (Path('a'), (('b', 'b'),))
    (tmp_path / 'a:b').mkdir()
    assert initial.parse('a:b') == (Path('a:b'), ())
    assert initial.parse('a:b:c=d,e') == (Path('a:b'), (('c', 'd'), ('e', 'e')))


@pytest.mark.slow
def test_the_command_line_gives_it(first, tmp_path):
    agent = 'tests.launchers.beginners:Beginner'
    options = ('--initial', f'{first[1]}:params', '--workdir', tmp_path / 'run')
    command = [
        'train', agent, '--environment', 'jax/catch', '--environment.rows', '4',
        '--environment.columns', '3', '--learner-steps', '10', '--evaluation-episodes', '1',
        *map(str, options),
    ]  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        culmen.launchers.command_line.main(command)
    assert not caught.value.code
    config = json.loads((tmp_path / 'run' / 'config.json').read_text())
    assert config['initial'] == f'{first[1]}:params'
    assert culmen.load(tmp_path / 'run', trust=True).params['updates'] == 20
