"""What updates of several agents share: optimisers, training states, means over real steps, critics.

A learner calls an update with a sample. Nothing here depends on an agent, a table or a device.
"""

from culmen.components.updates.critics import PolicyAndCriticState
from culmen.components.updates.critics import acting_params
from culmen.components.updates.critics import canonical_transitions
from culmen.components.updates.critics import critic_outputs
from culmen.components.updates.critics import ensemble_td_loss
from culmen.components.updates.critics import initial_state
from culmen.components.updates.critics import shift_images
from culmen.components.updates.means import masked_mean
from culmen.components.updates.optimizers import gradient_step
from culmen.components.updates.optimizers import learning_rate_schedule
from culmen.components.updates.optimizers import make_optimizer
from culmen.components.updates.states import TargetTrainingState
from culmen.components.updates.states import TrainingState

__all__ = [
    'PolicyAndCriticState',
    'TargetTrainingState',
    'TrainingState',
    'acting_params',
    'canonical_transitions',
    'critic_outputs',
    'ensemble_td_loss',
    'gradient_step',
    'initial_state',
    'learning_rate_schedule',
    'make_optimizer',
    'masked_mean',
    'shift_images',
]
