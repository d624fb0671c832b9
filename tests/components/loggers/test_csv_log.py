"""CsvLog: bit-equal floats, cuts, a full disk, and the header from the start."""

import math
import resource

import numpy as np
import pytest

from culmen.components.loggers import CsvLog
from culmen.components.loggers import MemoryLog
from culmen.components.loggers import read_csv

COLUMNS = ('actor_steps', 'episode_return')


def write_rows(log, steps):
    for step in steps:
        log.write({'actor_steps': step, 'episode_return': step / 3})


def test_the_header_is_there_from_the_start(tmp_path):
    CsvLog(tmp_path / 'logs' / 'actor.csv', COLUMNS)
    assert (tmp_path / 'logs' / 'actor.csv').read_text() == 'actor_steps,episode_return\n'


def test_numbers_read_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    floats = rng.integers(0, 2**63, 2000).view(np.float64)
    floats = [*floats[np.isfinite(floats)].tolist(), 0.1, 5e-324, 1.7976931348623157e308, -0.0]
    singles = rng.normal(size=100).astype(np.float32)
    log = CsvLog(tmp_path / 'a.csv', ('step', 'value'))
    for step, value in enumerate([*floats, *singles, math.inf]):
        log.write({'step': np.int64(step), 'value': value})
    frame = log.dataframe()
    expected = np.array([*floats, *singles.astype(np.float64), math.inf])
    np.testing.assert_array_equal(frame['value'].to_numpy().view(np.int64), expected.view(np.int64))
    assert frame['step'].dtype == np.int64


def test_nan_and_missing_values_read_as_nan(tmp_path):
    log = CsvLog(tmp_path / 'a.csv', COLUMNS)
    log.write({'actor_steps': 1, 'episode_return': math.nan})
    log.write({'actor_steps': 2})
    assert log.dataframe()['episode_return'].isna().tolist() == [True, True]


@pytest.mark.parametrize(
    'make', [lambda path: CsvLog(path / 'a.csv', COLUMNS), lambda _: MemoryLog(COLUMNS)]
)
def test_the_first_row_settles_the_header(tmp_path, make):
    log = make(tmp_path)
    log.set_columns([*COLUMNS, 'loss'])
    log.write({'actor_steps': 1, 'loss': 0.5, 'td_error': 0.25})
    assert log.columns == (*COLUMNS, 'loss', 'td_error')
    with pytest.raises(ValueError, match=r"got a row with \['entropy'\] too"):
        log.write({'actor_steps': 2, 'entropy': 1.0})
    with pytest.raises(ValueError, match=r"has rows of the columns .* got \['loss'\]"):
        log.set_columns(['loss'])
    log.set_columns([*COLUMNS, 'loss', 'td_error'])
    assert log.dataframe().columns.tolist() == [*COLUMNS, 'loss', 'td_error']
    assert len(log.dataframe()) == 1


@pytest.mark.parametrize('name', ['a,b', '', 'a"b', 'a\nb'])
def test_a_column_name_that_breaks_the_header_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match='a column must have a name'):
        CsvLog(tmp_path / 'a.csv', [name])


def test_memory_and_files_give_the_same_frame(tmp_path):
    logs = [CsvLog(tmp_path / 'a.csv', COLUMNS), MemoryLog(COLUMNS)]
    for log in logs:
        log.write({'actor_steps': np.int32(3), 'episode_return': np.float32(0.1)})
        log.write({'actor_steps': 4, 'episode_return': 1})
        log.write({'actor_steps': 5})
    file, memory = (log.dataframe() for log in logs)
    assert file.equals(memory)
    assert file.dtypes.tolist() == [np.int64, np.float64]


def test_rows_are_cut_back_to_a_checkpoint_and_the_log_goes_on(tmp_path):
    path = tmp_path / 'a.csv'
    log = CsvLog(path, COLUMNS)
    write_rows(log, range(5))
    position = log.position()
    write_rows(log, range(5, 9))
    log.close()
    with open(path, 'a') as file:
        file.write('9,half of a ro')  # a killed run

    resumed = CsvLog(path, COLUMNS)
    assert read_csv(path)['actor_steps'].tolist() == list(range(9))  # kept until it begins
    resumed.cut(position)
    write_rows(resumed, range(5, 12))
    resumed.close()

    unbroken = CsvLog(tmp_path / 'b.csv', COLUMNS)
    write_rows(unbroken, range(12))
    unbroken.close()
    assert path.read_bytes() == (tmp_path / 'b.csv').read_bytes()


def test_truncate_cuts_a_file(tmp_path):
    log = CsvLog(tmp_path / 'a.csv', COLUMNS)
    write_rows(log, range(2))
    position = log.position()
    write_rows(log, range(2, 30_000))  # more than is looked at in one piece
    log.close()
    CsvLog.truncate(tmp_path / 'a.csv', position)
    assert read_csv(tmp_path / 'a.csv')['actor_steps'].tolist() == [0, 1]


