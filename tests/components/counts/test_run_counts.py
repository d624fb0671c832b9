"""The counts of a run are safe between threads."""

import threading

import pytest

from culmen.components.counts import RunCounts


def test_what_is_counted_is_added():
    counts = RunCounts()
    counts.increment(actor_steps=3, episodes=1)
    assert counts.increment(actor_steps=2)['actor_steps'] == 5
    assert counts.get_counts()['episodes'] == 1


def test_threads_lose_no_count():
    counts = RunCounts()

    def count():
        for _ in range(5_000):
            counts.increment(actor_steps=1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.get_counts()['actor_steps'] == 20_000


@pytest.mark.parametrize('given', [{'steps': 1}, {'actor_steps': -1}])
def test_a_wrong_count_is_refused(given):
    with pytest.raises(ValueError, match='a count must be one of'):
        RunCounts().increment(**given)


def test_counts_are_restored():
    counts = RunCounts()
    counts.increment(actor_steps=2**40)
    other = RunCounts()
    other.set_state(counts.get_state())
    assert other.get_counts() == counts.get_counts()
