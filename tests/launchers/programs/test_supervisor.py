"""Nodes as threads and processes: how they end, what is shown of them, and that none is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from culmen.launchers.programs import supervisor
from culmen.launchers.programs.stops import ASK
from culmen.launchers.programs.stops import Stop
from culmen.launchers.programs.stops import Stopped
from culmen.launchers.programs.supervisor import ProcessNode
from culmen.launchers.programs.supervisor import QuietEnds
from culmen.launchers.programs.supervisor import ThreadNode
from culmen.launchers.programs.supervisor import end
from culmen.launchers.programs.supervisor import find_failure


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
        f'signal.signal({int(ASK)}, signal.SIG_IGN)\n'
        'p = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])\n'
        'print(p.pid, flush=True)\ntime.sleep(60)\n'
    )
    deaf, polite = process(tmp_path, code, 'deaf'), process(tmp_path, 'import time; time.sleep(60)')
    while not (tmp_path / 'deaf.log').read_text().endswith('\n'):
        time.sleep(0.02)
    grandchild = int((tmp_path / 'deaf.log').read_text())
    assert end([deaf, polite], seconds=2) == ['deaf']
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


def test_what_a_node_started_does_not_outlive_a_node_that_failed(tmp_path):
    code = (
        'import os, subprocess, sys\n'
        'p = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])\n'
        'print(p.pid, flush=True)\nos._exit(3)\n'
    )
    node = process(tmp_path, code)
    finish(node)
    grandchild = int((tmp_path / 'node.log').read_text())
    node.kill()
    while is_running(grandchild):
        time.sleep(0.02)


def test_a_thread_that_raises_is_found_and_one_that_was_stopped_is_none(capfd):
    stop = Stop()

    def fail():
        raise ValueError('the lamp is broken')

    def wait():
        if stop.wait(600):
            raise Stopped

    bad, good = ThreadNode('actor-0', fail, stop), ThreadNode('learner', wait, stop)
    finish(bad)
    failure = find_failure([good, bad])
    assert (failure.name, failure.reason) == ('actor-0', 'ValueError: the lamp is broken')
    assert isinstance(failure.error, ValueError)
    assert 'in fail' in capfd.readouterr().err
    assert end([good, bad], 60) == []
    assert find_failure([good]) is None


# A launcher of two nodes that never ask for it: they are still importing.
LAUNCH = """
import os, sys, time
from pathlib import Path
from culmen.launchers.programs.supervisor import ProcessNode
folder, delay = Path(sys.argv[1]), float(sys.argv[2])
code = 'open(sys.argv[1], "w").close(); import time; time.sleep(3600)'
command = [sys.executable, '-c', f'import sys; {code}']
for i in range(2):
    node = ProcessNode('node', [*command, str(folder / f'{i}')], os.environ, folder / f'{i}.log')
    (folder / f'{i}.pid').write_text(str(node._process.pid))
while delay < 0 and len(list(folder.glob('[01]'))) < 2:
    time.sleep(0.01)
time.sleep(max(delay, 0))
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize('delay', [0, 0.01, 0.03, 0.1, -1])
def test_a_launcher_that_is_killed_at_once_leaves_no_node(tmp_path, delay):
    command = [sys.executable, '-c', LAUNCH, str(tmp_path), str(delay)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    pids = [int(path.read_text()) for path in tmp_path.glob('*.pid')]
    assert len(pids) == 2
    while any(map(is_running, pids)):
        time.sleep(0.02)
    if delay < 0:
        assert {path.name for path in tmp_path.glob('[01]')} == {'0', '1'}


def test_what_is_handed_over_is_known_to_the_node_alone_and_once(tmp_path):
    code = (
        'import os, subprocess, sys\n'
        'from culmen.launchers.programs.stops import HANDED, take_handed\n'
        'number = int(os.environ[HANDED])\n'
        'assert take_handed() == take_handed() == b"what nobody else knows"\n'
        'assert HANDED not in os.environ\n'
        'try:\n    os.fstat(number)\nexcept OSError:\n    print("closed")\n'
    )
    command = [sys.executable, '-c', code]
    secret = b'what nobody else knows'
    before = set(os.listdir('/proc/self/fd'))
    node = ProcessNode('node', command, os.environ, tmp_path / 'node.log', handed=secret)
    assert secret.decode() not in Path(f'/proc/{node._process.pid}/environ').read_text()
    finish(node)
    assert (tmp_path / 'node.log').read_text() == 'closed\n'
    assert set(os.listdir('/proc/self/fd')) <= before


@pytest.mark.parametrize('code', ['', 'raise SystemExit(0)'])
def test_a_node_that_returns_has_not_failed(tmp_path, code):
    node = process(tmp_path, code)
    finish(node)
    assert find_failure([node]) is None


@pytest.mark.parametrize(
    ('name', 'timings', 'ended'),
    [
        ('actor-0', {}, True),
        ('actor-0', {'actor-0': {}}, False),  # it has told of its end
        ('evaluator', {'actor-0': {}}, True),
        ('learner', {'learner': {}}, True),  # which serves the others to the end of the run
    ],
)
def test_a_node_that_ends_and_tells_nobody_is_named(tmp_path, monkeypatch, name, timings, ended):
    monkeypatch.setattr(supervisor, '_GRACE_SECONDS', 0.05)
    reports = {'actor-0': ['actor-0'], 'evaluator': ['evaluator'], 'learner': None}
    node = process(tmp_path, 'raise SystemExit(0)', name)
    finish(node)
    quiet = QuietEnds(reports.get)
    # What it told may still be on its way: two pieces of news have to come, and some time to pass.
    assert quiet.look([node], {'timings': {}}) is None
    time.sleep(0.1)
    assert (quiet.look([node], {'timings': timings}) is None) == (name != 'learner')
    assert quiet.look([node], {'timings': timings}) == (name if ended else None)


def test_a_node_that_runs_has_not_ended():
    node = ThreadNode('learner', lambda: time.sleep(0.2), Stop())
    assert QuietEnds(lambda name: None).look([node], None) is None
    finish(node)
