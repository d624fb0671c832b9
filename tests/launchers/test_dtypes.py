"""Runs whose observations are of dtypes that NumPy's files don't know, or that hold little."""

import dm_env
import ml_dtypes
import numpy as np
import pytest
from dm_env import specs

import culmen
from culmen.agents import dqn


class Half(dm_env.Environment):
    """Large numbers of 16 bits; three steps an episode."""

    def __init__(self, dtype, seed):
        self._dtype, self._draw = np.dtype(dtype), np.random.default_rng(seed)
        self._steps = 3

    def _observation(self):
        return self._draw.uniform(-6e4, 6e4, 4).astype(self._dtype)

    def reset(self):
        self._steps = 0
        return dm_env.restart(self._observation())

    def step(self, action):
        if self._steps == 3:
            return self.reset()
        self._steps += 1
        end = dm_env.truncation if self._steps == 3 else dm_env.transition
        return end(1.0, self._observation())

    def observation_spec(self):
        return specs.Array((4,), self._dtype, 'observation')

    def action_spec(self):
        return specs.DiscreteArray(2, np.int32)


@pytest.mark.parametrize('dtype', [np.float16, ml_dtypes.bfloat16])
def test_16_bits_are_learned_from_in_32_and_saved(tmp_path, dtype):
    agent = dqn.DQN(
        hidden_sizes=(8,), n_step=2, min_replay_size=8, batch_size=4, samples_per_insert=2.0
    )

    def run(steps):
        experiment = culmen.Experiment(
            agent,
            lambda seed: Half(dtype, seed),
            max_actor_steps=steps,
            evaluation=culmen.Evaluation(episodes=1),
        )
        return culmen.run(experiment, tmp_path, progress=False)

    first, result = run(20), run(40)
    assert result.summary['resumed_at'] == 20
    assert result.summary['learner_steps'] > first.summary['learner_steps'] > 0
    assert np.isfinite(result.logs['learner'].loss).all()
