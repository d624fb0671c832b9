"""V-MPO: the best half of what was done is made likelier, no further from the old policy than bounds allow.

Song et al. 2019, "V-MPO: On-Policy Maximum a Posteriori Policy Optimization for Discrete and Continuous
Control" (1909.12238), for discrete and continuous actions, with memory by option, and by option with PopArt
(Hessel et al. 2018, 1809.04474).

    culmen.run(culmen.Experiment(agent=vmpo.VMPO(), environment='bsuite/catch/0', max_actor_steps=60_000))
"""

from culmen.agents.vmpo.agent import VMPO
from culmen.agents.vmpo.config import VMPOConfig
from culmen.agents.vmpo.learning import TrainingState
from culmen.agents.vmpo.learning import loss
from culmen.agents.vmpo.learning import make_learner

__all__ = ['VMPO', 'TrainingState', 'VMPOConfig', 'loss', 'make_learner']
