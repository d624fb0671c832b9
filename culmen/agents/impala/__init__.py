"""Actor-critics that learn from unrolls of many actors, ahead of the learner or in step with it.

IMPALA: Espeholt et al. 2018, "IMPALA: Scalable Distributed Deep-RL with Importance Weighted
Actor-Learner Architectures" (1802.01561). Actors run ahead of the learner; V-trace corrects for it.
A2C: Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning" (1602.01783), with one
learner that the actors wait for. A2C is IMPALA with staleness 0 and without ratios.

    culmen.run(culmen.Experiment(agent=impala.A2C(), environment='bsuite/catch/0', max_actor_steps=60_000))
"""

from culmen.agents.impala.agent import A2C
from culmen.agents.impala.agent import IMPALA
from culmen.agents.impala.config import A2CConfig
from culmen.agents.impala.config import IMPALAConfig
from culmen.agents.impala.learning import TrainingState
from culmen.agents.impala.learning import loss
from culmen.agents.impala.learning import make_learner

__all__ = ['A2C', 'IMPALA', 'A2CConfig', 'IMPALAConfig', 'TrainingState', 'loss', 'make_learner']
