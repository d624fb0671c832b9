"""Sinks beside the CSV files: lines of JSON, and services in a thread of their own, which are real ones."""

import importlib.util
import json
import pathlib
import pickle
import subprocess
import sys
import threading
import time

import pytest

from culmen.components.loggers import JsonlLog
from culmen.components.loggers import Logs
from culmen.components.loggers import MlflowLog
from culmen.components.loggers import ServiceLog
from culmen.components.loggers import WandbLog

CONFIG = {
    'agent': {'name': 'dqn', 'learning_rate': 0.001},
    'environment': {'name': 'bsuite/catch/0'},
    'seed': 3,
    'max_actor_steps': 900,
}


def fill(sink, steps, **changes):
    for step in steps:
        sink.write('actor', {'actor_steps': step, 'episode_return': step / 2, **changes})


class Service(ServiceLog):
    """A service that keeps what it is told, and that a test may hold or break."""

    service = 'the test'

    def __init__(self, fails_at=None, close_seconds=60.0):
        super().__init__(close_seconds)
        self.told, self.threads, self.fails_at = [], set(), fails_at
        self.gate = None

    def _open(self):
        self.told.append('open')

    def _send(self, rows):
        if self.gate is not None:
            self.gate.wait()
        for sent in rows:
            if sent.row['actor_steps'] == self.fails_at:
                raise OSError('no route')
            self.threads.add(threading.current_thread())
            self.told.append(sent.row['actor_steps'])

    def _finish(self):
        self.told.append('finish')


def test_a_service_gets_every_row_in_order_and_the_last_too():
    sink = Service()
    fill(sink, range(500))
    sink.close()
    assert sink.told == ['open', *range(500), 'finish']
    assert threading.main_thread() not in sink.threads


def test_writing_and_flushing_do_not_wait_for_a_service():
    sink = Service()
    sink.gate = threading.Event()
    fill(sink, range(100))
    sink.flush()  # returns while the service takes nothing
    assert sink.told in ([], ['open'])
    sink.gate.set()
    sink.close()
    assert sink.told == ['open', *range(100), 'finish']


def test_a_service_that_fails_is_named_once_and_the_run_goes_on(capsys):
    sink = Service(fails_at=2)
    fill(sink, range(5))
    sink.close()
    fill(sink, range(5, 9))
    sink.close()
    assert sink.told == ['open', 0, 1, 'finish']
    assert capsys.readouterr().err == (
        'culmen: the test takes no more rows: OSError: no route; the CSV files of the run have every row.\n'
    )


def test_a_service_that_hangs_is_left_after_a_while(capsys):
    sink = Service(close_seconds=0.05)
    sink.gate = threading.Event()
    fill(sink, range(3))
    sink.close()
    assert 'the test did not take' in capsys.readouterr().err
    sink.gate.set()


def test_nothing_is_opened_without_rows_and_sinks_pickle(tmp_path):
    sink = Service()
    sink.close()
    assert sink.told == []
    for each in (JsonlLog(tmp_path / 'a.jsonl'), pickle.loads(pickle.dumps(Service()))):
        fill(each, [1])
        each.close()
    assert not (tmp_path / 'wandb').exists()


def test_lines_of_json_go_back_to_the_checkpoint(tmp_path):
    path = tmp_path / 'new' / 'rows.jsonl'
    sinks = [JsonlLog(path)]
    assert not path.parent.exists()
    logs = Logs(tmp_path / 'logs', {'actor': ('actor_steps', 'episode_return')}, sinks)
    fill(logs, [1, 2])
    state = logs.get_state()
    assert len(path.read_text().splitlines()) == 2  # a checkpoint has its rows on disk
    fill(logs, [3])
    logs.write('actor', {'actor_steps': 4, 'episode_return': float('nan')})
    logs.close()
    assert json.loads(path.read_text().splitlines()[-1])['episode_return'] is None
    path.write_text(path.read_text() + '{"cut')  # by a kill
    logs = Logs(tmp_path / 'logs', {'actor': ('actor_steps', 'episode_return')}, [JsonlLog(path)])
    logs.set_state(state)
    fill(logs, [7])
    logs.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {'log': 'actor', 'actor_steps': step, 'episode_return': step / 2} for step in (1, 2, 7)
    ]


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / 'file').write_text('')
    for make in (JsonlLog, WandbLog, MlflowLog):
        with pytest.raises(ValueError, match='can not be made'):
            make(tmp_path / 'file' / 'folder')


def test_a_missing_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    for make in (WandbLog, MlflowLog):
        with pytest.raises(ImportError, match=r"pip install 'culmen\[logging\]'"):
            make(tmp_path)


def test_another_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be 'online' or 'offline', got 'of'"):
        WandbLog(tmp_path, mode='of')


