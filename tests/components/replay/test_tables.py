"""What every table promises, seen through its public methods: the items, the rate, the draws."""

import math
from fractions import Fraction
from typing import Any

import jax
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from culmen.components.dispatch import unpacked
from culmen.components.replay import RowSpec
from culmen.components.replay import sample_spec
from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from culmen.core.experience import ByRule
from culmen.core.specs import leaf_paths
from culmen.core.types import TimeStep
from tests.components.replay import streams
from tests.components.replay.registry import NAMES
from tests.components.replay.registry import TABLES
from tests.components.replay.registry import Row
from tests.components.replay.windows import WINDOWS


@pytest.fixture(params=NAMES)
def table_row(request: pytest.FixtureRequest) -> Row:
    return TABLES[request.param]


def make(row: Row, experience: Any, num_lanes: int, seed: int = 0) -> Any:
    return row.make(experience, streams.ROW_SPEC, num_lanes, seed)


def play(table: Any, stream: streams.Stream, start: int = 0, stop: int | None = None) -> list[Any]:
    """Plays ticks into a table and draws whatever is due; returns (tick, draw) in order."""
    draws = []
    for tick in range(start, stream.num_ticks if stop is None else stop):
        timestep, action, extras, version = stream.at(tick)
        table.observe(timestep)
        while table.due():
            draws.append((tick, table.draw()))
        table.act(action, extras, version)
    return draws


def replay_all(window: Window, capacity: int = 3000) -> Replay:
    return Replay(window, capacity, 1, 1, 1e-6, draw='all')


def all_items(table: Any) -> Any:
    """The items of a table that draws all, as (place, leaves, version), padding left out."""
    sample = unpacked(table.draw().samples)
    size = int(sample.size)
    return streams.rows_of(sample)[:size]


# The items.


@pytest.mark.parametrize('window', WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize('num_lanes', [1, 5])
def test_items_are_those_of_the_definition(table_row: Row, window: Window, num_lanes: int) -> None:
    types = streams.step_types(streams.EPISODES[2:3] if num_lanes == 1 else streams.EPISODES, 70)
    stream = streams.make_stream(types)
    table = make(table_row, replay_all(window), num_lanes)
    play(table, stream)
    items = {(item.lane, item.start): item for item in streams.cut(types, window)}
    actual = all_items(table)
    assert len(items) > 1
    assert len(actual) == len(items)
    assert {place for place, _, _ in actual} == set(items)
    for place, leaves, version in actual:
        expected, expected_version = streams.content(stream, items[place], window)
        streams.assert_same_item(leaves, expected)
        assert version == expected_version


lengths = st.lists(st.integers(-6, 12).filter(bool), min_size=1, max_size=4)


@settings(max_examples=25)
@given(
    episodes=st.lists(lengths, min_size=1, max_size=4),
    length=st.integers(1, 9),
    period=st.integers(1, 9),
    cross=st.booleans(),
    capacity=st.integers(1, 60),
)
@pytest.mark.parametrize('name', NAMES)
def test_any_stream_gives_the_newest_items_of_the_definition(
    name: str, episodes: Any, length: int, period: int, cross: bool, capacity: int
) -> None:
    # Negative lengths are interruptions: FIRST follows a row that is not LAST. An environment of a
    # compiled program has none, and the rings there count on it.
    if TABLES[name].compiled:
        episodes = [[abs(length) for length in lane] for lane in episodes]
    window = Window(length, period, cross)
    types = streams.step_types(episodes, 40)
    stream = streams.make_stream(types)
    table = make(TABLES[name], replay_all(window, capacity), len(episodes))
    expected = streams.cut(types, window)
    play(table, stream)
    if not expected:
        return
    expected = expected[-capacity:]
    actual = all_items(table)
    assert [place for place, _, _ in actual] == [(item.lane, item.start) for item in expected]
    for item, (_, leaves, _) in zip(expected, actual):
        streams.assert_same_item(leaves, streams.content(stream, item, window)[0])


def test_a_window_that_an_episode_cuts_short_is_padded(table_row: Row) -> None:
    # Written out: an episode of two transitions in a window of four.
    stream = streams.make_stream(streams.step_types([[2]], 3))
    table = make(table_row, replay_all(Window(length=4, period=4)), 1)
    play(table, stream)
    (_, steps, _), *others = all_items(table)
    assert not others
    timestep = stream.timestep
    assert steps['step_type'].tolist() == [FIRST, 1, LAST, LAST, LAST]
    assert steps['mask'].tolist() == [True, True, False, False]
    assert steps['discount'].tolist() == [*timestep.discount[:, 0].tolist(), 0.0, 0.0]
    assert steps['reward/own'].tolist() == [*timestep.reward['own'][:, 0].tolist(), 0.0, 0.0]
    assert steps['observation/where'][:, 0].tolist() == [0, 1, 2, 2, 2]
    # LAST was acted on, and its extras are kept; the padding after it has none.
    assert steps['action/0'].tolist() == [*stream.action[0][:, 0].tolist(), 0]
    assert steps['extras/value'].tolist() == [*stream.extras['value'][:, 0].tolist(), 0.0]


def test_a_termination_and_a_truncation_differ_in_the_discount_alone(table_row: Row) -> None:
    types = streams.step_types([[2]], 3)
    steps = []
    for discount in (0.0, 1.0):
        stream = streams.make_stream(types)
        stream.timestep.discount[-1] = discount
        table = make(table_row, replay_all(Window(length=3, period=3)), 1)
        play(table, stream)
        ((_, leaves, _),) = all_items(table)
        steps.append(leaves)
    assert [s.pop('discount')[2] for s in steps] == [0.0, 1.0]
    streams.assert_same_item(*steps)


def test_draws_are_of_numpy_or_jax_arrays_with_the_dtypes_promised(table_row: Row) -> None:
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 30))
    table = make(table_row, Replay(Window(length=3), 50, 1, 7, 1.0), 5)
    play(table, stream)
    sample = unpacked(table.draw().samples)
    assert (sample.probability.shape, sample.probability.dtype) == ((7,), np.float32)
    assert (sample.size.shape, sample.size.dtype) == ((), np.int32)
    assert (sample.version.shape, sample.version.dtype) == ((7,), np.int32)
    assert (sample.steps.mask.shape, sample.steps.mask.dtype) == ((7, 3), np.bool_)
    assert (sample.steps.step_type.shape, sample.steps.step_type.dtype) == ((7, 4), np.int32)
    assert isinstance(sample.steps.action, tuple)
    assert isinstance(sample.steps.extras['state'], tuple)


