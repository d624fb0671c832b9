"""Experience: what can be said, and what is refused."""

import pytest

from culmen.core import experience
from culmen.core.experience import ByRule
from culmen.core.experience import Dataset
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.staleness import check_experience
from culmen.core.staleness import effective_lag


def replay(**changes):
    settings = {
        'window': Window(),
        'capacity': 10,
        'min_size': 2,
        'batch_size': 4,
        'samples_per_insert': 1.0,
    }
    return Replay(**{**settings, **changes})


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda: Window(length=0), 'Window.length must be at least 1, got 0'),
        (lambda: Window(period=0), 'Window.period must be at least 1, got 0'),
        (lambda: Window(ends=('a',), first=('a',)), r"share fields, got \['a'\]"),
        (lambda: replay(capacity=0), 'Replay.capacity must be at least 1'),
        (lambda: replay(min_size=11), r'Replay.min_size must be in \[0, 10\], got 11'),
        (lambda: replay(batch_size=0), 'Replay.batch_size must be at least 1, got 0'),
        (lambda: replay(samples_per_insert=0.0), 'Replay.samples_per_insert must be above 0'),
        (lambda: replay(priority_exponent=-1.0), 'Replay.priority_exponent must be at least 0'),
        (lambda: replay(priority=len), 'Replay.priority needs priority_exponent above 0'),
        (lambda: replay(draw='all'), "batch_size must be 1 where draw='all', got 4"),
        (lambda: replay(by_tick=True), "Replay.by_tick needs draw='all', samples_per_insert 1"),
        (
            lambda: replay(
                by_tick=True, draw='all', batch_size=1, window=Window(cross_episodes=True)
            ),
            "windows that don't cross episodes",
        ),
        (lambda: Replay.once_an_episode(0, 5), 'Window.length must be at least 1, got 0'),
        (lambda: Replay.once_an_episode(9, 5, 6), r'Replay.min_size must be in \[0, 5\], got 6'),
        (lambda: replay(max_lag=-1), 'Replay.max_lag must be at least 0, got -1'),
        (lambda: Queue(Window(), batch_size=0), 'Queue.batch_size must be at least 1'),
        (lambda: Queue(Window(), max_staleness=-1), 'Queue.max_staleness must be at least 0'),
        (lambda: Dataset(Window(), 'path', 0), 'Dataset.batch_size must be at least 1'),
        (
            lambda: Dataset(Window(), 'path', 4, priority_exponent=-1.0),
            'Dataset.priority_exponent must be at least 0, got -1.0',
        ),
        (
            lambda: Dataset(Window(), 'path', 4, draw='all'),
            "Dataset.batch_size must be 1 where draw='all', got 4",
        ),
        (
            lambda: Dataset(Window(), 'path', 1, draw='all', priority_exponent=0.5),
            "Dataset.priority_exponent must be 0 where draw='all'",
        ),
        (lambda: Dataset(Window(), 'path', 4, 'reward'), 'Dataset.map must be'),
    ],
)
def test_impossible_values_are_refused_by_name(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ('queue', 'lanes', 'updates', 'words'),
    [
        (Queue(Window(4, 2, True), max_staleness=9), 2, 1, 'needs period == length where'),
        (Queue(Window(4, 4), 3, max_staleness=0), 2, 1, 'must be the only table of its rule that'),
        (
            Queue(Window(4, 4), max_staleness=0),
            2,
            1,
            'must be a number where there is more than one',
        ),
        (Queue(Window(4, 2), max_staleness=0), 1, 1, 'at least 1 where up to 2 windows of a lane'),
        (
            Queue(Window(4, 1), 2, max_staleness=1),
            1,
            1,
            'at least 2 where up to 4 windows of a lane',
        ),
        (Queue(Window(4, 2), 1, max_staleness=2, max_size=9), 1, 3, 'at most one more than max_st'),
        (
            Queue(Window(4, 4, True), batch_size=3, max_staleness=0),
            2,
            1,
            'multiple of the 2 lanes, got 3',
        ),
        (Queue(Window(4, 4, True), max_staleness=0), 2, 2, 'updates_per_call must be 1'),
        (
            Queue(Window(4, 4, True), max_staleness=1, max_size=3),
            2,
            3,
            'at most one more than max_st',
        ),
        (Queue(Window(4, 4, True)), 2, 3, 'updates_per_call must be at most max_size 2'),
        (
            replay(max_lag=0),
            1,
            2,
            r"updates_per_call must be 1 where experience\['queue'\] has max_lag",
        ),
    ],
)
def test_a_queue_that_can_not_be_run_is_refused(queue, lanes, updates, words):
    with pytest.raises(ValueError, match=words):
        check_experience({'queue': queue, 'replay': replay()}, lanes, updates)


