"""Recordings and the Datasets that read them: the same items as any table's, draws that repeat, refusals."""

import dataclasses
import json
import re
import tracemalloc

import jax
import numpy as np
import pytest
from dm_env import specs

from culmen.components.dispatch import unpacked
from culmen.components.files import DamagedError
from culmen.components.replay import DatasetReader
from culmen.components.replay import InProcessTable
from culmen.components.replay import Recorder
from culmen.components.replay import RowSpec
from culmen.components.replay import check_recording
from culmen.components.replay.recording.recorder import shards
from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import Dataset
from culmen.core import Replay
from culmen.core import Window
from culmen.core.types import Stream
from culmen.core.types import TimeStep
from tests.components.replay import streams
from tests.components.replay.windows import WINDOWS

RUN = {'agent': 'dqn', 'seed': 1, 'workdir': '../run'}


def make_recorder(folder, num_lanes, spec=streams.SPEC, rows=7):
    return Recorder(folder, RowSpec(spec, streams.ACTION, streams.EXTRAS), num_lanes, RUN, rows)


def record(folder, stream, spec=streams.SPEC, flush_at=(), rows=7):
    """Records all ticks of a stream."""
    recorder = make_recorder(folder, stream.num_lanes, spec, rows)
    recorder.begin()
    play(recorder, stream, 0, stream.num_ticks, flush_at)
    recorder.close()
    return str(folder)


def play(recorder, stream, start, stop, flush_at=()):
    for tick in range(start, stop):
        timestep, action, extras, version = stream.at(tick)
        recorder.observe(timestep)
        if tick in flush_at:
            recorder.get_state()
        recorder.act(action, extras, version)


def read(source, window, batch_size=2048, spec=streams.SPEC, seed=0):
    dataset = Dataset(window, source, batch_size)
    return DatasetReader(dataset, RowSpec(spec, streams.ACTION, streams.EXTRAS), seed)


def items_of(reader, draws=3):
    """The distinct items of some draws: (leaves by path, version) by (lane, start)."""
    found = {}
    for _ in range(draws):
        for place, leaves, version in streams.rows_of(unpacked(reader.draw().samples)):
            found[place] = leaves, version
    return found


def of_lanes(stream):
    """What a callable source gives: a Stream a lane."""
    for lane in range(stream.num_lanes):
        timestep, action, extras = jax.tree_util.tree_map(
            lambda leaf, lane=lane: leaf[:, lane], (stream.timestep, stream.action, stream.extras)
        )
        yield Stream(timestep, action, extras, stream.version)


@pytest.mark.parametrize('window', WINDOWS.values(), ids=WINDOWS)
def test_items_are_those_of_every_table(tmp_path, window):
    types = streams.step_types(streams.EPISODES, 40)
    stream = streams.make_stream(types)
    expected = {(item.lane, item.start): item for item in streams.cut(types, window)}
    recorded = record(tmp_path / 'recording', stream, flush_at=(3, 20))
    for source in (recorded, lambda: of_lanes(stream)):
        reader = read(source, window)
        actual = items_of(reader)
        assert set(actual) == set(expected)
        assert len(actual) > 1
        for place, (leaves, version) in actual.items():
            streams.assert_same_item(leaves, streams.content(stream, expected[place], window)[0])
            assert version == -1
        sample = unpacked(reader.draw().samples)
        assert int(sample.size) == len(expected)
        np.testing.assert_array_equal(sample.probability, np.float32(1 / len(expected)))


def test_stacks_of_frames_come_back_whole_and_are_stored_once(tmp_path):
    stream = streams.stacked_stream(4, 1)
    window = Window(length=3)
    spec = streams.stacked_spec(4, 1, stacked=True)
    recorded = record(tmp_path / 'recording', stream, spec)
    with np.load(shards(tmp_path / 'recording' / 'lane-0002')[0].path) as file:
        assert file['observation/image'].shape == (7, 3, 2, 1)
    plain = streams.stacked_spec(4, 1, stacked=False)
    kept = items_of(read(recorded, window, spec=spec), 6)
    given = items_of(read(lambda: of_lanes(stream), window, spec=plain), 6)
    stacks = items_of(read(lambda: of_lanes(stream), window, spec=spec), 6)
    assert set(kept) == set(given) == set(stacks)
    for place in kept:
        streams.assert_same_item(kept[place][0], given[place][0])
        streams.assert_same_item(stacks[place][0], given[place][0])


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


