"""What a learner warns of is said once a run, in every loop of this process."""

import pytest

import culmen
from culmen.agents import c51
from culmen.agents import wrappers
from culmen.launchers import compiled
from culmen.launchers.rows import SayOnce

WORDS = 'of the returns that are learned lie outside of v_min and v_max'
SMALL = {
    'hidden_sizes': (4,), 'min_replay_size': 8, 'replay_capacity': 64, 'batch_size': 8,
    'samples_per_insert': 1.0, 'n_step': 1, 'num_atoms': 3,
}  # fmt: skip
BOUNDS = {'narrow': (-0.1, 0.1), 'wide': (0.0, 100.0)}


@pytest.mark.parametrize('run', [culmen.run, compiled.run], ids=['local', 'compiled'])
@pytest.mark.parametrize(('support', 'times'), [('narrow', 1), ('wide', 0)])
def test_returns_that_leave_a_support(run, support, times, capsys):
    v_min, v_max = BOUNDS[support]
    agent = c51.C51(**SMALL, v_min=v_min, v_max=v_max)
    experiment = culmen.Experiment(
        wrappers.Normalised(agent), 'gymnax/CartPole-v1', max_actor_steps=40,
        evaluation=culmen.Evaluation(every=None, episodes=1),
    )  # fmt: skip
    run(experiment, progress=False)
    assert capsys.readouterr().err.count(WORDS) == times


def test_it_is_said_the_first_time_alone(capsys):
    say = SayOnce(lambda metrics: 'look here' if metrics['loss'] > 1 else None)
    for value in (0.0, 2.0, 3.0):
        say({'loss': value})
    assert capsys.readouterr().err == 'culmen: look here\n'
