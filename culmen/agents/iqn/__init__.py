"""IQN: Q-learning of returns' quantiles at sampled fractions.

Dabney et al. 2018, "Implicit Quantile Networks for Distributional Reinforcement Learning" (1806.06923). By
option Munchausen's reward (Vieillard et al. 2020, 2007.14430), attitudes to risk, and what the family of DQN
has: double Q-learning, dueling heads, n-step returns, prioritised replay, noisy networks.

    culmen.run(culmen.Experiment(iqn.IQN(), 'bsuite/catch/0', max_actor_steps=20_000))
"""

from culmen.agents.iqn.agent import IQN
from culmen.agents.iqn.config import IQNConfig
from culmen.agents.iqn.learning import loss
from culmen.components.updates import TargetTrainingState as TrainingState

__all__ = ['IQN', 'IQNConfig', 'TrainingState', 'loss']
