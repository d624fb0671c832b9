"""Proximal Policy Optimization: several epochs over each batch, held near the policy that acted.

Schulman et al. 2017, "Proximal Policy Optimization Algorithms" (1707.06347), for discrete and
continuous actions, with generalised advantages (Schulman et al. 2016, 1506.02438). By option: memory,
a clipped loss of the value, and an end of the epochs by divergence.

    culmen.run(culmen.Experiment(agent=ppo.PPO(), environment='bsuite/catch/0', max_actor_steps=60_000))
"""

from culmen.agents.ppo.agent import PPO
from culmen.agents.ppo.config import PPOConfig
from culmen.agents.ppo.learning import Batch
from culmen.agents.ppo.learning import loss
from culmen.agents.ppo.learning import make_learner
from culmen.components.updates import TrainingState

__all__ = ['PPO', 'Batch', 'PPOConfig', 'TrainingState', 'loss', 'make_learner']