@pytest.mark.parametrize('window', WINDOWS.values(), ids=WINDOWS)
def test_samples_have_the_shapes_and_dtypes_known_before(table_row: Row, window: Window) -> None:
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 70))
    experience = {
        'a': Replay(window, 500, 1, 7, 1.0),
        'b': Queue(window, 5 if table_row.compiled else None, max_size=1000),
        'c': Queue(window, batch_size=3),
        'd': replay_all(window, 600),
    }
    table = make(table_row, experience, 5)
    known = sample_spec(experience, streams.ROW_SPEC, 5)
    if table_row.compiled:
        samples = table.draw_shapes()
    else:
        feed(table, stream, 0, 70)
        samples = unpacked(table.draw().samples)
    assert jax.tree_util.tree_structure(samples) == jax.tree_util.tree_structure(known)
    for (path, leaf), (_, spec) in zip(leaf_paths(samples), leaf_paths(known)):
        assert (leaf.shape, leaf.dtype) == (spec.shape, spec.dtype), path


def test_draws_that_are_not_due_are_refused(table_row: Row) -> None:
    if table_row.compiled:
        pytest.skip('pure functions can not look whether a draw is due')
    for experience in (Replay(Window(), 10, 1, 2, 1.0), Queue(Window())):
        table = make(table_row, experience, 1)
        assert not table.due()
        with pytest.raises(RuntimeError, match='draw was called on'):
            table.draw()


def test_a_draw_keeps_its_content_while_the_table_goes_on(table_row: Row) -> None:
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 70))
    for experience in (
        Replay(Window(length=2), 20, 1, 16, 1e6),
        Queue(Window(length=2, period=2, cross_episodes=True), max_size=100),
    ):
        table = make(table_row, experience, 5)
        timestep, action, extras, version = stream.at(0)
        for tick in range(10):
            timestep, action, extras, version = stream.at(tick)
            table.observe(timestep)
            table.act(action, extras, version)
        sample = unpacked(table.draw().samples)
        before = [np.array(leaf) for leaf in jax.tree_util.tree_leaves(sample)]
        for tick in range(10, 70):
            timestep, action, extras, version = stream.at(tick)
            table.observe(timestep)
            table.act(action, extras, version)
        for old, leaf in zip(before, jax.tree_util.tree_leaves(sample)):
            np.testing.assert_array_equal(old, leaf)


