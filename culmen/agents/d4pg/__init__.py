"""D4PG: a deterministic policy that climbs a critic of the whole distribution of returns.

Barth-Maron et al. 2018, "Distributed Distributional Deterministic Policy Gradients" (1804.08617). This is
DDPG with a categorical critic (Bellemare et al. 2017, 1707.06887), n-step returns and, by option, prioritised
replay (Schaul et al. 2016, 1511.05952). The launcher decides how many actors there are.

    culmen.run(
        culmen.Experiment(agent=d4pg.D4PG(), environment='gymnasium/Pendulum-v1', max_actor_steps=20_000)
    )
"""

from culmen.agents.d4pg.agent import D4PG
from culmen.agents.d4pg.config import D4PGConfig
from culmen.agents.d4pg.learning import make_learner
from culmen.components.updates import PolicyAndCriticState as TrainingState

__all__ = ['D4PG', 'D4PGConfig', 'TrainingState', 'make_learner']
