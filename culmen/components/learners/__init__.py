"""The learner worker: runs any LearnerCore."""

from culmen.components.learners.learner import Learner
from culmen.components.learners.learner import NonFiniteLossError

__all__ = ['Learner', 'NonFiniteLossError']