# Draws.


def test_draws_follow_from_seed_and_count_alone(tmp_path):
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 40))
    recorded = record(tmp_path / 'a', stream)
    whole, other, late = (read(recorded, Window(), 16, seed=seed) for seed in (3, 4, 3))
    keys = [whole.draw().keys for _ in range(70)]
    late.seek(65)  # in another block of numbers
    for key in keys[65:]:
        np.testing.assert_array_equal(late.draw().keys, key)
    assert any((other.draw().keys != key).any() for key in keys[:3])
    assert len({tuple(key) for key in keys}) == 70


def test_draws_are_uniform(tmp_path):
    stream = streams.make_stream(streams.step_types([[4]], 20))
    reader = read(record(tmp_path / 'a', stream), Window(), 4_000)
    counts = np.bincount(reader.draw().keys, minlength=16)
    assert len(counts) == 16
    assert np.abs(counts - 250).max() < 5 * 250**0.5


def test_beside_a_replay_each_gives_its_batch(tmp_path):
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 40))
    replay = Replay(Window(length=3), 100, 5, 4, 4.0, priority_exponent=0.5)
    demos = Dataset(Window(length=2), record(tmp_path / 'a', stream), 6)
    experience = {'replay': replay, 'demos': demos}
    table = InProcessTable({'replay': replay}, streams.ROW_SPEC, stream.num_lanes, 0)
    alone = InProcessTable({'replay': replay}, streams.ROW_SPEC, stream.num_lanes, 0)
    reader = DatasetReader(experience, streams.ROW_SPEC, seed=0, table=table)
    assert not reader.due()
    updates = 0
    for tick in range(20):
        timestep, action, extras, version = stream.at(tick)
        for each in (table, alone):
            each.observe(timestep)
        assert reader.due() == alone.due()
        while reader.due():
            updates += 1
            keys, samples = reader.draw()
            expected = alone.draw()
            np.testing.assert_array_equal(keys['replay'], expected.keys['replay'])
            assert len(keys['demos']) == 6
            assert unpacked(samples['demos']).steps.mask.shape == (6, 2)
            priorities = np.arange(4, dtype=np.float32) + 1
            reader.update_priorities(keys, {'replay': priorities, 'demos': None})
            alone.update_priorities(expected.keys, {'replay': priorities})
        for each in (table, alone):
            each.act(action, extras, version)
    assert updates > 10
    with pytest.raises(ValueError, match=r"experience\['demos'\] is a Dataset and takes no prior"):
        reader.update_priorities(keys, {'replay': None, 'demos': priorities})


# Going on.


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


# Sources that are refused.


@pytest.fixture
def recording(tmp_path):
    return record(tmp_path / 'a', streams.make_stream(streams.step_types([[3], [5]], 30)))


def refused(
    source,
    words,
    error=ValueError,
    window=Window(),  # noqa: B008
    spec=streams.SPEC,
    extras=streams.EXTRAS,
    on_lost_rows='drop',
):
    with pytest.raises(error, match=words):
        DatasetReader(
            Dataset(window, source, 4), RowSpec(spec, streams.ACTION, extras), 0, None, on_lost_rows
        )


def test_a_folder_without_a_recording_is_refused(tmp_path):
    refused(str(tmp_path / 'none'), r'none holds no recording: there is no spec.json in it')


def test_a_leaf_that_differs_is_named(recording):
    image, where = streams.SPEC.observation['image'], streams.SPEC.observation['where']
    changed = {
        r'observation/image must be uint8\[3, 3\], .* got uint8\[3, 2\]': {
            'image': specs.BoundedArray((3, 3), np.uint8, 0, 255),
            'where': where,
        },
        # Integers that would fit: bytes are pixels, other integers are not.
        r'observation/image must be int32\[3, 2\], .* got uint8\[3, 2\]': {
            'image': specs.Array((3, 2), np.int32),
            'where': where,
        },
        r'observation/speed is missing; .* needs float32\[\]': {
            'image': image,
            'where': where,
            'speed': specs.Array((), np.float32),
        },
        r'observation/where is unknown here': {'image': image},
    }
    for words, observation in changed.items():
        refused(recording, words, spec=streams.SPEC._replace(observation=observation))
    stacked = streams.stacked_spec(2, 1, True)
    refused(recording, r'image must be uint8\[3, 2, 2\] of 2 frames, .* got uint8', spec=stacked)


