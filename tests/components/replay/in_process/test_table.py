"""The in-process table: what it keeps, and its checkpoints."""

import itertools
import json
from typing import Any

import jax
import numpy as np
import pytest
from dm_env import specs

from culmen.components.dispatch import unpacked
from culmen.components.replay import InProcessTable
from culmen.components.replay import RowSpec
from culmen.core import Dataset
from culmen.core import EnvironmentSpec
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import StackedArray
from culmen.core import Window
from culmen.core.experience import mirror
from culmen.core.experience import tables
from culmen.core.experience import unmirror
from culmen.core.specs import leaf_paths
from culmen.core.types import TimeStep
from tests.components.replay import streams

EXPERIENCES = {
    'uniform': Replay(Window(), 40, 5, 8, 4.0),
    'prioritised': Replay(Window(length=3), 40, 5, 8, 4.0, priority_exponent=0.6),
    'whole episodes': Replay(Window(length=30, period=30), 6, 1, 2, 1.0),
    'ends': Replay(Window(length=4, period=2, ends=('observation',)), 30, 5, 8, 2.0),
    'all': Replay(Window(length=2), 12, 1, 1, 0.1, draw='all'),
    'queue': Queue(Window(length=4, period=4, cross_episodes=True)),
    'queue of a number': Queue(Window(length=3), batch_size=4),
    'dict': {
        'a': Queue(Window(length=2, period=2, cross_episodes=True), max_size=1000),
        'b': Replay(Window(length=5, period=3), 20, 2, 4, 8.0, priority_exponent=1.0),
    },
}


def make(experience: Any, num_frames: int = 1, seed: int = 7) -> InProcessTable:
    spec = streams.stacked_spec(num_frames, 1, True) if num_frames > 1 else streams.SPEC
    return InProcessTable(experience, RowSpec(spec, streams.ACTION, streams.EXTRAS), 5, seed)


def observe(table: InProcessTable, experience: Any, stream: streams.Stream, tick: int) -> list[Any]:
    """Observes and draws what is due; new priorities are a function of what is drawn."""
    table.observe(stream.at(tick)[0])
    draws = []
    while table.due():
        draws.append(table.draw())
        samples = unmirror(experience, unpacked(draws[-1].samples))
        priorities = {
            name: _priorities(samples[name]) if getattr(kind, 'prioritised', False) else None
            for name, kind in tables(experience).items()
        }
        table.update_priorities(draws[-1].keys, mirror(experience, priorities))
    return draws


def _priorities(sample: Any) -> np.ndarray:
    where = np.asarray(sample.steps.observation['where'])
    return 0.1 + where[:, 0].sum(axis=1).astype(np.float32) % 5


def run(table: InProcessTable, experience: Any, stream: streams.Stream, ticks: range) -> list[Any]:
    draws = []
    for tick in ticks:
        draws += observe(table, experience, stream, tick)
        table.act(*stream.at(tick)[1:])
    return draws


def assert_same_draws(one: list[Any], other: list[Any]) -> None:
    assert len(one) == len(other) > 0
    for a, b in zip(one, other):
        for (path, leaf), (_, expected) in zip(leaf_paths(unpacked(a)), leaf_paths(unpacked(b))):
            np.testing.assert_array_equal(leaf, expected, err_msg=path)


def through_a_file(state: Any) -> Any:
    """A state as a checkpoint keeps it: arrays by themselves, the rest as JSON."""
    if isinstance(state, dict):
        return {key: through_a_file(value) for key, value in state.items()}
    if isinstance(state, np.ndarray):
        assert state.dtype != object
        return state.copy()
    return json.loads(json.dumps(state))


@pytest.mark.parametrize('name', list(EXPERIENCES))
@pytest.mark.parametrize('between', [False, True], ids=['after act', 'between observe and act'])
@pytest.mark.parametrize('num_frames', [1, 4])
def test_a_restored_table_goes_on_to_the_bit(name: str, between: bool, num_frames: int) -> None:
    experience = EXPERIENCES[name]
    types = streams.step_types(streams.EPISODES, 150)
    stream = streams.make_stream(types)
    if num_frames > 1:
        stream = streams.stacked_stream(num_frames, 1, num_ticks=150)
    unbroken = make(experience, num_frames)
    run(unbroken, experience, stream, range(90))
    observe(unbroken, experience, stream, 90)
    if not between:
        unbroken.act(*stream.at(90)[1:])
    state = through_a_file(unbroken.get_state())
    first, stop = unbroken.live_ticks()
    assert stop == 91 - between
    # Rows in pieces of odd sizes.
    cuts = [first, first + 1, *range(first + 8, stop, 7), stop]
    pieces = [(a, unbroken.read_rows(a, b)) for a, b in itertools.pairwise(cuts)]
    restored = make(experience, num_frames, seed=8)
    restored.set_state(state, iter(pieces))
    draws = []
    for table in (unbroken, restored):
        if between:
            table.act(*stream.at(90)[1:])
        draws.append(run(table, experience, stream, range(91, 150)))
    assert_same_draws(*draws)


