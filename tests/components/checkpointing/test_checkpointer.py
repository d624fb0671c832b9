"""Checkpoints: whole or not at all, the one before a damaged one, rows stored once."""

import json
import os
import resource
import signal
import subprocess
import sys
import warnings

import ml_dtypes
import numpy as np
import pytest

from culmen.components.checkpointing import Checkpointer
from culmen.components.checkpointing import DamagedCheckpointError
from culmen.components.checkpointing import from_paths
from culmen.components.checkpointing import to_paths


class Table:
    """Rows that count up; a window of them lives."""

    def __init__(self, first, stop):
        self.first, self.stop = first, stop
        self.reads = []

    def live_ticks(self):
        return self.first, self.stop

    def read_rows(self, start, stop):
        self.reads.append((start, stop))
        return {'x': np.arange(start, stop), 'y': np.ones((stop - start, 2), np.uint8)}


STATE = {
    'a': {
        'w': np.arange(3, dtype=np.float32),
        'half': np.ones(2, ml_dtypes.bfloat16),
        'empty': np.zeros((0, 2)),
    },
    'list': [1, 2.5, None, 'x', True, np.int64(3), (np.zeros(1, bool),)],
    'nan': float('nan'),
}


def save(checkpointer, number, state=STATE, python=None, table=None):
    checkpointer.save(number, state, python, table)
    checkpointer.wait()


def test_a_state_comes_back_bit_for_bit(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 5, python={'any': {1, 2}})
    saved = Checkpointer(tmp_path).restore()
    assert saved.python == {'any': {1, 2}}
    assert saved.state['a']['half'].dtype == ml_dtypes.bfloat16
    for name in ('w', 'half', 'empty'):
        np.testing.assert_array_equal(saved.state['a'][name], STATE['a'][name])
    assert saved.state['list'][:6] == [1, 2.5, None, 'x', True, 3]
    assert saved.state['list'][6][0].dtype == bool
    assert np.isnan(saved.state['nan'])


def test_what_neither_json_nor_arrays_hold_is_refused(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(0, {'f': {'g': object()}})
    with pytest.raises(TypeError, match='/f/g of a checkpoint must be a plain value'):
        checkpointer.wait()


def test_the_newest_are_kept(tmp_path):
    checkpointer = Checkpointer(tmp_path, keep=2)
    for number in (10, 20, 30, 1000):
        save(checkpointer, number)
    assert [int(name) for name in checkpointer.names()] == [30, 1000]
    checkpointer.save(5, STATE, name='kept-apart')
    save(checkpointer, 2000)
    assert (tmp_path / 'kept-apart' / 'manifest.json').exists()
    assert int(Checkpointer(tmp_path).restore().name) == 2000


def test_rows_are_written_once_and_dropped_when_nobody_needs_them(tmp_path):
    checkpointer = Checkpointer(tmp_path, keep=2)
    table = Table(0, 100)
    for number, (first, stop) in enumerate(
        [(0, 100), (20, 150), (100, 170), (149, 200), (199, 250)]
    ):
        table.first, table.stop = first, stop
        save(checkpointer, number, table=table)
    assert table.reads == [(0, 100), (100, 150), (150, 170), (170, 200), (200, 250)]
    files = sorted(path.name for path in (tmp_path / 'rows').iterdir())
    # The oldest of the two checkpoints that are left needs rows from 149 on.
    assert [int(name.split('-')[0]) for name in files] == [100, 150, 170, 200]
    rows = list(Checkpointer(tmp_path).restore().rows)
    assert [start for start, _ in rows] == [170, 200]
    np.testing.assert_array_equal(
        np.concatenate([arrays['x'] for _, arrays in rows]), np.arange(170, 250)
    )


def test_a_resumed_run_adds_to_the_rows_of_the_checkpoint_it_went_on_from(tmp_path):
    first = Checkpointer(tmp_path)
    save(first, 1, table=Table(0, 10))
    save(first, 2, table=Table(0, 20))
    (tmp_path / f'{2:012d}' / 'state.json').write_text('{')
    resumed = Checkpointer(tmp_path)
    with pytest.warns(UserWarning, match='is not what was written'):
        assert int(resumed.restore().name) == 1
    table = Table(0, 30)
    save(resumed, 3, table=table)
    assert table.reads == [(10, 30)]
    assert [start for start, _ in Checkpointer(tmp_path).restore().rows] == [0, 10]


@pytest.mark.parametrize('file', ['state.json', 'arrays', 'python.pickle', 'manifest.json', 'rows'])
@pytest.mark.parametrize('damage', ['cut', 'flip', 'gone'])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, file, damage):
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 1, python=1, table=Table(0, 10))
    save(checkpointer, 2, python=2, table=Table(0, 20))
    newest = (
        tmp_path / 'rows' / f'{10:012d}-{20:012d}'
        if file == 'rows'
        else tmp_path / f'{2:012d}' / file
    )
    data = newest.read_bytes()
    if damage == 'gone':
        newest.unlink()
    else:
        half = len(data) // 2
        newest.write_bytes(
            data[:half]
            if damage == 'cut'
            else data[:half] + bytes([data[half] ^ 255]) + data[half + 1 :]
        )
    with pytest.warns(UserWarning, match='The checkpoint before it is used'):
        saved = Checkpointer(tmp_path).restore()
    assert (int(saved.name), saved.python) == (1, 1)


