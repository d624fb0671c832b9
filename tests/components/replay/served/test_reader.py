"""What the reader tells of its tables. What it draws, and when, is in `test_tables.py`."""

from typing import Any

import pytest

from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from culmen.core.workers import TableCounts
from tests.components.replay.served.programs import CROSSING

# A lane of 30 ticks in one episode has 29 transitions; any 30 have 7 windows of 4 with one time step more.
_SIZES = {
    'uniform': (3, Replay(Window(), 20, 5, 4, 2.0), TableCounts(20, 29, 4 * 12)),
    'all': (3, Replay(Window(), 12, 1, 1, 0.25, draw='all'), TableCounts(12, 29, 7)),
    'queue': (0, Queue(CROSSING, batch_size=2, max_size=100), TableCounts(1, 7, 6)),
    'queue of every lane': (0, Queue(CROSSING, max_size=100), TableCounts(0, 7, 7)),
}


@pytest.mark.parametrize('name', list(_SIZES))
def test_counts_are_of_what_is_held_and_of_all_that_went_through(
    make_program: Any, name: str
) -> None:
    lane, experience, counts = _SIZES[name]
    program = make_program(experience, [[lane]], lead=1_000.0)
    assert program.reader.counts() == {'': TableCounts(0, 0, 0)}
    for _ in range(30):
        program.tick(0)
    program.flush()
    while program.reader.due():
        program.reader.draw()
    assert program.reader.counts() == {'': counts}
