"""Checkpoints of tables that a server keeps, and of a program that is restored.

The items, rates and draws are in `test_tables.py`, with those of the other tables.
"""

from typing import Any

import numpy as np
import pytest

from culmen.components.checkpointing import trees
from culmen.components.dispatch import unpacked
from culmen.components.replay.reverb import ReverbTable
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from culmen.core.experience import mirror
from culmen.core.experience import tables
from culmen.core.experience import unmirror
from tests.components.replay import streams
from tests.components.replay.registry import TABLES
from tests.components.replay.served.programs import CROSSING
from tests.components.replay.served.programs import STREAM
from tests.components.replay.served.programs import places
from tests.components.replay.served.programs import stored

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


@pytest.fixture
def make_table(kind: str) -> Any:
    return lambda experience: TABLES[kind].make(experience, streams.ROW_SPEC, 5, 0)


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
    make_table: Any, name: str, between: bool, tmp_path: Any
) -> None:
    experience = EXPERIENCES[name]
    table = make_table(experience)
    run(table, experience, range(60))
    _observe(table, experience, STREAM.at(60)[0])
    if not between:
        table.act(*STREAM.at(60)[1:])
    table.checkpoint(tmp_path / 'saved')
    plain, arrays = trees.split(table.get_state())
    before = stored(table._server)
    restored = make_table(experience)
    restored.set_state(trees.join(plain, arrays), tmp_path / 'saved')
    assert stored(restored._server) == before
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


def all_items(window: Window) -> list[streams.Item]:
    return streams.cut(STREAM.timestep.step_type, window)


def test_priorities_come_back(make_table: Any, tmp_path: Any) -> None:
    experience = Replay(Window(), 30, 1, 64, 1e6, priority_exponent=0.5)
    table = make_table(experience)
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
    restored = make_table(experience)
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
    assert program.reader.next_windows()[''].tolist() == [2, 3]
    program.tick(0)
    program.tick(0)
    program.tick(0)
    program.tick(0)  # lane 0: a third window, still in the server
    program.server.checkpoint(tmp_path / 'saved')
    state = program.reader.get_state()
    restored = make_program(queue, [[0], [1]], restore=tmp_path / 'saved', first_windows=None)
    restored.reader.set_state(state)
    first = restored.reader.next_windows()
    assert first[''].tolist() == [3, 3]
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


def test_a_checkpoint_is_whole_or_not_there(make_table: Any, tmp_path: Any) -> None:
    table = make_table(Replay(Window(), 30, 1, 1, 1.0))
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(OSError, match='could not save the replay'):
        table.checkpoint(tmp_path / 'file' / 'saved')
    files = table.checkpoint(tmp_path / 'saved')
    assert {path.name for path in tmp_path.iterdir()} == {'file', 'saved'}
    found = {path.name: path.stat().st_size for path in (tmp_path / 'saved').iterdir()}
    assert found == {name: each['bytes'] for name, each in files.items()}
