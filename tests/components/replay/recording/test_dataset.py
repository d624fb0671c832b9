"""Datasets that read recordings: the same items as any table's, and draws that repeat."""

import jax
import numpy as np
import pytest

from culmen.components.dispatch import unpacked
from culmen.components.replay import DatasetReader
from culmen.components.replay import InProcessTable
from culmen.components.replay import Recorder
from culmen.components.replay import RowSpec
from culmen.components.replay import importance_weights
from culmen.components.replay import sample_spec
from culmen.components.replay.recording.files import shards
from culmen.core import MID
from culmen.core import Dataset
from culmen.core import Replay
from culmen.core import Window
from culmen.core.errors import AgentFailure
from tests.components.replay import streams
from tests.components.replay.recording.recordings import RUN
from tests.components.replay.recording.recordings import items_of
from tests.components.replay.recording.recordings import of_lanes
from tests.components.replay.recording.recordings import read
from tests.components.replay.recording.recordings import record
from tests.components.replay.windows import WINDOWS


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
    words = r"experience\['demos'\] is a Dataset with priority_exponent 0 and takes no priorities"
    with pytest.raises(ValueError, match=words):
        reader.update_priorities(keys, {'replay': None, 'demos': priorities})


# Priorities.


def prioritised(source, seed=0, name=None, batch_size=8):
    dataset = Dataset(Window(), source, batch_size, priority_exponent=0.5)
    return DatasetReader({name: dataset} if name else dataset, streams.ROW_SPEC, seed)


def test_windows_are_drawn_by_the_priorities_that_updates_give(tmp_path):
    source = record(tmp_path / 'a', streams.make_stream(streams.step_types([[4]], 20)))
    reader = prioritised(source, batch_size=4_000)
    keys, sample = reader.draw()
    np.testing.assert_array_equal(unpacked(sample).probability, np.float32(1 / 16))
    assert len(set(keys)) == 16
    raw = np.zeros(16, np.float32)
    raw[[3, 5, 11]] = 1, 4, 9
    reader.update_priorities(np.arange(16), raw)
    keys, sample = reader.draw()
    counts = np.bincount(keys, minlength=16)
    weights = np.sqrt(raw) / 6
    assert np.abs(counts - 4_000 * weights).max() < 5 * 2_000**0.5
    assert not counts[weights == 0].any()
    sample = unpacked(sample)
    np.testing.assert_allclose(sample.probability, weights[keys], rtol=1e-6)
    assert int(sample.size) == 16
    importance = importance_weights(sample.probability, sample.size, 1.0)
    np.testing.assert_allclose(importance, weights[keys].min() / weights[keys], rtol=1e-5)
    reader.update_priorities(np.arange(16), np.zeros(16))
    keys, sample = reader.draw()
    np.testing.assert_array_equal(unpacked(sample).probability, np.float32(1 / 16))
    assert len(set(keys)) == 16


def test_priorities_come_back_to_the_bit_and_must_fit(tmp_path):
    source = record(tmp_path / 'a', streams.make_stream(streams.step_types([[4]], 20)))
    rng = np.random.default_rng(0)
    whole = prioritised(source, name='demos')
    for count in range(70):
        keys = whole.draw().keys
        whole.update_priorities(keys, {'demos': rng.random(8).astype(np.float32) ** 4})
        if count == 64:
            state = whole.get_state()
    resumed, begun = prioritised(source, name='demos'), prioritised(source, name='demos')
    resumed.set_state(state, 65)
    begun.seek(65)
    again = np.random.default_rng(0)
    for _ in range(65):
        again.random(8)
    differ = False
    for _ in range(65, 70):
        keys = resumed.draw().keys
        differ = differ or (begun.draw().keys['demos'] != keys['demos']).any()
        resumed.update_priorities(keys, {'demos': again.random(8).astype(np.float32) ** 4})
    assert differ  # the priorities decide what is drawn
    ours, theirs = whole.get_state()['demos'], resumed.get_state()['demos']
    for field in ('priorities', 'weights'):
        np.testing.assert_array_equal(ours[field], theirs[field])
    other = record(tmp_path / 'b', streams.make_stream(streams.step_types([[4]], 30)))
    with pytest.raises(ValueError, match=r"'priorities' of experience\['demos'\] must have shape"):
        prioritised(other, name='demos').set_state(state, 65)
    with pytest.raises(ValueError, match=r"of experience\['demos'\] must be finite and at least 0"):
        whole.update_priorities(keys, {'demos': np.full(8, -1.0)})


def test_a_dataset_without_priorities_saves_nothing(tmp_path):
    source = record(tmp_path / 'a', streams.make_stream(streams.step_types([[4]], 20)))
    assert read(source, Window()).get_state() == {}


# All windows, and streams that are changed.


