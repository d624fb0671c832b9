"""The learner worker, which runs any LearnerCore."""

from culmen.components.learners.checks import RULE_STEPS
from culmen.components.learners.checks import NonFiniteLossError
from culmen.components.learners.checks import first_non_finite
from culmen.components.learners.checks import keep_like
from culmen.components.learners.checks import mark_non_finite
from culmen.components.learners.checks import metric_names
from culmen.components.learners.checks import named_metrics
from culmen.components.learners.checks import own_metrics
from culmen.components.learners.learner import Learner

__all__ = [
    'RULE_STEPS',
    'Learner',
    'NonFiniteLossError',
    'first_non_finite',
    'keep_like',
    'mark_non_finite',
    'metric_names',
    'named_metrics',
    'own_metrics',
]
