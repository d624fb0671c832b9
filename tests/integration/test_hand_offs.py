"""Programs: the actor waits for the parameters that the experience asks for."""

import pytest

import culmen
from culmen.launchers import launchpad
from tests.conftest import is_installed
from tests.launchers import fitted
from tests.launchers.on_policy import Besides
from tests.launchers.on_policy import Uneven
from tests.launchers.on_policy import Witness
from tests.launchers.toys import corridor

pytestmark = [
    pytest.mark.launchpad,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (is_installed('launchpad') and is_installed('reverb')),
        reason='Launchpad has wheels for Python 3.10 on Linux x86-64 alone',
    ),
]


def launch(agent, workdir=None, backend='threads', num_actors=1, environment=corridor, **changes):
    settings = {'max_actor_steps': 122, 'evaluation': culmen.Evaluation(episodes=1), 'seed': 1}
    experiment = culmen.Experiment(agent, environment, **{**settings, **changes})
    program = launchpad.make_program(experiment, workdir, num_actors=num_actors)
    return launchpad.launch(program, backend, progress=False)


@pytest.mark.parametrize('backend', ['threads', pytest.param('processes', marks=pytest.mark.deep)])
def test_an_episode_begins_with_the_update_of_the_one_before(backend):
    result = launch(fitted.Fitted(seconds=0.03), backend=backend, lag=3)
    row = result.logs['learner'].iloc[-1]
    assert row['learner_steps'] == result.summary['episodes'] >= 5
    assert row['most_stale'] == 0


def test_lanes_of_several_actors_begin_with_updates_of_their_own_episodes():
    agent = fitted.Fitted(seconds=0.01, lanes=2)
    result = launch(agent, num_actors=2, max_actor_steps=200)
    row = result.logs['learner'].iloc[-1]
    assert row['learner_steps'] == row['windows'] >= 10
    assert row['repeated'] == 0


def test_lanes_wait_by_the_updates_of_their_rule():
    agent = Besides(12, 1, episodes=True, batch_size=2, seconds=0.005)
    result = launch(
        agent, num_actors=2, num_environments=2, environment=Uneven, max_actor_steps=200
    )
    row = result.logs['learner'].iloc[-1]
    assert row['own/wrong_version'] == 0
    assert 0 <= row['own/most_stale'] <= 1
    assert result.summary['learner_steps'] >= 200


def test_lanes_that_end_in_one_tick_make_one_update_and_a_resumed_program_goes_on(tmp_path):
    agent = fitted.Fitted(fitted.once_an_episode, seconds=0.005, lanes=4)
    settings = {'num_actors': 2, 'num_environments': 2}
    for steps in (84, 164):  # which end in the middle of episodes of 4 steps
        result = launch(agent, tmp_path / 'run', max_actor_steps=steps, **settings)
        row = result.logs['learner'].iloc[-1]
        assert row['learner_steps'] == row['windows'] / 2 > 0
        assert row['repeated'] == 0
    assert result.summary['resumed_at'] >= 84
    assert row['windows'] >= 30


def test_a_reverb_table_of_one_process_counts_ticks_too(tmp_path):
    agent = fitted.Fitted(fitted.once_an_episode, lanes=2)
    for steps in (40, 82):  # the corridor can't be saved in the middle of an episode
        experiment = culmen.Experiment(
            agent,
            corridor,
            max_actor_steps=steps,
            num_environments=2,
            evaluation=culmen.Evaluation(episodes=1),
        )
        result = culmen.run(experiment, tmp_path / 'run', replay='reverb', progress=False)
    row = result.logs['learner'].iloc[-1]
    assert row['learner_steps'] == row['windows'] / 2 == 10
    assert row['most_stale'] == row['repeated'] == 0


@pytest.mark.parametrize(
    ('backend', 'staleness', 'batch_size', 'budgets'),
    [('threads', 0, 2, (150, 300)), ('processes', 1, 3, (200,))],
)
def test_lanes_wait_before_their_episodes(backend, staleness, batch_size, budgets, tmp_path):
    agent = Witness(12, staleness, episodes=True, batch_size=batch_size, seconds=0.01)
    for steps in budgets:
        result = launch(
            agent, tmp_path, backend, num_actors=2, num_environments=2, environment=Uneven,
            max_actor_steps=steps, lag=2,
        )  # fmt: skip
    row = result.logs['learner'].iloc[-1]
    episodes = steps // 12 - 4  # of 12 steps at most, without those that are open in the four lanes
    assert row['learner_steps'] >= episodes // batch_size
    assert row['wrong_version'] == 0
    assert row['most_stale'] <= staleness


def test_each_action_waits_for_the_update_of_the_step_before():
    agent = fitted.Fitted(fitted.transitions, seconds=0.005)
    row = launch(agent, max_actor_steps=60).logs['learner'].iloc[-1]
    assert row['learner_steps'] == 60
    assert row['most_stale'] == 0
