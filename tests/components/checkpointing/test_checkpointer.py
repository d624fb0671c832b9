"""Checkpoints: whole or not at all, the one before a damaged one, rows stored once."""

import io
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
import tracemalloc
import warnings
import zlib

import ml_dtypes
import numpy as np
import pytest

from culmen.components.checkpointing import Checkpointer
from culmen.components.checkpointing import DamagedCheckpointError
from culmen.components.checkpointing import UnknownFormatError
from culmen.components.checkpointing import from_paths
from culmen.components.checkpointing import to_paths
from culmen.components.files import UntrustedError
from culmen.components.files import seal


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


@pytest.mark.parametrize('file', ['state.json', 'arrays', 'python.pickle', 'manifest.json'])
@pytest.mark.parametrize('damage', ['cut', 'flip', 'gone'])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, file, damage):
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 1, python=1, table=Table(0, 10))
    save(checkpointer, 2, python=2, table=Table(0, 20))
    harm(tmp_path / f'{2:012d}' / file, damage)
    # Whoever only looks finds the one before too, and leaves all as it is.
    looks = pytest.warns(UserWarning, match=f'{2:012d}/{file}.*The checkpoint before it is used')
    if file != 'python.pickle':
        with looks:
            saved = Checkpointer(tmp_path).read_newest()
        assert (int(saved.name), saved.python) == (1, None)
    assert len(Checkpointer(tmp_path).names()) == 2
    with pytest.warns(UserWarning, match=f'{2:012d}/{file}.*The checkpoint before it is used'):
        saved = Checkpointer(tmp_path).restore()
    assert (int(saved.name), saved.python) == (1, 1)


def harm(path, damage='flip'):
    data = path.read_bytes()
    half = len(data) // 2
    if damage == 'gone':
        path.unlink()
    elif damage == 'cut':
        path.write_bytes(data[:half])
    else:
        path.write_bytes(data[:half] + bytes([data[half] ^ 255]) + data[half + 1 :])


@pytest.mark.parametrize('damage', ['cut', 'flip', 'gone'])
def test_a_checkpoint_that_lost_rows_is_used_without_them(tmp_path, damage):
    checkpointer = Checkpointer(tmp_path)
    table = Table(0, 10)
    save(checkpointer, 1, python=1, table=table)
    table.stop = 20
    save(checkpointer, 2, python=2, table=table)
    table.stop = 30
    save(checkpointer, 3, python=3, table=table)
    harm(tmp_path / 'rows' / f'{10:012d}-{20:012d}', damage)
    resumed = Checkpointer(tmp_path)
    saved = resumed.restore()
    assert (saved.name, saved.python) == (f'{3:012d}', 3)
    assert saved.lost == ((10, 20),)
    assert len(saved.losses) == 1
    assert str(tmp_path / 'rows' / f'{10:012d}-{20:012d}') in saved.losses[0]
    assert [start for start, _ in saved.rows] == [0, 20]
    # The next checkpoint knows of it, and finds nothing new to tell.
    table = Table(5, 35)
    save(resumed, 4, table=table)
    assert table.reads == [(30, 35)]
    saved = Checkpointer(tmp_path).restore(on_lost_rows='refuse')
    assert (saved.lost, saved.losses) == (((10, 20),), ())
    assert [start for start, _ in saved.rows] == [0, 20, 30]
    # Until nobody needs those rows any more.
    save(resumed, 5, table=Table(20, 40))
    assert Checkpointer(tmp_path).restore().lost == ()


