"""Logs: all labels of a run, in files or in memory, with sinks."""

import subprocess
import sys

import pytest

from culmen.components.loggers import COLUMNS
from culmen.components.loggers import LogFiles
from culmen.components.loggers import Logs


class Recorder:
    def __init__(self, error=None):
        self.rows, self.resumed, self.closed, self.error = [], [], 0, error

    def write(self, label, row):
        self.rows.append((label, dict(row)))

    def resume(self, actor_steps):
        self.resumed.append(actor_steps)

    def flush(self):
        self.flushed = len(self.rows)

    def close(self):
        self.closed += 1
        if self.error:
            raise self.error


def fill(logs, steps):
    for step in steps:
        logs.write('actor', {'actor_steps': step, 'episode_return': 1.0 * step})
        if step % 2 == 0:
            logs.write('evaluator', {'actor_steps': step, 'episodes': 20})


def test_every_file_exists_with_its_header_from_the_start(tmp_path):
    Logs(tmp_path)
    headers = {path.stem: path.read_text() for path in tmp_path.glob('*.csv')}
    assert headers == {label: ','.join(names) + '\n' for label, names in COLUMNS.items()}


def test_a_resumed_run_has_the_logs_of_an_unbroken_one(tmp_path):
    logs = Logs(tmp_path / 'broken')
    fill(logs, range(5))
    state = logs.get_state()
    fill(logs, range(5, 8))
    logs.close()
    resumed = Logs(tmp_path / 'broken')
    resumed.set_state(state)
    fill(resumed, range(5, 11))
    resumed.close()
    unbroken = Logs(tmp_path / 'unbroken')
    fill(unbroken, range(11))
    unbroken.close()
    for label in COLUMNS:
        assert (tmp_path / f'broken/{label}.csv').read_bytes() == (
            tmp_path / f'unbroken/{label}.csv'
        ).read_bytes()


def test_memory_logs_go_back_to_a_state_too():
    logs = Logs()
    fill(logs, range(5))
    state = logs.get_state()
    fill(logs, range(5, 8))
    logs.set_state(state)
    logs.close()
    assert logs['actor']['actor_steps'].tolist() == [0, 1, 2, 3, 4]
    assert list(logs) == ['actor', 'learner', 'evaluator']


def test_sinks_take_every_row_and_hear_of_a_resume(tmp_path):
    sink = Recorder()
    logs = Logs(tmp_path, sinks=[sink])
    fill(logs, range(3))
    logs.set_state(logs.get_state())
    assert sink.flushed == len(sink.rows) == 5
    logs.close()
    logs.close()
    assert [label for label, _ in sink.rows] == [
        'actor',
        'evaluator',
        'actor',
        'actor',
        'evaluator',
    ]
    assert (sink.resumed, sink.closed) == ([2], 1)


def test_a_sink_that_fails_to_close_keeps_no_log_open(tmp_path):
    bad, good = Recorder(error=OSError('gone')), Recorder()
    logs = Logs(tmp_path, sinks=[bad, good])
    fill(logs, range(3))
    with pytest.raises(OSError, match='gone'):
        logs.close()
    assert good.closed == 1
    assert len(LogFiles(tmp_path)['actor']) == 3


def test_log_files_are_read_by_label(tmp_path):
    logs = Logs(tmp_path)
    fill(logs, range(3))
    logs.close()
    files = LogFiles(tmp_path)
    assert list(files) == ['actor', 'evaluator', 'learner']
    assert files['actor'].equals(logs['actor'])
    with pytest.raises(KeyError, match='actress'):
        files['actress']


def test_nothing_optional_is_imported_with_the_package():
    code = (
        'import sys, culmen.components.loggers\n'
        'print([m for m in ("pandas", "rich", "tensorboardX", "matplotlib") if m in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


def test_seconds_are_filled_and_go_on_from_the_checkpoint(tmp_path, monkeypatch):
    columns = {'evaluator': ('actor_steps', 'seconds')}
    now = [100.0]
    monkeypatch.setattr('culmen.components.loggers.logs.time.monotonic', lambda: now[0])
    logs = Logs(tmp_path, columns)
    now[0] += 2.5
    logs.write('evaluator', {'actor_steps': 1})
    state = logs.get_state()
    now[0] += 4
    logs.write('evaluator', {'actor_steps': 2})  # after the checkpoint: void
    logs.close()
    now[0] = 7.0  # another boot of the machine
    logs = Logs(tmp_path, columns)
    now[0] += 1
    logs.set_state(state)
    now[0] += 1.5
    logs.write('evaluator', {'actor_steps': 3})
    assert logs['evaluator']['seconds'].tolist() == [2.5, 4.0]
    del state['seconds']  # a checkpoint of an earlier version
    logs.set_state(state)
    logs.write('evaluator', {'actor_steps': 4})
    assert logs['evaluator']['seconds'].tolist() == [2.5, 0.0]
    logs.close()
