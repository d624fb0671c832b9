"""The file by which a program tells how far it is: what it holds, how often it is written, the last words."""

import json
import types

import pytest

from culmen.launchers import status as statuses
from culmen.launchers.programs.board import Board
from culmen.launchers.programs.topology import NodePlan

PLANS = [
    NodePlan('learner', ()),
    NodePlan('actors-0', (), reports=('actor-0', 'actor-1')),
]
STATUS = {
    'actor_steps': 100, 'learner_steps': 40, 'episodes': 3, 'evaluations': 1, 'steps_per_second': 9.0,
    'episode_return': 1.0, 'evaluating': None, 'evaluation': None, 'outcome': None, 'timings': {},
}  # fmt: skip
FACTS = {
    'tables': {'': {'items': 7}},
    'nodes': {
        'actor-0': {'silent': 0.1, 'doing': 'waiting', 'actor_steps': 60},
        'actor-1': {'silent': 0.3, 'doing': None, 'actor_steps': 40},
        'learner': {'silent': 0.0, 'doing': None},
    },
}


def board_of(folder, restarts_of=lambda name: [], state_of=lambda name: 'running'):
    board = Board(folder)
    board.begin(PLANS, restarts_of, state_of)
    return board


class Node:
    def __init__(self, name, pid=None, host=None):
        self.name, self.pid, self.host = name, pid, host


@pytest.fixture
def clock(monkeypatch):
    """Time as the board sees it."""
    now = types.SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(
        'culmen.launchers.programs.board.time',
        types.SimpleNamespace(monotonic=lambda: now.seconds, time=lambda: 1e9 + now.seconds),
    )
    return now


def read(folder):
    return json.loads((folder / 'status.json').read_text())


def test_it_tells_of_nodes_before_they_have_called(tmp_path, clock):
    board = board_of(tmp_path)
    board.tell([Node('learner', 12)], None, None)
    found = read(tmp_path)
    assert (found['state'], found['version'], found['actor_steps']) == ('running', 1, None)
    assert [(each['name'], each['state'], each['pid']) for each in found['nodes']] == [
        ('learner', 'running', 12), ('actors-0', 'running', None),
    ]  # fmt: skip
    assert set(statuses.FIELDS) <= set(found)


def test_rates_are_recent_and_actors_of_a_process_are_taken_together(tmp_path, clock):
    board = board_of(tmp_path)
    nodes = [Node('learner'), Node('actors-0', 13, 'far')]
    for second in range(30):
        clock.seconds = 100.0 + second
        more = 0 if second < 15 else 10 * (second - 15)  # nothing at first, then 10 a second
        facts = {
            **FACTS,
            'nodes': {
                **FACTS['nodes'],
                'actor-0': {**FACTS['nodes']['actor-0'], 'actor_steps': 60 + more},
            },
        }
        board.tell(nodes, {**STATUS, 'actor_steps': 100 + more, 'learner_steps': 40 + more}, facts)
    found = read(tmp_path)
    assert (found['steps_per_second'], found['updates_per_second']) == (10.0, 10.0)
    node = found['nodes'][1]
    assert (node['actor_steps'], node['steps_per_second'], node['silent']) == (240, 10.0, 0.3)
    assert (node['host'], node['doing']) == ('far', 'waiting')
    assert found['tables'] == {'': {'items': 7}}
    assert found['written'] == 1e9 + 129


def test_it_writes_once_a_second(tmp_path, clock):
    board = board_of(tmp_path)
    board.tell([], STATUS, None)
    clock.seconds += 0.9
    board.tell([], {**STATUS, 'actor_steps': 200}, None)
    assert read(tmp_path)['actor_steps'] == 100
    clock.seconds += 0.2
    board.tell([], {**STATUS, 'actor_steps': 200}, None)
    assert read(tmp_path)['actor_steps'] == 200


def test_its_last_words_keep_what_was_known(tmp_path, clock):
    restart = types.SimpleNamespace(at=5.0, reason='it was ended by SIGKILL', caused_by='replay')
    board = board_of(
        tmp_path,
        restarts_of=lambda name: [restart] if name == 'learner' else [],
        state_of=lambda name: 'waiting' if name == 'learner' else 'ended',
    )
    nodes = [Node('learner'), Node('actors-0')]
    board.tell(nodes, STATUS, FACTS)
    assert read(tmp_path)['nodes'][0]['state'] == 'waiting'
    board.end(statuses.FAILED, 'node learner failed: why', None)
    found = read(tmp_path)
    assert (found['state'], found['reason']) == ('failed', 'node learner failed: why')
    assert (found['actor_steps'], found['restarts']) == (100, 1)
    learner, actors = found['nodes']
    assert learner['restarts'] == [{'at': 5.0, 'reason': restart.reason, 'caused_by': 'replay'}]
    assert (actors['state'], actors['actor_steps']) == ('ended', 100)
    board.end(statuses.FINISHED, None, STATUS)
    assert read(tmp_path)['steps_per_second'] == 9.0  # of the whole run


def test_a_full_disk_ends_no_program(tmp_path, clock):
    board = board_of(tmp_path / 'missing')
    board.tell([], STATUS, None)
    board.end(statuses.STOPPED, None, STATUS)
    assert not (tmp_path / 'missing').exists()


def test_what_never_began_leaves_nothing(tmp_path):
    Board(tmp_path).end(statuses.FAILED, 'these hosts did not join', None)
    assert list(tmp_path.iterdir()) == []