# Replay: removal, rate, draws.


@pytest.mark.parametrize('num_lanes', [1, 5])
def test_the_oldest_items_leave_first(table_row: Row, num_lanes: int) -> None:
    window, capacity = Window(length=3), 17
    types = streams.step_types(streams.EPISODES[:num_lanes], 90)
    stream = streams.make_stream(types)
    items = streams.cut(types, window)
    table = make(table_row, replay_all(window, capacity), num_lanes)
    for tick in range(90):
        timestep, action, extras, version = stream.at(tick)
        table.observe(timestep)
        table.act(action, extras, version)
        so_far = [(item.lane, item.start) for item in items if item.tick <= tick][-capacity:]
        if so_far:
            assert [place for place, _, _ in all_items(table)] == so_far


@pytest.mark.parametrize(
    ('samples_per_insert', 'batch_size', 'min_size'),
    [
        (0.25, 1, 0),
        (0.3, 1, 7),
        (1 / 3, 1, 1),
        (8.0, 32, 10),
        (1.0, 4, 3),
        (2.5, 2, 2),
        (1e-3, 1, 0),
    ],
)
def test_updates_follow_the_rate_formula(
    table_row: Row, samples_per_insert: float, batch_size: int, min_size: int
) -> None:
    window = Window(length=2)
    types = streams.step_types(streams.EPISODES, 60)
    stream = streams.make_stream(types)
    items = streams.cut(types, window)
    table = make(table_row, Replay(window, 60, min_size, batch_size, samples_per_insert), 5)
    exact = Fraction(samples_per_insert).limit_denominator(1000)
    draws = [tick for tick, _ in play(table, stream)]
    for tick in range(60):
        num = sum((item.tick, item.phase) <= (tick, streams.OBSERVE) for item in items)
        allowed = math.floor(max(num - min_size, 0) * exact / batch_size)
        assert sum(t <= tick for t in draws) == allowed, tick


def test_due_counts_several_updates_at_once(table_row: Row) -> None:
    stream = streams.make_stream(streams.step_types([[50]], 12))
    table = make(table_row, Replay(Window(), 100, 1, 2, 2.0), 1)
    for tick in range(6):  # five items: four updates
        timestep, action, extras, version = stream.at(tick)
        table.observe(timestep)
        table.act(action, extras, version)
    assert table.due(4)
    assert not table.due(5)
    table.draw()
    assert table.due(3)
    assert not table.due(4)


def test_uniform_draws_are_uniform_and_say_so(table_row: Row) -> None:
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 40))
    table = make(table_row, Replay(Window(), 30, 1, 50, 1e6), 5)
    for tick in range(40):
        timestep, action, extras, version = stream.at(tick)
        table.observe(timestep)
        table.act(action, extras, version)
    counts: dict[Any, int] = {}
    for _ in range(60):
        sample = unpacked(table.draw().samples)
        assert int(sample.size) == 30
        np.testing.assert_allclose(sample.probability, 1 / 30, rtol=1e-6)
        for place, _, _ in streams.rows_of(sample):
            counts[place] = counts.get(place, 0) + 1
    assert len(counts) == 30
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 1e-3


# Priorities.


def prioritised(table_row: Row, num_items: int = 12, **settings: Any) -> tuple[Any, streams.Stream]:
    """A table of so many transitions of one lane, item i starting at tick i."""
    stream = streams.make_stream(streams.step_types([[1000]], 300))
    fields = {'priority_exponent': 0.7, 'batch_size': 64, 'samples_per_insert': 1e6, **settings}
    table = make(
        table_row, Replay(Window(), capacity=fields.pop('capacity', 50), min_size=1, **fields), 1
    )
    feed(table, stream, 0, num_items + 1)
    return table, stream


def feed(table: Any, stream: streams.Stream, start: int, stop: int) -> None:
    for tick in range(start, stop):
        timestep, action, extras, version = stream.at(tick)
        table.observe(timestep)
        table.act(action, extras, version)


def set_priorities(table: Any, priority_of_start: Any) -> None:
    """Gives every item a priority by its start, as far as draws reach them."""
    for _ in range(20):
        keys, sample = unpacked(table.draw())
        starts = np.asarray(sample.steps.observation['where'])[:, 0, 0]
        table.update_priorities(keys, np.asarray(priority_of_start(starts), np.float32))


