"""Where the limiters of the server make actors and learner wait."""

from typing import Any

import pytest

from culmen.components.dispatch import unpacked
from culmen.components.replay.called import CalledServer
from culmen.components.replay.stream.rate import Rate
from culmen.core import Dataset
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from tests.components.replay.served.programs import Program
from tests.components.replay.served.programs import size


def may_insert(program: Program) -> bool:
    """Whether the next item is taken at once, as the server's limiter counts."""
    if isinstance(program.server, CalledServer):
        (table,) = program.server._tables.values()
        return table.has_room()
    info = program.server.info()['experience']
    limiter = info.rate_limiter_info
    inserted, sampled = (stats.completed for stats in (limiter.insert_stats, limiter.sample_stats))
    ahead = (inserted + 1) * limiter.samples_per_insert - sampled
    return info.current_size < limiter.min_size_to_sample or ahead <= limiter.max_diff


@pytest.mark.parametrize(
    ('samples_per_insert', 'batch_size', 'min_size', 'lead'),
    [(1.0, 1, 1, 2.0), (0.3, 1, 7, 1.3), (1 / 3, 2, 2, 4.0), (8.0, 32, 5, 40.0), (2.5, 2, 0, 9.0)],
)
def test_actors_and_learner_wait_where_the_formula_says(
    make_program: Any, samples_per_insert: float, batch_size: int, min_size: int, lead: float
) -> None:
    replay = Replay(Window(), 1000, min_size, batch_size, samples_per_insert)
    program = make_program(replay, [[3]], lead=lead)  # lane 3 plays one episode of 30
    rate = Rate.of(replay)
    inserted = updates = waits = 0
    for _ in range(250):
        while rate.may_insert(inserted + 1, updates, lead) and inserted < 29:
            assert may_insert(program)
            program.tick(0)
            inserted += program.ticks[0] > 1
            program.flush()
            assert size(program) == inserted
        assert inserted == 29 or not may_insert(program)
        waits += inserted < 29
        assert program.reader.due() == rate.due(inserted, updates + 1)
        if inserted < 29:
            assert program.reader.due()  # nobody waits for ever
        if not program.reader.due():
            break
        program.reader.draw()
        updates += 1
    assert inserted == 29
    assert waits > 0
    assert updates == rate.updates(29)


def test_a_lead_at_which_no_batch_becomes_due_is_refused(make_server: Any) -> None:
    replay = Replay(Window(), 100, 1, 32, 4.0)
    with pytest.raises(ValueError, match=r'lead must be at least .* = 36 of .*a.*, got 35'):
        make_server({'a': replay}, 1, lead=35)
    with pytest.raises(ValueError, match='experience must be a Replay or a Queue here, got a Data'):
        make_server(Dataset(Window(), 'folder', 3), 1)


def test_by_default_a_lead_lets_a_batch_wait_while_another_is_gathered(make_program: Any) -> None:
    program = make_program(Replay(Window(), 1000, 5, 4, 1.0), [[3]])
    while may_insert(program):
        program.tick(0)
        program.flush()
    assert size(program) == 5 + 2 * 4 + 1


def test_a_queue_of_a_number_holds_so_many_batches(make_program: Any) -> None:
    program = make_program(Queue(Window(), batch_size=3, max_size=2), [[3]])
    while may_insert(program):
        program.tick(0)
        program.flush()
    assert size(program) == 6
    assert program.reader.due(2)
    assert not program.reader.due(3)


def test_everything_is_taken_as_far_as_the_lead_goes(make_program: Any) -> None:
    replay = Replay(Window(), 100, 2, 1, 0.5, draw='all')
    program = make_program(replay, [[3]], lead=4.0, flush_period=1)

    def play() -> int:
        """Plays until the actor would wait, while the learner asks; how many items there are."""
        program.reader.due()
        while may_insert(program):
            program.tick(0)
            program.reader.due()
        return program.ticks[0] - 1

    for updates in range(4):
        # Half of the lead waits in the server: (items - 2) / 2 - updates <= 4.
        assert play() == 10 + 2 * updates
        assert size(program) == 4
        assert program.reader.due(2)
        assert not program.reader.due(3)
        assert int(unpacked(program.reader.draw().samples).size) == 6 + 2 * updates
