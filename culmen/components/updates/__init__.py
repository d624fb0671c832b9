"""What updates of several agents share: optimisers, training states, means over real steps, critics, duals.

A learner calls an update with a sample. Nothing here depends on an agent, a table or a device.
"""

from culmen.components.updates.critics import PolicyAndCriticState
from culmen.components.updates.critics import acting_params
from culmen.components.updates.critics import canonical_transitions
from culmen.components.updates.critics import critic_outputs
from culmen.components.updates.critics import ensemble_td_loss
from culmen.components.updates.critics import initial_state
from culmen.components.updates.critics import shift_images
from culmen.components.updates.duals import DualParams
from culmen.components.updates.duals import decoupled
from culmen.components.updates.duals import divergences
from culmen.components.updates.duals import initial_duals
from culmen.components.updates.duals import kl_constraints
from culmen.components.updates.duals import positive
from culmen.components.updates.duals import raw_of
from culmen.components.updates.duals import train_with_duals
from culmen.components.updates.ensembles import Critics
from culmen.components.updates.ensembles import PolicyValue
from culmen.components.updates.ensembles import quantile_critics
from culmen.components.updates.ensembles import value_critics
from culmen.components.updates.epochs import epochs_of_minibatches
from culmen.components.updates.means import masked_mean
from culmen.components.updates.means import masked_standardised
from culmen.components.updates.n_step import n_step_parts
from culmen.components.updates.optimizers import gradient_step
from culmen.components.updates.optimizers import learning_rate_schedule
from culmen.components.updates.optimizers import make_optimizer
from culmen.components.updates.pool import Pool
from culmen.components.updates.pool import add_to_pool
from culmen.components.updates.pool import draw_from_pool
from culmen.components.updates.pool import new_pool
from culmen.components.updates.pop_art import PopArt
from culmen.components.updates.pop_art import initial_pop_art
from culmen.components.updates.pop_art import rescaled
from culmen.components.updates.pop_art import scales_of
from culmen.components.updates.pop_art import unnormalised
from culmen.components.updates.priorities import ErrorThatActed
from culmen.components.updates.priorities import errors_that_acted
from culmen.components.updates.priorities import n_step_targets
from culmen.components.updates.returns import generalised_advantages
from culmen.components.updates.returns import lambda_returns
from culmen.components.updates.returns import returns_to_go
from culmen.components.updates.states import TargetTrainingState
from culmen.components.updates.states import TrainingState
from culmen.components.updates.states import begin
from culmen.components.updates.states import begin_with_target
from culmen.components.updates.supports import OUTSIDE
from culmen.components.updates.supports import mass_outside
from culmen.components.updates.supports import support_warning
from culmen.components.updates.training import copy_every
from culmen.components.updates.training import follow
from culmen.components.updates.training import train

__all__ = [
    'Critics',
    'OUTSIDE',
    'DualParams',
    'ErrorThatActed',
    'PolicyAndCriticState',
    'PolicyValue',
    'Pool',
    'PopArt',
    'TargetTrainingState',
    'TrainingState',
    'acting_params',
    'add_to_pool',
    'begin',
    'begin_with_target',
    'canonical_transitions',
    'copy_every',
    'critic_outputs',
    'decoupled',
    'divergences',
    'draw_from_pool',
    'ensemble_td_loss',
    'epochs_of_minibatches',
    'errors_that_acted',
    'follow',
    'generalised_advantages',
    'gradient_step',
    'initial_duals',
    'initial_pop_art',
    'initial_state',
    'kl_constraints',
    'lambda_returns',
    'learning_rate_schedule',
    'make_optimizer',
    'masked_mean',
    'masked_standardised',
    'mass_outside',
    'n_step_parts',
    'n_step_targets',
    'new_pool',
    'positive',
    'quantile_critics',
    'raw_of',
    'rescaled',
    'returns_to_go',
    'scales_of',
    'shift_images',
    'support_warning',
    'train',
    'train_with_duals',
    'unnormalised',
    'value_critics',
]