def starts_of(table: Any, num_draws: int) -> tuple[np.ndarray, np.ndarray]:
    """(start of every element drawn, its probability)."""
    samples = [unpacked(table.draw().samples) for _ in range(num_draws)]
    starts = np.concatenate([s.steps.observation['where'][:, 0, 0] for s in samples])
    return starts, np.concatenate([s.probability for s in samples])


@pytest.mark.parametrize('exponent', [0.4, 1.0, 2.0])
def test_priorities_are_honoured_and_probabilities_exact(table_row: Row, exponent: float) -> None:
    table, _ = prioritised(table_row, priority_exponent=exponent)
    set_priorities(table, lambda start: 0.5 + start % 4)
    weights = (0.5 + np.arange(12) % 4) ** exponent
    probability = weights / weights.sum()
    starts, given_probability = starts_of(table, 60)
    np.testing.assert_allclose(given_probability, probability[starts], rtol=1e-5)
    counts = np.bincount(starts, minlength=12)
    assert scipy.stats.chisquare(counts, probability * counts.sum()).pvalue > 1e-3


def test_a_new_item_gets_the_largest_priority_ever_given(table_row: Row) -> None:
    table, stream = prioritised(table_row, num_items=3, priority_exponent=1.0)
    _, probability = starts_of(table, 1)
    np.testing.assert_allclose(probability, 1 / 3, rtol=1e-6)
    set_priorities(table, lambda start: np.where(start == 0, 8.0, 2.0))
    set_priorities(table, lambda start: 2.0 + 0 * start)  # 8 was given once, and is remembered
    feed(table, stream, 4, 5)
    starts, probability = starts_of(table, 5)
    np.testing.assert_allclose(probability[starts == 3], 8 / 14, rtol=1e-6)


def test_priorities_below_one_leave_new_items_at_one(table_row: Row) -> None:
    table, stream = prioritised(table_row, num_items=3, priority_exponent=1.0)
    set_priorities(table, lambda start: 0.25 + 0 * start)
    feed(table, stream, 4, 5)
    starts, probability = starts_of(table, 5)
    np.testing.assert_allclose(probability[starts == 3], 1 / 1.75, rtol=1e-6)


def test_items_of_priority_zero_are_not_drawn(table_row: Row) -> None:
    table, _ = prioritised(table_row)
    set_priorities(table, lambda start: np.where(start % 3 == 0, 0.0, 1.0))
    starts, probability = starts_of(table, 20)
    assert set(starts.tolist()) == {s for s in range(12) if s % 3}
    np.testing.assert_allclose(probability, 1 / 8, rtol=1e-6)


def test_where_all_priorities_are_zero_draws_are_uniform(table_row: Row) -> None:
    table, _ = prioritised(table_row, num_items=5)
    set_priorities(table, lambda start: 0.0 * start)
    starts, probability = starts_of(table, 20)
    assert set(starts.tolist()) == set(range(5))
    np.testing.assert_allclose(probability, 1 / 5, rtol=1e-6)


def test_updates_reach_their_items_also_when_others_have_left(table_row: Row) -> None:
    table, _ = prioritised(table_row, num_items=27, capacity=10, priority_exponent=1.0)
    set_priorities(table, lambda start: 1.0 + start - 17)
    starts, probability = starts_of(table, 5)
    np.testing.assert_allclose(probability, (1.0 + starts - 17) / 55, rtol=1e-5)


def test_updates_of_items_that_are_gone_are_passed_over(table_row: Row) -> None:
    table, stream = prioritised(table_row, num_items=10, capacity=10, priority_exponent=1.0)
    keys, sample = unpacked(table.draw())
    starts = np.asarray(sample.steps.observation['where'])[:, 0, 0]
    feed(table, stream, 11, 16)  # the items that start at 0 to 4 leave, those of 10 to 14 come
    table.update_priorities(keys, np.where(starts < 5, 0.0, 1.0).astype(np.float32))
    drawn, probability = starts_of(table, 20)
    assert set(drawn.tolist()) == set(range(5, 15))
    np.testing.assert_allclose(probability, 1 / 10, rtol=1e-6)