def test_when_all_are_damaged_nothing_is_used(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 1)
    (tmp_path / f'{1:012d}' / 'arrays').write_bytes(b'')
    with (
        warnings.catch_warnings(),
        pytest.raises(DamagedCheckpointError, match='every checkpoint in'),
    ):
        warnings.simplefilter('ignore')
        Checkpointer(tmp_path).restore()


def test_reading_opens_no_pickle(tmp_path):
    save(Checkpointer(tmp_path), 1, python=1)
    (tmp_path / f'{1:012d}' / 'python.pickle').chmod(0)
    saved = Checkpointer(tmp_path).read()
    assert saved.python is None
    assert saved.state['list'][0] == 1


def test_a_file_of_another_user_is_not_unpickled(tmp_path, monkeypatch):
    save(Checkpointer(tmp_path), 1, python=1)
    monkeypatch.setattr(os, 'getuid', lambda: 12345)
    with pytest.raises(PermissionError, match='must belong to the user who resumes'):
        Checkpointer(tmp_path).restore()


KILLED = """
import sys, numpy as np
from culmen.components.checkpointing import Checkpointer
checkpointer = Checkpointer(sys.argv[1])
for number in range(1, 10_000):
    checkpointer.save(number, {'number': number, 'a': np.full(100_000, number)}, python=number)
    checkpointer.wait()
    print(number, flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    for kill_after in (1, 4, 9):
        process = subprocess.Popen(
            [sys.executable, '-c', KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        number = 0
        while number < kill_after:
            number = int(process.stdout.readline())
        process.kill()
        process.wait()
        process.stdout.close()
        saved = Checkpointer(tmp_path).restore()
        assert int(saved.name) >= kill_after
        assert saved.python == saved.state['number'] == int(saved.name)
        np.testing.assert_array_equal(saved.state['a'], saved.python)
        assert not list(tmp_path.glob('.*'))  # what was half written is gone


def test_a_full_disk_is_one_error_and_loses_nothing(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 1)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, old[1]))
    try:
        checkpointer.save(2, {'a': np.zeros(100_000)})
        with pytest.raises(OSError, match='could not save a checkpoint'):
            checkpointer.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert [int(name) for name in checkpointer.names()] == [1]
    assert not list(tmp_path.glob('.*'))
    assert Checkpointer(tmp_path).restore().state['list'][0] == 1
    save(checkpointer, 2)  # and it goes on where there is room again
    assert int(Checkpointer(tmp_path).restore().name) == 2


def test_trees_by_path():
    tree = {'a': (np.zeros(2), np.ones(1, np.int32)), 'b': np.float32(3)}
    paths = to_paths(tree)
    assert sorted(paths) == ['a/0', 'a/1', 'b']
    back = from_paths('state', tree, paths)
    assert isinstance(back['a'], tuple)
    for changed, words in (
        ({**paths, 'a/0': np.zeros(3)}, r'state/a/0 must be float64\[2\], got float64\[3\]'),
        ({k: v for k, v in paths.items() if k != 'b'}, 'state/b must be in the checkpoint'),
        ({**paths, 'c': np.zeros(1)}, 'state must have 3 leaves'),
    ):
        with pytest.raises(ValueError, match=words):
            from_paths('state', tree, changed)


def test_a_manifest_says_what_was_written(tmp_path):
    save(Checkpointer(tmp_path), 7, table=Table(3, 9))
    manifest = json.loads((tmp_path / f'{7:012d}' / 'manifest.json').read_text())
    assert manifest['number'] == 7
    assert set(manifest['files']) == {'state.json', 'arrays'}
    assert [(segment['start'], segment['stop']) for segment in manifest['rows']] == [(3, 9)]
