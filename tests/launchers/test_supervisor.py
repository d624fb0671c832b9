"""Nodes as threads and processes: how they end, what is shown of them, and that none is left."""

import os
import sys
import time

import pytest

from culmen.launchers.remote import Stop
from culmen.launchers.remote import Stopped
from culmen.launchers.supervisor import ProcessNode
from culmen.launchers.supervisor import ThreadNode
from culmen.launchers.supervisor import end
from culmen.launchers.supervisor import find_failure


def process(tmp_path, code, name='node'):
    return ProcessNode(name, [sys.executable, '-c', code], os.environ, tmp_path / f'{name}.log')


def finish(node):
    while node.is_running():
        time.sleep(0.02)


def test_a_process_that_raises_is_named_with_its_error_and_its_traceback_is_shown(tmp_path, capfd):
    bad = process(
        tmp_path, 'def f():\n    raise ValueError("the lamp\\nis broken")\nf()', 'actor-0'
    )
    good = process(tmp_path, 'print("fine")', 'learner')
    finish(bad)
    finish(good)
    failure = find_failure([good, bad])
    assert (failure.name, failure.reason) == ('actor-0', 'is broken')
    shown = capfd.readouterr().err
    assert '[actor-0]   File "<string>", line 2, in f' in shown
    assert '[actor-0] ValueError: the lamp' in shown


def test_output_is_shown_by_lines_and_what_libraries_always_say_is_not(tmp_path, capfd):
    code = (
        'import sys\nprint("step 1")\n'
        'print("[reverb/cc/client.cc:165] Sampler and server", file=sys.stderr)\n'
        'print("half a line", end="", flush=True)\n'
    )
    node = process(tmp_path, code)
    finish(node)
    node.show()
    assert capfd.readouterr().err == '[node] step 1\n'
    assert 'half a line' in (tmp_path / 'node.log').read_text()


def test_a_process_that_was_killed_is_the_one_that_failed(tmp_path):
    raising = process(tmp_path, 'raise SystemExit(1)', 'actor-0')
    killed = process(tmp_path, 'import os\nos.kill(os.getpid(), 9)', 'learner')
    finish(raising)
    finish(killed)
    failure = find_failure([raising, killed])
    assert (failure.name, failure.reason) == ('learner', 'it was ended by SIGKILL')


def test_ending_asks_and_then_kills_with_all_that_was_started(tmp_path):
    code = (
        'import signal, subprocess, sys, time\n'
        'signal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
        'p = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])\n'
        'print(p.pid, flush=True)\ntime.sleep(60)\n'
    )
    deaf, polite = process(tmp_path, code, 'deaf'), process(tmp_path, 'import time; time.sleep(60)')
    while not (tmp_path / 'deaf.log').read_text().endswith('\n'):
        time.sleep(0.02)
    grandchild = int((tmp_path / 'deaf.log').read_text())
    assert end([deaf, polite], seconds=0.5) == ['deaf']
    assert not deaf.is_running()
    assert not polite.is_running()
    while is_running(grandchild):
        time.sleep(0.02)


def is_running(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_a_thread_that_raises_is_found_and_one_that_was_stopped_is_none(capfd):
    stop = Stop()

    def fail():
        raise ValueError('the lamp is broken')

    def wait():
        if stop.wait(10):
            raise Stopped

    bad, good = ThreadNode('actor-0', fail, stop), ThreadNode('learner', wait, stop)
    finish(bad)
    failure = find_failure([good, bad])
    assert (failure.name, failure.reason) == ('actor-0', 'ValueError: the lamp is broken')
    assert isinstance(failure.error, ValueError)
    assert 'in fail' in capfd.readouterr().err
    assert end([good, bad], 5) == []
    assert find_failure([good]) is None


@pytest.mark.parametrize('code', ['', 'raise SystemExit(0)'])
def test_a_node_that_returns_has_not_failed(tmp_path, code):
    node = process(tmp_path, code)
    finish(node)
    assert find_failure([node]) is None
