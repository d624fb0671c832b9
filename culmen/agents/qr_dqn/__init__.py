"""QR-DQN: Q-learning of the quantiles of returns.

Dabney et al. 2018, "Distributional Reinforcement Learning with Quantile Regression" (1710.10044). By option
what the family of DQN has: double Q-learning, dueling heads, n-step returns, prioritised replay, noisy
networks.

    culmen.run(culmen.Experiment(qr_dqn.QRDQN(), 'bsuite/catch/0', max_actor_steps=20_000))
"""

from culmen.agents.qr_dqn.agent import QRDQN
from culmen.agents.qr_dqn.config import QRDQNConfig
from culmen.agents.qr_dqn.learning import loss
from culmen.components.updates import TargetTrainingState as TrainingState

__all__ = ['QRDQN', 'QRDQNConfig', 'TrainingState', 'loss']
