"""Waits that end, and several writers of one server."""

import time
from typing import Any

import jax
import numpy as np
import pytest

from culmen.components.dispatch import unpacked
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from tests.components.replay import streams
from tests.components.replay.served.programs import CROSSING
from tests.components.replay.served.programs import STREAM
from tests.components.replay.served.programs import places
from tests.components.replay.served.programs import size
from tests.components.replay.served.programs import wait_in_thread

# Waits end.


def test_a_waiting_writer_ends_when_it_is_stopped(make_program: Any) -> None:
    program = make_program(Replay(Window(), 1000, 1, 1, 1.0), [[3]], lead=2.0, flush_period=1)
    thread, outcome = wait_in_thread(lambda: [program.tick(0) for _ in range(20)])
    while size(program) < 3:
        time.sleep(0.01)
    thread.join(1.0)
    assert thread.is_alive()
    assert size(program) == 3
    before = program.ticks[0]
    program.stopped = True
    thread.join()
    assert not isinstance(outcome[0], Exception)
    assert before < 20 == program.ticks[0]  # after that it writes on and nobody waits
    assert not program.writers[0].flush()
    program.writers[0].close()


def test_a_waiting_writer_goes_on_when_a_batch_is_drawn(make_program: Any) -> None:
    program = make_program(Replay(Window(), 1000, 1, 1, 1.0), [[3]], lead=2.0, flush_period=1)
    thread, outcome = wait_in_thread(lambda: [program.tick(0) for _ in range(8)])
    drawn = 0
    while thread.is_alive():
        if program.reader.due():
            program.reader.draw()
            drawn += 1
        thread.join(0.01)
    assert not thread.is_alive()
    assert not isinstance(outcome[0], Exception)
    assert drawn >= 4
    assert size(program) == 7


@pytest.mark.usefixtures('chunks_of_100_rows')
def test_closing_a_writer_loses_no_item(make_program: Any) -> None:
    window = Window(length=3)
    program = make_program(
        Replay(window, 1000, 1, 1, 1.0), [[0, 1, 2]], lead=1e6, flush_period=10**6
    )
    for _ in range(37):
        program.tick(0)
    program.observe(0)  # the row is open, and items end at it
    items = streams.cut(STREAM.timestep.step_type[:38, :3], window)
    ended = [i for i in items if (i.tick, i.phase) <= (37, streams.OBSERVE)]
    assert any(i.tick == 37 for i in ended)
    assert size(program) == 0
    program.writers[0].close()
    assert size(program) == len(ended)


