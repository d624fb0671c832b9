"""Bounds on staleness and on lag hold in one process, whatever lag and updates a call are asked for."""

import pytest

import culmen
from tests.launchers import fitted
from tests.launchers.on_policy import Witness
from tests.launchers.toys import corridor


@pytest.mark.parametrize(
    ('staleness', 'lag', 'updates'), [(0, 1, 1), (1, 1, 1), (2, 5, 1), (1, 5, 2), (None, 1, 1)]
)
def test_no_window_is_older_than_the_bound(staleness, lag, updates):
    experiment = culmen.Experiment(
        Witness(max_staleness=staleness, max_size=4),
        corridor,
        max_actor_steps=400,
        num_environments=2,
        evaluation=culmen.Evaluation(episodes=1),
        lag=lag,
        updates_per_call=updates,
    )
    row = culmen.run(experiment, progress=False).logs['learner'].iloc[-1]
    assert row['learner_steps'] >= 20
    assert row['wrong_version'] == 0
    assert row['least_stale'] >= 0
    # The bound is met, not undercut: without one the lag alone decides.
    assert row['most_stale'] == {None: lag + 1, 2: 2, 1: updates - 1, 0: 0}[staleness]


@pytest.mark.parametrize(('max_lag', 'stale'), [(0, 0), (1, 2), (None, 4)])
def test_a_replay_bounds_how_late_an_update_is_handed_on(max_lag, stale):
    experiment = culmen.Experiment(
        fitted.Fitted(lambda: fitted.transitions(max_lag=max_lag)),
        corridor,
        max_actor_steps=40,
        evaluation=culmen.Evaluation(episodes=1),
        lag=3,
    )
    row = culmen.run(experiment, progress=False).logs['learner'].iloc[-1]
    assert row['learner_steps'] == 40
    # The action that began the newest window came before the hand-off of the update before this one.
    assert row['most_stale'] == stale
