"""Agents of action values with a replay: what they share beside their loss and their head."""

from culmen.components.values.learning import Loss
from culmen.components.values.learning import make_learner
from culmen.components.values.learning import mean_loss
from culmen.components.values.learning import transitions
from culmen.components.values.learning import with_noise
from culmen.components.values.parts import join
from culmen.components.values.quantiles import quantile_losses
from culmen.components.values.settings import MunchausenSettings
from culmen.components.values.settings import ValueSettings

__all__ = [
    'Loss',
    'MunchausenSettings',
    'ValueSettings',
    'join',
    'make_learner',
    'mean_loss',
    'quantile_losses',
    'transitions',
    'with_noise',
]
