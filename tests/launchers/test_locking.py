"""Two runs never write to one folder: who holds it, how a dead owner is told, what is left behind."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from culmen.components.files import LOCK
from culmen.launchers.locking import Locks
from culmen.launchers.locking import find_owner
from culmen.launchers.results import Refused

HOLD = """
import os, sys, time
from pathlib import Path
from culmen.launchers.locking import Locks
from culmen.launchers.locking import find_owner
locks = Locks()
locks.take(Path(sys.argv[1]))
if len(sys.argv) > 2:
    forked, child = os.pipe()
    if os.fork() == 0:
        os.close(1)
        os.write(child, b'x')
        time.sleep(60)
    os.read(forked, 1)  # the child has done what it does after a fork
print('held', flush=True)
time.sleep(60)
"""


def hold(folder, *arguments):
    """A process that holds the lock of a folder."""
    command = [sys.executable, '-c', HOLD, str(folder), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.readline() == b'held\n'
    return process


def take(*folders, **seconds):
    locks = Locks(**seconds)
    locks.take(*folders)
    return locks


def end(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_the_second_is_refused_with_the_name_of_the_first(tmp_path):
    process = hold(tmp_path / 'a' / 'b')
    try:
        said = rf'a/b is in use by a run of pid {process.pid} on host .*; wait for its end'
        with pytest.raises(Refused, match=said):
            take(tmp_path / 'a' / 'b')
        # All or none: what was taken before the one that was refused is free, and gone.
        with pytest.raises(Refused, match=said):
            take(tmp_path / 'c' / 'd', tmp_path / 'a' / 'b')
        assert not (tmp_path / 'c').exists()
    finally:
        end(process)
    # The kernel frees the lock of the dead: nobody waits.
    with take(tmp_path / 'a' / 'b', watch_seconds=3_600):
        assert json.loads((tmp_path / 'a' / 'b' / LOCK).read_text())['pid'] == os.getpid()


def test_a_child_of_the_dead_holds_nothing(tmp_path):
    process = hold(tmp_path, 'fork')
    try:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        take(tmp_path).release()
    finally:
        end(process)


def test_nothing_is_left_behind(tmp_path):
    threads = threading.active_count()
    locks = take(tmp_path / 'a' / 'b', tmp_path / 'c')
    (tmp_path / 'c' / 'config.json').write_text('{}')
    with locks:
        assert (tmp_path / 'a' / 'b' / LOCK).exists()
    assert [path.name for path in tmp_path.rglob('*')] == ['c', 'config.json']
    assert threading.active_count() == threads
    locks.release()
    with pytest.raises(KeyError), locks.released_on_error():
        locks.take(tmp_path / 'new')
        raise KeyError
    assert not (tmp_path / 'new').exists()


def test_one_folder_can_not_be_two_of_a_run(tmp_path):
    with pytest.raises(Refused, match='can not be two of the folders of one run'):
        take(tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_can_not_be_written_to_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(Refused, match='file/run can not be written to: Not a directory'):
        take(tmp_path / 'file' / 'run')


@pytest.fixture
def no_flock(monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', flock)


def test_without_flock_a_living_owner_is_told_by_its_touch(tmp_path, no_flock, capsys):
    with take(tmp_path, beat_seconds=0.05, watch_seconds=0.2):
        with pytest.raises(Refused, match=f'in use by a run of pid {os.getpid()}'):
            take(tmp_path, watch_seconds=5.0)
        assert 'looking for 5 seconds whether that is alive' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('content', ['', '{', '[]', json.dumps({'host': 'far', 'pid': 7})])
def test_without_flock_a_silent_owner_is_dead(tmp_path, no_flock, content):
    (tmp_path / LOCK).write_text(content)
    with take(tmp_path, watch_seconds=0.2):
        assert json.loads((tmp_path / LOCK).read_text())['pid'] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_of_another_host_the_kernel_knows_nothing(tmp_path):
    # Its mount may keep locks to itself, so that flock gives what another host has.
    owner = {'host': 'far', 'pid': 7, 'kernel': 'another', 'since': 'today', 'token': 'x'}
    (tmp_path / LOCK).write_text(json.dumps(owner))
    stop = threading.Event()

    def live():
        while not stop.wait(0.05):
            os.utime(tmp_path / LOCK)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(Refused, match='a run of pid 7 on host far, since today'):
            take(tmp_path, watch_seconds=5.0)
    finally:
        stop.set()
        thread.join()
    assert json.loads((tmp_path / LOCK).read_text()) == owner
    take(tmp_path, watch_seconds=0.2).release()
    assert not list(tmp_path.iterdir())


def test_a_file_that_its_owner_removed_meanwhile_is_made_anew(tmp_path, monkeypatch):
    flock, calls = fcntl.flock, []

    def late(descriptor, operation):
        if not calls:
            (tmp_path / LOCK).unlink()  # whoever had it has let go since it was opened
        calls.append(operation)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, 'flock', late)
    with take(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())['pid'] == os.getpid()
        with pytest.raises(Refused, match='in use'):
            take(tmp_path)


def test_of_many_who_come_at_once_one_gets_it(tmp_path):
    held, most, got = [], [], []

    def work():
        for _ in range(50):
            try:
                locks = take(tmp_path)
            except Refused:
                continue
            held.append(1)
            most.append(len(held))
            got.append(1)
            held.pop()
            locks.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert not list(tmp_path.iterdir())


def test_the_owner_is_found_without_disturbing_anybody(tmp_path):
    assert find_owner(tmp_path) is None
    process = hold(tmp_path)
    try:
        owner = find_owner(tmp_path)
        assert (owner.pid, owner.lives) == (process.pid, True)
    finally:
        end(process)
    owner = find_owner(tmp_path)
    assert (owner.pid, owner.lives) == (process.pid, False)
    (tmp_path / LOCK).write_text('nonsense')
    assert find_owner(tmp_path) is None


def test_who_asks_for_the_owner_refuses_no_run(tmp_path, monkeypatch):
    (tmp_path / LOCK).write_text('')
    asking = os.open(tmp_path / LOCK, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr('culmen.launchers.locking.time.sleep', lambda seconds: os.close(asking))
    take(tmp_path).release()


def test_without_flock_an_owner_is_known_by_its_touch(tmp_path, no_flock):
    with take(tmp_path, watch_seconds=0.2):
        assert find_owner(tmp_path).lives
        os.utime(tmp_path / LOCK, (0, 0))
        assert not find_owner(tmp_path).lives
