"""The learner worker: runs any LearnerCore."""

from culmen.components.learners.learner import Learner
from culmen.components.learners.learner import NonFiniteLossError
from culmen.components.learners.learner import metric_names

__all__ = ['Learner', 'NonFiniteLossError', 'metric_names']
