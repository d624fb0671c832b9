"""Datasets that read recordings: the same items as any table's, and draws that repeat."""

import numpy as np
import pytest

from culmen.components.dispatch import unpacked
from culmen.components.replay import DatasetReader
from culmen.components.replay import InProcessTable
from culmen.components.replay.recording.files import shards
from culmen.core import Dataset
from culmen.core import Replay
from culmen.core import Window
from tests.components.replay import streams
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
    with pytest.raises(ValueError, match=r"experience\['demos'\] is a Dataset and takes no prior"):
        reader.update_priorities(keys, {'replay': None, 'demos': priorities})
