"""`~` in the paths that Python takes is the user's home, as in a shell."""

import pytest

import culmen
from culmen.components import environments
from culmen.components.checkpointing import Checkpointer
from culmen.launchers import compiled
from culmen.launchers import compiled_many
from culmen.launchers import launchpad
from culmen.launchers import offline
from culmen.launchers import plots
from tests.conftest import is_installed
from tests.launchers.faulty import Faulty

pytest.importorskip('matplotlib')


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / 'home'
    assert not (tmp_path / '~').exists()


def experiment(agent=None, **changes):
    settings = {'max_actor_steps': 30, 'evaluation': culmen.Evaluation(episodes=1)}
    return culmen.Experiment(agent or Faulty(), 'jax/catch', **{**settings, **changes})


def test_runs_recordings_and_figures(home):
    result = culmen.run(experiment(), '~/run', record='~/recording', progress=False)
    assert result.summary['workdir'] == str(home / 'run')
    assert (home / 'recording' / 'spec.json').exists()
    assert culmen.load('~/run', trust=True).summary['actor_steps'] == 30
    result.plot('~/curve.png')
    plots.draw([plots.read_curve('~/run')], '~/again.png')
    assert (home / 'curve.png').exists()
    assert (home / 'again.png').exists()
    assert Checkpointer('~/run/checkpoints').names()

    agent = Faulty(recorded=True, source='~/recording')
    learned = offline.run(
        experiment(agent, max_actor_steps=None, max_learner_steps=2), '~/offline', progress=False
    )
    assert learned.summary['learner_steps'] == 2
    assert (home / 'offline' / 'config.json').exists()


def test_compiled_runs(home):
    compiled.run(experiment(), '~/one', progress=False)
    culmen.launchers.compiled_many.run_many([experiment(seed=1)], ['~/two'], progress=False)
    assert culmen.launchers.compiled_many is compiled_many
    assert {path.name for path in home.iterdir()} == {'one', 'two'}


@pytest.mark.skipif(
    not (is_installed('launchpad') and is_installed('reverb')), reason='needs Launchpad'
)
def test_programs(home):
    assert launchpad.make_program(experiment(), '~/run').workdir == home / 'run'


def test_videos(home):
    pytest.importorskip('imageio_ffmpeg')
    film = environments.VideoRecorder(environments.make('jax/catch', 0), '~/catch.mp4')
    film.reset()
    film.close()
    assert (home / 'catch.mp4').exists()
