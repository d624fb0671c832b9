"""Temporary folders: their owner's alone, gone with their process, and removed after it was killed."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from culmen.components.files import Scratch
from culmen.components.files import scratch

HOLD = """
import sys, time
from culmen.components.files import Scratch
made = Scratch(sys.argv[1])
(made.path / 'inside').mkdir()
print(made.path, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr('tempfile.tempdir', None)
    monkeypatch.setattr(scratch, '_parents', lambda: [str(tmp_path)])
    return tmp_path


def hold(kind='program'):
    process = subprocess.Popen(
        [sys.executable, '-c', HOLD, kind], stdout=subprocess.PIPE, text=True
    )
    path = process.stdout.readline().strip()
    process.stdout.close()
    return process, path


def test_a_folder_is_its_owners_alone_and_goes_with_close_and_with_the_object(folder):
    made = Scratch('program')
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    made.close()
    made.close()
    other = Scratch('reverb')
    assert [path.name for path in folder.iterdir()] == [other.path.name]
    del other
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize('kind', scratch.KINDS)
def test_what_a_killed_process_left_goes_with_the_next_and_what_a_running_one_has_stays(
    folder, kind
):
    killed, left = hold(kind)
    running, held = hold(kind)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert os.path.exists(left)
    made = Scratch('program')
    assert not os.path.exists(left)
    assert os.path.exists(f'{held}/inside')
    made.close()
    running.terminate()
    running.wait()


def test_only_folders_of_ours_are_taken_for_abandoned(folder):
    day = 86_400
    for name, mode, age in (
        ('culmen-results', 0o700, 9 * day),  # a person's
        ('culmen-reverb-1', 0o700, 9 * day),
        ('culmen-program-abcdefgh', 0o755, 9 * day),  # made by nothing of ours
        ('culmen-reverb-abcdefgh', 0o700, 60),  # somebody is about to lock it
        ('culmen-reverb-hgfedcba', 0o700, 9 * day),  # its maker was killed before that
    ):
        path = folder / name
        path.mkdir(mode=mode)
        path.chmod(mode)
        now = path.stat().st_mtime
        os.utime(path, (now - age, now - age))
    (folder / 'culmen-program-aaaaaaaa').symlink_to(folder / 'culmen-results')
    (folder / 'culmen-program-bbbbbbbb').write_text('a file')
    before = {path.name for path in folder.iterdir()}
    scratch.remove_abandoned()
    assert before - {path.name for path in folder.iterdir()} == {'culmen-reverb-hgfedcba'}


def test_a_folder_of_another_user_is_left_alone(folder, monkeypatch):
    path = folder / 'culmen-reverb-abcdefgh'
    path.mkdir(mode=0o700)
    (path / 'lock').touch()
    mine = os.getuid()
    monkeypatch.setattr(os, 'getuid', lambda: mine + 1)
    scratch.remove_abandoned()
    assert path.exists()
    monkeypatch.setattr(os, 'getuid', lambda: mine)
    scratch.remove_abandoned()
    assert not path.exists()
