"""TD3 and DDPG: a deterministic policy that climbs its critics, for continuous actions.

Fujimoto et al. 2018, "Addressing Function Approximation Error in Actor-Critic Methods" (1802.09477), and
Lillicrap et al. 2015, "Continuous control with deep reinforcement learning" (1509.02971). TD3 is DDPG with
the least of two critics, a policy that is updated less often, and noise on the target's action: DDPG is here
TD3 with `num_critics=1`, `policy_period=1` and `target_noise=0`.

    culmen.run(
        culmen.Experiment(agent=td3.TD3(), environment='gymnasium/Pendulum-v1', max_actor_steps=20_000)
    )
"""

from culmen.agents.td3.agent import DDPG
from culmen.agents.td3.agent import TD3
from culmen.agents.td3.config import DDPGConfig
from culmen.agents.td3.config import TD3Config
from culmen.agents.td3.learning import make_learner
from culmen.components.updates import PolicyAndCriticState as TrainingState

__all__ = ['DDPG', 'TD3', 'DDPGConfig', 'TD3Config', 'TrainingState', 'make_learner']
