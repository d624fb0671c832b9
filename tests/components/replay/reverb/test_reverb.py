"""What is Reverb's own: limiters, waits that end, writers and a reader of one server, checkpoints.

The items, rates and draws are in `test_tables.py`, with those of the other tables.
"""

import multiprocessing
import threading
from typing import Any

import jax
import numpy as np
import pytest

from culmen.components.checkpointing import trees
from culmen.components.dispatch import unpacked
from culmen.components.replay.reverb import ReverbReader
from culmen.components.replay.reverb import ReverbServer
from culmen.components.replay.reverb import ReverbTable
from culmen.components.replay.reverb import ReverbWriter
from culmen.components.replay.reverb.engine import Connection
from culmen.components.replay.stream.rate import Rate
from culmen.core import Dataset
from culmen.core import Lanes
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from culmen.core.experience import mirror
from culmen.core.experience import tables
from culmen.core.experience import unmirror
from tests.components.replay import streams
from tests.components.replay.registry import has_reverb

pytestmark = [
    pytest.mark.launchpad,
    pytest.mark.skipif(not has_reverb(), reason='Reverb is not installed'),
]

STREAM = streams.make_stream(streams.step_types(streams.EPISODES, 120))
CROSSING = Window(length=4, period=4, cross_episodes=True)


class Program:
    """A server, a reader, and a writer an actor, as a program has them."""

    def __init__(self, experience: Any, actors: list[list[int]], **settings: Any) -> None:
        self.experience = experience
        self.total = sum(map(len, actors))
        self.stopped = False
        lead = settings.pop('lead', None)
        first = settings.pop('first_windows', None)
        self.server = ReverbServer(
            experience, self.total, lead=lead, restore=settings.pop('restore', None)
        )
        stop = lambda: self.stopped
        self.reader = ReverbReader(
            experience, streams.ROW_SPEC, self.total, self.server.address, lead=lead, stop=stop
        )
        self.actors = actors
        self.writers = [
            ReverbWriter(
                experience, streams.ROW_SPEC, Lanes(np.array(index, np.int32), self.total),
                self.server.address, stop=stop,
                first_windows=None if first is None else first[index], **settings,
            )
            for index in actors
        ]  # fmt: skip
        self.ticks = [0] * len(actors)

    def tick(self, actor: int, version: int = 0) -> None:
        """A tick of one actor, whose lanes play those of the stream."""
        self.observe(actor)
        self.act(actor, version)

    def observe(self, actor: int) -> None:
        self.writers[actor].observe(self._row(actor)[0])

    def act(self, actor: int, version: int) -> None:
        _, action, extras, _ = self._row(actor)
        self.writers[actor].act(action, extras, version)
        self.ticks[actor] += 1

    def _row(self, actor: int) -> Any:
        lanes = np.array(self.actors[actor]) % STREAM.num_lanes
        timestep, action, extras, version = STREAM.at(self.ticks[actor])
        take = lambda leaf: leaf[lanes]
        return (*jax.tree_util.tree_map(take, (timestep, action, extras)), version)

    def flush(self) -> None:
        for writer in self.writers:
            assert writer.flush()

    def close(self) -> None:
        self.stopped = True
        for writer in self.writers:
            writer.close()
        self.reader.close()
        self.server.stop()


@pytest.fixture
def make_program() -> Any:
    made: list[Program] = []

    def make(*arguments: Any, **settings: Any) -> Program:
        made.append(Program(*arguments, **settings))
        return made[-1]

    yield make
    for program in made:
        program.close()


