"""The learner worker, which runs any LearnerCore."""

from culmen.components.learners.checks import keep_like
from culmen.components.learners.checks import metric_names
from culmen.components.learners.learner import Learner
from culmen.components.learners.learner import NonFiniteLossError

__all__ = ['Learner', 'NonFiniteLossError', 'keep_like', 'metric_names']
