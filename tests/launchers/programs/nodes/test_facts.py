"""The small numbers about a running program: where they come from, and what they count."""

from typing import NamedTuple

import numpy as np
import pytest

from culmen.core import Dataset
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from culmen.core.rules import ByRule
from culmen.core.workers import Draw
from culmen.core.workers import TableCounts
from culmen.launchers.programs.nodes.facts import Facts
from culmen.launchers.programs.nodes.facts import LearnerFacts

REPLAY = Replay(Window(), 100, 10, 8, 4.0)


class Batch(NamedTuple):
    version: np.ndarray


class Reader:
    """Draws batches of given versions."""

    def __init__(self, *batches):
        self.batches = list(batches)

    def draw(self):
        batch = self.batches.pop(0)
        if isinstance(batch, dict):
            return Draw(None, {name: Batch(np.array(each)) for name, each in batch.items()})
        return Draw(None, Batch(np.array(batch)))


def facts_of(experience, readers, counts):
    found = LearnerFacts(experience, readers, lambda: counts)
    found.begin(dict.fromkeys(readers, 0))
    return found


def test_the_samples_of_an_insert_are_counted_from_min_size_on():
    found = facts_of(REPLAY, {'': Reader()}, {'': TableCounts(30, 30, 80)}).get()
    assert found == {
        '': {
            'items': 30, 'inserted': 30, 'sampled': 80, 'samples_per_insert': 4.0, 'wanted': 4.0,
            'capacity': 100, 'staleness': None, 'most_stale': None,
        }
    }  # fmt: skip
    early = facts_of(REPLAY, {'': Reader()}, {'': TableCounts(10, 10, 0)}).get()['']
    assert early['samples_per_insert'] is None
    queue = facts_of(Queue(Window(5)), {'': Reader()}, {'': TableCounts(3, 9, 6)}).get()['']
    assert (queue['wanted'], queue['samples_per_insert'], queue['capacity']) == (None, None, None)


def test_staleness_is_of_the_last_batch_in_updates_of_its_rule():
    facts = facts_of(REPLAY, {'': Reader([0, 0], [1, 3, 5, -1])}, {'': TableCounts(30, 30, 80)})
    facts.begin({'': 6})  # as a restored learner
    reader = facts.readers['']
    reader.draw()
    reader.draw()  # for update 7, and the last window is of no actor
    found = facts.get()['']
    assert (found['staleness'], found['most_stale']) == ((6 + 4 + 2) / 3, 6)


def test_each_rule_and_table_has_its_own():
    experience = ByRule(
        {
            'critic': {'a': REPLAY, 'recorded': Dataset(Window(), 'somewhere', 4)},
            'actor': Queue(Window(5)),
        }
    )
    readers = {'critic': Reader({'a': [0], 'recorded': [-1]}, {'a': [1], 'recorded': [-1]}),
               'actor': Reader([2])}  # fmt: skip
    counts = {'critic/a': TableCounts(1, 2, 3), 'actor': TableCounts(4, 5, 6)}
    facts = facts_of(experience, readers, counts)
    facts.readers['critic'].draw()
    facts.readers['critic'].draw()
    facts.readers['actor'].draw()
    found = facts.get()
    assert list(found) == ['critic/a', 'actor']
    assert found['critic/a']['staleness'] == 0  # made by update 1, drawn for update 1
    assert found['actor']['staleness'] == -2  # of its own updates, of which there was none yet


def test_a_learner_tells_at_most_once_a_second_and_outlives_its_tables():
    told = []
    facts = facts_of(REPLAY, {'': Reader()}, {'': TableCounts(30, 30, 80)})
    for _ in range(3):
        facts.tell(told.append)
    assert len(told) == 1

    def gone():
        raise ConnectionError('the server is gone')

    LearnerFacts(REPLAY, {}, gone).tell(told.append)
    assert len(told) == 1


@pytest.mark.parametrize('granted', [True, False])
def test_the_counter_knows_what_its_callers_did(granted):
    facts = Facts()
    facts.acted(0, 5, '' if granted else 'waiting')
    facts.acted(0, 3, '' if granted else 'waiting')
    facts.acted(1, 2, '')
    facts.heard('learner', '')
    facts.told({'': {'items': 3}})
    found = facts.get()
    assert found['tables'] == {'': {'items': 3}}
    nodes = found['nodes']
    assert [nodes[name].get('actor_steps') for name in ('actor-0', 'actor-1', 'learner')] == [
        8,
        2,
        None,
    ]
    assert nodes['actor-0']['doing'] == (None if granted else 'waiting')
    assert all(each['silent'] >= 0 for each in nodes.values())