@pytest.fixture
def chunks_of_100_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reverb sends by itself the items whose chunks are full, and tunes their length by the clock."""
    import reverb

    make = reverb.Client.trajectory_writer

    def with_long_chunks(*arguments: Any, **options: Any) -> Any:
        writer = make(*arguments, **options)
        writer.configure(('before',), num_keep_alive_refs=100, max_chunk_length=100)
        return writer

    monkeypatch.setattr(reverb.Client, 'trajectory_writer', with_long_chunks)


def size(program: Program, name: str = 'experience') -> int:
    return int(program.server.info()[name].current_size)


def may_insert(program: Program) -> bool:
    """Whether the next item is taken at once, as Reverb's limiter counts."""
    info = program.server.info()['experience']
    limiter = info.rate_limiter_info
    inserted, sampled = (stats.completed for stats in (limiter.insert_stats, limiter.sample_stats))
    ahead = (inserted + 1) * limiter.samples_per_insert - sampled
    return info.current_size < limiter.min_size_to_sample or ahead <= limiter.max_diff


def places(samples: Any) -> list[tuple[int, int]]:
    return [place for place, _, _ in streams.rows_of(samples)]


# Limiters.


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


def test_a_lead_at_which_no_batch_becomes_due_is_refused() -> None:
    replay = Replay(Window(), 100, 1, 32, 4.0)
    with pytest.raises(ValueError, match=r'lead must be at least .* = 36 of .*a.*, got 35'):
        ReverbServer({'a': replay}, 1, lead=35)
    with pytest.raises(ValueError, match='experience must be a Replay or a Queue here, got a Data'):
        ReverbServer(Dataset(Window(), 'folder', 3), 1)


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


# Waits end.


def wait_in_thread(function: Any) -> tuple[threading.Thread, list[Any]]:
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


def test_a_waiting_writer_ends_when_it_is_stopped(make_program: Any) -> None:
    program = make_program(Replay(Window(), 1000, 1, 1, 1.0), [[3]], lead=2.0, flush_period=1)
    thread, outcome = wait_in_thread(lambda: [program.tick(0) for _ in range(20)])
    thread.join(1.0)
    assert thread.is_alive()
    assert size(program) == 3
    before = program.ticks[0]
    program.stopped = True
    thread.join(60)
    assert not thread.is_alive()
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


def _serve(experience: Any, pipe: Any) -> None:
    server = ReverbServer(experience, 2, lead=2.0)
    pipe.send(server.address)
    pipe.recv()


@pytest.mark.slow
def test_a_server_that_is_killed_ends_every_wait() -> None:
    experience = {'a': Replay(Window(), 1000, 1, 1, 1.0), 'b': Queue(Window(), 1, max_size=100)}
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(experience, theirs))
    process.start()
    address = ours.recv()
    lanes = [Lanes(np.array([i], np.int32), 2) for i in range(2)]
    never = lambda: False
    waiting, idle = (
        ReverbWriter(experience, streams.ROW_SPEC, lane, address, stop=never, flush_period=1)
        for lane in lanes
    )
    reader = ReverbReader(experience, streams.ROW_SPEC, 2, address, lead=2.0, stop=never)

    def play(writer: ReverbWriter, ticks: Any) -> None:
        for tick in ticks:
            timestep, action, extras, version = STREAM.at(tick)
            one = jax.tree_util.tree_map(lambda leaf: leaf[3:4], (timestep, action, extras))
            writer.observe(one[0])
            writer.act(*one[1:], version)

    play(idle, range(2))
    thread, outcome = wait_in_thread(lambda: play(waiting, range(20)))
    thread.join(1.0)
    assert thread.is_alive()
    assert reader.due()
    # A sampler that asks for more than is due waits, as one does whose server dies in the middle.
    connection = Connection(address, never)
    sampling, drawn = wait_in_thread(lambda: connection.sample('b', 50))
    sampling.join(0.5)
    assert sampling.is_alive()
    process.kill()
    process.join()
    for each in (thread, sampling):
        each.join(60)
        assert not each.is_alive()
    assert isinstance(outcome[0], ConnectionError)
    assert isinstance(drawn[0], ConnectionError)
    with pytest.raises(ConnectionError, match=f'the Reverb server at {address} is gone'):
        reader.due()
    with pytest.raises(ConnectionError):
        play(idle, range(2, 9))
    for writer in (waiting, idle):
        with pytest.raises(ConnectionError):
            writer.close()
    reader.close()
    connection.end()


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