def test_a_header_settled_after_the_checkpoint_does_not_hurt(tmp_path):
    log = CsvLog(tmp_path / 'a.csv', COLUMNS)
    position = log.position()
    log.set_columns([*COLUMNS, 'loss'])
    write_rows(log, range(3))
    log.close()

    resumed = CsvLog(tmp_path / 'a.csv', COLUMNS)
    resumed.cut(position)
    assert read_csv(tmp_path / 'a.csv').columns.tolist() == list(COLUMNS)
    resumed.set_columns([*COLUMNS, 'loss'])
    resumed.write({'actor_steps': 0, 'loss': 1.0})
    assert resumed.dataframe().to_dict('list')['loss'] == [1.0]


def test_a_resumed_log_knows_the_columns_in_the_file(tmp_path):
    log = CsvLog(tmp_path / 'a.csv', [*COLUMNS, 'loss'])
    log.write({'actor_steps': 0, 'loss': 1.0})
    position = log.position()
    log.close()
    resumed = CsvLog(tmp_path / 'a.csv', COLUMNS)
    resumed.cut(position)
    assert resumed.columns == (*COLUMNS, 'loss')
    with pytest.raises(ValueError, match=r'a\.csv has rows of the columns'):
        resumed.set_columns([*COLUMNS, 'entropy'])
    with pytest.raises(ValueError, match=r'a\.csv must have the columns'):
        CsvLog(tmp_path / 'a.csv', ['episodes']).cut(position)


def test_lost_rows_are_told(tmp_path):
    log = CsvLog(tmp_path / 'a.csv', COLUMNS)
    write_rows(log, range(2))
    log.close()
    with pytest.warns(UserWarning, match=r'a\.csv lacks 100 bytes'):
        CsvLog(tmp_path / 'a.csv', COLUMNS).cut(log.position() + 100)


def test_a_log_without_a_checkpoint_starts_anew(tmp_path):
    log = CsvLog(tmp_path / 'a.csv', COLUMNS)
    write_rows(log, range(5))
    log.close()
    again = CsvLog(tmp_path / 'a.csv', COLUMNS)
    write_rows(again, [7])
    assert again.dataframe()['actor_steps'].tolist() == [7]


def test_a_closed_log_is_still_read(tmp_path):
    log = CsvLog(tmp_path / 'a.csv', COLUMNS)
    write_rows(log, range(3))
    log.close()
    log.close()
    assert len(log.dataframe()) == 3


def test_rows_reach_the_file_in_time(tmp_path):
    waiting, soon = (
        CsvLog(tmp_path / f'{name}.csv', COLUMNS, flush_every=seconds)
        for name, seconds in (('waiting', 1e9), ('soon', 0.01))
    )
    for log in (waiting, soon):
        write_rows(log, range(3))
        log.flush()
        write_rows(log, [3])
    while len(read_csv(soon.path)) < 4:
        soon.poll()
        waiting.poll()
    assert len(read_csv(waiting.path)) == 3


def test_a_full_disk_is_one_error_and_loses_nothing_written(tmp_path):
    """The system itself refuses: a limit on the size of files of this process."""
    path = tmp_path / 'actor.csv'
    log = CsvLog(path, COLUMNS, flush_every=100.0)
    write_rows(log, range(10))
    log.flush()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
        write_rows(log, range(10, 100))
        with pytest.raises(OSError, match=r'actor\.csv') as caught:
            log.flush()
        assert '\n' not in str(caught.value)
        text = path.read_text()
        assert 900 < len(text) <= 1000  # what fitted is there, and ends with a whole row
        kept = read_csv(path)['actor_steps'].tolist()
        assert kept == list(range(len(kept)))
        assert text.endswith('\n')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    log.flush()  # there is room again
    assert read_csv(path)['actor_steps'].tolist() == list(range(100))


def test_closing_on_a_full_disk_does_not_raise_again(tmp_path):
    log = CsvLog(tmp_path / 'a.csv', COLUMNS, flush_every=100.0)
    write_rows(log, range(100))
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, old[1]))
        with pytest.raises(OSError, match=r'a\.csv'):
            log.flush()
        log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_file_of_an_earlier_version_goes_on_without_the_later_columns(tmp_path):
    log = CsvLog(tmp_path / 'a.csv', COLUMNS)
    log.write({'actor_steps': 1, 'episode_return': 2.0})
    position = log.position()
    later = CsvLog(tmp_path / 'a.csv', [*COLUMNS, 'truncations'])
    later.cut(position)
    later.write({'actor_steps': 2, 'episode_return': 3.0, 'truncations': 1})
    assert later.dataframe().to_dict('list') == {
        'actor_steps': [1, 2],
        'episode_return': [2.0, 3.0],
    }
    with pytest.raises(ValueError, match='loss'):
        later.write({'loss': 1.0})