LOST = {'a piece': [(84, 86)], 'the newest': [(85, 91)], 'two': [(60, 66), (84, 88)]}
ONE_LOST = ('a piece', 'the newest')


def save(table: InProcessTable, lost: list[tuple[int, int]]) -> tuple[Any, list[Any]]:
    """(state, rows in pieces but those that are lost)."""
    first, stop = table.live_ticks()
    cuts = sorted({first, stop, *(t for each in lost for t in each if first < t < stop)})
    pieces = [(a, b) for a, b in itertools.pairwise(cuts) if not any(c <= a < d for c, d in lost)]
    rows = [(a, table.read_rows(a, b)) for a, b in pieces]
    return through_a_file(table.get_state()), rows


def drawn(experience: Any, draws: list[Any]) -> dict[str, list[Any]]:
    """What was drawn of each table, in order: ((lane, start), leaves)."""
    found: dict[str, list[Any]] = {name: [] for name in tables(experience)}
    for draw in draws:
        for name, sample in unmirror(experience, unpacked(draw.samples)).items():
            rows = streams.rows_of(sample)
            real = np.asarray(sample.probability) > 0
            found[name] += [row for row, is_real in zip(rows, real) if is_real]
    return found


@pytest.mark.parametrize(
    'lost', ['two', *(pytest.param(each, marks=pytest.mark.slow) for each in ONE_LOST)]
)
@pytest.mark.parametrize(
    ('name', 'num_frames'),
    [*((name, 1) for name in EXPERIENCES), ('uniform', 4), ('queue of a number', 4)],
)
def test_items_that_need_lost_rows_are_dropped_and_all_others_stay(
    name: str, lost: str, num_frames: int
) -> None:
    experience, gone = EXPERIENCES[name], LOST[lost]
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 150))
    if num_frames > 1:
        stream = streams.stacked_stream(num_frames, 1, num_ticks=150)
    types = stream.timestep.step_type
    unbroken, restored = make(experience, num_frames), make(experience, num_frames)
    before = run(unbroken, experience, stream, range(91))
    before += observe(unbroken, experience, stream, 91)
    state, rows = save(unbroken, gone)
    dropped = restored.set_state(state, rows, gone)
    draws = []
    for table in (unbroken, restored):
        table.act(*stream.at(91)[1:])
        draws.append(run(table, experience, stream, range(92, 150)))
    earlier, (went_on, resumed) = drawn(experience, before), (drawn(experience, d) for d in draws)
    expected = 0
    for key, kind in tables(experience).items():
        items = streams.cut(types, kind.window)
        is_lost = {(i.lane, i.start): streams.needs(i, types, gone, num_frames) for i in items}
        waiting = [i for i in items if (i.tick, i.phase) <= (91, streams.OBSERVE)]
        if isinstance(kind, Queue):
            taken = {place for place, *_ in earlier[key]}
            waiting = [i for i in waiting if (i.lane, i.start) not in taken]
            for lane in range(5):  # what is left comes in the order in which it would have come
                old, new = (
                    [place for place, *_ in each[key] if place[0] == lane]
                    for each in (went_on, resumed)
                )
                old = [place for place in old if not is_lost[place]]
                assert len(new) > 3
                assert old[: len(new)] == new[: len(old)]
        else:
            waiting = waiting[-kind.capacity :]
            kept = [i for i in waiting if not is_lost[i.lane, i.start]]
            later = [i for i in items if (i.tick, i.phase) > (91, streams.OBSERVE)]
            no_window_was_open = not any(is_lost[i.lane, i.start] for i in later)
            if len(kept) >= kind.min_size and no_window_was_open:
                assert len(draws[0]) == len(draws[1]) > 0
        expected += sum(is_lost[i.lane, i.start] for i in waiting)
        by_place = {(i.lane, i.start): i for i in items}
        assert resumed[key]
        assert not any(is_lost[place] for place, *_ in resumed[key])
        for place, leaves in {place: leaves for place, leaves, _ in resumed[key]}.items():
            streams.assert_same_item(
                leaves, streams.content(stream, by_place[place], kind.window)[0]
            )
    assert dropped == expected
    assert dropped > 0 or name not in ('uniform', 'prioritised')