# Checkpoints.

EXPERIENCES = {
    'uniform': Replay(Window(length=3), 40, 5, 8, 4.0),
    'prioritised': Replay(Window(length=3), 40, 5, 8, 4.0, priority_exponent=0.6),
    'all': Replay(Window(length=2), 12, 1, 1, 0.1, draw='all'),
    'queue': Queue(CROSSING),
    'queue of a number': Queue(Window(length=3), batch_size=4),
    'dict': {
        'a': Queue(Window(length=2, period=2, cross_episodes=True), max_size=1000),
        'b': Replay(Window(length=5, period=3), 20, 2, 4, 8.0, priority_exponent=1.0),
    },
}


def run(table: ReverbTable, experience: Any, ticks: range, act_first: bool = False) -> list[Any]:
    """Plays ticks and draws what is due; priorities are a function of what is drawn."""
    draws = []
    for tick in ticks:
        timestep, action, extras, version = STREAM.at(tick)
        if not (act_first and tick == ticks[0]):
            draws += _observe(table, experience, timestep)
        table.act(action, extras, version)
    return draws


def _observe(table: ReverbTable, experience: Any, timestep: Any) -> list[Any]:
    table.observe(timestep)
    draws = []
    while table.due():
        draw = table.draw()
        keys, samples = draw.keys, unpacked(draw.samples)
        draws.append(samples)
        of_tables = unmirror(experience, samples)
        priorities = {
            name: _priority(of_tables[name]) if getattr(kind, 'prioritised', False) else None
            for name, kind in tables(experience).items()
        }
        table.update_priorities(keys, mirror(experience, priorities))
    return draws


def _priority(sample: Any) -> Any:
    where = np.asarray(sample.steps.observation['where'])
    return 0.1 + where[:, 0].sum(axis=1).astype(np.float32) % 5


@pytest.mark.parametrize('name', list(EXPERIENCES))
@pytest.mark.parametrize('between', [False, True], ids=['after act', 'between observe and act'])
def test_a_restored_table_goes_on_with_the_same_items_at_the_same_ticks(
    name: str, between: bool, tmp_path: Any
) -> None:
    experience = EXPERIENCES[name]
    table = ReverbTable(experience, streams.ROW_SPEC, 5)
    run(table, experience, range(60))
    _observe(table, experience, STREAM.at(60)[0])
    if not between:
        table.act(*STREAM.at(60)[1:])
    table.checkpoint(tmp_path / 'saved')
    plain, arrays = trees.split(table.get_state())
    info = reverb_info(table)
    restored = ReverbTable(experience, streams.ROW_SPEC, 5)
    restored.set_state(trees.join(plain, arrays), tmp_path / 'saved')
    for key, value in reverb_info(restored).items():
        assert value.current_size == info[key].current_size
        for counts in ('insert_stats', 'sample_stats'):
            old, new = (getattr(x.rate_limiter_info, counts) for x in (info[key], value))
            assert new.completed == old.completed
    draws = []
    for each in (table, restored):
        ticks = range(60 if between else 61, 120)
        draws.append(run(each, experience, ticks, act_first=between))
    assert len(draws[0]) == len(draws[1]) > 0
    for one, other in zip(*draws):
        for key, kind in tables(experience).items():
            a, b = unmirror(experience, one)[key], unmirror(experience, other)[key]
            assert a.size == b.size
            if isinstance(kind, Queue) or kind.draw == 'all':
                assert places(a) == places(b)
                np.testing.assert_array_equal(a.version, b.version)
            for sample in (a, b):
                items = {(i.lane, i.start): i for i in all_items(kind.window)}
                for place, leaves, _ in streams.rows_of(sample):
                    if not sample.probability.all():
                        continue
                    content, _ = streams.content(STREAM, items[place], kind.window)
                    streams.assert_same_item(leaves, content)


def reverb_info(table: ReverbTable) -> dict[str, Any]:
    """What the table's server tells of its tables."""
    return Connection(f'localhost:{table.port}').info()


