"""CrossQ: SAC without target networks, whose critics are batch-normalised, for continuous actions.

Bhatt et al. 2024, "CrossQ: Batch Normalization in Deep Reinforcement Learning for Greater Sample Efficiency
and Simplicity" (1902.05605). This is SAC with batch renormalisation, one pass of the critics over both ends
of a transition, and wide critics.

    culmen.run(
        culmen.Experiment(agent=crossq.CrossQ(), environment='gymnasium/Pendulum-v1', max_actor_steps=20_000)
    )
"""

from culmen.agents.crossq.agent import CrossQ
from culmen.agents.crossq.config import CrossQConfig
from culmen.agents.crossq.learning import TrainingState
from culmen.agents.crossq.learning import make_learner

__all__ = ['CrossQ', 'CrossQConfig', 'TrainingState', 'make_learner']
