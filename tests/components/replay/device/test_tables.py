"""The tables of the compiled loop: what the shared suite (test_tables.py) does not see."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from culmen.components.checkpointing import from_paths
from culmen.components.checkpointing import to_paths
from culmen.components.replay.device import DeviceTables
from culmen.components.replay.device import masking
from culmen.components.replay.device import saving
from culmen.components.replay.device import sum_tree
from culmen.components.replay.stream.rate import Rate
from culmen.core import Dataset
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from culmen.core.types import LAST
from tests.components.replay import streams
from tests.components.replay.device.table import DeviceTable

UNROLL = Window(length=4, period=4, cross_episodes=True)


def make(experience, num_lanes=5):
    return DeviceTable(experience, streams.ROW_SPEC, num_lanes, 0)


def feed(table, stream, start, stop):
    for tick in range(start, stop):
        timestep, action, extras, version = stream.at(tick)
        table.observe(timestep)
        table.act(action, extras, version)


@pytest.mark.parametrize('num_leaves', [1, 16, 17, 300])
def test_a_tree_draws_by_weight(num_leaves):
    rng = np.random.default_rng(0)
    weights = np.where(rng.random(num_leaves) < 0.3, 0, rng.random(num_leaves)).astype(np.float32)
    weights[-1] = 2.0
    levels = sum_tree.make(num_leaves)
    for leaves in np.array_split(rng.permutation(num_leaves), 3):
        levels = sum_tree.write(levels, jnp.asarray(leaves, jnp.int32), weights[leaves])
    np.testing.assert_array_equal(levels[0][:num_leaves], weights)
    np.testing.assert_allclose(sum_tree.total(levels), weights.sum(), rtol=1e-6)
    drawn, probability = sum_tree.draw(levels, jax.random.key(1), 20_000)
    expected = weights / weights.sum()
    np.testing.assert_allclose(probability, expected[drawn], rtol=1e-5)
    counts = np.bincount(drawn, minlength=num_leaves)
    assert not counts[expected == 0].any()
    some = expected > 0
    if some.sum() > 1:
        share = expected[some].astype(np.float64)
        chi = scipy.stats.chisquare(counts[some], share * counts.sum() / share.sum())
        assert chi.pvalue > 1e-3


def test_of_equal_leaves_the_largest_weight_stays_and_others_are_passed_over():
    levels = sum_tree.make(20)
    end = len(levels[0])
    levels = sum_tree.write(levels, jnp.array([3, 3, 3, end]), jnp.array([1.0, 5.0, 2.0, 9.0]))
    assert levels[0].tolist() == [0] * 3 + [5.0] + [0] * (end - 4)
    assert float(sum_tree.total(levels)) == 5.0
    levels = sum_tree.write(levels, jnp.array([3]), jnp.array([0.5]))
    assert float(sum_tree.total(levels)) == 0.5


@pytest.mark.parametrize('rate', [(10, 0.3, 1), (1, 64.0, 128), (0, 1 / 3, 32), (5, 2.5, 2)])
def test_gain_and_cost_are_the_rate_formula(rate):
    gain, cost = Rate(*rate).gain_and_cost()
    for items, updates in itertools.product(range(0, 60, 7), range(1, 30)):
        due = (items - rate[0]) * gain >= updates * cost
        assert due == Rate(*rate).due(items, updates)


@pytest.mark.slow
def test_a_priority_function_sees_the_windows_of_new_items():
    def priority(steps):
        real = jnp.sum(steps.mask, axis=1)
        return real + steps.observation['where'][:, 0, 0] % 3

    types = streams.step_types(streams.EPISODES, 34)
    assert (types[32] == LAST).any()  # what it cuts short becomes an item with the next row
    assert not (types[33] == LAST).any()
    stream = streams.make_stream(types)
    window = Window(length=3)
    table = make(Replay(window, 500, 1, 64, 1e4, priority_exponent=1.0, priority=priority))
    feed(table, stream, 0, 33)
    table.observe(stream.at(33)[0])
    weights = {(i.lane, i.start): i.length + i.start % 3 for i in streams.cut(types, window)}
    sample = table.draw().samples
    expected = [weights[place] / sum(weights.values()) for place, _, _ in streams.rows_of(sample)]
    np.testing.assert_allclose(sample.probability, expected, rtol=1e-5)
    assert not table.faults()


def test_a_queue_that_overflows_says_so():
    table = make({'a': Queue(Window(), 5, max_size=2), 'b': Replay(Window(), 500, 400, 1, 1.0)})
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 12))
    feed(table, stream, 0, 4)  # three windows of five lanes: ten may wait, and those of a tick
    assert not table.faults()
    feed(table, stream, 4, 12)
    assert table.faults() == [
        "experience['a'] has more than max_size 2 batches waiting, and its actors can not wait in "
        'one program.'
    ]


@pytest.mark.parametrize(
    ('experience', 'said'),
    [
        (
            Queue(Window(length=3)),
            'experience must have a batch_size in a compiled program, got None',
        ),
        ({'a': Dataset(Window(), 'folder', 2)}, r"experience\['a'\] is a Dataset: its rows"),
        (Replay(Window(), 2**31, 1, 1, 1.0), 'must have fewer than 2.31 rows'),
        (
            Replay(Window(), 9, 1, 1, float(np.pi * 1e4)),
            'samples_per_insert of experience must be a',
        ),
    ],
)
def test_what_has_no_static_size_is_refused(experience, said):
    with pytest.raises(ValueError, match=said):
        DeviceTables(experience, streams.ROW_SPEC, 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    'experience',
    [
        Replay(Window(length=3), 40, 1, 7, 8.0, priority_exponent=0.6),
        Queue(UNROLL),
        {'a': Replay(Window(), 13, 1, 3, 1.0), 'b': Replay(Window(length=4), 300, 9, 2, 1.0)},
    ],
)
def test_saved_in_pieces_a_table_goes_on_with_the_same_bits(experience):
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 90))
    whole = make(experience)
    rows, saved, reached = [], None, 0
    for tick in range(90):
        timestep, action, extras, version = stream.at(tick)
        whole.observe(timestep)
        while whole.due():
            whole.draw()
        if tick in (20, 50):  # between observe and act, as a loop is saved
            pieces = saving.SavedRows(whole.state, tick)
            first, after = pieces.live_ticks()
            assert after == tick
            if isinstance(experience, Queue):
                assert first == tick
            else:
                begin = max(first, reached)
                rows.append((begin, pieces.read_rows(begin, after)))
                reached = after
            saved = to_paths(saving.open_rows(whole.state))
        if tick == 50:
            shapes = jax.eval_shape(saving.open_rows, whole.state)
            opened = from_paths('tables', shapes, saved)
            again = make(experience)
            restored = saving.with_rows(again.state, opened, 50, rows)
            again.state = jax.tree_util.tree_map(jnp.asarray, restored)
            again.draws = whole.draws
        whole.act(action, extras, version)
    resumed = []
    for table in (whole, again):
        if table is again:
            timestep, action, extras, version = stream.at(50)
            table.act(action, extras, version)
            for tick in range(51, 90):
                timestep, action, extras, version = stream.at(tick)
                table.observe(timestep)
                while table.due():
                    resumed.append(table.draw())
                table.act(action, extras, version)
    assert resumed
    for a, b in zip(
        *(jax.tree_util.tree_leaves(t.state.items) for t in (whole, again)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    if not isinstance(experience, Queue):
        key = jax.random.key(3)
        draws = [table.sample(key) for table in (whole, again)]
        for a, b in zip(*map(jax.tree_util.tree_leaves, draws), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(
    'experience',
    [
        Replay(Window(length=3), 40, 1, 7, 8.0, priority_exponent=0.6),
        Replay(Window(length=4, period=2), 30, 5, 8, 2.0),
        Queue(Window(length=3), batch_size=4, max_size=50),
    ],
)
@pytest.mark.parametrize('lost', [[(44, 50)], [(20, 33), (35, 37)]])
def test_items_that_need_lost_rows_are_dropped_and_all_others_stay(experience, lost):
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 90))
    types, window = stream.timestep.step_type, experience.window
    items = streams.cut(types, window)
    is_lost = {(i.lane, i.start): streams.needs(i, types, lost) for i in items}
    whole, again = make(experience), make(experience)
    feed(whole, stream, 0, 30)
    while whole.due() and isinstance(experience, Queue):
        whole.draw()
    feed(whole, stream, 30, 50)
    whole.observe(stream.at(50)[0])
    rows = [(0, 20), (20, 33), (33, 35), (35, 37), (37, 44), (44, 50)]
    pieces, first = saving.SavedRows(whole.state, 50), None
    first, _ = pieces.live_ticks()
    rows = [(max(a, first), pieces.read_rows(max(a, first), b)) for a, b in rows
            if (a, b) not in lost and b > first]  # fmt: skip
    opened = saving.open_rows(whole.state)
    with pytest.raises(ValueError, match='checkpoint rows must reach from tick'):
        saving.with_rows(again.state, opened, 50, rows)
    restored = saving.with_rows(again.state, opened, 50, rows, lost)
    again.state, dropped = again.drop(restored, 50, lost)
    again.state = jax.tree_util.tree_map(jnp.asarray, again.state)
    draws = []
    for table in (whole, again):
        timestep, action, extras, version = stream.at(50)
        table.act(action, extras, version)
        places = []
        for tick in range(51, 90):
            timestep, action, extras, version = stream.at(tick)
            table.observe(timestep)
            while table.due():
                sample = table.draw().samples
                for place, leaves, _ in streams.rows_of(sample):
                    places.append(place)
                    if table is again:
                        assert not is_lost[place]
                        by_place = {(i.lane, i.start): i for i in items}
                        expected = streams.content(stream, by_place[place], window)[0]
                        streams.assert_same_item(leaves, expected)
            table.act(action, extras, version)
        draws.append(places)
    assert len(draws[1]) > 20
    if isinstance(experience, Queue):
        # In the order of the stream; what becomes an item within one tick has no order.
        ticks = {(i.lane, i.start): i.tick for i in items}
        for places in draws:
            drawn_at = [ticks[place] for place in places]
            assert drawn_at == sorted(drawn_at)
        left = [place for place in draws[0] if not is_lost[place]]
        left, again_left = (
            sorted(each, key=lambda place: (ticks[place], place)) for each in (left, draws[1])
        )
        both = min(len(left), len(again_left)) - 10  # the last tick may be drawn in part
        assert left[:both] == again_left[:both]
    else:
        waiting = [i for i in items if (i.tick, i.phase) <= (50, streams.OBSERVE)]
        waiting = waiting[-experience.capacity :]
        assert dropped == sum(is_lost[i.lane, i.start] for i in waiting)
        # A window that was open and lost rows never becomes an item, and so gives no updates.
        never = sum(
            is_lost[i.lane, i.start]
            for i in items
            if (50, streams.OBSERVE) < (i.tick, i.phase) < (90, 0)
        )
        assert (never > 0) == (lost[-1][1] == 50)
        missed = len(draws[0]) - len(draws[1])
        assert abs(missed - never * experience.samples_per_insert) < experience.batch_size


@pytest.mark.slow
@pytest.mark.parametrize(
    'experience',
    [
        Replay(Window(length=3), 40, 1, 7, 8.0, priority_exponent=0.6),
        Queue(Window(length=3), batch_size=4, max_size=50),
        Queue(UNROLL),
    ],
)
def test_a_table_that_is_not_active_keeps_its_bits(experience):
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 40))
    table = make(experience)
    feed(table, stream, 0, 4)
    table.observe(stream.at(4)[0])
    assert table.due()
    before = jax.tree_util.tree_map(np.array, table.state)
    table.state = masking.activate(table.state, jnp.bool_(False))
    keys = table.draw().keys
    if isinstance(experience, Replay):
        table.update_priorities(keys, np.full(7, 9.0, np.float32))
    timestep, action, extras, version = stream.at(4)
    table.act(action, extras, version)
    feed(table, stream, 5, 12)
    after = masking.activate(table.state, None)
    for a, b in zip(*map(jax.tree_util.tree_leaves, (before, after)), strict=True):
        np.testing.assert_array_equal(a, b)
