"""MPO and DMPO: a policy that is fitted to its own better actions, within bounds.

Abdolmaleki et al. 2018, "Maximum a Posteriori Policy Optimisation" (1806.06920), with bounds on means and
deviations apart as in Abdolmaleki et al. 2018, "Relative Entropy Regularized Policy Iteration"
(1812.02256). This is MPO for choices and bounded boxes, with n-step or Retrace's targets, memory, and
several rewards (Abdolmaleki et al. 2020, 2005.07513) by option. DMPO's critic learns the distribution of
returns (Hoffman et al. 2020, 2006.00979).

    culmen.run(
        culmen.Experiment(agent=mpo.MPO(), environment='gymnasium/Pendulum-v1', max_actor_steps=50_000)
    )
"""

from culmen.agents.mpo.agent import DMPO
from culmen.agents.mpo.agent import MPO
from culmen.agents.mpo.config import DMPOConfig
from culmen.agents.mpo.config import MPOConfig
from culmen.agents.mpo.learning import TrainingState
from culmen.agents.mpo.learning import make_learner

__all__ = ['DMPO', 'MPO', 'DMPOConfig', 'MPOConfig', 'TrainingState', 'make_learner']