def all_items(window: Window) -> list[streams.Item]:
    return streams.cut(STREAM.timestep.step_type, window)


def test_priorities_come_back(tmp_path: Any) -> None:
    experience = Replay(Window(), 30, 1, 64, 1e6, priority_exponent=0.5)
    table = ReverbTable(experience, streams.ROW_SPEC, 5)
    for tick in range(20):
        table.observe(STREAM.at(tick)[0])
        table.act(*STREAM.at(tick)[1:])
    for _ in range(20):
        keys, packed = table.draw()
        sample = unpacked(packed)
        table.update_priorities(keys, 1.0 + 50 * _priority(sample))

    def probabilities(table: ReverbTable) -> dict[Any, float]:
        drawn = [unpacked(table.draw().samples) for _ in range(20)]
        return {p: float(q) for s in drawn for p, q in zip(places(s), s.probability)}

    before = probabilities(table)
    assert len(set(before.values())) > 3
    table.checkpoint(tmp_path / 'saved')
    restored = ReverbTable(experience, streams.ROW_SPEC, 5)
    restored.set_state(table.get_state(), tmp_path / 'saved')
    after = probabilities(restored)
    assert set(before) & set(after)
    for place in set(before) & set(after):
        assert after[place] == pytest.approx(before[place], rel=1e-6)
    # So does the largest that new items get, and keys from before still name their items.
    old = dict(before)
    restored.update_priorities(keys, np.zeros(64, np.float32))
    gone = set(places(sample))
    assert not gone & set(probabilities(restored))
    restored.observe(STREAM.at(20)[0])
    newest = {p: q for p, q in probabilities(restored).items() if p not in old and p[1] == 19}
    table.observe(STREAM.at(20)[0])
    expected = {p: q for p, q in probabilities(table).items() if p not in old and p[1] == 19}
    assert set(newest) & set(expected)


def test_a_restored_program_goes_on_from_the_windows_that_are_stored(
    make_program: Any, tmp_path: Any
) -> None:
    queue = Queue(CROSSING, max_staleness=3, max_size=3)
    program = make_program(queue, [[0], [1]])
    for _ in range(9):
        program.tick(0)
    for _ in range(14):
        program.tick(1)
    program.reader.draw()
    assert program.reader.next_windows().tolist() == [2, 3]
    program.tick(0)
    program.tick(0)
    program.tick(0)
    program.tick(0)  # lane 0: a third window, still in the server
    program.server.checkpoint(tmp_path / 'saved')
    state = program.reader.get_state()
    restored = make_program(queue, [[0], [1]], restore=tmp_path / 'saved', first_windows=None)
    restored.reader.set_state(state)
    first = restored.reader.next_windows()
    assert first.tolist() == [3, 3]
    assert restored.reader.due(2)
    again = make_program(queue, [[0], [1]], restore=tmp_path / 'saved', first_windows=first)
    again.reader.set_state(state)
    drawn = []
    for _ in range(9):
        for actor in (0, 1):
            again.tick(actor)
    assert again.writers[0].needed_version == 5 - 3
    while again.reader.due():
        drawn.append(places(unpacked(again.reader.draw().samples)))
    assert drawn == [
        [(0, 4), (1, 4)], [(0, 8), (1, 8)],  # of before
        [(0, 0), (1, 0)], [(0, 4), (1, 4)],  # of the actors that began anew
    ]  # fmt: skip


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Any) -> None:
    table = ReverbTable(Replay(Window(), 30, 1, 1, 1.0), streams.ROW_SPEC, 5)
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(OSError, match='could not save the replay'):
        table.checkpoint(tmp_path / 'file' / 'saved')
    files = table.checkpoint(tmp_path / 'saved')
    assert {path.name for path in tmp_path.iterdir()} == {'file', 'saved'}
    found = {path.name: path.stat().st_size for path in (tmp_path / 'saved').iterdir()}
    assert found == {name: each['bytes'] for name, each in files.items()}
