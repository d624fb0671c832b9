"""Lanes wait at FIRST in every table, so that windows within episodes keep to their staleness."""

from typing import Any

import jax
import numpy as np
import pytest

from culmen.components.dispatch import unpacked
from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import MID
from culmen.core import Queue
from culmen.core import Window
from tests.components.replay import streams
from tests.components.replay.registry import NAMES
from tests.components.replay.registry import TABLES

STREAM = streams.make_stream(streams.step_types([[3]] * 4, 260))
LENGTHS = ((19, 3), (1,), (2, 4), (3,))  # of the episodes of each lane, again and again


class Lanes:
    """Lanes with episodes of different lengths, which stay where they are while they are held."""

    def __init__(self, table: Any, lengths: Any = LENGTHS) -> None:
        self.table, self.lengths = table, lengths
        self.step_type = np.full(len(lengths), FIRST, np.int32)
        self.elapsed = [0] * len(lengths)
        self.episodes = [0] * len(lengths)
        self.tick = self.updates = self.held = 0
        self.draws: list[Any] = []  # (tick, (lane, first tick) of each window, staleness of each)

    def run(self, ticks: int) -> list[Any]:
        for _ in range(ticks):
            timestep, action, extras, _ = STREAM.at(self.tick)
            self.table.observe(timestep._replace(step_type=self.step_type.copy()))
            while self.table.due():
                sample = unpacked(self.table.draw().samples)
                stale = self.updates - np.asarray(sample.version)
                places = [place for place, _, _ in streams.rows_of(sample)]
                self.draws.append((self.tick, places, stale.tolist()))
                self.updates += 1
            self.table.act(action, extras, self.updates)
            self._step(self.table.held)
            self.tick += 1
        return self.draws

    def _step(self, held: Any) -> None:
        for lane, lengths in enumerate(self.lengths):
            if held is not None and held[lane]:
                assert self.step_type[lane] == FIRST
                self.held += 1
                continue
            if self.step_type[lane] == LAST:
                self.step_type[lane], self.elapsed[lane] = FIRST, 0
                self.episodes[lane] += 1
                continue
            self.elapsed[lane] += 1
            ends = self.elapsed[lane] == lengths[self.episodes[lane] % len(lengths)]
            self.step_type[lane] = LAST if ends else MID


def make(name: str, queue: Queue) -> Any:
    return TABLES[name].make(queue, streams.ROW_SPEC, 4, 0)


def oldest(draws: list[Any]) -> int:
    return max(max(stale) for _, _, stale in draws)


CASES = {
    # batch size, staleness, window
    'strict': (2, 0, Window(20, 20)),
    'strict, batches larger than the lanes': (6, 0, Window(20, 20)),
    'one': (1, 1, Window(20, 20)),
    'loose': (3, 2, Window(20, 20, first=('extras',))),
    'several windows an episode': (4, 1, Window(20, 5)),
}


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('name', NAMES)
def test_no_window_is_older_than_the_bound(name: str, case: str) -> None:
    batch_size, staleness, window = CASES[case]
    lanes = Lanes(make(name, Queue(window, batch_size, staleness)))
    draws = lanes.run(250)
    assert oldest(draws) == staleness
    assert lanes.held > 0
    assert min(lanes.episodes) >= 4
    if name != 'in_process':
        assert draws == Lanes(make('in_process', Queue(window, batch_size, staleness))).run(250)


def test_it_does_not_hold_by_itself() -> None:
    for staleness in (None, 40):
        lanes = Lanes(make('in_process', Queue(Window(20, 20), 2, staleness)))
        assert oldest(lanes.run(250)) > 3
        assert lanes.held == 0


@pytest.mark.parametrize('name', ['in_process', NAMES[1]])
def test_a_table_goes_on_with_the_lanes_that_wait(name: str, tmp_path: Any) -> None:
    queue = Queue(Window(20, 20), 2, 0)
    unbroken = Lanes(make(name, queue))
    unbroken.run(200)
    broken = Lanes(make(name, queue))
    broken.run(90)
    table, broken.table = broken.table, make(name, queue)
    if name == 'in_process':
        rows = [(start := table.live_ticks()[0], table.read_rows(start, table.live_ticks()[1]))]
        broken.table.set_state(table.get_state(), rows)
    else:
        table.checkpoint(tmp_path / 'saved')
        broken.table.set_state(table.get_state(), tmp_path / 'saved')
        table.close()
    assert broken.run(110) == unbroken.draws
    assert broken.held == unbroken.held


@pytest.mark.parametrize('name', NAMES)
def test_a_longer_episode_than_lanes_allow_for_is_refused(name: str) -> None:
    words = 'episodes must have at most 18 steps where experience, a Queue of windows within'
    lanes = Lanes(make(name, Queue(Window(18, 9), 2, 1)))
    if TABLES[name].compiled:  # it can't raise, and tells of it when it is asked
        lanes.run(60)
        assert words in lanes.table.faults()[0]
        return
    with pytest.raises(ValueError, match=f'{words}.* in lane 0'):
        lanes.run(60)


def test_lost_rows_leave_no_lane_waiting_for_ever() -> None:
    queue = Queue(Window(20, 20), 3, 0)
    lanes = Lanes(make('in_process', queue))
    lanes.run(60)
    table, lanes.table = lanes.table, make('in_process', queue)
    first, last = table.live_ticks()
    dropped = lanes.table.set_state(table.get_state(), [], [(first, last)])
    begun = len(lanes.draws)
    lanes.run(100)
    assert dropped > 0
    assert len(lanes.draws) > begun + 5


def test_a_compiled_table_forgets_lost_windows_too() -> None:
    lanes = Lanes(make('device', Queue(Window(20, 20), 3, 0)))
    lanes.run(60)
    table = lanes.table
    while not int(table.state.items[''].items.size):
        lanes.run(1)
    begun = len(lanes.draws)
    table.state, dropped = table.drop(table.state, lanes.tick - 1, [(0, lanes.tick - 1)])
    table.state = jax.tree_util.tree_map(jax.numpy.asarray, table.state)
    lanes.run(100)
    assert dropped > 0
    assert len(lanes.draws) > begun + 5
