"""DQN learns Catch in 20,000 steps, as `make train` shows."""

import pytest

import culmen
from culmen.agents import dqn


@pytest.mark.learning
@pytest.mark.parametrize('seed', [1, pytest.param(2, marks=pytest.mark.deep)])
def test_dqn_with_its_defaults_learns_catch(seed):
    pytest.importorskip('bsuite')
    experiment = culmen.Experiment(
        agent=dqn.DQN(),
        environment='bsuite/catch/0',
        seed=seed,
        max_actor_steps=20_000,
        evaluation=culmen.Evaluation(every=None, episodes=100),
    )
    result = culmen.run(experiment, progress=False)
    assert result.summary['actor_steps'] == 20_000
    assert result.summary['evaluation'] == {
        'episodes': 100, 'return_mean': 1.0, 'return_std': 0.0,
    }  # fmt: skip
