"""What is due in a run, as a function of its counts alone."""

import dataclasses

import pytest

import culmen
from culmen.agents import dqn
from culmen.launchers.schedule import NEVER
from culmen.launchers.schedule import Counts
from culmen.launchers.schedule import RowState
from culmen.launchers.schedule import Schedule
from culmen.launchers.schedule import ScheduleState

SCHEDULE = Schedule(
    'actor_steps',
    max_actor_steps=2_000,
    max_learner_steps=900,
    evaluation_period=300,
    checkpoint_period=500,
)
OFFLINE = dataclasses.replace(SCHEDULE, clock='learner_steps', max_actor_steps=None)


def test_an_experiment_says_the_periods():
    experiment = culmen.Experiment(
        dqn.DQN(),
        'bsuite/catch/0',
        max_actor_steps=2_000,
        max_learner_steps=900,
        evaluation=culmen.Evaluation(every=300),
        checkpoint=culmen.Checkpoint(every=500),
    )
    assert Schedule.of(experiment) == SCHEDULE
    assert SCHEDULE.budget == 2_000
    assert OFFLINE.budget == 900


@pytest.mark.parametrize(
    ('counts', 'over'),
    [((0, 0), False), ((1_999, 899), False), ((2_000, 0), True), ((0, 900), True)],
)
def test_either_budget_ends_a_run(counts, over):
    assert SCHEDULE.is_over(Counts(*counts)) is over


def test_events_are_due_at_multiples_and_once():
    state, seen = SCHEDULE.begin(), []
    for steps in range(0, 1_201, 7):
        counts = Counts(steps, steps // 2)
        if SCHEDULE.is_evaluation_due(state, counts):
            state = SCHEDULE.after_evaluation(state, counts)
            assert state.evaluated_at == counts
            seen.append(('evaluation', steps))
        if SCHEDULE.is_checkpoint_due(state, counts):
            state = SCHEDULE.after_checkpoint(state, counts)
            seen.append(('checkpoint', steps))
        if state.rows.is_due(steps):
            state = state._replace(rows=state.rows.after(*counts))
            seen.append(('row', steps))
    # The first multiples of 7 from 300, 600, 900, 1200; 500, 1000; and 1000 on.
    assert seen == [
        ('evaluation', 301), ('checkpoint', 504), ('evaluation', 602), ('evaluation', 903),
        ('checkpoint', 1_001), ('row', 1_001),
    ]  # fmt: skip


def test_offline_learner_steps_are_the_clock():
    state = OFFLINE.begin()
    assert not OFFLINE.is_evaluation_due(state, Counts(0, 299))
    assert OFFLINE.is_evaluation_due(state, Counts(0, 300))
    assert OFFLINE.next_event(state) == (NEVER, 300)


@pytest.mark.parametrize(
    ('state', 'event'),
    [
        (ScheduleState(300, 500), (300, 900)),
        (ScheduleState(600, 500), (500, 900)),
        (ScheduleState(None, 2_500), (2_000, 900)),
    ],
)
def test_a_run_advances_to_the_first_event_or_either_budget(state, event):
    assert SCHEDULE.next_event(state) == event
    endless = dataclasses.replace(SCHEDULE, max_learner_steps=None)
    assert endless.next_event(state) == (event[0], NEVER)


@pytest.mark.parametrize(
    ('period', 'stored', 'resumed'),
    [(300, 900, 900), (200, 900, 200), (None, 900, None), (300, None, 300)],
)
def test_a_run_may_go_on_with_another_period_of_evaluations(period, stored, resumed):
    schedule = dataclasses.replace(SCHEDULE, evaluation_period=period)
    state = ScheduleState(stored, 1_500, RowState(2_000, 40), Counts(600, 30))
    assert schedule.resume(state) == state._replace(evaluation=resumed)