@pytest.mark.parametrize('window', ['n-step', 'crossing'])
def test_all_windows_are_drawn_at_once_in_order(window):
    types = streams.step_types(streams.EPISODES, 40)
    stream, window = streams.make_stream(types), WINDOWS[window]
    dataset = Dataset(window, lambda: of_lanes(stream), 1, draw='all')
    reader = DatasetReader(dataset, streams.ROW_SPEC, 0)
    expected = {(item.lane, item.start): item for item in streams.cut(types, window)}
    assert reader.sizes == {'': len(expected)}
    spec = sample_spec(dataset, streams.ROW_SPEC, 1, reader.sizes)
    for _ in range(2):
        sample = unpacked(reader.draw().samples)
        jax.tree_util.tree_map(lambda s, x: (s.shape == x.shape) or 1 / 0, spec, sample)
        found = streams.rows_of(sample, recorded=True)
        assert [place for place, _, _ in found] == sorted(expected)
        for place, leaves, _ in found:
            streams.assert_same_item(leaves, streams.content(stream, expected[place], window)[0])
        np.testing.assert_array_equal(sample.probability, np.float32(1 / len(expected)))
    with pytest.raises(ValueError, match="a Dataset with draw='all' must be read before"):
        sample_spec(dataset, streams.ROW_SPEC, 1)


def without_extras(stream):
    return stream._replace(extras=())


def with_value(stream):
    """Fills what EXTRAS has: the value is the sum of the rewards of the stream so far."""
    value = np.cumsum(stream.timestep.reward['own']).astype(np.float32)
    return stream._replace(
        extras={'state': (np.zeros((len(value), 100), np.float32),), 'value': value}
    )


def test_a_map_fills_what_a_recording_lacks(tmp_path):
    types = streams.step_types(streams.EPISODES, 40)
    stream = streams.make_stream(types)
    recorder_spec = RowSpec(streams.SPEC, streams.ACTION, ())
    recorder = Recorder(tmp_path / 'a', recorder_spec, stream.num_lanes, RUN, 7)
    recorder.begin()
    for tick in range(stream.num_ticks):
        timestep, action, _, version = stream.at(tick)
        recorder.observe(timestep)
        recorder.act(action, (), version)
    recorder.close()
    calls = []

    def counted(each):
        calls.append(len(each.version))
        return with_value(each)

    by_source = [
        items_of(
            DatasetReader(Dataset(Window(length=3), source, 2048, counted), streams.ROW_SPEC, 0)
        )
        for source in (str(tmp_path / 'a'), lambda: map(without_extras, of_lanes(stream)))
    ]
    assert calls == [40] * 2 * stream.num_lanes
    values = {lane: with_value(each).extras['value'] for lane, each in enumerate(of_lanes(stream))}
    for items in by_source:
        assert set(items) == {(i.lane, i.start) for i in streams.cut(types, Window(length=3))}
        for (lane, start), (leaves, _) in items.items():
            real = int(leaves['mask'].sum())
            np.testing.assert_array_equal(
                leaves['extras/value'][:real], values[lane][start : start + real]
            )
    with pytest.raises(ValueError, match='extras/state/0 is missing'):
        DatasetReader(Dataset(Window(), str(tmp_path / 'a'), 4), streams.ROW_SPEC, 0)


def with_one_row_more(stream):
    """The first row again, after the end, as a MID."""
    longer = jax.tree_util.tree_map(lambda leaf: np.concatenate([leaf, leaf[:1]]), stream)
    longer.timestep.step_type[-1] = MID
    return longer


def test_a_map_may_add_rows_and_sees_whole_stacks(tmp_path):
    stream = streams.stacked_stream(4, 1)
    spec = streams.stacked_spec(4, 1, stacked=True)
    source = record(tmp_path / 'a', stream, spec)
    window = Window(length=1, cross_episodes=True)
    row_spec = RowSpec(spec, streams.ACTION, streams.EXTRAS)
    plain, longer = (
        unpacked(
            DatasetReader(Dataset(window, source, 1, change, draw='all'), row_spec, 0)
            .draw()
            .samples
        ).steps
        for change in (None, with_one_row_more)
    )
    rows = stream.num_ticks - 1
    assert len(longer.mask) == len(plain.mask) + stream.num_lanes == (rows + 1) * stream.num_lanes
    for name in ('image', 'where'):
        a, b = plain.observation[name], longer.observation[name]
        np.testing.assert_array_equal(a[:rows], b[:rows])
        np.testing.assert_array_equal(b[rows, 1], a[0, 0])


def test_a_map_that_fails_is_named(tmp_path):
    source = record(tmp_path / 'a', streams.make_stream(streams.step_types([[4]], 20)))
    with pytest.raises(AgentFailure, match='Dataset.map .*lambda.* raised AttributeError'):
        DatasetReader(Dataset(Window(), source, 4, lambda each: each.nothing), streams.ROW_SPEC, 0)
    with pytest.raises(ValueError, match=r'Dataset.map .*lambda.* must give a Stream, got \(\)'):
        DatasetReader(Dataset(Window(), source, 4, lambda each: ()), streams.ROW_SPEC, 0)
    with pytest.raises(
        ValueError, match=r'observation/where must be int32\[2\], .* got int32\[1\]'
    ):
        short = lambda each: each._replace(
            timestep=each.timestep._replace(
                observation={
                    **each.timestep.observation, 'where': each.timestep.observation['where'][:, :1]
                }
            )
        )  # fmt: skip
        DatasetReader(Dataset(Window(), source, 4, short), streams.ROW_SPEC, 0)
