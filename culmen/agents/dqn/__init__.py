"""Deep Q-Networks: Q-learning with a network, replay and a target network.

Mnih et al. 2015, "Human-level control through deep reinforcement learning" (Nature 518). By option:
double Q-learning (van Hasselt et al. 2016, 1509.06461), dueling heads (Wang et al. 2016, 1511.06581),
n-step returns (Sutton 1988; Hessel et al. 2018, 1710.02298), prioritised replay (Schaul et al. 2016,
1511.05952), noisy networks (Fortunato et al. 2017, 1706.10295), Munchausen's reward (Vieillard et al.
2020, 2007.14430), DQNReg (Co-Reyes et al. 2021, 2101.03958) and Ape-X (Horgan et al. 2018, 1803.00933).

    culmen.run(culmen.Experiment(agent=dqn.DQN(), environment='bsuite/catch/0', max_actor_steps=20_000))
"""

from culmen.agents.dqn.agent import DQN
from culmen.agents.dqn.agent import ApeX
from culmen.agents.dqn.config import ApeXConfig
from culmen.agents.dqn.config import DQNConfig
from culmen.agents.dqn.learning import loss
from culmen.agents.dqn.learning import make_learner
from culmen.components.updates import TargetTrainingState as TrainingState

__all__ = ['DQN', 'ApeX', 'ApeXConfig', 'DQNConfig', 'TrainingState', 'loss', 'make_learner']
