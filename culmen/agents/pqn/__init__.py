"""PQN: Q-learning of many lanes in step, without replay and without a target network.

Gallici et al. 2024, "Simplifying Deep Temporal Difference Learning" (2407.04811). Layer normalisation takes
the place of the target network, and lambda-returns of short windows that of replay. With a core it is the
paper's recurrent variant.

    culmen.run(culmen.Experiment(pqn.PQN(), 'bsuite/catch/0', num_environments=8, max_actor_steps=60_000))
"""

from culmen.agents.pqn.agent import PQN
from culmen.agents.pqn.config import PQNConfig
from culmen.agents.pqn.learning import loss
from culmen.agents.pqn.learning import make_learner
from culmen.components.updates import TrainingState

__all__ = ['PQN', 'PQNConfig', 'TrainingState', 'loss', 'make_learner']