@pytest.mark.parametrize('name', ['all', 'queue of a number', 'prioritised'])
def test_a_table_that_lost_rows_is_saved_and_restored_to_the_bit(name: str) -> None:
    experience, gone = EXPERIENCES[name], LOST['two']
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 150))
    unbroken = make(experience)
    run(unbroken, experience, stream, range(91))
    observe(unbroken, experience, stream, 91)
    table, again = make(experience), make(experience, seed=8)
    table.set_state(*save(unbroken, gone), gone)
    table.act(*stream.at(91)[1:])
    run(table, experience, stream, range(92, 100))
    observe(table, experience, stream, 100)
    assert again.set_state(*save(table, gone), gone) == 0
    draws = []
    for each in (table, again):
        each.act(*stream.at(100)[1:])
        draws.append(run(each, experience, stream, range(101, 150)))
    assert_same_draws(*draws)


def test_with_few_items_left_a_table_waits_for_its_least_as_at_its_beginning() -> None:
    replay = Replay(Window(), 1000, min_size=20, batch_size=4, samples_per_insert=4.0)
    stream = streams.make_stream(streams.step_types([[1000]], 100))
    whole = InProcessTable(replay, streams.ROW_SPEC, 1, 0)
    table = InProcessTable(replay, streams.ROW_SPEC, 1, 0)
    updates = [len(observe(whole, replay, stream, 0))]
    for tick in range(1, 60):
        whole.act(*stream.at(tick - 1)[1:])
        updates.append(len(observe(whole, replay, stream, tick)))
    assert updates == [0] * 21 + [1] * 39
    assert table.set_state(*save(whole, [(0, 55)]), [(0, 55)]) == 55
    updates = []
    for tick in range(60, 90):
        table.act(*stream.at(tick - 1)[1:])
        updates.append(len(observe(table, replay, stream, tick)))
    assert updates == [0] * 16 + [1] * 14  # 4 are left: from the 20th on each item is an update


def test_the_state_shares_no_memory_with_the_table() -> None:
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 120))
    experience = EXPERIENCES['prioritised']
    table = make(experience)
    run(table, experience, stream, range(60))
    state = table.get_state()
    before = through_a_file(state)
    rows = table.read_rows(*table.live_ticks())
    rows_before = through_a_file(rows)
    run(table, experience, stream, range(60, 120))
    for (path, leaf), (_, old) in zip(leaf_paths((state, rows)), leaf_paths((before, rows_before))):
        np.testing.assert_array_equal(leaf, old, err_msg=path)


def test_rows_saved_before_are_the_same_when_read_again() -> None:
    # A checkpoint reads only what is new; what it read before must still be true.
    stream = streams.stacked_stream(4, 1, num_ticks=120)
    table = make(EXPERIENCES['uniform'], num_frames=4)
    saved: dict[int, Any] = {}
    reached = 0
    for tick in range(0, 120, 10):
        run(table, EXPERIENCES['uniform'], stream, range(tick, tick + 10))
        first, stop = table.live_ticks()
        for t in range(max(first, reached), stop):
            saved[t] = table.read_rows(t, t + 1)
        reached = stop
        rows = table.read_rows(first, stop)
        for t in range(first, stop):
            for path, leaf in rows.items():
                np.testing.assert_array_equal(leaf[t - first], saved[t][path][0], err_msg=path)
    assert len(saved) == 120
    assert stop - first < 60  # the old ones have left


def test_draws_follow_the_seed_and_the_name_of_the_table() -> None:
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 40))
    replay = EXPERIENCES['uniform']

    def keys(experience: Any, seed: int) -> Any:
        return run(make(experience, seed=seed), experience, stream, range(40))[-1].keys

    np.testing.assert_array_equal(keys(replay, 1), keys(replay, 1))
    assert not np.array_equal(keys(replay, 1), keys(replay, 2))
    both = keys({'a': replay, 'b': replay}, 1)
    assert not np.array_equal(both['a'], both['b'])