def test_extras_may_be_spared_but_not_missing(recording):
    reader = DatasetReader(
        Dataset(Window(), recording, 4), RowSpec(streams.SPEC, streams.ACTION, ()), seed=0
    )
    assert unpacked(reader.draw().samples).steps.extras == ()
    more = {**streams.EXTRAS, 'log_prob': jax.ShapeDtypeStruct((), np.float32)}
    refused(
        recording, r'extras/log_prob is missing; this experiment needs float32\[\]', extras=more
    )


def test_a_damaged_recording_is_refused_where_that_is_asked_for(recording, tmp_path):
    lane = tmp_path / 'a' / 'lane-0001'
    first, second, *_ = shards(lane)
    whole = second.path.read_bytes()
    second.path.write_bytes(whole[: len(whole) // 2])
    refused(recording, rf'{re.escape(str(second.path))} is damaged', on_lost_rows='refuse')
    second.path.unlink()
    refused(recording, r'lane-0001 has no rows \[7, ', on_lost_rows='refuse')
    (tmp_path / 'a' / 'spec.json').write_text('{')
    refused(recording, 'spec.json is damaged')
    (tmp_path / 'a' / 'spec.json').write_text(json.dumps({'format': 2, 'leaves': {}, 'run': {}}))
    refused(recording, 'format 2 is not 1')


@pytest.mark.parametrize('num_frames', [1, 4])
@pytest.mark.parametrize('window', [Window(), Window(length=3)])
def test_windows_that_need_lost_rows_are_left_out(tmp_path, window, num_frames):
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 40))
    spec = streams.SPEC
    if num_frames > 1:
        stream, spec = streams.stacked_stream(4, 1, num_ticks=40), streams.stacked_spec(4, 1, True)
    record(tmp_path / 'a', stream, spec)
    lost = {}  # by lane
    for lane, damage in ((0, 'cut'), (3, 'gone')):
        shard = shards(tmp_path / 'a' / f'lane-{lane:04d}')[2]
        lost[lane] = [(shard.start, shard.stop)]
        if damage == 'gone':
            shard.path.unlink()
        else:
            data = shard.path.read_bytes()
            shard.path.write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match=r'14 of 200 rows are lost, and windows that need them'):
        reader = DatasetReader(
            Dataset(window, str(tmp_path / 'a'), 200),
            RowSpec(spec, streams.ACTION, streams.EXTRAS),
            0,
        )
    items = {(i.lane, i.start): i for i in streams.cut(stream.timestep.step_type, window)}
    kept = {
        place
        for place, item in items.items()
        if not streams.needs(item, stream.timestep.step_type, lost.get(item.lane, []), num_frames)
    }
    drawn = set()
    for _ in range(20):
        for place, leaves, _ in streams.rows_of(unpacked(reader.draw().samples)):
            drawn.add(place)
            expected = streams.content(stream, items[place], window)[0]
            streams.assert_same_item(leaves, expected)
    assert drawn == kept
    assert len(kept) < len(items)


def forged(path, **arrays):
    """Writes a shard anew with other arrays."""
    with np.load(path) as file:
        content = dict(file)
    np.savez_compressed(path, **{**content, **arrays})


HOSTILE = {
    'a gibibyte of zeros': lambda path: forged(path, version=np.zeros(2**28, np.int32)),
    'more rows': lambda path: forged(path, version=np.zeros(8, np.int32)),
    'other numbers': lambda path: forged(path, version=np.zeros(7, np.int16)),
    'objects': lambda path: forged(path, version=np.array([{}] * 7)),
    'not there': lambda path: path.write_bytes(b'PK\x05\x06' + bytes(18)),
    'no archive': lambda path: path.write_bytes(b''),
}


