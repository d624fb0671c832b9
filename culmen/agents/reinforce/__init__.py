"""REINFORCE: the policy gradient from the returns of whole episodes.

Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning"
(Machine Learning 8), as Sutton and Barto 2018 write it (Reinforcement Learning, 2nd edition, sections 13.3
and 13.4): for discrete and continuous actions, with a learned baseline or without.

    culmen.run(
        culmen.Experiment(
            agent=reinforce.REINFORCE(), environment='bsuite/catch/0', max_actor_steps=60_000
        )
    )
"""

from culmen.agents.reinforce.agent import REINFORCE
from culmen.agents.reinforce.config import REINFORCEConfig
from culmen.agents.reinforce.learning import loss
from culmen.agents.reinforce.learning import make_learner
from culmen.components.updates import TrainingState

__all__ = ['REINFORCE', 'REINFORCEConfig', 'TrainingState', 'loss', 'make_learner']