def test_a_priority_function_sees_the_new_items_of_a_tick(table_row: Row) -> None:
    if table_row.compiled:
        pytest.skip('a traced function sees no values; device/test_tables.py has its own')
    window = Window(length=2)
    types = streams.step_types(streams.EPISODES, 40)
    stream = streams.make_stream(types)
    seen: list[Any] = []

    def priority(steps: Any) -> Any:
        where = np.asarray(steps.observation['where'])[:, 0]
        seen.extend((int(lane), int(tick)) for tick, lane in where)
        assert steps.mask.shape == (len(where), 2)
        return 1.0 + where[:, 0] % 3 + np.abs(np.asarray(steps.reward['own'])).max(axis=1)

    experience = Replay(window, 1000, 1, 64, 1e6, priority_exponent=1.0, priority=priority)
    table = make(table_row, experience, 5)
    feed(table, stream, 0, 40)
    items = streams.cut(types, window)
    assert seen == [(item.lane, item.start) for item in items]
    own = stream.timestep.reward['own']
    weights = {
        (i.lane, i.start): 1.0
        + i.start % 3
        + max(
            [0.0] * (i.length < 2)
            + [abs(own[t, i.lane]) for t in range(i.start, i.start + i.length + 1)]
        )
        for i in items
    }
    total = sum(weights.values())
    sample = unpacked(table.draw().samples)
    expected = [weights[place] / total for place, _, _ in streams.rows_of(sample)]
    np.testing.assert_allclose(sample.probability, expected, rtol=1e-5)


@pytest.mark.parametrize('bad', [-1.0, math.nan, math.inf])
def test_priorities_out_of_range_are_refused(table_row: Row, bad: float) -> None:
    table, _ = prioritised(table_row)
    keys, _ = table.draw()
    priorities = np.ones(64, np.float32)
    priorities[5] = bad
    if table_row.compiled:  # it can't raise, and tells of it when it is asked
        assert not table.faults()
        table.update_priorities(keys, priorities)
        assert 'priorities of experience must be finite and at least 0' in table.faults()[0]
        return
    with pytest.raises(ValueError, match='priorities of experience must be finite and at least 0'):
        table.update_priorities(keys, priorities)
    with pytest.raises(ValueError, match=r'priorities of experience must have shape \(64,\)'):
        table.update_priorities(keys, priorities[1:])


def test_a_uniform_table_and_a_queue_refuse_priorities(table_row: Row) -> None:
    stream = streams.make_stream(streams.step_types([[5]], 10))
    uniform, queue = Replay(Window(), 10, 1, 2, 1.0), Queue(Window(), max_size=100)
    table = make(table_row, {'a': uniform, 'b': queue}, 1)
    feed(table, stream, 0, 10)
    keys, _ = table.draw()
    table.update_priorities(keys, None)
    table.update_priorities(keys, {'a': None, 'b': None})
    with pytest.raises(ValueError, match=r"experience\['a'\] is uniform"):
        table.update_priorities(keys, {'a': np.ones(2, np.float32), 'b': None})
    with pytest.raises(ValueError, match=r"experience\['b'\] is a Queue"):
        table.update_priorities(keys, {'a': None, 'b': np.ones(1, np.float32)})


# Draws of everything, queues, several tables.


@pytest.mark.parametrize('min_size', [0, 1, 4])
def test_a_tick_in_which_episodes_end_makes_one_update(table_row: Row, min_size: int) -> None:
    # Some episodes end in one tick, some are as long as a window, and one is longer.
    types = streams.step_types([[3, 6, 2], [6, 3], [4, 7], [9, 2]], 40)
    experience = Replay.once_an_episode(6, 50, min_size, first=('extras',))
    draws = play(make(table_row, experience, 4), streams.make_stream(types))
    items = streams.cut(types, experience.window)
    ended = [tick for tick in np.flatnonzero((types == LAST).any(axis=1)).tolist() if tick < 39]
    num_items = {tick: sum(item.tick <= tick for item in items) for tick in ended}
    assert [tick for tick, _ in draws] == [t + 1 for t in ended if num_items[t] >= min_size]
    for tick, (_, samples) in draws:
        places = [place for place, _, _ in streams.rows_of(unpacked(samples))]
        assert {place for place in places if place[1] >= 0} >= {
            (item.lane, item.start) for item in items if item.tick < tick
        }


