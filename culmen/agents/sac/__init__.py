"""Soft Actor-Critic: a stochastic policy that seeks value and entropy, for continuous actions or one choice.

Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications" (1812.05905). This is SAC with a
tanh-Gaussian policy, twin critics (van Hasselt 2010; Fujimoto et al. 2018, 1802.09477) and a temperature
that is learned, or by option fixed, as in Haarnoja et al. 2018 (1801.01290). Where an action is one choice it
is discrete SAC, Christodoulou 2019 (1910.07207).

    culmen.run(
        culmen.Experiment(agent=sac.SAC(), environment='gymnasium/Pendulum-v1', max_actor_steps=20_000)
    )
"""

from culmen.agents.sac.agent import SAC
from culmen.agents.sac.config import SACConfig
from culmen.agents.sac.learning import TrainingState
from culmen.agents.sac.learning import make_learner

__all__ = ['SAC', 'SACConfig', 'TrainingState', 'make_learner']
