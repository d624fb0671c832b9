"""The status of a run, read from its folder: of running, ended and killed runs of every launcher."""

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from culmen.components.files import LOCK
from culmen.components.files import DamagedError
from culmen.launchers import command_line
from culmen.launchers import status as statuses
from culmen.launchers.locking import Locks
from culmen.launchers.status import find_runs
from culmen.launchers.status import read_status

GOLDEN = sorted(
    path.parent for path in (Path(__file__).parents[1] / 'golden').glob('*/*/config.json')
)
CONFIG = {
    'agent': {'name': 'dqn'}, 'environment': {'name': 'bsuite/catch/0'}, 'launcher': 'processes',
    'seed': 3, 'max_actor_steps': 1_000, 'max_learner_steps': None,
}  # fmt: skip
NODE = {
    'name': 'actor-0', 'host': 'here', 'pid': 7, 'state': 'running', 'doing': None, 'silent': 0.25,
    'actor_steps': 500, 'steps_per_second': 50.0,
    'restarts': [{'at': 1e9, 'reason': 'it was ended by SIGKILL', 'caused_by': None}],
}  # fmt: skip
TABLE = {
    'items': 490, 'capacity': 1_000, 'inserted': 490, 'sampled': 1_920, 'samples_per_insert': 4.0,
    'wanted': 4.0, 'staleness': 120.5, 'most_stale': 235,
}  # fmt: skip


def told(**changes):
    content = {
        'version': 1, 'state': statuses.RUNNING, 'reason': None, 'host': 'here', 'pid': 12,
        'written': time.time(), 'actor_steps': 500, 'learner_steps': 240, 'episodes': 55,
        'evaluations': 1, 'steps_per_second': 50.0, 'updates_per_second': 24.0, 'episode_return': -1.0,
        'evaluating': None, 'evaluation': {'episodes': 2, 'return_mean': 0.5, 'return_std': 0.5},
        'tables': {'': TABLE}, 'nodes': [NODE], 'restarts': 1,
    }  # fmt: skip
    return {**content, **changes}


@pytest.fixture
def run(tmp_path):
    """The folder of a program that has told its status."""
    folder = tmp_path / 'run'
    folder.mkdir()
    (folder / 'config.json').write_text(json.dumps(CONFIG))
    (folder / 'status.json').write_text(json.dumps(told()))
    return folder


@pytest.fixture
def ours():
    """A status that the process of this test has written."""
    return {'host': os.uname().nodename, 'pid': os.getpid()}


def show(*arguments):
    result = CliRunner().invoke(command_line.cli, ['status', *map(str, arguments)])
    return result.exit_code, result.output


@pytest.mark.parametrize('folder', GOLDEN, ids=[path.name for path in GOLDEN])
def test_a_run_of_an_earlier_version_has_the_counts_of_its_files(folder):
    found = read_status(folder)
    config = json.loads((folder / 'config.json').read_text())
    assert (found['agent'], found['launcher']) == (config['agent']['name'], config['launcher'])
    assert found['checkpoint']['steps'] == max(
        found['actor_steps'], found['learner_steps'] * (config['launcher'] == 'offline')
    )
    if (folder / 'result.json').exists():
        result = json.loads((folder / 'result.json').read_text())
        assert found['state'] == statuses.FINISHED
        for name in ('actor_steps', 'learner_steps', 'episodes', 'evaluation'):
            assert found[name] == result[name]
    else:
        assert found['state'] == statuses.ENDED
        assert found['actor_steps'] == 20
    assert found['pid'] is None
    code, output = show(folder)
    assert code == 0
    assert str(folder) in output


def test_the_lock_says_whether_a_run_lives(run, ours):
    assert read_status(run)['state'] == statuses.KILLED  # by its last words it runs
    (run / 'status.json').write_text(json.dumps(told(**ours)))
    with Locks() as locks:
        locks.take(run)
        found = read_status(run)
        assert (found['state'], found['pid']) == (statuses.RUNNING, os.getpid())
        assert found['nodes'] == [NODE]
        # Words of an earlier launch are not of the one that runs.
        (run / 'status.json').write_text(json.dumps(told(**{**ours, 'pid': os.getpid() + 1})))
        found = read_status(run)
        assert (found['state'], found['nodes'], found['actor_steps']) == (
            statuses.RUNNING,
            [],
            None,
        )
    for state in (statuses.STOPPED, statuses.FAILED, statuses.FINISHED):
        (run / 'status.json').write_text(json.dumps(told(state=state, reason='why')))
        assert read_status(run)['state'] == state
    (run / 'status.json').unlink()
    assert read_status(run)['state'] == statuses.ENDED
    (run / LOCK).write_text('{"host": "far", "pid": 7, "kernel": "another", "since": "today"}')
    assert read_status(run)['state'] == statuses.RUNNING  # on another host, and touched just now
    os.utime(run / LOCK, (time.time() - 60, time.time() - 60))
    assert read_status(run)['state'] == statuses.KILLED


