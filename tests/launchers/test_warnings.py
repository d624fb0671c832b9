"""What a learner warns of is said once a run, in every loop."""

import pytest

import culmen
from culmen.agents import c51
from culmen.agents import wrappers
from culmen.launchers import compiled
from culmen.launchers import launchpad
from culmen.launchers.rows import SayOnce
from tests.conftest import is_installed

pytest.importorskip('gymnax')

WORDS = 'of the returns that are learned lie outside of v_min and v_max'
SMALL = {
    'hidden_sizes': (4,), 'min_replay_size': 8, 'replay_capacity': 64, 'batch_size': 8,
    'samples_per_insert': 1.0, 'n_step': 1, 'num_atoms': 3,
}  # fmt: skip


def experiment(v_min, v_max):
    agent = c51.C51(**SMALL, v_min=v_min, v_max=v_max)
    return culmen.Experiment(
        wrappers.Normalised(agent), 'gymnax/CartPole-v1', max_actor_steps=40,
        evaluation=culmen.Evaluation(every=None, episodes=1),
    )  # fmt: skip


@pytest.mark.parametrize('run', [culmen.run, compiled.run], ids=['local', 'compiled'])
@pytest.mark.parametrize(('v_min', 'v_max', 'times'), [(-0.1, 0.1, 1), (0.0, 100.0, 0)])
def test_returns_that_leave_a_support(run, v_min, v_max, times, capsys):
    run(experiment(v_min, v_max), progress=False)
    assert capsys.readouterr().err.count(WORDS) == times


@pytest.mark.slow
@pytest.mark.launchpad
@pytest.mark.skipif(
    not (is_installed('launchpad') and is_installed('reverb')),
    reason='Launchpad has wheels for Python 3.10 on Linux x86-64 alone',
)
def test_returns_that_leave_a_support_in_a_program(tmp_path, capfd):
    program = launchpad.make_program(experiment(-0.1, 0.1), tmp_path / 'run')
    launchpad.launch(program, 'threads', progress=False)
    assert capfd.readouterr().err.count(WORDS) == 1


def test_it_is_said_the_first_time_alone(capsys):
    say = SayOnce(lambda metrics: 'look here' if metrics['loss'] > 1 else None)
    for value in (0.0, 2.0, 3.0):
        say({'loss': value})
    assert capsys.readouterr().err == 'culmen: look here\n'