def test_a_draw_of_all_is_padded_to_capacity(table_row: Row) -> None:
    window = Window(length=2, first=('extras',))
    types = streams.step_types([[3], [4]], 6)
    stream = streams.make_stream(types)
    table = make(table_row, replay_all(window, 20), 2)
    play(table, stream)
    sample = unpacked(table.draw().samples)
    num = len(streams.cut(types, window))
    assert 1 < num < 20
    assert int(sample.size) == num
    np.testing.assert_allclose(sample.probability, [1 / num] * num + [0.0] * (20 - num), rtol=1e-6)
    padding = jax.tree_util.tree_map(lambda leaf: np.asarray(leaf)[num:], sample.steps)
    assert padding.mask.shape == (20 - num, 2)
    for path, leaf in leaf_paths(padding):
        assert len(leaf) == 20 - num
        assert np.all(leaf == (LAST if path == 'step_type' else 0)), path


@pytest.mark.parametrize(
    'window', [Window(length=3), Window(length=4, period=2, cross_episodes=True)]
)
@pytest.mark.parametrize('batch_size', [1, 3, 8])
def test_a_queue_gives_each_window_once_in_order(
    table_row: Row, window: Window, batch_size: int
) -> None:
    types = streams.step_types(streams.EPISODES, 60)
    stream = streams.make_stream(types)
    table = make(table_row, Queue(window, batch_size, max_size=1000), 5)
    waiting: list[streams.Item] = []
    expected: list[streams.Item] = []
    items = streams.cut(types, window)
    for tick in range(60):
        waiting += [item for item in items if (item.tick, item.phase) == (tick, streams.OBSERVE)]
        while len(waiting) >= batch_size:
            expected += waiting[:batch_size]
            waiting = waiting[batch_size:]
        waiting += [item for item in items if (item.tick, item.phase) == (tick, streams.ACT)]
        waiting.sort(key=lambda item: (item.tick, item.lane, item.start))
    draws = play(table, stream)
    actual = [element for _, draw in draws for element in streams.rows_of(unpacked(draw.samples))]
    assert len(expected) > 20
    assert [place for place, _, _ in actual] == [(item.lane, item.start) for item in expected]
    for item, (_, leaves, version) in zip(expected, actual):
        content, expected_version = streams.content(stream, item, window)
        streams.assert_same_item(leaves, content)
        assert version == expected_version
    assert all(np.all(unpacked(draw.samples).probability == 1) for _, draw in draws)


@pytest.mark.parametrize(
    'window', [Window(length=3), Window(length=4, period=4, cross_episodes=True)]
)
def test_a_queue_of_every_lane_gives_element_i_of_lane_i(table_row: Row, window: Window) -> None:
    if table_row.compiled and not window.cross_episodes:
        with pytest.raises(ValueError, match='experience must have a batch_size in a compiled'):
            make(table_row, Queue(window), 5)
        return
    types = streams.step_types(streams.EPISODES, 80)
    stream = streams.make_stream(types)
    table = make(table_row, Queue(window, max_size=1000), 5)
    of_lane = [[i.start for i in streams.cut(types, window) if i.lane == lane] for lane in range(5)]
    draws = play(table, stream)
    while table.due():
        draws.append((80, table.draw()))
    assert len(draws) == min(len(starts) for starts in of_lane)
    for k, (_, draw) in enumerate(draws):
        places = [place for place, _, _ in streams.rows_of(unpacked(draw.samples))]
        assert places == [(lane, of_lane[lane][k]) for lane in range(5)]


@pytest.mark.parametrize(('batch_size', 'num_lanes'), [(None, 1), (None, 5), (5, 5), (10, 5)])
def test_a_queue_in_one_process_is_on_policy(
    table_row: Row, batch_size: int | None, num_lanes: int
) -> None:
    window = Window(length=4, period=4, cross_episodes=True)
    stream = streams.make_stream(streams.step_types(streams.EPISODES[:num_lanes], 80))
    experience = Queue(window, batch_size, max_staleness=0)
    table = make(table_row, experience, num_lanes)
    updates = 0
    for tick in range(80):
        timestep, action, extras, _ = stream.at(tick)
        table.observe(timestep)
        while table.due():
            sample = unpacked(table.draw().samples)
            np.testing.assert_array_equal(sample.version, updates)  # staleness 0
            assert len(streams.rows_of(sample)) == (batch_size or num_lanes)  # each of its lane
            updates += 1
        table.act(action, extras, updates)
    assert updates == 19 * num_lanes // (batch_size or num_lanes)  # of 19 windows a lane


