"""R2D2: recurrent Q-learning from prioritised replay of sequences.

Kapturowski et al. 2019, "Recurrent Experience Replay in Distributed Reinforcement Learning" (ICLR). This is
DQN with: a recurrent network that is unrolled from stored states, burn-in, sequences for windows with
n-step double Q-learning at every step (van Hasselt et al. 2016, 1509.06461), rescaled values (Pohlen et
al. 2018, 1805.11593), dueling heads (Wang et al. 2016, 1511.06581), and the replay and the exploration of
Ape-X (Horgan et al. 2018, 1803.00933).

    culmen.run(culmen.Experiment(r2d2.R2D2(), 'bsuite/memory_len/9', max_actor_steps=60_000))
"""

from culmen.agents.r2d2.agent import R2D2
from culmen.agents.r2d2.config import R2D2Config
from culmen.agents.r2d2.learning import InitialPriority
from culmen.agents.r2d2.learning import loss
from culmen.agents.r2d2.learning import make_learner
from culmen.components.updates import TargetTrainingState as TrainingState

__all__ = ['R2D2', 'InitialPriority', 'R2D2Config', 'TrainingState', 'loss', 'make_learner']