@pytest.mark.parametrize('name', [each for each in HOSTILE if each != 'a gibibyte of zeros'])
def test_a_hostile_shard_is_one_error(recording, tmp_path, name):
    path = shards(tmp_path / 'a' / 'lane-0000')[0].path
    HOSTILE[name](path)
    refused(recording, re.escape(f'{path} is damaged'), DamagedError, on_lost_rows='refuse')


@pytest.mark.slow
def test_a_shard_takes_no_more_memory_than_its_rows(recording, tmp_path):
    path = shards(tmp_path / 'a' / 'lane-0000')[0].path
    HOSTILE['a gibibyte of zeros'](path)
    assert path.stat().st_size < 1.2e6
    bomb = path.rename(path.with_name(f'{0:012d}-{2**28:012d}.npz'))
    tracemalloc.start()
    try:
        # Its name says so many rows, or it does not.
        refused(recording, re.escape(f'{bomb} must have 1 to 7 rows'), DamagedError)
        bomb.rename(path)
        refused(recording, re.escape(f'{path} is damaged'), DamagedError, on_lost_rows='refuse')
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('spec', [
    '[' * 100_000, '[]', '{}', '{"format": 1, "run": {}, "leaves": {"reward/own": 3}}',
    '{"format": 1, "run": {}, "leaves": {"reward/own": {"dtype": "object", "shape": []}}}',
    '{"format": 1, "run": {}, "leaves": {"reward/own": {"dtype": "int8", "shape": [-1]}}}',
    '{"format": 1, "run": {}, "leaves": {}, "rows_of_a_shard": 1000000}',
], ids=lambda text: text[:60])  # fmt: skip
def test_a_hostile_spec_is_one_error(recording, tmp_path, spec):
    (tmp_path / 'a' / 'spec.json').write_text(spec)
    refused(recording, 'spec.json is damaged', DamagedError)


def test_a_source_without_a_window_is_refused(recording):
    refused(recording, 'has no window of length 40', window=Window(length=40, cross_episodes=True))
    refused(lambda: iter(()), 'has no window of length 1')


def test_a_stream_of_a_callable_that_does_not_fit_is_refused():
    stream = next(of_lanes(streams.make_stream(streams.step_types([[3]], 9))))
    short = stream._replace(version=stream.version[:-1])
    refused(lambda: iter([short]), r'version must have 9 rows, as step_type has, got shape \(8,\)')
    kind = stream._replace(timestep=stream.timestep._replace(step_type=np.full(9, 3)))
    refused(lambda: iter([kind]), 'step_type must be FIRST, MID or LAST')
    action = stream._replace(action=(stream.action[0] + 0.5, stream.action[1]))
    refused(lambda: iter([action]), r'action/0 must be int32\[\], .* got float64\[\]')


def test_numbers_of_a_wider_kind_are_cast():
    """Environments and people count in int64 and float64; the experiment's are 32 bits."""
    stream = next(of_lanes(streams.make_stream(streams.step_types([[3]], 9))))
    wide = stream._replace(
        action=(stream.action[0].astype(np.int64), stream.action[1]),
        timestep=TimeStep(
            stream.timestep.step_type.astype(np.int64),
            jax.tree_util.tree_map(np.float64, stream.timestep.reward),
            stream.timestep.discount.astype(np.float64),
            stream.timestep.observation,
        ),
    )
    samples = [
        unpacked(read(lambda each=each: iter([each]), Window(), 8).draw().samples)
        for each in (stream, wide)
    ]
    for a, b in zip(*map(jax.tree_util.tree_leaves, samples), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)


def test_a_stream_that_begins_in_mid_episode_is_cut_like_any_other():
    stream = next(of_lanes(streams.make_stream(streams.step_types([[6]], 14))))
    late = jax.tree_util.tree_map(lambda leaf: leaf[2:], stream)
    assert late.timestep.step_type[0] != FIRST
    items = items_of(read(lambda: iter([late]), Window(length=2)))
    assert sorted(start for _, start in items) == [2, 3, 4, 5, *range(7, 13)]


def test_a_dataset_needs_a_batch():
    with pytest.raises(ValueError, match='Dataset.batch_size must be at least 1, got 0'):
        dataclasses.replace(Dataset(Window(), 'a', 1), batch_size=0)