def test_a_checkpoint_that_lost_rows_is_passed_over_where_that_is_asked_for(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    save(checkpointer, 1, python=1, table=Table(0, 10))
    save(checkpointer, 2, python=2, table=Table(0, 20))
    harm(tmp_path / 'rows' / f'{10:012d}-{20:012d}')
    with pytest.warns(UserWarning, match='Its rows are lost. The checkpoint before it is used'):
        saved = Checkpointer(tmp_path).restore(on_lost_rows='refuse')
    assert saved.python == 1
    harm(tmp_path / 'rows' / f'{0:012d}-{10:012d}')
    with pytest.raises(DamagedCheckpointError, match='every checkpoint in .* rows are lost'):
        Checkpointer(tmp_path).restore(on_lost_rows='refuse')
    saved = Checkpointer(tmp_path).restore()
    assert (saved.python, saved.lost) == (1, ((0, 10),))


class WritesItself:
    """A table like Reverb's."""

    def checkpoint(self, folder):
        folder.mkdir(parents=True)
        (folder / 'data').write_bytes(b'items')
        return {'data': {'bytes': 5, 'crc32': zlib.crc32(b'items')}}


def test_a_table_that_wrote_itself_can_be_lost_too(tmp_path):
    save(Checkpointer(tmp_path), 1, table=WritesItself())
    saved = Checkpointer(tmp_path).restore()
    assert (saved.table, saved.lost_table) == (tmp_path / f'{1:012d}' / 'table', False)
    harm(tmp_path / f'{1:012d}' / 'table' / 'data')
    saved = Checkpointer(tmp_path).restore()
    assert (saved.table, saved.lost_table, len(saved.losses)) == (None, True, 1)
    with pytest.raises(DamagedCheckpointError, match='table/data is not what was written'):
        Checkpointer(tmp_path).restore(on_lost_rows='refuse')


TINY = {'learner': {'w': np.arange(2, dtype=np.int8)}, 'n': 3}


def test_no_bit_of_a_checkpoint_can_change_unseen(tmp_path):
    save(Checkpointer(tmp_path), 1, TINY, python=7, table=Table(0, 2))
    files = [path for path in tmp_path.rglob('*') if path.is_file()]
    assert {path.name for path in files} >= {'manifest.json', 'state.json', 'arrays'}
    assert len(files) == 5
    for path in files:
        data = path.read_bytes()
        every = 1 if path.name == 'manifest.json' else 13  # bits; 13 goes through all eight
        for at in range(0, 8 * len(data), every):
            place, bit = divmod(at, 8)
            flipped = bytes([data[place] ^ (1 << bit)])
            path.write_bytes(data[:place] + flipped + data[place + 1 :])
            with pytest.raises(DamagedCheckpointError, match=path.name):
                Checkpointer(tmp_path).restore(on_lost_rows='refuse')
        path.write_bytes(data)
    assert Checkpointer(tmp_path).restore().python == 7


def test_a_checkpoint_of_the_format_before_is_read(tmp_path):
    save(Checkpointer(tmp_path), 1, table=Table(0, 10))
    path = tmp_path / f'{1:012d}' / 'manifest.json'
    manifest = json.loads(path.read_text())
    del manifest['crc32']
    path.write_text(json.dumps({**manifest, 'format': 1}))
    saved = Checkpointer(tmp_path).restore()
    assert saved.state['list'][0] == 1
    assert [start for start, _ in saved.rows] == [0]


def test_a_checkpoint_of_a_later_format_is_refused_and_kept(tmp_path):
    save(Checkpointer(tmp_path), 1)
    save(Checkpointer(tmp_path), 2)
    path = tmp_path / f'{2:012d}' / 'manifest.json'
    manifest = json.loads(path.read_text())
    del manifest['crc32']
    path.write_bytes(seal({**manifest, 'format': 3}))
    for read in (Checkpointer(tmp_path).restore, Checkpointer(tmp_path).read_newest):
        with pytest.raises(UnknownFormatError, match='has format 3; .* reads formats 1 and 2'):
            read()
    assert len(Checkpointer(tmp_path).names()) == 2


# Checkpoints that somebody made to do harm: their checksums are right.


def forge(folder, name, data):
    """Writes a file of a checkpoint, and a manifest that agrees with it."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / 'manifest.json').read_text())
    del manifest['crc32']
    manifest['files'][name] = {'bytes': len(data), 'crc32': zlib.crc32(data)}
    (folder / 'manifest.json').write_bytes(seal(manifest))


def arrays(*headers):
    """A file of arrays with a name for each of these headers, and no data."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([f'/{i}' for i in range(len(headers))]))
    for descr, shape in headers:
        header = {'descr': descr, 'fortran_order': False, 'shape': shape}
        np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


HOSTILE = {
    'deep': ('state.json', b'[' * 100_000),
    'no json': ('state.json', b'{'),
    'not utf-8': ('state.json', b'\xff\xfe\xff'),
    'an array that is missing': ('state.json', b'{"a": {"__array__": "/other"}}'),
    'a dtype that is none': ('state.json', b'{"a": {"__array__": "/a", "dtype": "finfo"}}'),
    'an array of a gibibyte': ('arrays', arrays(('<f8', (2**27,)))),
    'an array beyond any memory': ('arrays', arrays(('<f8', (2**40, 2**40)))),
    'a negative shape': ('arrays', arrays(('<f8', (-1,)))),
    'pickled objects': ('arrays', arrays(('|O', (1,)))),
    'no bytes an entry': ('arrays', arrays(('|V0', (2**62,)))),
    'a deep header': ('arrays', b'\x93NUMPY\x01\x00\x88\x13' + b'(' * 5_000),
    'empty': ('arrays', b''),
}


@pytest.mark.parametrize('name', list(HOSTILE))
def test_hostile_content_is_one_error_and_takes_no_memory(tmp_path, name):
    save(Checkpointer(tmp_path), 1, {'a': np.zeros(1)})
    file, data = HOSTILE[name]
    forge(tmp_path / f'{1:012d}', file, data)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedCheckpointError, match='every checkpoint in'):
            Checkpointer(tmp_path).restore()
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('change', [
    {'rows': [{'file': '../../other', 'start': 0, 'stop': 1, 'bytes': 1, 'crc32': 1}]},
    {'rows': [{'file': f'{0:012d}-{1:012d}', 'start': 5, 'stop': 1, 'bytes': 1, 'crc32': 1}]},
    {'rows': [7]}, {'rows': None}, {'files': {}}, {'files': {'../state.json': {}}},
    {'files': {'state.json': {'bytes': 'x', 'crc32': 0}}}, {'format': None},
], ids=str)  # fmt: skip
def test_a_hostile_manifest_is_one_error(tmp_path, change):
    save(Checkpointer(tmp_path), 1)
    path = tmp_path / f'{1:012d}' / 'manifest.json'
    manifest = json.loads(path.read_text())
    del manifest['crc32']
    path.write_bytes(seal({**manifest, **change}))
    with pytest.raises(DamagedCheckpointError, match='manifest.json'):
        Checkpointer(tmp_path).restore()


