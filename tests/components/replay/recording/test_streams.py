"""Recordings that are read back as streams."""

import json
import warnings

import jax
import numpy as np
import pytest

import culmen
from culmen.components.files import DamagedError
from culmen.components.replay.recording.files import shards
from culmen.core.specs import leaf_paths
from tests.components.replay import streams
from tests.components.replay.recording.recordings import of_lanes
from tests.components.replay.recording.recordings import record


def assert_same(actual, expected):
    ours, theirs = leaf_paths(actual), leaf_paths(expected)
    assert [path for path, _ in ours] == [path for path, _ in theirs]
    for (path, a), (_, b) in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype, path
        np.testing.assert_array_equal(a, b, err_msg=path)


@pytest.mark.parametrize('num_frames', [1, 4])
def test_a_recording_comes_back_as_its_streams(tmp_path, num_frames):
    stream = streams.stacked_stream(num_frames, 1)
    spec = streams.stacked_spec(num_frames, 1, stacked=num_frames > 1)
    recorded = record(tmp_path / 'a', stream, spec, flush_at=(3, 20))
    found = list(culmen.recorded_streams(recorded))
    assert len(found) == stream.num_lanes
    for actual, expected in zip(found, of_lanes(stream), strict=True):
        assert_same(actual, expected)
        # Mappings come back as dicts, sequences as tuples.
        assert type(actual.timestep.observation) is dict
        assert jax.tree_util.tree_structure(actual) == jax.tree_util.tree_structure(expected)


@pytest.mark.parametrize('num_frames', [1, 4])
def test_a_gap_divides_a_stream(tmp_path, num_frames):
    stream = streams.stacked_stream(num_frames, 1)
    spec = streams.stacked_spec(num_frames, 1, stacked=num_frames > 1)
    recorded = record(tmp_path / 'a', stream, spec)
    shards(tmp_path / 'a' / 'lane-0003')[2].path.unlink()  # rows [14, 21)
    with pytest.warns(
        UserWarning, match=r'lane-0003 has no rows \[14, 21\). 7 of 300 rows are lost'
    ):
        found = list(culmen.recorded_streams(recorded))
    assert len(found) == stream.num_lanes + 1
    whole = list(of_lanes(stream))[3]
    begin = 21 + num_frames - 1  # the first stacks after the gap need frames that are lost
    for actual, rows in ((found[3], slice(0, 14)), (found[4], slice(begin, None))):
        assert_same(actual, jax.tree_util.tree_map(lambda leaf, rows=rows: leaf[rows], whole))
    with pytest.raises(DamagedError, match=r'lane-0003 has no rows'):
        list(culmen.recorded_streams(recorded, on_lost_rows='refuse'))


def test_what_is_no_recording_is_refused(tmp_path):
    with pytest.raises(ValueError, match='a holds no recording: there is no spec.json in it'):
        next(culmen.recorded_streams(tmp_path / 'a'))
    recorded = record(tmp_path / 'a', streams.make_stream(streams.step_types([[3]], 9)))
    spec = json.loads((tmp_path / 'a' / 'spec.json').read_text())
    for path, words in {
        'reward/own/below': "'reward/own/below' is below another leaf",
        'reward': "'reward' is the path of two leaves",
        'body/x': "'body' is no part of a row",
    }.items():
        leaves = {**spec['leaves'], path: {'dtype': 'float32', 'shape': []}}
        (tmp_path / 'a' / 'spec.json').write_text(json.dumps({**spec, 'leaves': leaves}))
        with warnings.catch_warnings(), pytest.raises(DamagedError, match=words):
            next(culmen.recorded_streams(recorded))