def test_short_episodes_make_the_rings_grow_and_nothing_else_does() -> None:
    # Two rows an item: more ticks than a capacity of items in long episodes spans.
    replay = Replay(Window(), 2000, 1, 64, 1e-9)
    shape = EnvironmentSpec(
        specs.Array((2,), np.int32),
        specs.DiscreteArray(2),
        specs.Array((), np.float32),
        specs.Array((), np.float32),
    )
    sizes = []
    # In the last one the rings wrap before they grow, and rows from before are still drawn.
    for episodes in ([1000], [1], [1000] * 4 + [1] * 5000):
        table = InProcessTable(replay, RowSpec(shape, jax.ShapeDtypeStruct((), np.int32), ()), 1, 0)
        types = streams.step_types([episodes], 5_000)
        one = np.ones(1, np.float32)
        for tick in range(5_000):
            table.observe(TimeStep(types[tick], one, one, np.array([[tick, 0]], np.int32)))
            table.act(np.array([1], np.int32), (), 0)
        sizes.append(table.nbytes)
        steps = [unpacked(table.draw().samples).steps for _ in range(200)]
        starts = np.concatenate([of_draw.observation[:, 0, 0] for of_draw in steps])
        types_drawn = np.concatenate([of_draw.step_type for of_draw in steps])
        np.testing.assert_array_equal(types_drawn[:, 0], types[starts, 0])
        assert set(starts.tolist()) <= {i.start for i in streams.cut(types, Window())[-2000:]}
        assert len(set(starts.tolist())) > 1900
    # A row is seven words: two of the observation, action, reward, discount, step type, version.
    assert 2000 * 28 < sizes[0] < 2000 * 1.25 * 28
    assert sizes[1:] == [2 * sizes[0]] * 2


def test_many_lanes_share_the_capacity() -> None:
    replay = Replay(Window(), 1_000_000, 1, 64, 1.0)
    one, fifty = (
        InProcessTable(replay, streams.ROW_SPEC, num_lanes, 0).nbytes for num_lanes in (1, 50)
    )
    assert 0.99 < fifty / one < 1.01


def test_each_frame_is_stored_once() -> None:
    stream = streams.stacked_stream(4, 1, num_ticks=9)
    experience = EXPERIENCES['uniform']
    stored = []
    for stacked in (True, False):
        spec = streams.stacked_spec(4, 1, stacked)
        table = InProcessTable(experience, RowSpec(spec, streams.ACTION, streams.EXTRAS), 5, 0)
        run(table, experience, stream, range(9))
        stored.append(table.read_rows(0, 9)['observation/image'])
    assert [images.shape for images in stored] == [(9, 5, 3, 2, 1), (9, 5, 3, 2, 4)]
    np.testing.assert_array_equal(stored[0], stored[1][..., -1:])
    # Memory is that of what is stored.
    sizes = []
    for stacked in (True, False):
        image = (84, 84, 4), np.uint8, 0, 255
        image = StackedArray(*image, 4) if stacked else specs.BoundedArray(*image)
        spec = streams.SPEC._replace(observation=image)
        table = InProcessTable(experience, RowSpec(spec, streams.ACTION, streams.EXTRAS), 5, 0)
        sizes.append(table.nbytes)
    assert sizes[0] < 0.27 * sizes[1]


# Refusals.


def test_a_dataset_is_refused() -> None:
    with pytest.raises(ValueError, match=r'got a Dataset: a Dataset is read by a DatasetReader'):
        make({'online': EXPERIENCES['uniform'], 'demos': Dataset(Window(), 'folder', 4)})


def test_calls_out_of_turn_are_refused() -> None:
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 3))
    table = make(EXPERIENCES['uniform'])
    timestep, action, extras, version = stream.at(0)
    with pytest.raises(RuntimeError, match='act was called before observe'):
        table.act(action, extras, version)
    table.observe(timestep)
    with pytest.raises(RuntimeError, match='observe was called twice'):
        table.observe(timestep)
    table.act(action, extras, version)
    with pytest.raises(ValueError, match=r'rows must be read within \[0, 1\), got \[0, 2\)'):
        table.read_rows(0, 2)