def test_a_result_counts_only_for_the_budget_of_the_config(run):
    (run / 'status.json').unlink()
    result = dict.fromkeys(('episodes', 'steps_per_second', 'evaluation'))
    for steps, state in ((1_000, statuses.FINISHED), (999, statuses.ENDED)):
        (run / 'result.json').write_text(
            json.dumps({**result, 'actor_steps': steps, 'learner_steps': 5})
        )
        assert read_status(run)['state'] == state


def test_the_rows_of_logs_stand_in_for_a_status(run):
    (run / 'status.json').unlink()
    logs = run / 'logs'
    logs.mkdir()
    head = 'actor_steps,learner_steps,episode_return,episode_length,steps_per_second,environment'
    (logs / 'actor-1.csv').write_text(f'{head}\n90,30,0.0,9,5.0,a\n99,33,1.0,9,10.0,b\n108,4')
    (logs / 'actor-0.csv').write_text(f'{head}\n120,40,-1.0,9,7.0,a\n')
    (logs / 'learner.csv').write_text('actor_steps,learner_steps,loss\n')
    found = read_status(run)
    assert (found['actor_steps'], found['learner_steps']) == (120, 40)
    assert (found['steps_per_second'], found['episode_return']) == (17.0, 1.0)
    assert 0 <= found['seconds'] < 600


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ('{', 'status.json is damaged'),
        ('[]', 'must hold a mapping'),
        ('{}', 'status.json is damaged: KeyError'),
        (json.dumps(told(version=2)), r'status.json has version 2; this version of Culmen reads 1'),
        (json.dumps(told(actor_steps='many')), "actor_steps must be a number, got 'many'"),
        (json.dumps(told(nodes=[{'name': 3, 'restarts': []}])), 'is no node'),
        (json.dumps(told(tables={'': 3})), 'is no table'),
    ],
    ids=('cut', 'list', 'empty', 'version', 'steps', 'nodes', 'tables'),  # contents hold the time
)
def test_a_damaged_status_is_refused_by_name(run, content, said):
    (run / 'status.json').write_text(content)
    with pytest.raises(DamagedError, match=said):
        read_status(run)
    code, output = show(run)
    assert code == 2
    assert 'culmen: error: ' in output


def test_the_command_shows_all_that_is_known(run):
    code, output = show(run)
    assert code == 0
    for text in (
        'run: killed', 'dqn on bsuite/catch/0, seed 3, launcher processes', 'actor_steps 500/1,000',
        'learner_steps 240', '50 steps/s, 24 updates/s', 'episodes 55, the last return -1',
        'evaluation: episodes 2, return_mean 0.5', 'experience', '490/1,000', '4 of 4',
        '120.5, at most 235', 'actor-0', 'here', '0.2 s', 'it was ended by SIGKILL',
    ):  # fmt: skip
        assert text in output, text
    code, output = show(run, '--json')
    found = json.loads(output)
    assert (code, found['tables'], found['nodes'], found['restarts']) == (0, {'': TABLE}, [NODE], 1)


def test_what_a_file_holds_steers_no_terminal(run):
    restart = {'at': 1e9, 'reason': '\x1b[31m[bold]red\x07', 'caused_by': None}
    content = told(nodes=[{**NODE, 'restarts': [restart]}], state='failed', reason='\x1b]0;x\x07')
    (run / 'status.json').write_text(json.dumps(content))
    _, output = show(run)
    assert '\x1b' not in output
    assert '\x07' not in output
    assert '[bold]red' in output


def test_a_folder_of_runs_has_a_line_for_each(run):
    for seed in (10, 2):
        folder = run.parent / 'many' / 'rate=0.1' / f'seed-{seed}'
        folder.mkdir(parents=True)
        (folder / 'config.json').write_text(json.dumps({**CONFIG, 'seed': seed}))
    assert [path.name for path in find_runs(run.parent / 'many')] == ['seed-2', 'seed-10']
    _, output = show(run.parent / 'many', '--json')
    assert [each['seed'] for each in json.loads(output)['runs']] == [2, 10]
    code, output = show(run.parent / 'many')
    assert code == 0
    assert output.index('seed-2') < output.index('seed-10')


def test_a_folder_without_a_run_is_refused(tmp_path):
    code, output = show(tmp_path)
    assert (code, 'holds no run: there is no config.json in it' in output) == (2, True)


@pytest.mark.parametrize('as_json', [False, True])
def test_it_watches_until_the_run_is_over(run, ours, monkeypatch, as_json):
    (run / 'status.json').write_text(json.dumps(told(**ours)))
    locks = Locks()
    locks.take(run)

    def sleep(seconds):
        assert seconds == 1.0
        (run / 'status.json').write_text(
            json.dumps(told(**ours, state='finished', actor_steps=1_000))
        )
        locks.release()

    monkeypatch.setattr('culmen.launchers.command_line.showing.time.sleep', sleep)
    code, output = show(run, '--watch', *(['--json'] if as_json else []))
    assert code == 0
    if as_json:
        states = [json.loads(line)['state'] for line in output.splitlines()]
        assert states == [statuses.RUNNING, statuses.FINISHED]
    else:
        assert output.index('500/1,000') < output.index('1,000/1,000')
