"""Sources of a Dataset: what is refused, and what is left out."""

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
from culmen.components.replay import RowSpec
from culmen.components.replay.recording.files import shards
from culmen.core import FIRST
from culmen.core import Dataset
from culmen.core import Window
from culmen.core.types import TimeStep
from tests.components.replay import streams
from tests.components.replay.recording.recordings import items_of
from tests.components.replay.recording.recordings import of_lanes
from tests.components.replay.recording.recordings import read
from tests.components.replay.recording.recordings import record


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


def test_what_no_batch_has_may_be_missing(tmp_path):
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 20))
    more = {**streams.EXTRAS, 'log_prob': jax.ShapeDtypeStruct((), np.float32)}
    rows = RowSpec(streams.SPEC, streams.ACTION, more)
    window = Window(2, fields=('observation', 'action'))
    of_folder = record(tmp_path / 'a', stream)

    def of_experts():  # who were paid nothing
        for each in of_lanes(stream):
            yield each._replace(timestep=each.timestep._replace(reward=None), extras=None)

    items = {(i.lane, i.start): i for i in streams.cut(stream.timestep.step_type, window)}
    for source in (of_folder, of_experts):
        reader = DatasetReader(Dataset(window, source, 8), rows, 0)
        for place, leaves, _ in streams.rows_of(unpacked(reader.draw().samples), recorded=True):
            streams.assert_same_item(leaves, streams.content(stream, items[place], window)[0])
    with pytest.raises(ValueError, match='extras/log_prob is missing'):
        DatasetReader(Dataset(Window(2), of_folder, 8), rows, 0)
    with pytest.raises(ValueError, match='reward/own is missing'):
        DatasetReader(
            Dataset(Window(2, fields=('observation', 'reward/own')), of_experts, 8), rows, 0
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
    drawn = {}
    for _ in range(20):
        for place, leaves, _ in streams.rows_of(unpacked(reader.draw().samples), recorded=True):
            drawn.setdefault(place, leaves)
    assert set(drawn) == kept
    for place, leaves in drawn.items():
        streams.assert_same_item(leaves, streams.content(stream, items[place], window)[0])
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