def test_a_queue_that_can_be_run_passes():
    check_experience(Queue(Window(4, 4, True), batch_size=4, max_staleness=0), 2, 1)
    check_experience(Queue(Window(4, 4), max_staleness=0), 1, 1)
    check_experience(Queue(Window(4, 1), 2, max_staleness=2), 5, 1)
    lone, recorded = Queue(Window(4, 4), 3, max_staleness=0), Dataset(Window(), 'path', 1)
    check_experience({'queue': lone, 'recorded': recorded}, 2, 1)


def test_lanes_that_wait_stop_no_other_rule():
    lone = Queue(Window(4, 4), 3, max_staleness=0)
    check_experience(ByRule({'a': lone, 'b': replay(), 'c': {'x': replay(), 'y': replay()}}), 2)
    crossing = replay(window=Window(4, cross_episodes=True))
    words = r"experience\['b'\] must have cross_episodes=False beside experience\['a'\], a Queue"
    with pytest.raises(ValueError, match=words):
        check_experience(ByRule({'a': lone, 'b': crossing}), 2)


@pytest.mark.parametrize(
    ('staleness', 'lag', 'updates', 'effective'),
    [
        (0, 1, 1, 0),
        (1, 2, 1, 0),
        (2, 2, 1, 1),
        (None, 2, 1, 2),
        (3, 1, 1, 1),
        (3, 5, 2, 0),
        (5, 5, 2, 1),
    ],
)
def test_a_bound_on_staleness_bounds_the_lag(staleness, lag, updates, effective):
    queue = Queue(Window(4, 4, True), max_staleness=staleness)
    assert effective_lag({'a': queue, 'b': replay()}, lag, updates) == effective


@pytest.mark.parametrize(('period', 'effective'), [(4, 2), (2, 1), (1, 0)])
def test_windows_that_overlap_leave_less_of_the_bound_to_the_lag(period, effective):
    queue = Queue(Window(4, period), batch_size=1, max_staleness=3)
    assert effective_lag(queue, 5) == effective


@pytest.mark.parametrize(('max_lag', 'effective'), [(None, 3), (0, 0), (2, 2), (9, 3)])
@pytest.mark.parametrize('bounded', [False, True])
def test_a_replay_bounds_the_lag(max_lag, effective, bounded):
    shape = {'a': replay(), 'b': replay(max_lag=max_lag)}
    assert effective_lag(shape, 3, bounded=bounded) == effective


@pytest.mark.parametrize(('batch_size', 'effective'), [(None, 1), (4, 5)])
def test_where_actors_wait_for_the_learner_the_size_of_a_queue_bounds_the_lag(
    batch_size, effective
):
    queue = Queue(Window(4, 4, True), batch_size=batch_size, max_size=2)
    assert effective_lag(queue, 5, bounded=True) == effective
    assert effective_lag(queue, 5) == 5


@pytest.mark.parametrize('lone', [True, False])
def test_mirror_and_its_inverse(lone):
    shape = replay() if lone else {'a': replay(), 'b': replay()}
    values = {name: i for i, name in enumerate(experience.tables(shape))}
    assert experience.unmirror(shape, experience.mirror(shape, values)) == values
    assert set(experience.unmirror(shape, None).values()) == {None}
