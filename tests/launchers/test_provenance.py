"""What ran a run: its commands, versions, commit and hardware, beside the config that knows it again."""

import json
import os
import shutil
import subprocess
import sys

import jax
import pytest
from click.testing import CliRunner

import culmen
from culmen.components.files import DamagedError
from culmen.launchers import command_line
from culmen.launchers import provenance
from culmen.launchers import ray_runs
from tests.launchers.faulty import Faulty

needs_git = pytest.mark.skipif(shutil.which('git') is None, reason='needs git')


def git(folder, *arguments):
    who = ('-c', 'user.name=a', '-c', 'user.email=a@b')
    subprocess.run(['git', *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_run_says_what_ran_it_and_each_resume_adds_a_command(tmp_path, monkeypatch):
    folder = tmp_path / 'run'
    experiment = culmen.Experiment(
        Faulty(), 'jax/catch', max_actor_steps=10, evaluation=culmen.Evaluation(episodes=1)
    )
    monkeypatch.setattr(sys, 'argv', ['/bin/one.py', '--seed', '3'])
    culmen.run(experiment, folder, progress=False)
    config = (folder / 'config.json').read_bytes()
    (first,) = provenance.read(folder)
    assert first['command'] == ['one.py', '--seed', '3']
    assert first['folder'] == os.getcwd()
    assert first['packages']['jax'] == jax.__version__
    assert first['python'] == '.'.join(map(str, sys.version_info[:3]))
    assert first['devices'] == [each.device_kind for each in jax.devices()]
    assert first['cores'] == os.cpu_count()
    assert first['memory'] > 1e8

    monkeypatch.setattr(sys, 'argv', ['two.py'])
    culmen.run(experiment, folder, progress=False)  # it is finished: nothing runs
    assert provenance.read(folder) == [first]
    (folder / 'result.json').unlink()
    culmen.run(experiment, folder, progress=False)
    assert (folder / 'config.json').read_bytes() == config
    loaded = culmen.load(folder, trust=True)
    assert [each['command'][0] for each in loaded.commands] == ['one.py', 'two.py']
    assert loaded.commands[0] == first

    text = CliRunner().invoke(command_line.cli, ['status', str(folder)]).output
    assert f'begun {first["at"]}' in text
    assert f'jax {jax.__version__}' in text
    assert 'and by 1 later command, the last' in text
    told = CliRunner().invoke(command_line.cli, ['status', str(folder), '--json']).output
    assert json.loads(told)['commands'] == list(loaded.commands)


def test_a_task_on_a_cluster_names_the_command_that_sent_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['culmen', 'train'])
    command = provenance.find_command()
    monkeypatch.setattr(sys, 'argv', ['worker.py'])
    cloudpickle = pytest.importorskip('cloudpickle')
    experiment = culmen.Experiment(
        Faulty(), 'jax/catch', max_actor_steps=10, evaluation=culmen.Evaluation(episodes=1)
    )
    outcome = ray_runs.run_one(cloudpickle.dumps((experiment, tmp_path / 'run', {}, command)))
    assert outcome.error == ''
    (found,) = provenance.read(tmp_path / 'run')
    assert {name: found[name] for name in command} == command


@needs_git
def test_the_commit_of_a_project_and_whether_its_files_have_changed(tmp_path):
    assert provenance.find_git(tmp_path) is None
    git(tmp_path, 'init')
    assert provenance.find_git(tmp_path) == {'commit': None, 'changed': False}
    (tmp_path / 'agent.py').write_text('x = 1\n')
    git(tmp_path, 'add', 'agent.py')
    git(tmp_path, 'commit', '-m', 'first')
    commit = (tmp_path / '.git' / 'refs' / 'heads').iterdir().__next__().read_text().strip()
    (tmp_path / 'runs').mkdir()
    (tmp_path / 'runs' / 'log.csv').write_text('what a run leaves is no change')
    assert provenance.find_git(tmp_path / 'runs') == {'commit': commit, 'changed': False}
    (tmp_path / 'agent.py').write_text('x = 2\n')
    assert provenance.find_git(tmp_path) == {'commit': commit, 'changed': True}


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert provenance.find_command()['git'] is None


def test_the_project_is_that_of_the_script(tmp_path, monkeypatch):
    script = tmp_path / 'train.py'
    script.write_text('')
    asked = []
    monkeypatch.setattr(provenance, 'find_git', asked.append)
    monkeypatch.setattr(sys.modules['__main__'], '__file__', str(script), raising=False)
    provenance.find_command()
    monkeypatch.setattr(sys.modules['__main__'], '__file__', culmen.__file__)
    provenance.find_command()
    assert list(map(str, asked)) == [str(tmp_path), os.getcwd()]


def test_values_of_environment_variables_are_left_out():
    command = [
        'culmen',
        'train',
        '--variables',
        'learner.KEY=se=cret',
        '--variables=actor.KEY=other',
    ]
    assert provenance.without_values([*command, '--seed', 'a=1']) == [
        'culmen', 'train', '--variables', 'learner.KEY=...', '--variables=actor.KEY=...', '--seed', 'a=1',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('content', 'message'),
    [('{', 'provenance.json'), ('{"version": 9, "commands": []}', 'version 9'),
     ('{"version": 1, "commands": [{"command": [1]}]}', 'command')],
)  # fmt: skip
def test_a_damaged_file_is_named_and_begun_anew_by_a_run(tmp_path, content, message):
    (tmp_path / 'provenance.json').write_text(content)
    with pytest.raises(DamagedError, match=message):
        provenance.read(tmp_path)
    with pytest.warns(UserWarning, match='begun anew'):
        provenance.note(tmp_path)
    assert len(provenance.read(tmp_path)) == 1
