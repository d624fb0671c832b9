"""Gates: who may begin an episode, so that windows keep to the staleness that a Queue allows."""

import numpy as np
import pytest

from culmen.components.replay.stream.gates import Doorkeeper
from culmen.components.replay.stream.gates import Gates
from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import MID
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from culmen.core.experience import ByRule

EPISODES = Window(length=10, period=10)
ONE = {'': 1}


def gates(batch_size=2, max_staleness=0, window=EPISODES, num_lanes=5, **options):
    return Gates(Queue(window, batch_size, max_staleness), num_lanes, **options)


def test_as_many_windows_are_begun_as_a_batch_has():
    door = gates()
    assert door.admit([], [0, 1, 2, 3], 0) == [0, 1]
    assert door.admit([(1, ONE)], [2, 3, 1], 0) == []
    assert door.admit([(0, ONE)], [2, 3, 1, 0], 0) == []
    assert door.admit([], [0, 1, 2, 3], 1) == [2, 3]  # in the order in which they came


def test_a_long_episode_holds_others_back_once_its_window_would_be_too_old():
    door = gates(batch_size=1, max_staleness=2, num_lanes=2)
    assert door.admit([], [0, 1], 0) == [0, 1]
    begun = [1]
    for version in range(1, 9):
        if 1 not in begun:
            break
        begun = door.admit([(1, ONE)], [1], version)
    # The window of lane 0 may be the third at the latest: update 2 takes it, with params of update 0.
    assert version == 3
    assert door.admit([(0, ONE)], [0, 1], 3) == [0, 1]


def test_old_params_of_another_actor_hold_back_their_own_lane():
    door = gates(batch_size=1)
    assert door.admit([], [0], 0) == [0]
    assert door.admit([(0, ONE)], [1], 0) == []  # update 1 takes its window
    assert door.admit([], [1], 1) == [1]


def test_windows_that_an_episode_does_not_bring_are_given_back():
    window = Window(length=4, period=2)  # up to two windows an episode
    door = gates(batch_size=4, max_staleness=0, window=window)
    assert door.admit([], [0, 1, 2], 0) == [0, 1]
    assert door.admit([(0, ONE)], [0], 0) == []  # lane 2 came first, and one place is left
    assert door.admit([(1, ONE)], [2], 0) == [2]


def test_what_has_arrived_before_a_restart_counts():
    assert gates(arrived={'': 3}).admit([], [0, 1], 1) == [0]
    lost = gates(arrived={'': 3})
    lost.forget('', 1)
    assert lost.admit([], [0, 1], 1) == [0, 1]


def test_gates_go_on_from_their_state():
    door = gates()
    door.admit([], [2, 0, 1], 0)
    other = gates()
    other.set_state(door.get_state())
    for each in (door, other):
        assert each.admit([(0, ONE), (2, ONE)], [0, 2], 1) == [0]


def test_staleness_counts_the_updates_of_the_rule_that_draws():
    queue = Queue(EPISODES, 2, max_staleness=0)
    replay = Replay(Window(), 10, 1, 1, 1.0)
    door = Gates(ByRule({'first': replay, 'second': queue}), 4)
    ended = {'second': 1}
    assert door.admit([], [0, 1, 2], (0, 0)) == [0, 1]
    assert door.admit([(0, ended), (1, ended)], [2], (50, 0)) == []
    saved = Gates(ByRule({'first': replay, 'second': queue}), 4)
    saved.set_state(door.get_state())
    for each in (door, saved):
        assert each.admit([], [2], (50, 1)) == [2]


def keeper(window=EPISODES, lanes=(3, 7)):
    queue = Queue(window, 2, max_staleness=0)
    return Doorkeeper(queue, np.array(lanes), 8)


def tick(door, *step_type):
    door.observe(np.array(step_type))
    door.close()


def test_lanes_at_first_are_held_until_they_are_admitted():
    door, hall = keeper(), gates(batch_size=1, num_lanes=8)
    tick(door, FIRST, FIRST)
    assert door.ask(hall, 0).tolist() == [False, True]
    tick(door, MID, FIRST)
    assert door.ask(hall, 0).tolist() == [False, True]
    door.add('', np.array([0]))
    tick(door, LAST, FIRST)
    assert door.ask(hall, 0).tolist() == [False, True]
    tick(door, FIRST, FIRST)
    assert door.ask(hall, 1).tolist() == [True, False]
    tick(door, FIRST, MID)
    again = keeper()
    again.set_state(door.get_state())
    for each in (door, again):
        assert each.ask(hall, 1).tolist() == [True, False]


def test_an_interrupted_episode_begins_anew():
    door, hall = keeper(), gates(batch_size=2, num_lanes=8)
    tick(door, FIRST, FIRST)
    assert door.ask(hall, 0) is None
    tick(door, MID, MID)
    assert door.ask(hall, 0) is None
    tick(door, FIRST, MID)
    assert door.ask(hall, 0) is None


def test_an_episode_with_more_windows_than_lanes_allow_for_is_refused():
    door = keeper()
    door.add('', np.array([0]))
    with pytest.raises(ValueError, match='episodes must have at most 10 steps .* in lane 7'):
        door.add('', np.array([1, 1]))


@pytest.mark.parametrize(
    ('window', 'num_lanes', 'staleness', 'needed'),
    [(EPISODES, 1, 0, False), (EPISODES, 2, None, False), (EPISODES, 2, 0, True)],
)
def test_who_needs_it(window, num_lanes, staleness, needed):
    queue = Queue(window, 2, max_staleness=staleness)
    assert Doorkeeper({'a': queue}, np.arange(num_lanes), num_lanes).is_needed == needed