def test_rows_that_are_fewer_than_their_file_says_are_one_error(tmp_path):
    save(Checkpointer(tmp_path), 1, table=Table(0, 10))
    path = tmp_path / f'{1:012d}' / 'manifest.json'
    manifest = json.loads(path.read_text())
    del manifest['crc32']
    manifest['rows'][0]['stop'] = 10**15
    path.write_bytes(seal(manifest))
    with pytest.raises(DamagedCheckpointError, match='must have 1000000000000000 rows'):
        list(Checkpointer(tmp_path).restore().rows)


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
    saved = Checkpointer(tmp_path).read_newest()
    assert saved.python is None
    assert saved.state['list'][0] == 1


def test_a_file_of_another_user_is_not_unpickled(tmp_path, monkeypatch):
    save(Checkpointer(tmp_path), 1, python=1)
    monkeypatch.setattr(os, 'getuid', lambda: 12345)
    with pytest.raises(UntrustedError, match='must belong to the user who resumes .* --trust'):
        Checkpointer(tmp_path).restore()
    assert Checkpointer(tmp_path).restore(python=False).python is None
    assert Checkpointer(tmp_path).restore(trust=True).python == 1


@pytest.mark.parametrize('of_folder', [False, True])
def test_a_pickle_that_all_may_write_to_is_not_opened(tmp_path, of_folder):
    save(Checkpointer(tmp_path), 1, python=1)
    folder = tmp_path / f'{1:012d}'
    path = folder if of_folder else folder / 'python.pickle'
    tmp_path.chmod(0o777)  # folders above are not looked at
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode | 0o002)
    with pytest.raises(UntrustedError, match=f'{path} must be writable by its owner alone'):
        Checkpointer(tmp_path).restore()
    assert Checkpointer(tmp_path).restore(trust=True).python == 1
    path.chmod(mode | 0o020)
    with pytest.warns(UserWarning, match=f'{path} may be written by its group'):
        assert Checkpointer(tmp_path).restore().python == 1
    if of_folder:
        path.chmod(mode | stat.S_ISVTX | 0o022)  # as /tmp: others can't replace the file
        assert Checkpointer(tmp_path).restore().python == 1


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


def test_a_full_disk_is_told_at_once(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.poll()
    (tmp_path / f'{2:012d}').write_bytes(b'a file where a folder has to go')
    checkpointer.save(2, STATE)
    with pytest.raises(OSError, match='could not save a checkpoint'):
        while True:
            checkpointer.poll()
            time.sleep(0.01)
    checkpointer.poll()  # it is told once


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
