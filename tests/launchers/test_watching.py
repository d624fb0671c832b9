"""`culmen watch`: what it tells of runs in the terminal and on its page, and when it ends."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from click.testing import CliRunner

from culmen.components.files import DamagedError
from culmen.launchers import command_line
from culmen.launchers import status as statuses
from culmen.launchers import watch_page
from culmen.launchers import watching
from culmen.launchers.command_line import showing
from culmen.launchers.command_line import watching as watch_command
from culmen.launchers.locking import Locks
from culmen.launchers.watching import Watch
from tests.launchers.test_status import CONFIG
from tests.launchers.test_status import told

EVALUATOR = 'actor_steps,learner_steps,episode_return,episode_length,episode_return_std,episodes'
ACTOR = 'actor_steps,learner_steps,episode_return,episode_length,steps_per_second'


def write(folder, name, *rows, heads=EVALUATOR, append=False):
    logs = folder / 'logs'
    logs.mkdir(exist_ok=True)
    lines = [] if append else [heads]
    lines += [','.join(map(str, row)) for row in rows]
    with open(logs / f'{name}.csv', 'a' if append else 'w') as file:
        file.write('\n'.join(lines) + '\n')


def make_run(folder, **changes):
    folder.mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps({**CONFIG, **changes}))
    write(folder, 'evaluator', (100, 10, 1.5, 9, 0, 2), (200, 60, -0.5, 9, 0, 2))
    return folder


@pytest.fixture
def ended(tmp_path):
    return make_run(tmp_path / 'run')


@pytest.fixture
def running(tmp_path, ours):
    """The folder of a program that runs in this process, and its lock."""
    folder = make_run(tmp_path / 'program')
    (folder / 'status.json').write_text(json.dumps(told(**ours)))
    with Locks() as locks:
        locks.take(folder)
        yield folder, locks


@pytest.fixture
def ours():
    return {'host': os.uname().nodename, 'pid': os.getpid()}


@pytest.fixture
def clock(monkeypatch):
    """Collects the sleeps of the command; what is put into `then` is called in them, one after another."""

    class Clock:
        slept = []
        then = []

    def sleep(seconds):
        Clock.slept.append(seconds)
        assert len(Clock.slept) < 20
        if Clock.then:
            Clock.then.pop(0)()

    Clock.slept, Clock.then = [], []
    monkeypatch.setattr(showing, '_WIDTH', 400)  # temporary folders have long names
    monkeypatch.setattr(watch_command.time, 'sleep', sleep)
    return Clock


def watch(*arguments):
    result = CliRunner().invoke(command_line.cli, ['watch', *map(str, arguments)])
    return result.exit_code, result.output


def test_it_follows_a_run_until_it_has_ended(running, clock):
    folder, locks = running

    def end():
        (folder / 'status.json').write_text(json.dumps(told(state=statuses.FINISHED)))
        locks.release(folder)

    clock.then = [lambda: None, end]
    code, output = watch(folder)
    assert code == 0
    assert clock.slept == [1.0] * 4  # and two more looks, for a run that may be about to begin
    rows = [
        line.split()
        for line in output.splitlines()
        if str(folder) in line and 'node of' not in line
    ]
    assert rows[0][1:] == [
        'running', '500/1,000', '500', '10.0', 's', '50', '24', '-1', '0.5', '1/1',
    ]  # fmt: skip
    assert rows[-1][1] == 'finished'
    assert f'node of {folder}' in output
    assert re.search(r'actor-0 +here', output)


def test_runs_that_begin_later_in_a_folder_are_followed_too(tmp_path, running, clock):
    folder, locks = running
    clock.then = [lambda: make_run(tmp_path / 'later'), lambda: locks.release(folder)]
    code, output = watch(tmp_path, '--json')
    looks = [json.loads(line)['runs'] for line in output.splitlines()]
    assert code == 0
    assert [len(runs) for runs in looks] == [1, 2, 2, 2, 2]
    first = looks[0][0]
    assert (first['left'], first['seconds_left']) == (500, 10.0)
    assert first['returns'] == {'of': 'evaluation', 'steps': [100.0, 200.0], 'returns': [1.5, -0.5]}


def test_what_has_ended_is_shown_once(ended, clock):
    code, output = watch(ended)
    assert (code, clock.slept) == (0, [])
    assert output.count(str(ended)) == 1


def test_ctrl_c_ends_it_with_130(running, clock):
    def interrupt():
        raise KeyboardInterrupt

    for options in ((), ('--serve', '0')):
        clock.then = [interrupt]
        code, _ = watch(running[0], *options)
        assert code == 130


def test_a_folder_without_a_run_and_options_that_do_not_fit_are_refused(tmp_path, ended):
    code, output = watch(ended, tmp_path / 'none')
    assert code == 2
    assert f'{tmp_path / "none"} holds no run' in output
    assert watch(ended, '--serve', '0', '--json')[0] == 2
    assert watch(ended, '--serve', '70000')[0] == 2


def test_a_taken_port_is_one_error(ended):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = watch(ended, '--serve', port)
    assert code == 2
    assert output.startswith(f'culmen: error: port {port} of 127.0.0.1 can not be used')
    assert len(output.splitlines()) == 1


def ask(port, path='/', host=None):
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
    connection.request('GET', path, headers={} if host is None else {'Host': host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_page_is_served_to_this_machine_until_the_runs_have_ended(running, clock, monkeypatch):
    folder, locks = running
    pages = []
    opened = watch_page.PageServer

    def look():
        pages.append(ask(server[0].port))

    server = []
    monkeypatch.setattr(
        watch_page, 'PageServer', lambda port: server.append(opened(port)) or server[0]
    )
    clock.then = [
        look,
        lambda: pages.append(ask(server[0].port, '/config.json')),
        lambda: pages.append(ask(server[0].port, host='evil.example:80')),
        lambda: locks.release(folder),
        *[lambda: None] * 2,
        look,
    ]
    code, output = watch(folder, '--serve', '0')
    assert code == 0
    assert f'http://127.0.0.1:{server[0].port}/' in output
    assert [status for status, _ in pages] == [200, 404, 403, 200]
    assert 'http-equiv="refresh"' in pages[0][1]
    assert 'http-equiv="refresh"' not in pages[3][1]
    assert clock.slept[-1] == 10.0
    with pytest.raises(ConnectionRefusedError):
        ask(server[0].port)


def test_the_page_stands_alone_and_draws_the_returns(tmp_path, ended):
    name = 'a<b>&"c'
    other = make_run(tmp_path / 'other', environment={'name': name})
    page = watch_page.make_page(Watch([ended, other]).look(), [(('run',), [['one'], [name]])])
    assert name not in page
    assert not re.search(r'(src|href)=|url\(|@import|<script', page)
    assert 'all ended' in page
    figures = re.findall(r'<svg.*?</svg>', page, re.DOTALL)
    assert len(figures) == 2  # one for each environment
    root = ElementTree.fromstring(figures[0])
    (line,) = root.findall('polyline')
    (x0, y0), (x1, y1) = (map(float, each.split(',')) for each in line.get('points').split())
    assert x0 < x1
    assert y0 < y1  # the return falls, and y grows downwards
    texts = [each.text for each in root.findall('text')]
    assert {'0', '200', '-0.5', '1.5'} <= set(texts)


@pytest.mark.parametrize(
    ('points', 'marks'),
    [((), 'No episode'), (((5.0, 1.0),), '<circle'), (((5.0, 1.0), (6.0, 1.0)), '<polyline')],
)
def test_few_points_are_drawn_too(points, marks):
    steps, returns = zip(*points, strict=True) if points else ((), ())
    drawn = watch_page.draw([('#000', watching.Points(steps, returns))])
    assert marks in drawn
    assert 'nan' not in drawn


def test_logs_are_read_on_and_again_if_a_resumed_run_has_cut_them(ended):
    watched = Watch([ended])
    with open(ended / 'logs' / 'evaluator.csv', 'a') as file:
        file.write('300,70,2.0,9,')  # not a whole row yet
    assert watched.look()[0].returns.steps == [100, 200]
    write(ended, 'evaluator', (0, 2), append=True)
    assert watched.look()[0].returns == ([100, 200, 300], [1.5, -0.5, 2.0])
    write(ended, 'evaluator', (100, 10, 1.5, 9, 0, 2), (150, 60, 7.0, 9, 0, 2))
    assert watched.look()[0].returns == ([100, 150], [1.5, 7.0])
    write(ended, 'evaluator', ('x', 0, 'y', 9, 0, 2), append=True)
    with pytest.raises(DamagedError, match=r'evaluator\.csv'):
        watched.look()


def test_returns_of_training_stand_in_for_evaluations_and_many_are_merged(tmp_path):
    run = make_run(tmp_path / 'run')
    write(run, 'evaluator')
    rows = [(i, 0, i % 2, 9, 50.0) for i in range(1, 1001)]
    write(run, 'actor-0', *rows, heads=ACTOR)
    write(run, 'actor-1', (2_000, 0, float('nan'), 9, 50.0), (3_000, 0, 8.0, 9, 50.0), heads=ACTOR)
    seen = Watch([run]).look()[0]
    assert not seen.is_evaluated
    assert len(seen.returns.steps) <= 400
    assert seen.returns.steps == sorted(seen.returns.steps)
    assert set(seen.returns.returns[:-1]) == {0.5}
    assert (seen.returns.steps[-1], seen.returns.returns[-1]) == (3_000, 8.0)


def test_offline_steps_are_updates_and_a_removed_run_is_gone(tmp_path):
    run = make_run(tmp_path / 'run', launcher='offline', max_actor_steps=None, max_learner_steps=90)
    write(run, 'evaluator', (0, 10, 1.5, 9, 0, 2), (0, 60, -0.5, 9, 0, 2))
    watched = Watch([run])
    seen = watched.look()[0]
    assert seen.returns.steps == [10, 60]
    assert seen.left == 30
    assert seen.seconds_left is None
    (run / 'config.json').unlink()
    assert watched.look()[0].status['state'] == 'gone'


def test_it_imports_no_jax():
    code = 'import sys, culmen.launchers.watch_page; sys.exit("jax" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