def test_a_checkpoint_of_another_experiment_is_refused_by_field() -> None:
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 30))
    table = make(EXPERIENCES['uniform'])
    run(table, EXPERIENCES['uniform'], stream, range(30))
    state = table.get_state()
    first, stop = table.live_ticks()
    rows = table.read_rows(first, stop)
    image = rows['observation/image'][..., :1]

    def restore(name: str, start: int, arrays: Any) -> None:
        make(EXPERIENCES[name]).set_state(state, [(start, arrays)])

    with pytest.raises(ValueError, match=r"'observation/image' must be uint8\[5, 3, 2\] a tick"):
        restore('uniform', first, {**rows, 'observation/image': image})
    fewer = {path: leaf for path, leaf in rows.items() if path != 'reward/own'}
    with pytest.raises(ValueError, match=r"checkpoint field 'reward/own' is missing"):
        restore('uniform', first, fewer)
    with pytest.raises(ValueError, match=r"checkpoint field 'extra' is unknown"):
        restore('uniform', first, {**rows, 'extra': image})
    later = table.read_rows(first + 1, stop)
    with pytest.raises(ValueError, match=r'checkpoint rows must reach from tick .* got up to'):
        restore('uniform', first + 1, later)
    with pytest.raises(ValueError, match=r"checkpoint field 'tables' must have \['a', 'b'\]"):
        restore('dict', first, rows)
    with pytest.raises(ValueError, match=r"checkpoint field 'lengths' of experience must have"):
        restore('prioritised', first, rows)
    smaller = make(Replay(Window(), 10, 5, 8, 4.0))
    with pytest.raises(ValueError, match=r"checkpoint field 'codes' of experience must have shape"):
        smaller.set_state(state, [(first, rows)])


@pytest.mark.parametrize('num_frames', [1, 4])
@pytest.mark.parametrize('name', list(EXPERIENCES))
def test_a_batch_is_the_same_inside_a_compiled_call(name: str, num_frames: int) -> None:
    experience = EXPERIENCES[name]
    stream = streams.make_stream(streams.step_types(streams.EPISODES, 60))
    if num_frames > 1:
        stream = streams.stacked_stream(num_frames, 1, num_ticks=60)
    draws = run(make(experience, num_frames), experience, stream, range(60))
    traced = []

    @jax.jit
    def inside(samples):
        traced.append(samples)
        return unpacked(samples)

    for draw in draws[-3:]:
        outside = leaf_paths(unpacked(draw.samples))
        assert len(outside) > 10
        for (path, leaf), (_, expected) in zip(leaf_paths(inside(draw.samples)), outside):
            np.testing.assert_array_equal(leaf, expected, err_msg=path)
            assert (leaf.shape, leaf.dtype) == (expected.shape, expected.dtype), path
    assert len(traced) == 1  # also where some windows are short and some are not


@pytest.mark.parametrize('shape', [(), (3,), (2, 3)])
@pytest.mark.parametrize(
    'dtype', ['bool', 'int8', 'uint8', 'int16', 'uint16', 'float16', 'int32', 'uint32', 'float64']
)
def test_observations_of_any_dtype_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 256, (30, 1, *shape, np.dtype(dtype).itemsize), np.uint8)
    if dtype in ('bool', 'float16', 'float64'):
        values = values[..., :1].astype(dtype)[..., 0]
    else:
        values = values.view(dtype)[..., 0]
    scalar = specs.Array((), np.float32)
    spec = EnvironmentSpec(specs.Array(shape, dtype), specs.DiscreteArray(2), scalar, scalar)
    one, action = np.ones(1, np.float32), jax.ShapeDtypeStruct((), np.int32)
    table = InProcessTable(
        Replay(Window(), 100, 1, 1, 1.0, draw='all'), RowSpec(spec, action, ()), 1, 0
    )
    types = streams.step_types([[29]], 30)
    for tick in range(30):
        table.observe(TimeStep(types[tick], one, one, values[tick]))
        table.act(np.zeros(1, np.int32), (), 0)
    batch = table.draw().samples
    steps = unpacked(batch).steps
    assert steps.observation.dtype == dtype
    np.testing.assert_array_equal(steps.observation[:29, 0], values[:29, 0])
    np.testing.assert_array_equal(steps.observation[:29, 1], values[1:, 0])
    if np.dtype(dtype).itemsize <= 4:
        compiled = jax.jit(unpacked)(batch).steps.observation
        assert compiled.dtype == dtype
        np.testing.assert_array_equal(compiled, steps.observation)
