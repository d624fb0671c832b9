"""Behaviour cloning: a policy taught, by supervised learning, to act as recorded streams do.

Pomerleau 1988, "ALVINN: An Autonomous Land Vehicle in a Neural Network" (NIPS 1). The agent learns
from a Dataset: discrete actions by classification, with the network and the policies of DQN, or continuous
ones by regression, with a tanh-Gaussian policy.

    culmen.launchers.offline.run(culmen.Experiment(agent=bc.BC('runs/demonstrations'),
                                                   environment='bsuite/catch/0', max_learner_steps=2_000))
"""

from culmen.agents.bc.agent import BC
from culmen.agents.bc.config import BCConfig
from culmen.agents.bc.learning import make_learner

__all__ = ['BC', 'BCConfig', 'make_learner']
