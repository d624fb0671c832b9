"""The files of a run: damage, harm and strangers, as each launcher and command meets them."""

import json
import os
import re
import resource
import shutil
import signal
import time
import warnings
from pathlib import Path

import pytest

import culmen
from culmen.components.files import LOCK
from culmen.components.files import DamagedError
from culmen.components.files import seal
from culmen.launchers import command_line
from culmen.launchers import compiled
from culmen.launchers import compiled_many
from culmen.launchers import launchpad
from culmen.launchers import offline
from culmen.launchers.locking import Locks
from culmen.launchers.results import Refused
from tests.components.checkpointing.test_checkpointer import forge
from tests.components.checkpointing.test_checkpointer import harm
from tests.conftest import is_installed
from tests.launchers.slow import Slow

CORRIDOR = 'tests.launchers.toys:corridor'

# What config.json names as module:name is imported where it is named here too.
NAMED = ('tests.launchers.slow:Slow', '--environment', CORRIDOR)


def experiment(steps=60, **changes):
    settings = {
        'agent': Slow(seconds=0.0),
        'environment': CORRIDOR,
        'max_actor_steps': steps,
        'evaluation': culmen.Evaluation(every=20, episodes=1),
        'checkpoint': culmen.Checkpoint(every=20),
        'seed': 1,
    }
    return culmen.Experiment(**{**settings, **changes})


def run(workdir, steps=100, **options):
    return culmen.run(experiment(steps), workdir, progress=False, **options)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp('finished') / 'run'
    run(folder, 60)
    return folder


@pytest.fixture
def workdir(finished, tmp_path):
    """A finished run of 60 steps; to ask for more goes on with it."""
    return Path(shutil.copytree(finished, tmp_path / 'run'))


def newest(workdir, file=''):
    return sorted((workdir / 'checkpoints').glob('0*'))[-1] / file


@pytest.fixture
def command(capfd):
    """Runs a command in this process: (exit code, standard output, standard error)."""

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            command_line.main([str(argument) for argument in arguments])
        output = capfd.readouterr()
        return caught.value.code or 0, output.out, output.err

    return call


# Lost rows.


def test_a_run_goes_on_without_lost_rows_and_says_so(workdir, tmp_path):
    unbroken = run(shutil.copytree(workdir, tmp_path / 'unbroken'))
    path = sorted((workdir / 'checkpoints' / 'rows').iterdir())[1]  # rows of 20 steps
    harm(path)
    said = f'{path} is not what was .* 2[0-9] items of the replay needed .* and logs are whole'
    with pytest.warns(UserWarning, match=said):
        result = run(workdir)
    assert result.summary['resumed_at'] == 60
    for name in ('actor_steps', 'learner_steps', 'episodes'):
        assert result.summary[name] == unbroken.summary[name]
    assert result.logs['evaluator']['actor_steps'].tolist() == [20, 40, 60, 80, 100]
    # It is told once.
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert run(workdir, 120).summary['resumed_at'] == 100


def test_lost_rows_are_refused_where_that_is_asked_for(workdir, command):
    for path in (workdir / 'checkpoints' / 'rows').iterdir():
        harm(path)
    before = sorted(workdir.rglob('*'))
    with pytest.warns(UserWarning), pytest.raises(Refused, match='every .*Its rows are lost'):
        run(workdir, on_lost_rows='refuse')
    with pytest.warns(UserWarning):
        code, _, said = command(
            *('train', *NAMED, '--config', workdir / 'config.json', '--workdir', workdir),
            *('--steps', 100, '--on-lost-rows', 'refuse'),
        )
    assert (code, 'Its rows are lost' in said) == (2, True)
    assert sorted(workdir.rglob('*')) == before
    with pytest.raises(Refused, match=r"on_lost_rows must be one of \['drop', 'refuse'\]"):
        run(workdir, on_lost_rows='repair')


# Whoever only looks.


def test_evaluate_and_load_fall_back_as_resume_does(workdir, command):
    harm(newest(workdir, 'arrays'))
    with pytest.warns(UserWarning, match='The checkpoint before it is used'):
        loaded = culmen.load(workdir, trust=True)
    assert loaded.summary['actor_steps'] == 40
    with pytest.warns(UserWarning, match='The checkpoint before it is used'):
        code, out, _ = command('evaluate', workdir, '--trust', '--episodes', 1, '--json')
    assert (code, json.loads(out)['resumed_at']) == (0, 40)
    assert len(list((workdir / 'checkpoints').glob('0*'))) == 2  # and remove nothing
    for name in (workdir / 'checkpoints').glob('0*'):
        (name / 'manifest.json').write_bytes(b'')
    with pytest.warns(UserWarning), pytest.raises(DamagedError, match='every checkpoint in'):
        culmen.load(workdir, trust=True)


