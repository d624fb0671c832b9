"""Wrappers of dm_env environments. Each works on any environment, and is saved with it.

`wrap` puts them around an environment in a fixed order; its keyword arguments are those that every
environment takes by name. Wrappers change the stream (an action lasts four steps, a velocity is
hidden); what a learner does to the stream (n-step sums, normalisation) is not here.
"""

from culmen.components.environments.wrappers.actions import CanonicalActions
from culmen.components.environments.wrappers.base import ObservationWrapper
from culmen.components.environments.wrappers.base import Wrapper
from culmen.components.environments.wrappers.history import FrameStack
from culmen.components.environments.wrappers.history import ObservationActionReward
from culmen.components.environments.wrappers.metrics import ChosenMetrics
from culmen.components.environments.wrappers.metrics import with_metrics
from culmen.components.environments.wrappers.observations import FlattenObservation
from culmen.components.environments.wrappers.observations import HideObservation
from culmen.components.environments.wrappers.players import OnePlayer
from culmen.components.environments.wrappers.players import one_player
from culmen.components.environments.wrappers.precision import SinglePrecision
from culmen.components.environments.wrappers.rewards import ClipReward
from culmen.components.environments.wrappers.rewards import DelayedReward
from culmen.components.environments.wrappers.rewards import Float32Rewards
from culmen.components.environments.wrappers.state import ObserveState
from culmen.components.environments.wrappers.state import observing_state
from culmen.components.environments.wrappers.time import ActionRepeat
from culmen.components.environments.wrappers.time import NoopStarts
from culmen.components.environments.wrappers.time import StepLimit
from culmen.components.environments.wrappers.wrapping import wrap

__all__ = [
    'ActionRepeat',
    'CanonicalActions',
    'ChosenMetrics',
    'ClipReward',
    'DelayedReward',
    'FlattenObservation',
    'Float32Rewards',
    'FrameStack',
    'HideObservation',
    'NoopStarts',
    'ObservationActionReward',
    'ObservationWrapper',
    'ObserveState',
    'OnePlayer',
    'SinglePrecision',
    'StepLimit',
    'Wrapper',
    'observing_state',
    'one_player',
    'with_metrics',
    'wrap',
]
