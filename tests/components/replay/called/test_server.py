"""What a `CalledServer` alone does: rows held and sent once, writers that begin anew, seeds, files."""

import gc
from typing import Any

import numpy as np
import pytest

from culmen.components.dispatch import unpacked
from culmen.components.files import DamagedError
from culmen.components.replay.called import CalledServer
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from tests.components.replay.served.programs import Program
from tests.components.replay.served.programs import places

REPLAY = Replay(Window(length=3), 1000, 1, 8, 1.0)


def play(program: Program, ticks: int) -> None:
    for _ in range(ticks):
        program.tick(0)
    program.flush()


def held_rows(server: CalledServer) -> dict[int, int]:
    """How many items hold each row, by the identity of the row."""
    (table,) = server._tables.values()
    found: dict[int, int] = {}
    for item in table.get_state()[1]:
        for row in item[0]:
            found[id(row)] = found.get(id(row), 0) + 1
    return found


def test_a_row_is_held_once_by_all_items_that_have_it() -> None:
    program = Program('called', REPLAY, [[3]], lead=1e6)
    play(program, 20)
    found = held_rows(program.server)
    assert len(found) == 20
    assert max(found.values()) == 4  # windows of three transitions have four time steps


def test_each_row_is_sent_once_whatever_the_length_of_windows() -> None:
    sent = []
    for length in (1, 12):
        program = Program('called', Replay(Window(length=length), 1000, 1, 1, 1.0), [[3]], lead=1e6)
        connection = program.writers[0]._connection
        before = connection._server.bytes
        play(program, 28)
        sent.append(connection._server.bytes - before)
    rows_of_12 = 12 * sent[0]
    assert sent[1] < 1.5 * sent[0] < rows_of_12


def test_rows_of_no_item_are_dropped_on_both_sides() -> None:
    replay = Replay(Window(length=1, period=1), 5, 1, 1, 1.0)
    program = Program('called', replay, [[3]], lead=1e6)
    play(program, 100)
    (stream,) = program.server._streams.values()
    assert all(len(rows) <= 2 for of_lanes in stream._rows.values() for rows in of_lanes)
    assert len(held_rows(program.server)) <= 10

    starts = Replay(Window(length=2, period=60), 5, 1, 1, 1.0)  # an item is rare
    program = Program('called', starts, [[3]], lead=1e6)
    for _ in range(25):
        program.tick(0)
    outbox = program.writers[0]._writers[0].outbox
    assert all(len(rows) <= 7 for of_lanes in outbox._rows.values() for rows in of_lanes)


def test_a_writer_that_begins_anew_takes_the_place_of_the_one_before() -> None:
    queue = Queue(Window(length=2, period=2, cross_episodes=True), batch_size=1, max_size=1)
    program = Program('called', queue, [[3]])
    program.stopped = True  # it does not wait for room
    for _ in range(9):
        program.tick(0)
    (stream,) = program.server._streams.values()
    assert len(stream.waiting) == 3
    again = Program('called', queue, [[3]])
    again.server = program.server
    again.writers[0]._connection._server._server = program.server
    again.stopped = True
    again.tick(0)
    again.tick(0)
    again.tick(0)
    (stream,) = program.server._streams.values()
    assert len(stream.waiting) == 1
    program.stopped = False
    assert program.writers[0].flush()  # its items are lost, and it does not wait for them


def test_the_same_seed_draws_the_same_items() -> None:
    drawn = []
    for seed in (0, 0, 1):
        program = Program('called', REPLAY, [[3]], lead=1e6)
        program.server._tables['experience'] = CalledServer(REPLAY, 1, seed=seed, lead=1e6)._tables[
            'experience'
        ]
        play(program, 25)
        drawn.append(places(unpacked(program.reader.draw().samples)))
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_batch_of_another_size_and_a_queue_without_so_many_are_refused() -> None:
    program = Program('called', {'a': REPLAY, 'b': Queue(Window(), 1)}, [[3]], lead=1e6)
    for _ in range(3):  # No more: its queue has room for two.
        program.tick(0)
    with pytest.raises(ValueError, match='a batch of 8 is drawn, got 3'):
        program.server.draw('a', 3)
    with pytest.raises(RuntimeError, match='50 items were asked for, and 2 wait'):
        program.server.draw('b', 50)
    with pytest.raises(ValueError, match='have no priorities'):
        program.server.set_priorities('b', np.zeros(1, np.int64), np.zeros(1))


@pytest.mark.parametrize('change', ['short', 'long', 'json', 'arrays'])
def test_damaged_files_are_refused_and_nothing_is_unpickled(change: str, tmp_path: Any) -> None:
    program = Program('called', REPLAY, [[3]], lead=1e6)
    play(program, 20)
    program.server.checkpoint(tmp_path / 'saved')
    path = {'json': 'tables.json', 'arrays': 'arrays'}.get(change, 'column-0')
    path = tmp_path / 'saved' / path
    data = path.read_bytes()
    path.write_bytes(data + b'more' if change == 'long' else data[:-4])
    with pytest.raises(DamagedError, match=path.name):
        CalledServer(REPLAY, 1, seed=0, lead=1e6, restore=tmp_path / 'saved')


def test_rows_are_saved_once_and_shared_again(tmp_path: Any) -> None:
    program = Program('called', REPLAY, [[3]], lead=1e6)
    play(program, 20)
    before = held_rows(program.server)
    files = program.server.checkpoint(tmp_path / 'saved')
    nbytes = len(program.server._tables['experience'].get_state()[1][0][0][0])
    assert files['column-0']['bytes'] == 20 * nbytes
    restored = CalledServer(REPLAY, 1, seed=0, lead=1e6, restore=tmp_path / 'saved')
    gc.collect()
    assert sorted(held_rows(restored).values()) == sorted(before.values())
