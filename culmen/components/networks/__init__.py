"""Networks: torsos, heads, and whole networks that follow an observation spec."""

from culmen.components.networks.actor_critic import ActorCriticNetwork
from culmen.components.networks.actor_critic import PolicyAndValue
from culmen.components.networks.actor_critic import make_actor_critic_network
from culmen.components.networks.base import Network
from culmen.components.networks.base import make_network
from culmen.components.networks.distributions import Categorical
from culmen.components.networks.distributions import DiagonalGaussian
from culmen.components.networks.distributions import Distribution
from culmen.components.networks.distributions import is_discrete
from culmen.components.networks.distributions import to_action
from culmen.components.networks.heads import CategoricalHead
from culmen.components.networks.heads import DuelingHead
from culmen.components.networks.heads import GaussianHead
from culmen.components.networks.heads import ValueHead
from culmen.components.networks.residual import ResNetTorso
from culmen.components.networks.torsos import MinAtarTorso
from culmen.components.networks.torsos import MLPTorso
from culmen.components.networks.torsos import NatureTorso
from culmen.components.networks.torsos import make_torso
from culmen.components.networks.values import NO_ACTION
from culmen.components.networks.values import RecurrentInputs
from culmen.components.networks.values import RecurrentNetwork
from culmen.components.networks.values import make_action_value_network
from culmen.components.networks.values import make_recurrent_action_value_network
from culmen.components.networks.values import num_discrete_actions

__all__ = [
    'NO_ACTION',
    'ActorCriticNetwork',
    'Categorical',
    'CategoricalHead',
    'DiagonalGaussian',
    'Distribution',
    'DuelingHead',
    'GaussianHead',
    'MLPTorso',
    'MinAtarTorso',
    'NatureTorso',
    'Network',
    'PolicyAndValue',
    'RecurrentInputs',
    'RecurrentNetwork',
    'ResNetTorso',
    'ValueHead',
    'is_discrete',
    'make_action_value_network',
    'make_actor_critic_network',
    'make_network',
    'make_recurrent_action_value_network',
    'make_torso',
    'num_discrete_actions',
    'to_action',
]
