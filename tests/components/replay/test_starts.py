"""`Window.start` in every table: windows that begin where a row says so."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from culmen.components.checkpointing import from_paths
from culmen.components.checkpointing import to_paths
from culmen.components.dispatch import unpacked
from culmen.components.replay import DatasetReader
from culmen.components.replay import InProcessTable
from culmen.components.replay import RowSpec
from culmen.components.replay import fold
from culmen.components.replay import sample_spec
from culmen.components.replay.device import masking
from culmen.components.replay.device import saving
from culmen.components.replay.stream.starts import StartCutter
from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import MID
from culmen.core import Dataset
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from tests.components.replay import streams
from tests.components.replay.device.table import DeviceTable
from tests.components.replay.recording.recordings import of_lanes
from tests.components.replay.registry import NAMES
from tests.components.replay.registry import TABLES
from tests.components.replay.stream.test_windows import cut
from tests.components.replay.test_tables import all_items
from tests.components.replay.test_tables import feed
from tests.components.replay.test_tables import replay_all

OBSERVED, DECIDED = 'observation/begins', 'extras/begins'
SPEC = streams.SPEC._replace(
    observation={**streams.SPEC.observation, 'begins': specs.Array((), np.bool_)}
)
ROW_SPEC = RowSpec(
    SPEC, streams.ACTION, {**streams.EXTRAS, 'begins': jax.ShapeDtypeStruct((), np.bool_)}
)


def make_stream(types: np.ndarray, share: float = 0.3, seed: int = 0) -> streams.Stream:
    """A stream whose observations and extras say where windows begin, at a share of its rows."""
    stream = streams.make_stream(types, seed)
    observed, decided = np.random.default_rng(seed).random((2, *types.shape)) < share
    observation = {**stream.timestep.observation, 'begins': observed}
    return stream._replace(
        timestep=stream.timestep._replace(observation=observation),
        extras={**stream.extras, 'begins': decided},
    )


def begins_of(stream: streams.Stream, path: str) -> np.ndarray:
    given = stream.extras if path == DECIDED else stream.timestep.observation
    begins: np.ndarray = given['begins']
    return begins


def items_of(stream: streams.Stream, window: Window) -> list[streams.Item]:
    return streams.cut(stream.timestep.step_type, window, begins_of(stream, window.start or ''))


# The cutter.

lengths = st.lists(st.integers(-6, 12).filter(bool), min_size=1, max_size=4)


@given(
    episodes=st.lists(lengths, min_size=1, max_size=4),
    length=st.integers(1, 9),
    share=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    saved_at=st.integers(0, 50),
)
def test_the_cutter_agrees_with_the_definition_also_when_saved_in_the_middle(
    episodes: Any, length: int, share: float, saved_at: int
) -> None:
    window = Window(length, start=OBSERVED)
    stream = make_stream(streams.step_types(episodes, 50), share)
    types, begins = stream.timestep.step_type, begins_of(stream, OBSERVED)

    class Told(StartCutter):
        """Is told where windows begin as it is given step types."""

        def observe(self, step_type: Any) -> Any:
            super().observe(step_type)
            self.mark(begins[self.get_state()['tick']])

    cutter = Told(window, len(episodes))
    found = cut(cutter, types[:saved_at])
    state = cutter.get_state()
    cut(cutter, types[saved_at:])  # what is saved does not follow
    restored = Told(window, len(episodes))
    restored.set_state(state)
    found += cut(restored, types[saved_at:], saved_at)
    assert found == items_of(stream, window)


def test_by_hand() -> None:
    # One lane; windows of at most three transitions. The second ends at LAST, the fourth has no end yet.
    types = [FIRST, MID, MID, MID, LAST, FIRST, MID, MID, MID, MID, MID]
    begins = [True, False, True, False, True, False, True, False, False, False, True]
    cutter = StartCutter(Window(3, start=OBSERVED), 1)
    found = []
    for tick, (step_type, begin) in enumerate(zip(types, begins)):
        assert cutter.observe(np.array([step_type])) is None
        cutter.mark(np.array([begin]))
        items = cutter.act()
        if items is not None:
            found.append((tick, *(int(leaf[0]) for leaf in items)))
    assert found == [(2, 0, 0, 2), (4, 0, 2, 2), (9, 0, 6, 3)]


# Tables.


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(
    'window',
    [
        Window(4, start=OBSERVED),
        Window(3, start=DECIDED, fields=('observation', 'reward'), ends=('observation/image',)),
        Window(1, start=DECIDED),
    ],
    ids=['observed', 'decided', 'transitions'],
)
def test_items_are_those_of_the_definition(name: str, window: Window) -> None:
    stream = make_stream(streams.step_types(streams.EPISODES, 70))
    table = TABLES[name].make(replay_all(window), ROW_SPEC, 5, 0)
    feed(table, stream, 0, 70)
    expected = items_of(stream, window)
    actual = all_items(table)
    assert [place for place, _, _ in actual] == [(item.lane, item.start) for item in expected]
    assert {item.length for item in expected} == set(range(1, window.length + 1))
    for item, (_, leaves, version) in zip(expected, actual):
        content, expected_version = streams.content(stream, item, window)
        streams.assert_same_item(leaves, content)
        assert version == expected_version


@settings(max_examples=15)
@given(
    episodes=st.lists(lengths, min_size=1, max_size=4),
    length=st.integers(1, 9),
    share=st.sampled_from([0.05, 0.3, 1.0]),
    capacity=st.integers(1, 30),
)
@pytest.mark.parametrize('name', NAMES)
def test_any_stream_gives_the_newest_items_of_the_definition(
    name: str, episodes: Any, length: int, share: float, capacity: int
) -> None:
    window = Window(length, start=OBSERVED)
    stream = make_stream(streams.step_types(episodes, 40), share)
    table = TABLES[name].make(replay_all(window, capacity), ROW_SPEC, len(episodes), 0)
    feed(table, stream, 0, 40)
    expected = items_of(stream, window)[-capacity:]
    if not expected:
        return
    actual = all_items(table)
    assert [place for place, _, _ in actual] == [(item.lane, item.start) for item in expected]
    for item, (_, leaves, _) in zip(expected, actual):
        streams.assert_same_item(leaves, streams.content(stream, item, window)[0])


@pytest.mark.parametrize('name', NAMES)
def test_a_window_that_the_next_cuts_short_bootstraps_from_the_row_of_its_start(name: str) -> None:
    types = np.array([[FIRST], [MID], [MID], [MID]])
    stream = make_stream(types, share=0)
    begins_of(stream, OBSERVED)[[0, 2], 0] = True
    table = TABLES[name].make(replay_all(Window(4, start=OBSERVED)), ROW_SPEC, 1, 0)
    feed(table, stream, 0, 4)
    ((_, steps, _),) = all_items(table)
    assert steps['step_type'].tolist() == [FIRST, MID, MID, MID, MID]  # the episode goes on
    assert steps['mask'].tolist() == [True, True, False, False]
    assert steps['observation/where'][:, 0].tolist() == [0, 1, 2, 2, 2]
    assert steps['discount'].tolist() == [*stream.timestep.discount[:3, 0].tolist(), 0.0, 0.0]
    # The row of the next start was acted on, as that of LAST is; the padding after it has no action.
    assert steps['extras/value'].tolist() == [*stream.extras['value'][:3, 0].tolist(), 0.0]
    batch = unpacked(table.draw().samples).steps
    folded = fold(batch, 0.9)
    own, discount = stream.timestep.reward['own'][:, 0], stream.timestep.discount[:, 0]
    np.testing.assert_allclose(folded.r_t['own'][0], own[1] + 0.9 * discount[1] * own[2], rtol=1e-6)
    np.testing.assert_allclose(folded.discount_t[0], 0.81 * discount[1] * discount[2], rtol=1e-6)
    assert folded.o_t['where'][0].tolist() == [2, 0]


@pytest.mark.parametrize('name', NAMES)
def test_a_queue_gives_each_window_once_in_order_and_the_rate_counts_items(name: str) -> None:
    window = Window(3, start=DECIDED)
    stream = make_stream(streams.step_types(streams.EPISODES, 60))
    items = items_of(stream, window)
    experience = {
        'queue': Queue(window, 3, max_size=1000),
        'replay': Replay(window, 20, 6, 2, samples_per_insert=2.0),
    }
    for kind in ('queue', 'replay'):
        table = TABLES[name].make(experience[kind], ROW_SPEC, 5, 0)
        drawn, num_draws = [], 0
        for tick in range(60):
            timestep, action, extras, version = stream.at(tick)
            table.observe(timestep)
            while table.due():
                num_draws += 1
                drawn += streams.rows_of(unpacked(table.draw().samples))
            num = sum(
                item.tick < tick for item in items
            )  # a window appears as its last row is closed
            allowed = num // 3 if kind == 'queue' else max(num - 6, 0) * 2 // 2
            assert num_draws == allowed, (kind, tick)
            table.act(action, extras, version)
        if kind == 'queue':
            places = [(item.lane, item.start) for item in items]
            assert [place for place, _, _ in drawn] == places[: len(drawn)]
            assert len(drawn) > 20


@pytest.mark.parametrize('name', NAMES)
def test_items_come_as_rarely_as_they_like(name: str) -> None:
    window = Window(2, start=OBSERVED)
    stream = make_stream(streams.step_types([[1000], [1000]], 400), share=0)
    begins_of(stream, OBSERVED)[[3, 170, 171, 172, 390], [0, 1, 1, 1, 0]] = True
    table = TABLES[name].make(replay_all(window, 3), ROW_SPEC, 2, 0)
    feed(table, stream, 0, 400)
    assert [place for place, _, _ in all_items(table)] == [(1, 171), (1, 172), (0, 390)]
    for (lane, start), leaves, _ in all_items(table):
        item = next(i for i in items_of(stream, window) if (i.lane, i.start) == (lane, start))
        streams.assert_same_item(leaves, streams.content(stream, item, window)[0])


def test_a_dataset_has_the_windows_of_every_table() -> None:
    stream = make_stream(streams.step_types(streams.EPISODES, 40))
    for path in (OBSERVED, DECIDED):
        window = Window(4, start=path, fields=('observation/where', 'reward'))
        dataset = Dataset(window, lambda: of_lanes(stream), 500)
        reader = DatasetReader(dataset, ROW_SPEC, 0)
        expected = {(item.lane, item.start): item for item in items_of(stream, window)}
        rows = streams.rows_of(unpacked(reader.draw().samples), recorded=True)
        assert {place for place, _, _ in rows} == set(expected)
        for place, leaves, _ in rows:
            content, _ = streams.content(stream, expected[place], window)
            streams.assert_same_item(leaves, content)


@pytest.mark.parametrize('between', [False, True], ids=['after act', 'between observe and act'])
@pytest.mark.parametrize('path', [OBSERVED, DECIDED])
def test_a_restored_table_goes_on_to_the_bit(path: str, between: bool) -> None:
    window = Window(6, start=path)
    replay = Replay(window, 10, 1, 4, 4.0)
    stream = make_stream(streams.step_types(streams.EPISODES, 120), share=0.2)
    unbroken = InProcessTable(replay, ROW_SPEC, 5, 0)
    feed(unbroken, stream, 0, 60)
    unbroken.observe(stream.at(60)[0])
    if not between:
        unbroken.act(*stream.at(60)[1:])
    first, stop = unbroken.live_ticks()
    restored = InProcessTable(replay, ROW_SPEC, 5, 8)
    restored.set_state(unbroken.get_state(), [(first, unbroken.read_rows(first, stop))])
    draws: list[Any] = []
    for table in (unbroken, restored):
        if between:
            table.act(*stream.at(60)[1:])
        feed(table, stream, 61, 120)
        draws.append([unpacked(table.draw().samples) for _ in range(5)])
    for one, other in zip(*map(jax.tree_util.tree_leaves, draws)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('num_frames', [1, 4])
def test_windows_that_need_lost_rows_are_dropped_and_all_others_stay(num_frames: int) -> None:
    window = Window(6, start='extras/begins')
    stream = streams.stacked_stream(num_frames, 1, num_ticks=120)
    begins = np.random.default_rng(0).random(stream.timestep.step_type.shape) < 0.25
    stream = stream._replace(extras={**stream.extras, 'begins': begins})
    rows = RowSpec(
        streams.stacked_spec(num_frames, 1, stacked=num_frames > 1), streams.ACTION, ROW_SPEC.extras
    )
    unbroken, restored = (InProcessTable(replay_all(window), rows, 5, 0) for _ in range(2))
    feed(unbroken, stream, 0, 60)
    lost = [(40, 44), (55, 60)]
    kept = [(0, 40), (44, 55)]
    dropped = restored.set_state(
        unbroken.get_state(), [(a, unbroken.read_rows(a, b)) for a, b in kept], lost
    )
    feed(restored, stream, 60, 120)
    types = stream.timestep.step_type
    items = streams.cut(types, window, begins)
    whole = [i for i in items if not streams.needs(i, types, lost, num_frames)]
    actual = [place for place, _, _ in all_items(restored)]
    # A window that began after the loss may be dropped with its stack; no other is.
    assert set(actual) == {(i.lane, i.start) for i in whole}
    assert dropped == sum(i.tick < 60 for i in items) - sum(i.tick < 60 for i in whole) > 0


# On the device.


@pytest.mark.slow
def test_a_priority_function_sees_the_windows_of_a_tick_on_the_device() -> None:
    def priority(steps: Any) -> Any:
        return jnp.sum(steps.mask, axis=1) + steps.observation['where'][:, 0, 0] % 3

    window = Window(4, start=DECIDED)
    stream = make_stream(streams.step_types(streams.EPISODES, 40))
    replay = Replay(window, 500, 1, 64, 1e4, priority_exponent=1.0, priority=priority)
    table = DeviceTable(replay, ROW_SPEC, 5, 0)
    feed(table, stream, 0, 40)
    weights = {(i.lane, i.start): i.length + i.start % 3 for i in items_of(stream, window)}
    sample = table.draw().samples
    expected = [weights[place] / sum(weights.values()) for place, _, _ in streams.rows_of(sample)]
    np.testing.assert_allclose(sample.probability, expected, rtol=1e-5)
    assert not table.faults()


@pytest.mark.slow
@pytest.mark.parametrize('path', [OBSERVED, DECIDED])
def test_on_the_device_a_saved_table_goes_on_and_a_waiting_one_keeps_its_bits(path: str) -> None:
    stream = make_stream(streams.step_types(streams.EPISODES, 60))
    replay = Replay(Window(4, start=path), 12, 1, 4, 4.0, priority_exponent=0.6)
    whole, again = (DeviceTable(replay, ROW_SPEC, 5, 0) for _ in range(2))
    feed(whole, stream, 0, 30)
    whole.observe(stream.at(30)[0])
    rows = saving.SavedRows(whole.state, 30)
    assert rows.live_ticks() == (30, 30)  # all of it is in the state
    saved = to_paths(saving.open_rows(whole.state))
    opened = from_paths('tables', jax.eval_shape(saving.open_rows, whole.state), saved)
    restored = saving.with_rows(again.state, opened, 30, [])
    again.state = jax.tree_util.tree_map(jnp.asarray, restored)
    whole.state = masking.activate(whole.state, jnp.bool_(False))
    whole.act(*stream.at(30)[1:])
    feed(whole, stream, 31, 35)
    whole.state = masking.activate(whole.state, None)
    for table in (whole, again):
        table.act(*stream.at(30)[1:])
        feed(table, stream, 31, 60)
    for one, other in zip(*(jax.tree_util.tree_leaves(each.state) for each in (whole, again))):
        np.testing.assert_array_equal(one, other)
    for (lane, start), leaves, _ in streams.rows_of(again.draw().samples):
        item = next(i for i in items_of(stream, replay.window) if i[2:4] == (lane, start))
        streams.assert_same_item(leaves, streams.content(stream, item, replay.window)[0])
    # Each slab is of one item or of one lane, however many windows have come and gone.
    (items,) = again.state.items.values()
    assert len(items_of(stream, replay.window)) > 3 * replay.capacity
    slabs = [items.items.rows // 5, items.open, items.spare]
    assert sorted(np.concatenate(slabs).tolist()) == list(range(12 + 2 * 5))


# Refusals.


def test_what_does_not_go_with_starts_is_refused() -> None:
    for fields in ({'period': 2}, {'cross_episodes': True}):
        with pytest.raises(
            ValueError, match='Window.start needs period 1 and cross_episodes False'
        ):
            Window(4, start=OBSERVED, **fields)  # type: ignore[arg-type]
    window = Window(4, start=OBSERVED)
    with pytest.raises(ValueError, match='Queue.max_staleness must be None where Window.start'):
        Queue(window, 4, max_staleness=3)
    with pytest.raises(ValueError, match='Queue.batch_size must be a number where Window.start'):
        Queue(window)


@pytest.mark.parametrize('name', [*NAMES, 'dataset', 'shapes'])
@pytest.mark.parametrize('path', ['observation', 'observation/image', 'extras/value', 'begins'])
def test_a_path_that_is_not_of_one_bool_is_refused_with_those_that_are(
    name: str, path: str
) -> None:
    queue = Queue(Window(4, start=path), 4)
    known = r"\['observation/begins', 'extras/begins'\]"
    with pytest.raises(
        ValueError, match=rf'Window.start must name a leaf .* {known}, got {path!r}'
    ):
        if name == 'dataset':
            DatasetReader(Dataset(queue.window, list, 4), ROW_SPEC, 0)
        elif name == 'shapes':
            sample_spec(queue, ROW_SPEC, 1)
        else:
            TABLES[name].make(queue, ROW_SPEC, 1, 0)