def test_a_dict_of_tables_gives_what_each_alone_would(table_row: Row) -> None:
    experience = {
        'recent': Queue(Window(length=3, period=2, cross_episodes=True), max_size=1000),
        'long': Replay(Window(length=5, period=2, first=('extras',)), 40, 1, 4, 0.5),
        'all': Replay(Window(length=3), 25, 1, 1, 1.0, draw='all'),
    }
    types = streams.step_types(streams.EPISODES, 60)
    stream = streams.make_stream(types)
    together = make(table_row, experience, 5)
    feed(together, stream, 0, 60)
    assert together.due()
    keys, samples = together.draw()
    assert set(samples) == set(experience) == set(keys)
    samples = unpacked(samples)
    for name in ('recent', 'all'):
        alone = make(table_row, experience[name], 5)
        feed(alone, stream, 0, 60)
        sample = unpacked(alone.draw().samples)
        for (path, leaf), (_, other) in zip(leaf_paths(sample), leaf_paths(samples[name])):
            np.testing.assert_array_equal(leaf, other, err_msg=f'{name}/{path}')
    items = {(i.lane, i.start): i for i in streams.cut(types, experience['long'].window)}
    for place, leaves, _ in streams.rows_of(samples['long']):
        expected, _ = streams.content(stream, items[place], experience['long'].window)
        streams.assert_same_item(leaves, expected)


def test_an_update_is_due_when_it_is_due_in_every_table(table_row: Row) -> None:
    slow, fast = Replay(Window(), 10, 5, 1, 1.0), Replay(Window(), 10, 1, 1, 1.0)
    stream = streams.make_stream(streams.step_types([[20]], 12))
    draws = play(make(table_row, {'fast': fast, 'slow': slow}, 1), stream)
    alone = play(make(table_row, slow, 1), stream)
    assert [tick for tick, _ in draws] == [tick for tick, _ in alone]
    assert len(draws) > 3


# Rules.


def test_each_rule_draws_from_its_own_tables_at_its_own_rate(table_row: Row) -> None:
    fast, queue = Replay(Window(), 100, 3, 4, 8.0), Queue(Window(4, 4, True), max_size=100)
    slow = {'queue': queue, 'kept': Replay(Window(length=2), 100, 5, 2, 1.0)}
    stream = streams.make_stream(streams.step_types([[20], [7, 20]], 25))
    table = make(table_row, ByRule({'fast': fast, 'slow': slow}), 2)
    drawn: dict[str, list[Any]] = {'fast': [], 'slow': []}
    for tick in range(stream.num_ticks):
        timestep, action, extras, _ = stream.at(tick)
        table.observe(timestep)
        for rule, of_rule in drawn.items():
            while table.reader(rule).due():
                draw = table.reader(rule).draw()
                of_rule.append((tick, unpacked(draw.samples)))
        table.act(action, extras, (tick, 100 + tick))
    for rule, experience in (('fast', fast), ('slow', slow)):
        alone = play(make(table_row, experience, 2), stream)
        assert [tick for tick, _ in drawn[rule]] == [tick for tick, _ in alone]
        assert len(alone) > 4
    begun = lambda sample: np.asarray(sample.steps.observation['where'])[:, 0, 0]
    for _, sample in drawn['fast']:
        np.testing.assert_array_equal(sample.version, begun(sample))
    for _, samples in drawn['slow']:
        assert set(samples) == {'queue', 'kept'}
        for sample in samples.values():
            np.testing.assert_array_equal(sample.version, 100 + begun(sample))


def test_a_rule_writes_priorities_to_its_own_table(table_row: Row) -> None:
    replay = Replay(Window(), 50, 1, 8, 1000.0, priority_exponent=1.0)
    stream = streams.make_stream(streams.step_types([[30]], 14))
    table = make(table_row, ByRule({'one': replay, 'other': replay}), 1)
    for tick in range(stream.num_ticks):
        timestep, action, extras, _ = stream.at(tick)
        table.observe(timestep)
        table.act(action, extras, (0, 0))
    one, other = table.reader('one'), table.reader('other')
    for _ in range(40):
        draw = one.draw()
        starts = np.asarray(unpacked(draw.samples).steps.observation['where'])[:, 0, 0]
        one.update_priorities(draw.keys, np.where(starts < 3, 1.0, 0.0).astype(np.float32))
    seen = {
        rule: {
            int(start)
            for _ in range(20)
            for start in np.asarray(unpacked(reader.draw().samples).steps.observation['where'])[
                :, 0, 0
            ]
        }
        for rule, reader in (('one', one), ('other', other))
    }
    assert seen['one'] <= {0, 1, 2}
    assert len(seen['other']) > 8


