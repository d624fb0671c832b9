"""C51: Q-learning of the distribution of returns, over fixed atoms.

Bellemare et al. 2017, "A Distributional Perspective on Reinforcement Learning" (1707.06887). By option what
the family of DQN has: double Q-learning, dueling heads, n-step returns, prioritised replay, noisy networks.
`Rainbow` has all of them: Hessel et al. 2018 (1710.02298).

    culmen.run(culmen.Experiment(c51.C51(v_min=-1.0, v_max=1.0), 'bsuite/catch/0', max_actor_steps=20_000))
"""

from culmen.agents.c51.agent import C51
from culmen.agents.c51.config import C51Config
from culmen.agents.c51.learning import loss
from culmen.components.updates import TargetTrainingState as TrainingState

__all__ = ['C51', 'C51Config', 'TrainingState', 'loss']