# wandb starts a process, and hooks into its own: here that is one which ends.
_FIRST = """
sink = WandbLog(folder, CONFIG)
fill(sink, [10, 20], steps_per_second=5.0)
sink.write('learner', {'actor_steps': 20, 'learner_steps': 4, 'loss': 0.5})
sink.write('evaluator', {'actor_steps': 20, 'learner_steps': 4, 'episode_return': 1.0})
sink.close()
"""
_SECOND = """
sink = WandbLog(folder, CONFIG)
sink.resume(20)
fill(sink, [30])
sink.close()
"""


def run_with_wandb(code, folder):
    head = 'import sys\nfrom tests.components.loggers.test_sinks import *\nfolder = sys.argv[1]\n'
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', head + code, str(folder)],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    assert 'no more rows' not in done.stderr


def read_wandb(folder):
    """The runs of a folder, as wandb wrote them: (id, config, rows)."""
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal import datastore

    found = []
    for path in sorted(folder.rglob('*.wandb')):
        while path.stat().st_size == 0:  # wandb's own process writes it, a little later
            time.sleep(0.1)
        store = datastore.DataStore()
        store.open_for_scan(str(path))
        name, config, rows = None, {}, []
        while (data := store.scan_data()) is not None:
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            kind = record.WhichOneof('record_type')
            if kind == 'run':
                name = record.run.run_id
                for item in record.run.config.update:
                    config[item.key] = json.loads(item.value_json)
            elif kind == 'history':
                row = {
                    '/'.join(item.nested_key) or item.key: json.loads(item.value_json)
                    for item in record.history.item
                }
                rows.append({key: value for key, value in row.items() if key[0] != '_'})
        store.close()
        found.append((name, config, rows))
    return found


@pytest.mark.slow
def test_weights_and_biases_gets_rows_offline_and_goes_on_as_the_same_run(tmp_path, monkeypatch):
    pytest.importorskip('wandb.sdk.internal.datastore')
    for name in ('WANDB_MODE', 'WANDB_PROJECT'):
        monkeypatch.delenv(name, raising=False)
    run_with_wandb(_FIRST, tmp_path)
    [(name, config, rows)] = read_wandb(tmp_path)
    assert {key: config[key] for key in ('exp_name', 'env_id', 'seed', 'total_timesteps')} == {
        'exp_name': 'dqn', 'env_id': 'bsuite/catch/0', 'seed': 3, 'total_timesteps': 900,
    }  # fmt: skip
    assert rows == [
        {'global_step': 10, 'charts/episodic_return': 5.0, 'charts/SPS': 5.0},
        {'global_step': 20, 'charts/episodic_return': 10.0, 'charts/SPS': 5.0},
        {'global_step': 20, 'losses/learner_steps': 4.0, 'losses/loss': 0.5},
        {'global_step': 20, 'evaluator/learner_steps': 4.0, 'eval/episodic_return': 1.0},
    ]
    run_with_wandb(_SECOND, tmp_path)
    runs = read_wandb(tmp_path)
    assert [run[0] for run in runs] == [name, name]
    assert any(run[2] == [{'global_step': 30, 'charts/episodic_return': 15.0}] for run in runs)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_mlflow_gets_rows_and_goes_on_as_the_same_run(tmp_path, monkeypatch):
    tracking = pytest.importorskip('mlflow.tracking')
    monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
    sink = MlflowLog(tmp_path / 'no config')
    fill(sink, [1])
    sink.close()
    client = tracking.MlflowClient(tracking_uri=(tmp_path / 'no config' / 'runs').as_uri())
    [run] = client.search_runs([client.get_experiment_by_name('culmen').experiment_id])
    assert run.data.metrics == {'actor/episode_return': 0.5}

    sink = MlflowLog(tmp_path, CONFIG)
    fill(sink, [10, 20], environment='catch', loss=float('nan'))
    sink.close()
    sink = MlflowLog(tmp_path, CONFIG)
    sink.resume(20)
    fill(sink, [30], environment='catch')
    sink.close()
    client = tracking.MlflowClient(tracking_uri=(tmp_path / 'runs').as_uri())
    number = client.get_experiment_by_name('culmen').experiment_id
    [run] = client.search_runs([number])
    assert run.info.status == 'FINISHED'
    assert run.data.params['agent.learning_rate'] == '0.001'
    history = client.get_metric_history(run.info.run_id, 'actor/catch/episode_return')
    assert [(each.step, each.value) for each in history] == [(10, 5.0), (20, 10.0), (30, 15.0)]
    assert set(run.data.metrics) == {'actor/catch/episode_return'}  # no NaN


def test_services_that_nobody_uses_are_not_imported(tmp_path):
    code = (
        'import sys\nfrom culmen.components.loggers import MlflowLog, WandbLog\n'
        f'WandbLog({str(tmp_path)!r}); MlflowLog({str(tmp_path)!r})\n'
        'print([name for name in ("wandb", "mlflow") if name in sys.modules])'
    )
    pytest.importorskip('wandb')
    pytest.importorskip('mlflow')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
