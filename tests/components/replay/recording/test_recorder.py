"""What is recorded, and recordings that go on from a checkpoint."""

import numpy as np
import pytest

from culmen.components.replay import check_recording
from culmen.components.replay.recording.files import shards
from culmen.core import LAST
from culmen.core import Window
from tests.components.replay import streams
from tests.components.replay.recording.recordings import RUN
from tests.components.replay.recording.recordings import items_of
from tests.components.replay.recording.recordings import make_recorder
from tests.components.replay.recording.recordings import play
from tests.components.replay.recording.recordings import read
from tests.components.replay.recording.recordings import record


def test_the_time_step_that_a_run_ends_on_is_recorded(tmp_path):
    """Nobody acts on it, and the window before it is whole."""
    stream = streams.make_stream(streams.step_types([[3]], 4))
    recorder = make_recorder(tmp_path / 'a', 1)
    recorder.begin()
    play(recorder, stream, 0, 3)
    recorder.observe(stream.at(3)[0])
    recorder.close()
    reader = read(str(tmp_path / 'a'), Window(length=1))
    items = items_of(reader)
    assert sorted(items) == [(0, 0), (0, 1), (0, 2)]
    assert items[0, 2][0]['step_type'].tolist() == [1, LAST]
    with np.load(shards(tmp_path / 'a' / 'lane-0000')[-1].path) as file:
        assert file['version'].tolist() == [-1]
        assert file['action/0'].tolist() == [0]


@pytest.mark.parametrize('stacked', [False, True])
def test_what_was_recorded_after_a_checkpoint_is_cut(tmp_path, stacked):
    stream = streams.stacked_stream(4, 1)
    spec = streams.stacked_spec(4, 1, stacked)
    unbroken = record(tmp_path / 'unbroken', stream, spec, flush_at=(9,))
    broken = make_recorder(tmp_path / 'broken', stream.num_lanes, spec)
    broken.begin()
    play(broken, stream, 0, 9)
    broken.observe(stream.at(9)[0])
    state = broken.get_state()
    broken.act(*stream.at(9)[1:])
    play(broken, stream, 10, 33)
    broken.observe(stream.at(33)[0])
    broken.close()
    resumed = make_recorder(tmp_path / 'broken', stream.num_lanes, spec)
    resumed.set_state(state)
    resumed.act(*stream.at(9)[1:])
    play(resumed, stream, 10, stream.num_ticks)
    resumed.close()
    files = sorted(p.relative_to(tmp_path / 'unbroken') for p in (tmp_path / 'unbroken').rglob('*'))
    assert files == sorted(
        p.relative_to(tmp_path / 'broken') for p in (tmp_path / 'broken').rglob('*')
    )
    for file in files:
        if file.suffix == '.npz':
            with np.load(tmp_path / 'broken' / file) as a, np.load(tmp_path / unbroken / file) as b:
                assert set(a) == set(b)
                for path in a:
                    np.testing.assert_array_equal(a[path], b[path])


def test_a_recording_that_lacks_rows_of_the_checkpoint_is_refused(tmp_path):
    stream = streams.make_stream(streams.step_types([[3]], 30))
    recorder = make_recorder(tmp_path / 'a', 1)
    recorder.begin()
    play(recorder, stream, 0, 20)
    state = recorder.get_state()
    shards(tmp_path / 'a' / 'lane-0000')[1].path.unlink()
    with pytest.raises(ValueError, match=r'lane-0000 must hold the 20 rows .* got 13'):
        make_recorder(tmp_path / 'a', 1).set_state(state)
    resumed = make_recorder(tmp_path / 'a', 1)
    with pytest.warns(UserWarning, match='got 13. The recording goes on without the others'):
        resumed.set_state(state, drop=True)
    play(resumed, stream, 20, 30)
    resumed.close()
    assert [shard.start for shard in shards(tmp_path / 'a' / 'lane-0000')] == [0, 14, 20, 27]
    with pytest.raises(ValueError, match='it was begun without a recording'):
        make_recorder(tmp_path / 'a', 1).set_state(None)


def test_a_folder_that_is_not_the_run_s_own_is_refused(tmp_path):
    check_recording(tmp_path / 'new', RUN, resumed=False)
    with pytest.raises(ValueError, match='begun without a recording'):
        check_recording(tmp_path / 'new', RUN, resumed=True)
    (tmp_path / 'full').mkdir()
    check_recording(tmp_path / 'full', RUN, resumed=False)
    (tmp_path / 'full' / 'thesis.tex').write_text('x')
    with pytest.raises(ValueError, match='needs a new or empty folder, or its own, got .*full'):
        check_recording(tmp_path / 'full', RUN, resumed=False)
    record(tmp_path / 'a', streams.make_stream(streams.step_types([[3]], 9)))
    check_recording(tmp_path / 'a', RUN, resumed=False)
    with pytest.raises(ValueError, match='holds the recording of another run'):
        check_recording(tmp_path / 'a', {**RUN, 'seed': 2}, resumed=False)


def test_a_disk_that_takes_no_more_is_told_with_the_file(tmp_path):
    stream = streams.make_stream(streams.step_types([[3]], 30))
    recorder = make_recorder(tmp_path / 'a', 1)
    recorder.begin()
    (tmp_path / 'a' / 'lane-0000').rmdir()
    (tmp_path / 'a' / 'lane-0000').write_text('no folder')
    with pytest.raises(OSError, match=r'could not record: .*lane-0000'):
        play(recorder, stream, 0, 30)
