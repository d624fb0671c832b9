"""Counters: safe between threads, and hierarchical."""

import threading

import pytest

from culmen.components.counting import Counter


def test_children_count_into_their_parent():
    parent = Counter()
    a, b = Counter(parent), Counter(parent)
    a.increment(actor_steps=3, episodes=1)
    assert b.increment(actor_steps=2)['actor_steps'] == 2
    assert parent.get_counts()['actor_steps'] == 5
    assert parent.get_counts()['episodes'] == a.get_counts()['episodes'] == 1


def test_threads_lose_no_count():
    parent = Counter()

    def count(child):
        for _ in range(5_000):
            child.increment(actor_steps=1)

    threads = [threading.Thread(target=count, args=(Counter(parent),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert parent.get_counts()['actor_steps'] == 20_000


@pytest.mark.parametrize('counts', [{'steps': 1}, {'actor_steps': -1}])
def test_a_wrong_count_is_refused(counts):
    with pytest.raises(ValueError, match='a count must be one of'):
        Counter().increment(**counts)


def test_counts_are_restored():
    counter = Counter()
    counter.increment(actor_steps=2**40)
    other = Counter()
    other.set_state(counter.get_state())
    assert other.get_counts() == counter.get_counts()