@pytest.mark.usefixtures('chunks_of_100_rows')
def test_items_are_stored_at_the_end_of_each_period(make_program: Any) -> None:
    program = make_program(Replay(Window(), 1000, 1, 1, 1.0), [[3]], lead=1e6, flush_period=5)
    for tick in range(1, 26):
        program.tick(0)
        assert size(program) == max(tick // 5 * 5 - 1, 0)


# Several writers.


def test_the_items_of_all_actors_are_drawn(make_program: Any) -> None:
    replay = Replay(Window(length=3), 1000, 1, 1, 1.0, draw='all')
    program = make_program(replay, [[0, 1], [2, 3, 4]], lead=1e6)
    for _ in range(30):
        for actor in (0, 1, 1) if program.ticks[1] < 50 else (0,):
            program.tick(actor)
    program.flush()
    sample = unpacked(program.reader.draw().samples)
    types = STREAM.timestep.step_type
    expected = {
        (i.lane, i.start): i
        for i in streams.cut(types[: program.ticks[1]], replay.window)
        if i.tick < program.ticks[0 if i.lane < 2 else 1]
    }
    found = streams.rows_of(sample)[: int(sample.size)]
    assert {place for place, _, _ in found} == set(expected)
    for place, leaves, _ in found:
        streams.assert_same_item(leaves, streams.content(STREAM, expected[place], replay.window)[0])


def test_a_queue_of_many_actors_is_drawn_as_windows_arrive(make_program: Any) -> None:
    program = make_program(Queue(CROSSING, batch_size=3, max_size=100), [[0], [1]])
    for actor, ticks in ((1, 9), (0, 5), (1, 4), (0, 4)):
        for _ in range(ticks):
            program.tick(actor)
    assert places(unpacked(program.reader.draw().samples)) == [(1, 0), (1, 4), (0, 0)]
    assert not program.reader.due()
    program.tick(1)
    program.tick(1)
    program.tick(1)
    program.tick(1)
    assert places(unpacked(program.reader.draw().samples)) == [(1, 8), (0, 4), (1, 12)]


@pytest.mark.parametrize('batch_size', [None, 2])
def test_an_early_window_of_a_fast_lane_is_held_back(
    make_program: Any, batch_size: int | None
) -> None:
    program = make_program(Queue(CROSSING, batch_size, max_staleness=5, max_size=5), [[0], [1]])
    for _ in range(13):
        program.tick(1)  # three windows of lane 1
    assert not program.reader.due()
    for _ in range(5):
        program.tick(0)
    assert program.reader.due()
    assert not program.reader.due(2)
    draw = program.reader.draw()
    sample = unpacked(draw.samples)
    assert places(sample) == [(0, 0), (1, 0)]
    assert int(sample.size) == 4
    for _ in range(8):
        program.tick(0)
    assert program.reader.due(2)
    assert [places(unpacked(program.reader.draw().samples)) for _ in range(2)] == [
        [(0, 4), (1, 4)],
        [(0, 8), (1, 8)],
    ]


@pytest.mark.parametrize(
    ('batch_size', 'staleness', 'max_size'),
    [(None, 0, 2), (None, 1, 2), (4, 0, 2), (3, 1, 2), (3, 2, 9), (None, None, 2), (None, 9, 3)],
)
def test_actors_that_wait_for_their_version_keep_to_the_staleness(
    make_program: Any, batch_size: int | None, staleness: int | None, max_size: int
) -> None:
    queue = Queue(CROSSING, batch_size, max_staleness=staleness, max_size=max_size)
    program = make_program(queue, [[0], [1]])
    rng = np.random.default_rng(0)
    updates, open_rows, waited = 0, [False, False], 0
    bound = max_size if staleness is None else min(staleness, max_size)
    oldest = 0
    while min(program.ticks) < 100 and max(program.ticks) < 118:
        actor = int(rng.random() < 0.8)  # actor 1 is four times as fast
        if not open_rows[actor]:
            program.observe(actor)
            open_rows[actor] = True
        if program.writers[actor].needed_version <= updates:
            program.act(actor, updates)
            open_rows[actor] = False
        else:
            waited += 1
        while program.reader.due():
            lag = updates - np.asarray(unpacked(program.reader.draw().samples).version)
            assert lag.min() >= 0
            assert lag.max() <= bound
            oldest = max(oldest, int(lag.max()))
            updates += 1
    assert waited > 0  # the fast one does wait
    assert updates >= 2 * 24 // (batch_size or 2)
    assert oldest == bound  # and not more than it must


def test_an_interrupted_lane_begins_its_window_anew(make_program: Any) -> None:
    program = make_program(Queue(CROSSING, max_staleness=0), [[0]])
    first, action, extras, _ = STREAM.at(0)
    first, action, extras = jax.tree_util.tree_map(lambda x: x[:1], (first, action, extras))
    middle = first._replace(step_type=np.array([1], np.int32))
    writer = program.writers[0]
    for timestep in (first, middle, middle, first, middle, middle, middle):
        writer.observe(timestep)
        assert writer.needed_version == 0
        writer.act(action, extras, 0)
    writer.observe(middle)
    assert program.reader.due()
    assert writer.needed_version == 1


def test_new_items_get_the_largest_priority_that_a_writer_has_heard_of(make_program: Any) -> None:
    replay = Replay(Window(), 100, 1, 4, 1e6, priority_exponent=1.0)
    program = make_program(replay, [[3]], lead=1e9, flush_period=1)
    for _ in range(3):
        program.tick(0)
    for _ in range(20):
        keys, _ = program.reader.draw()
        program.reader.update_priorities(keys, np.full(4, 8.0, np.float32))
    assert program.reader.largest_priorities == {'': 8.0}

    def probabilities() -> dict[int, float]:
        found = {}
        for _ in range(60):
            sample = unpacked(program.reader.draw().samples)
            starts = sample.steps.observation['where'][:, 0, 0]
            found |= dict(zip(starts.tolist(), sample.probability.tolist()))
        return found

    program.tick(0)  # has not heard
    assert probabilities() == pytest.approx({0: 8 / 17, 1: 8 / 17, 2: 1 / 17})
    program.writers[0].set_largest_priorities(program.reader.largest_priorities)
    program.tick(0)
    assert probabilities() == pytest.approx({0: 8 / 25, 1: 8 / 25, 2: 1 / 25, 3: 8 / 25})
