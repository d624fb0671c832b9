"""TensorBoardLog, read back by TensorBoard itself where it is there."""

import importlib.util
import threading

import pytest

from culmen.components.loggers import Logs
from culmen.components.loggers import TensorBoardLog

needs_writer = pytest.mark.skipif(
    importlib.util.find_spec('tensorboardX') is None, reason='tensorboardX is not installed'
)


def read(directory):
    accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    events = accumulator.EventAccumulator(str(directory), size_guidance={'scalars': 0})
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()['scalars']
    }


@pytest.mark.slow
@needs_writer
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_a_resumed_run_shows_the_rows_of_an_unbroken_one(tmp_path):
    threads = set(threading.enumerate())
    logs = Logs(tmp_path / 'logs', sinks=[TensorBoardLog(tmp_path / 'tensorboard')])
    assert not (tmp_path / 'tensorboard').exists()  # nothing before the first row
    for step in (1, 2, 3):
        logs.write('actor', {'actor_steps': step, 'episode_return': step / 2})
    state = logs.get_state()
    for step in (4, 5, 6):
        logs.write('actor', {'actor_steps': step, 'episode_return': -1.0})
    logs.close()
    resumed = Logs(tmp_path / 'logs', sinks=[TensorBoardLog(tmp_path / 'tensorboard')])
    resumed.set_state(state)
    for step in (4, 5):
        resumed.write('actor', {'actor_steps': step, 'episode_return': step / 2})
    resumed.close()
    assert set(threading.enumerate()) <= threads
    assert read(tmp_path / 'tensorboard') == {
        'actor/episode_return': [(step, step / 2) for step in (1, 2, 3, 4, 5)]
    }


def test_a_missing_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'culmen\[logging\]'"):
        TensorBoardLog(tmp_path)