def changed(leaf, index, value):
    """A leaf with another value, in a type that holds it."""
    array = np.array(leaf, np.result_type(leaf, np.asarray(value)))
    array[index] = value
    return array


BAD_ROWS = {
    r"reward/other must be finite, got nan at \[3, 1\]": lambda s: s._replace(
        timestep=s.timestep._replace(
            reward={**s.timestep.reward, 'other': changed(s.timestep.reward['other'], (3, 1), np.nan)}
        )
    ),
    'reward/own must be within float32': lambda s: s._replace(
        timestep=s.timestep._replace(
            reward={**s.timestep.reward, 'own': changed(s.timestep.reward['own'], 2, np.float64(1e39))}
        )
    ),
    r'discount must be in \[0, 1\], got 2.0 at \[1\]': lambda s: s._replace(
        timestep=s.timestep._replace(discount=changed(s.timestep.discount, 1, 2.0))
    ),
    r'action/0 must be in \[0, 4\], got 5 at \[1\]': lambda s: s._replace(
        action=(changed(s.action[0], 1, 5), s.action[1])
    ),
    r'action/0 must be in \[0, 4\], got 4294967296': lambda s: s._replace(
        action=(changed(s.action[0], 1, 2**32), s.action[1])
    ),
    r'action/1 must be finite, got inf at \[1, 0\]': lambda s: s._replace(
        action=(s.action[0], changed(s.action[1], (1, 0), np.inf))
    ),
    'step_type must be int32.* not hold 0.5': lambda s: s._replace(
        timestep=s.timestep._replace(step_type=changed(s.timestep.step_type, 0, 0.5))
    ),
}  # fmt: skip


@pytest.mark.parametrize('words', BAD_ROWS)
def test_what_no_loop_would_take_is_refused_with_its_row(words):
    stream = next(of_lanes(streams.make_stream(streams.step_types([[3]], 9))))
    refused(lambda: iter([BAD_ROWS[words](stream)]), f'Dataset.source .*lambda.*: {words}')


def test_observations_of_a_stream_are_finite_and_within_int32():
    for dtype, value, words in (
        (np.float32, np.nan, r'observation/where must be finite, got nan at \[2, 1\]'),
        (np.int64, 2**31, r'observation/where must be within int32, .* got 2147483648 at \[2, 1\]'),
    ):
        stream = next(of_lanes(streams.make_stream(streams.step_types([[3]], 9))))
        spec = streams.SPEC._replace(
            observation={**streams.SPEC.observation, 'where': specs.Array((2,), dtype)}
        )
        where = stream.timestep.observation['where'].astype(dtype)
        observation = {**stream.timestep.observation, 'where': where}
        good = stream._replace(timestep=stream.timestep._replace(observation=observation))
        DatasetReader(
            Dataset(Window(), lambda s=good: iter([s]), 4),
            RowSpec(spec, streams.ACTION, streams.EXTRAS),
            0,
        )
        where[2, 1] = value
        refused(lambda s=good: iter([s]), words, spec=spec)


def test_what_is_not_read_of_an_action_may_be_anything():
    stream = next(of_lanes(streams.make_stream(streams.step_types([[3]], 7))))
    assert stream.timestep.step_type.tolist() == [0, 1, 1, 2, 0, 1, 1]
    action = stream.action[0].copy(), stream.action[1].copy()
    action[0][[3, 6]], action[1][[3, 6]] = -1, np.nan
    read(lambda: iter([stream._replace(action=action)]), Window())


def test_rows_of_a_recording_are_held_to_the_same(tmp_path):
    stream = streams.make_stream(streams.step_types([[3], [5]], 30))
    stream.timestep.reward['own'][12, 1] = np.inf
    recorded = record(tmp_path / 'a', stream)
    refused(
        recorded,
        r'lane-0001/000000000007-000000000014.npz: reward/own must be finite, got inf at \[5\]',
    )


def test_two_leaves_of_one_path_are_refused():
    stream = next(of_lanes(streams.make_stream(streams.step_types([[3]], 9))))
    twice = {**stream.extras, 'a/b': stream.extras['value'], 'a': {'b': stream.extras['value']}}
    refused(lambda: iter([stream._replace(extras=twice)]), 'extras/a/b is the path of two leaves')
