"""Datasets on the device: the windows and draws of a host's reader, and priorities."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components.dispatch import unpacked
from culmen.components.replay import DatasetReader
from culmen.components.replay.device.datasets import DatasetTable
from culmen.components.replay.recording.recorded import Recorded
from culmen.core import Dataset
from culmen.core import Window
from culmen.core.specs import leaf_paths
from tests.components.replay import streams
from tests.components.replay.recording.recordings import of_lanes
from tests.components.replay.recording.recordings import record
from tests.components.replay.windows import WINDOWS

STREAM = streams.make_stream(streams.step_types(streams.EPISODES, 40))
SEED = 7


def source():
    return of_lanes(STREAM)


def make(dataset, row_spec=streams.ROW_SPEC, where='experience'):
    return DatasetTable(where, dataset, Recorded(dataset, row_spec, with_frames=False))


def draw(table, count, items=None, key=0):
    """(items, windows, sample) of a draw, compiled."""
    feed = table.feed(table.make_draws('', SEED), count - count % 10) if table.is_fed else None

    @jax.jit
    def compiled(rows, items, feed, count):
        fed = None if feed is None else feed.at(count)
        return table.draw(rows, items, jax.random.key(key), fed)

    return compiled(table.rows(), items or table.init(), feed, np.uint32(count))


def assert_same(actual, expected):
    for (path, a), (_, b) in zip(leaf_paths(actual), leaf_paths(expected), strict=True):
        assert a.dtype == b.dtype, path
        np.testing.assert_array_equal(a, b, err_msg=path)


@pytest.mark.parametrize('draws', ['sample', 'all'])
@pytest.mark.parametrize('window', ['n-step', 'crossing with ends and first', 'first'])
def test_a_draw_is_that_of_the_host(window, draws):
    dataset = Dataset(WINDOWS[window], source, 6 if draws == 'sample' else 1, draw=draws)
    table, reader = make(dataset), DatasetReader(dataset, streams.ROW_SPEC, SEED)
    reader.seek(123)
    for count in range(123, 126):
        keys, sample = reader.draw()
        _, windows, actual = draw(table, count)
        np.testing.assert_array_equal(windows, keys)
        assert_same(actual, unpacked(sample))


def test_stacks_of_frames_are_whole(tmp_path):
    stream = streams.stacked_stream(4, 1)
    row_spec = streams.RowSpec(
        streams.stacked_spec(4, 1, stacked=True), streams.ACTION, streams.EXTRAS
    )
    folder = record(tmp_path / 'a', stream, row_spec.environment)
    dataset = Dataset(Window(length=3), folder, 16)
    keys, sample = DatasetReader(dataset, row_spec, SEED).draw()
    _, windows, actual = draw(make(dataset, row_spec), 0)
    np.testing.assert_array_equal(windows, keys)
    assert_same(actual, unpacked(sample))


def test_windows_are_drawn_by_the_priorities_that_updates_give():
    dataset = Dataset(Window(), source, 4_000, priority_exponent=0.5)
    table = make(dataset)
    num = len(Recorded(dataset, streams.ROW_SPEC))
    items = table.init()
    _, windows, sample = draw(table, 0, items)
    np.testing.assert_allclose(sample.probability, 1 / num, rtol=1e-6)
    assert len(set(np.asarray(windows).tolist())) == num
    assert int(sample.size) == num
    raw = np.zeros(num, np.float32)
    raw[[3, 50, 99]] = 1, 4, 9
    items = jax.jit(table.update_priorities)(items, jnp.arange(num), raw)
    assert not table.fault(items)
    again, windows, sample = draw(table, 1, items, key=1)
    counts = np.bincount(windows, minlength=num)
    weights = np.sqrt(raw) / 6
    assert np.abs(counts - 4_000 * weights).max() < 5 * 2_000**0.5
    assert not counts[weights == 0].any()
    np.testing.assert_allclose(sample.probability, weights[np.asarray(windows)], rtol=1e-6)
    # An inactive run keeps its priorities, an active one does not.
    for active in (False, True):
        after = table.update_priorities(
            again._replace(active=jnp.bool_(active)), jnp.arange(num), np.ones(num)
        )
        same = np.array_equal(after.levels[0], again.levels[0])
        assert same is not active
    items = table.update_priorities(items, jnp.arange(num), np.zeros(num))
    _, windows, sample = draw(table, 2, items)
    np.testing.assert_allclose(sample.probability, 1 / num, rtol=1e-6)
    for bad in (-1.0, np.nan, np.inf):
        assert table.fault(table.update_priorities(items, jnp.arange(1), np.full(1, bad)))
    assert table.complaint.startswith('priorities of experience must be finite and at least 0')


def test_what_does_not_fit_is_refused():
    table = make(Dataset(Window(), source, 4), where="experience['demos']")
    items, windows, _ = draw(table, 0)
    words = r"experience\['demos'\] is a Dataset with priority_exponent 0 and takes no priorities"
    with pytest.raises(ValueError, match=words):
        table.update_priorities(items, windows, np.ones(4))
    table = make(Dataset(Window(), source, 4, priority_exponent=1.0))
    items, windows, _ = draw(table, 0)
    with pytest.raises(ValueError, match=r'priorities of experience must have shape \(4,\)'):
        table.update_priorities(items, windows, np.ones(3))
    read = Recorded(Dataset(Window(), source, 4), streams.ROW_SPEC)
    other = Dataset(Window(), functools.partial(of_lanes, STREAM), 4)
    with pytest.raises(ValueError, match='experience must have one source and one map'):
        DatasetTable('experience', other, read)
