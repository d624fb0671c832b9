"""Bounds on staleness and on lag hold in one process, whatever lag and updates a call are asked for."""

import pytest

import culmen
from culmen.launchers import compiled
from tests.components.replay.registry import has_reverb
from tests.launchers import fitted
from tests.launchers.on_policy import Besides
from tests.launchers.on_policy import Uneven
from tests.launchers.on_policy import Witness
from tests.launchers.toys import corridor
from tests.shapes import worlds

needs_reverb = [
    pytest.mark.launchpad,
    pytest.mark.skipif(not has_reverb(), reason='Reverb is not installed'),
]


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


def whole_episodes(**changes):
    settings = {'length': 12, 'episodes': True, 'batch_size': 2, 'max_size': 4}
    return Witness(**{**settings, **changes})


@pytest.mark.parametrize('replay', ['in_process', pytest.param('reverb', marks=needs_reverb)])
@pytest.mark.parametrize(
    ('agent', 'lanes', 'lag', 'updates', 'reached'),
    [
        (whole_episodes(max_staleness=0), 4, 1, 1, 0),
        (whole_episodes(max_staleness=1, batch_size=5), 4, 1, 2, 1),
        (whole_episodes(max_staleness=2, batch_size=1), 3, 5, 1, 2),
        (whole_episodes(max_staleness=2, period=5), 3, 5, 1, 1),  # up to three windows an episode
        (whole_episodes(max_staleness=6, period=2, batch_size=1), 1, 0, 1, 5),  # which overlap
    ],
)
def test_no_window_within_episodes_is_older_than_the_bound(
    replay, agent, lanes, lag, updates, reached
):
    experiment = culmen.Experiment(
        agent,
        Uneven,
        max_actor_steps=600,
        num_environments=lanes,
        evaluation=culmen.Evaluation(episodes=1),
        lag=lag,
        updates_per_call=updates,
    )
    row = culmen.run(experiment, replay=replay, progress=False).logs['learner'].iloc[-1]
    assert row['learner_steps'] >= 15
    assert row['wrong_version'] == 0
    assert row['least_stale'] >= 0
    # The bound is met, save where windows of a lane overlap.
    assert reached == row['most_stale'] <= agent.max_staleness


@pytest.mark.parametrize('steps', [101, 102, 103, 104])
def test_a_run_that_stops_while_lanes_wait_goes_on_with_the_same_bits(tmp_path, steps):
    def run(folder, max_actor_steps):
        experiment = culmen.Experiment(
            whole_episodes(max_staleness=0),
            Uneven,
            max_actor_steps=max_actor_steps,
            num_environments=4,
            evaluation=culmen.Evaluation(episodes=1),
        )
        return culmen.run(experiment, tmp_path / folder, progress=False)

    run('broken', steps)
    resumed, unbroken = run('broken', 180), run('unbroken', 180)
    assert resumed.summary['resumed_at'] >= steps
    for result in (resumed, unbroken):
        assert result.logs['learner'].iloc[-1]['most_stale'] == 0
    columns = ['actor_steps', 'learner_steps', 'episode_length']
    assert resumed.logs['actor'][columns].equals(unbroken.logs['actor'][columns])
    assert resumed.params == unbroken.params


@pytest.mark.parametrize('launcher', ['local', 'compiled'])
def test_staleness_within_episodes_is_counted_in_updates_of_the_rule(launcher):
    agent = Besides(worlds.LONGEST, 1, episodes=True, batch_size=2)
    experiment = culmen.Experiment(
        agent,
        worlds.uneven_signs,
        max_actor_steps=300,
        num_environments=4,
        evaluation=culmen.Evaluation(episodes=1),
    )
    run = culmen.run if launcher == 'local' else compiled.run
    result = run(experiment, progress=False)
    row = result.logs['learner'].iloc[-1]
    assert row['own/most_stale'] == 1
    assert row['own/least_stale'] >= 0
    assert row['own/wrong_version'] == 0
    assert result.summary['learner_steps'] >= 300 + 20


def test_windows_within_episodes_of_several_lanes_may_be_older_without_a_bound():
    experiment = culmen.Experiment(
        whole_episodes(max_staleness=None, batch_size=1, max_size=9),
        Uneven,
        max_actor_steps=600,
        num_environments=4,
        evaluation=culmen.Evaluation(episodes=1),
        lag=0,
    )
    row = culmen.run(experiment, progress=False).logs['learner'].iloc[-1]
    assert row['most_stale'] > 4


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
