"""A bound on staleness holds in one process, whatever lag and updates a call are asked for."""

import pytest

import culmen
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
