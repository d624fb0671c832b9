"""Rainbow: C51 with all improvements of DQN at once.

Hessel et al. 2018, "Rainbow: Combining Improvements in Deep Reinforcement Learning" (1710.02298): double
Q-learning, prioritised replay by the loss, dueling heads, 3-step returns, distributions and noisy networks.
`head='iqn'` puts an implicit quantile network (Dabney et al. 2018, 1806.06923) in place of C51.

    agent = rainbow.Rainbow(v_min=-1.0, v_max=1.0)
    culmen.run(culmen.Experiment(agent, 'bsuite/catch/0', max_actor_steps=20_000))
"""

from culmen.agents.rainbow.agent import Rainbow
from culmen.agents.rainbow.config import RainbowConfig
from culmen.components.updates import TargetTrainingState as TrainingState

__all__ = ['Rainbow', 'RainbowConfig', 'TrainingState']