# Stacks of frames.


@pytest.mark.parametrize(('num_frames', 'channels'), [(4, 1), (2, 3), (7, 1)])
@pytest.mark.parametrize(
    'window',
    [
        Window(),
        Window(length=3),
        Window(length=3, ends=('observation/image',)),
        Window(length=4, period=3, first=('observation/image',)),
        Window(length=6, period=6, cross_episodes=True),
    ],
)
def test_stacks_of_frames_are_the_same_to_the_bit_as_stored_whole(
    table_row: Row, window: Window, num_frames: int, channels: int
) -> None:
    stream = streams.stacked_stream(num_frames, channels)
    samples = []
    for stacked in (True, False):
        spec = streams.stacked_spec(num_frames, channels, stacked)
        # A capacity at which rows leave: the frames before the oldest item must stay.
        table = table_row.make(
            replay_all(window, 30), RowSpec(spec, streams.ACTION, streams.EXTRAS), 5, 0
        )
        feed(table, stream, 0, 60)
        samples.append(unpacked(table.draw().samples))
    assert np.asarray(samples[0].steps.mask).any()
    for (path, leaf), (_, other) in zip(leaf_paths(samples[0]), leaf_paths(samples[1])):
        assert np.asarray(leaf).dtype == np.asarray(other).dtype
        np.testing.assert_array_equal(leaf, other, err_msg=path)


# Refusals.


def test_an_unknown_path_is_refused_with_the_known_ones(table_row: Row) -> None:
    with pytest.raises(ValueError, match=r"Window.ends must name .*'extras/value'.* got 'pixels'"):
        make(table_row, replay_all(Window(ends=('pixels',))), 1)
    with pytest.raises(ValueError, match=r"Window.first must name .* got 'extras/core'"):
        make(table_row, replay_all(Window(first=('extras/core',))), 1)
    both = Window(ends=('observation',), first=('observation/image',))
    with pytest.raises(ValueError, match=r"must not share leaves, got \['observation/image'\]"):
        make(table_row, replay_all(both), 1)


def test_rows_that_do_not_fit_the_spec_are_refused_by_name(table_row: Row) -> None:
    stream = streams.make_stream(streams.step_types([[5]], 4))
    timestep, action, extras, version = stream.at(0)
    observation = {**timestep.observation, 'image': timestep.observation['image'][:, :2]}
    table = make(table_row, replay_all(Window()), 1)
    with pytest.raises(ValueError, match=r'observation/image must have shape \(1, 3, 2\), got'):
        table.observe(timestep._replace(observation=observation))
    observation = {**timestep.observation, 'image': timestep.observation['image'] / 255}
    with pytest.raises(ValueError, match=r'observation/image must have dtype uint8, got float'):
        table.observe(timestep._replace(observation=observation))
    with pytest.raises(ValueError, match='must have the leaves'):
        table.observe(timestep._replace(observation=timestep.observation['image']))
    table.observe(timestep)
    with pytest.raises(ValueError, match='must have the leaves'):
        table.act(action, {}, version)
    table.act(action, extras, version)


def test_observations_that_are_no_stacks_are_refused(table_row: Row) -> None:
    if table_row.compiled:
        pytest.skip('stacks are stored whole, whatever they are')
    stream = streams.stacked_stream(4, 1)
    image = stream.timestep.observation['image']
    spec = streams.stacked_spec(4, 1, stacked=True)
    for tick, types in ((0, FIRST), (2, 1)):
        broken = image.copy()
        broken[tick, 0, :, :, 0] += 1
        assert stream.timestep.step_type[tick, 0] == types
        observation = {**stream.timestep.observation, 'image': broken}
        bad = stream._replace(timestep=TimeStep(*stream.timestep[:3], observation))
        table = table_row.make(
            replay_all(Window()), RowSpec(spec, streams.ACTION, streams.EXTRAS), 5, 0
        )
        with pytest.raises(ValueError, match='observation/image must be a stack of 4 frames'):
            feed(table, bad, 0, tick + 1)