@pytest.mark.parametrize('content', ['', '{', '[]', '{}', '[' * 100_000, '{"agent": {}}', '\udcff'])
def test_errors_name_config_json(workdir, command, content):
    (workdir / 'config.json').write_bytes(content.encode('utf-8', 'surrogateescape'))
    path = re.escape(str(workdir / 'config.json'))
    with pytest.raises(DamagedError, match=path):
        culmen.load(workdir, trust=True)
    code, _, said = command('evaluate', workdir, '--trust')
    assert (code, str(workdir / 'config.json') in said) == (2, True)
    code, _, said = command('plot', workdir, '--out', workdir / 'curve.png')
    assert (code, str(workdir / 'config.json') in said) == (2, True)
    if content not in ('{}', '{"agent": {}}'):  # these are another experiment
        with pytest.raises(Refused, match=path):
            run(workdir)


@pytest.mark.parametrize('content', ['', '{', '[]', '{}', '{"actor_steps": "many"}', '[' * 100_000])
def test_a_damaged_result_is_named_and_made_anew(workdir, content):
    path = workdir / 'result.json'
    whole = json.loads(path.read_text())
    path.write_text(content)
    with pytest.warns(UserWarning, match=f'{re.escape(str(path))} is damaged: .* made anew'):
        run(workdir, 60)
    again = json.loads(path.read_text())
    for name in ('actor_steps', 'learner_steps', 'episodes', 'evaluation'):
        assert again[name] == whole[name]


# Harm.

HOSTILE = {
    'nothing in it': {},
    'no mapping': [1, 2],
    'counts that are none': {
        'learner': {'newest': {}, 'updates': 'x'},
        'loop': {'actor_steps': []},
    },
    'other parameters': {'learner': {'newest': {'a': 1}, 'updates': 1}, 'loop': {'actor_steps': 1}},
}


@pytest.mark.parametrize('name', list(HOSTILE))
def test_a_hostile_state_is_one_error(workdir, command, name):
    forge(newest(workdir), 'state.json', json.dumps(HOSTILE[name]).encode())
    with pytest.raises(DamagedError, match=f'{newest(workdir)} does not fit this experiment'):
        culmen.load(workdir, trust=True)
    with pytest.raises(Refused, match=f'{newest(workdir)} does not fit this experiment'):
        run(workdir)
    code, _, said = command('evaluate', workdir, '--trust')
    assert (code, 'does not fit this experiment' in said) == (2, True)


def test_a_hostile_table_is_one_error_and_takes_no_memory(workdir):
    path = newest(workdir, 'state.json')
    state = json.loads(path.read_text())
    for change in ({'next_tick': 10**18}, {'first_tick': -5}, {'tables': {}}, {'next_tick': None}):
        forged = {**state, 'table': {**state['table'], **change}}
        forge(newest(workdir), 'state.json', json.dumps(forged).encode())
        with pytest.raises(Refused, match='does not fit this experiment'):
            run(workdir)


def test_a_checkpoint_of_a_later_version_is_refused_by_its_format(workdir):
    path = newest(workdir, 'manifest.json')
    manifest = json.loads(path.read_text())
    del manifest['crc32']
    path.write_bytes(seal({**manifest, 'format': 7}))
    with pytest.raises(Refused, match='manifest.json has format 7; this version .* reads formats'):
        run(workdir)


# Strangers.


def test_a_pickle_that_others_may_write_is_opened_by_those_who_trust_it(workdir, command):
    newest(workdir, 'python.pickle').chmod(0o666)
    with pytest.raises(Refused, match='python.pickle must be writable by its owner alone'):
        run(workdir)
    arguments = ('train', *NAMED, '--config', workdir / 'config.json', '--workdir', workdir)
    code, _, said = command(*arguments, '--steps', 100)
    assert (code, '--trust' in said) == (2, True)
    culmen.load(workdir, trust=True)  # opens none
    code, out, _ = command(*arguments, '--steps', 100, '--trust', '--json')
    assert (code, json.loads(out)['resumed_at']) == (0, 60)


# Logs.


def test_a_changed_line_of_a_log_is_noticed(workdir, tmp_path):
    path = workdir / 'logs' / 'actor.csv'
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace('1', '2')
    path.write_text('\n'.join(lines) + '\n')
    with pytest.warns(
        UserWarning, match=f'{re.escape(str(path))} has been changed: its rows up to'
    ):
        run(workdir)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        run(workdir, 120)


