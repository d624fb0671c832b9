"""SAC learns to reach a target that it sees in 32x32 pixels, with random shifts and without.

A random policy's episode returns about 1.4, standing still 3.0, and the straight way 11.3.
"""

import pytest

import culmen
from culmen.agents import sac
from tests.reach import Reach


@pytest.mark.learning
@pytest.mark.deep
@pytest.mark.parametrize('augmentation_pad', [0, 2])
def test_sac_learns_to_reach_from_pixels(augmentation_pad):
    agent = sac.SAC(
        encoder_channels=(8, 8), augmentation_pad=augmentation_pad, hidden_sizes=(64, 64),
        discount=0.9, learning_rate=1e-3, batch_size=64, samples_per_insert=16.0, random_steps=500,
        min_replay_size=500, replay_capacity=20_000,
    )  # fmt: skip
    experiment = culmen.Experiment(
        agent=agent,
        environment=Reach,
        seed=1,
        max_actor_steps=20_000,
        evaluation=culmen.Evaluation(every=None, episodes=50),
    )
    result = culmen.run(experiment, progress=False)
    assert result.summary['evaluation']['return_mean'] > 9.0
