"""What actors that are started again are told of the windows that their lanes have stored."""

import threading

import numpy as np
import pytest

from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from culmen.launchers.programs.nodes.waits import ActorWaits
from culmen.launchers.programs.remote import NotReady

QUEUE = Queue(Window(length=4, period=4, cross_episodes=True))
REPLAY = Replay(Window(), capacity=50, min_size=8, batch_size=4, samples_per_insert=1.0)


class Reader:
    """Of tables that store windows all the time."""

    def __init__(self, has_queue):
        self.has_queue, self.looks = has_queue, 0

    def next_windows(self):
        self.looks += 1
        return {'': np.array([self.looks, 0])} if self.has_queue else {}

    def arrived(self):
        return {}

    def tell_ended(self, items):
        pass


def waits(experience):
    return ActorWaits(experience, 2, Reader(experience is QUEUE))


def first(told):
    return told[''].tolist()


def test_a_new_actor_is_told_of_the_start_and_one_that_is_back_of_what_is_stored_now():
    node = waits(QUEUE)
    assert first(node.get_first_windows(False)) == [1, 0]
    ended = threading.Event()

    def learn():
        while not ended.is_set():
            node.begin_look()

    thread = threading.Thread(target=learn)
    thread.start()
    assert first(node.get_first_windows(True)) == [2, 0]
    assert first(node.get_first_windows(True)) == [3, 0]
    ended.set()
    thread.join()


def test_the_reader_is_left_to_the_learner_s_loop_and_the_actor_asks_again():
    node = waits(QUEUE)
    with pytest.raises(NotReady):
        node.get_first_windows(True)
    node.begin_look()
    assert first(node.get_first_windows(False)) == [2, 0]


def test_without_a_queue_there_is_nothing_to_wait_for():
    assert waits(REPLAY).get_first_windows(True) == {}