@pytest.mark.parametrize('content', [b'a,b\n1\n1,2,3\n', b'\xff\xfe\n', b'other\n1\n', b'"\n'])
def test_a_log_that_is_none_is_named_where_it_is_drawn(workdir, command, content):
    (workdir / 'logs' / 'evaluator.csv').write_bytes(content)
    code, _, said = command('plot', workdir, '--out', workdir / 'curve.png')
    assert (code, str(workdir) in said) == (2, True)


# A full disk.


class Fill:
    """An observer whose state is more than the disk takes; a tick takes a millisecond."""

    ticks = 0

    def observe(self, timestep, action):
        self.ticks += 1
        time.sleep(0.001)

    def get_metrics(self, lane):
        return {}

    def get_state(self):
        return bytes(2_000_000)


def test_a_checkpoint_that_met_a_full_disk_is_told_at_once(tmp_path):
    fill, kept = Fill(), culmen.Checkpoint(every=1_000)
    slow = experiment(10_000, agent=Slow(seconds=0.0, min_size=2_000), checkpoint=kept)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, old[1]))
    try:
        with pytest.raises(OSError, match='could not save a checkpoint: File too large'):
            culmen.run(slow, tmp_path / 'run', observers=[fill], progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert 1_000 <= fill.ticks < 2_400  # the next checkpoint is at 2,000 steps, 2,500 ticks
    assert not (tmp_path / 'run' / LOCK).exists()


# Two runs at once.

needs_launchpad = pytest.mark.skipif(
    not (is_installed('launchpad') and is_installed('reverb')), reason='not installed'
)


def run_program(workdir):
    return launchpad.launch(launchpad.make_program(experiment(), workdir), 'threads')


LAUNCHERS = {
    'local': lambda workdir: run(workdir),
    'compiled': lambda workdir: compiled.run(in_jax(), workdir),
    'compiled_many': lambda workdir: compiled_many.run_many([in_jax()], [workdir]),
    'offline': lambda workdir: offline.run(of_recording(workdir.parent), workdir),
    'a program': run_program,
}


def in_jax():
    return experiment(environment=culmen.environment('jax/catch', rows=4, columns=3))


def of_recording(folder):
    from culmen.agents import bc

    recording = str(folder / 'recording')
    run(None, 20, record=recording)
    return experiment(None, agent=bc.BC(recording), max_learner_steps=10)


@pytest.mark.parametrize(
    'launcher',
    [
        'local',
        'compiled',
        'compiled_many',
        'offline',
        pytest.param('a program', marks=[pytest.mark.launchpad, needs_launchpad]),
    ],
)
def test_the_second_run_in_a_workdir_is_refused(tmp_path, launcher):
    workdir = tmp_path / 'run'
    with Locks() as locks:
        locks.take(workdir)
        with pytest.raises(Refused, match=f'{workdir} is in use by a run of pid {os.getpid()} on'):
            LAUNCHERS[launcher](workdir)
        assert [path.name for path in workdir.iterdir()] == [LOCK]
    assert not workdir.exists()


def test_a_workdir_in_use_is_evaluated_drawn_and_loaded(workdir, command, tmp_path):
    with Locks() as locks:
        locks.take(workdir)
        arguments = ('train', *NAMED, '--config', workdir / 'config.json', '--workdir', workdir)
        code, _, said = command(*arguments, '--steps', 100)
        assert (code, 'is in use by a run of pid' in said) == (2, True)
        culmen.load(workdir, trust=True)
        assert command('evaluate', workdir, '--trust', '--episodes', 1)[0] == 0
        assert command('plot', workdir, '--out', tmp_path / 'curve.png')[0] == 0
        # What is finished is told from its files.
        assert run(workdir, 60).summary['resumed_at'] == 60
    assert run(workdir).summary['resumed_at'] == 60


def test_a_recording_is_of_one_run_at_a_time(tmp_path):
    recording = tmp_path / 'recording'
    with Locks() as locks:
        locks.take(recording)
        with pytest.raises(Refused, match=f'{recording} is in use by'):
            run(tmp_path / 'run', record=recording)
    assert not list(tmp_path.iterdir())
    with pytest.raises(Refused, match='can not be two of the folders of one run'):
        run(tmp_path / 'run', record=tmp_path / 'run')
    assert not list(tmp_path.iterdir())
    run(tmp_path / 'run', 20, record=recording)
    assert not list(tmp_path.rglob(LOCK))


def test_what_a_dead_run_left_is_taken_up(workdir):
    (workdir / LOCK).write_text('')
    assert run(workdir).summary['resumed_at'] == 60
    assert not (workdir / LOCK).exists()
