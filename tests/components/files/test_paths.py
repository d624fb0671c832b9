"""Paths: the home in them, and folders that can't be written."""

import os
import tempfile
from pathlib import Path

import pytest

from culmen.components.files import check_writable
from culmen.components.files import expanded
from culmen.components.loggers import CsvLog
from culmen.components.loggers import LogFiles
from culmen.components.loggers import Logs
from culmen.components.loggers import read_csv

NOBODY = 65534


def test_a_tilde_is_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert expanded('~/runs') == tmp_path / 'runs'
    assert expanded(Path('~')) == tmp_path
    assert expanded('runs/~') == Path('runs/~')


def test_logs_know_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    logs = Logs('~/logs')
    logs.write('actor', {'actor_steps': 1})
    logs.close()
    assert (tmp_path / 'logs' / 'actor.csv').exists()
    assert 'actor' in LogFiles('~/logs')
    assert read_csv('~/logs/actor.csv')['actor_steps'].tolist() == [1]
    CsvLog.truncate('~/logs/actor.csv', 0)
    assert len(read_csv('~/logs/actor.csv')) == 0


@pytest.mark.parametrize('name', ['new', 'new/er/still', '.'])
def test_what_can_be_made_leaves_nothing(tmp_path, name):
    check_writable('workdir', tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_folder_is_looked_for_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    check_writable('workdir', Path('new/run'))


@pytest.mark.parametrize('name', ['way', 'way/run', 'way/run/er'])
def test_what_is_in_the_way_is_named(tmp_path, name):
    way = tmp_path / 'way'
    way.write_text('')
    with pytest.raises(ValueError, match=rf'^workdir .*{name} can not be made: {way} is no folder'):
        check_writable('workdir', tmp_path / name)
    way.unlink()
    way.symlink_to(tmp_path / 'nowhere')
    with pytest.raises(ValueError, match=f'{way} is a link that leads nowhere'):
        check_writable('workdir', tmp_path / name)


@pytest.mark.parametrize('name', ['.', 'run'])
def test_a_folder_of_somebody_else_is_refused(name):
    """As who may not write there: root, who may write anywhere, becomes nobody for a moment."""
    locked = Path(tempfile.mkdtemp('locked'))  # nobody comes as far as pytest's own
    locked.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(ValueError, match='can not be written, .*locked can not: Permission'):
            check_writable('workdir', locked / name)
    finally:
        os.seteuid(user)
    locked.rmdir()
