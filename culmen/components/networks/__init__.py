"""Networks: torsos, heads, and whole networks that follow an observation spec."""

from culmen.components.networks.action_box import ActionBox
from culmen.components.networks.action_box import action_box
from culmen.components.networks.action_kinds import check_actions
from culmen.components.networks.action_kinds import check_reward
from culmen.components.networks.action_kinds import takers
from culmen.components.networks.actor_critic import VALUE_HEAD
from culmen.components.networks.actor_critic import ActorCriticNetwork
from culmen.components.networks.actor_critic import PolicyAndValue
from culmen.components.networks.actor_critic import Tasked
from culmen.components.networks.actor_critic import make_actor_critic_network
from culmen.components.networks.actor_critic_settings import ActorCriticSettings
from culmen.components.networks.base import Network
from culmen.components.networks.base import make_network
from culmen.components.networks.batch_renorm import BatchRenorm
from culmen.components.networks.batch_renorm import RenormedNetworks
from culmen.components.networks.batch_renorm import make_renormed_networks
from culmen.components.networks.bounded_policy import BoundedPolicy
from culmen.components.networks.bounded_policy import make_bounded_policy
from culmen.components.networks.branches import Branches
from culmen.components.networks.branches import make_branches
from culmen.components.networks.branches import make_branching_network
from culmen.components.networks.choice_critics import ChoiceNetworks
from culmen.components.networks.choice_critics import Seen
from culmen.components.networks.choice_critics import make_choice_networks
from culmen.components.networks.continuous import ContinuousNetworks
from culmen.components.networks.continuous import CriticParams
from culmen.components.networks.continuous import DeterministicHead
from culmen.components.networks.continuous import Features
from culmen.components.networks.continuous import make_continuous_networks
from culmen.components.networks.distributions import Bernoulli
from culmen.components.networks.distributions import Categorical
from culmen.components.networks.distributions import Categoricals
from culmen.components.networks.distributions import DiagonalGaussian
from culmen.components.networks.distributions import Distribution
from culmen.components.networks.distributions import Product
from culmen.components.networks.distributions import leaf_distributions
from culmen.components.networks.fractions import Risk
from culmen.components.networks.fractions import distorted
from culmen.components.networks.fractions import draw_fractions
from culmen.components.networks.heads import BernoulliHead
from culmen.components.networks.heads import BranchingHead
from culmen.components.networks.heads import CategoricalHead
from culmen.components.networks.heads import CategoricalsHead
from culmen.components.networks.heads import DuelingHead
from culmen.components.networks.heads import GaussianHead
from culmen.components.networks.heads import SoftplusGaussianHead
from culmen.components.networks.heads import ValueHead
from culmen.components.networks.initializers import FAN_IN_UNIFORM
from culmen.components.networks.initializers import Orthogonal
from culmen.components.networks.keyed import Keyed
from culmen.components.networks.keyed import drawing
from culmen.components.networks.keyed import dropout
from culmen.components.networks.keyed import take_key
from culmen.components.networks.keyed import with_keys
from culmen.components.networks.linear import Linear
from culmen.components.networks.noisy import Noise
from culmen.components.networks.noisy import NoisyLinear
from culmen.components.networks.noisy import noisy_dense
from culmen.components.networks.observed import Observed
from culmen.components.networks.observed import observed
from culmen.components.networks.pixels import PixelTorso
from culmen.components.networks.pixels import is_image
from culmen.components.networks.pixels import random_shift
from culmen.components.networks.policy_and_critic import EncodedCriticParams
from culmen.components.networks.policy_and_critic import PolicyAndCritic
from culmen.components.networks.policy_and_critic import make_policy_and_critic
from culmen.components.networks.policy_heads import draws_are_actions
from culmen.components.networks.policy_heads import make_policy_head
from culmen.components.networks.policy_heads import only_legal
from culmen.components.networks.policy_heads import to_action
from culmen.components.networks.recurrent import unroll
from culmen.components.networks.residual import ResNetTorso
from culmen.components.networks.residual import SimBaTorso
from culmen.components.networks.tanh_gaussian import TanhGaussian
from culmen.components.networks.tanh_gaussian import TanhGaussianHead
from culmen.components.networks.torsos import Dense
from culmen.components.networks.torsos import LayerNormMLPTorso
from culmen.components.networks.torsos import MinAtarTorso
from culmen.components.networks.torsos import MLPTorso
from culmen.components.networks.torsos import NatureTorso
from culmen.components.networks.torsos import as_float
from culmen.components.networks.torsos import make_divided_torso
from culmen.components.networks.torsos import make_torso
from culmen.components.networks.values import NO_ACTION
from culmen.components.networks.values import RecurrentInputs
from culmen.components.networks.values import RecurrentNetwork
from culmen.components.networks.values import has_one_choice
from culmen.components.networks.values import make_action_value_network
from culmen.components.networks.values import make_quantile_network
from culmen.components.networks.values import make_recurrent_action_value_network
from culmen.components.networks.values import num_discrete_actions
from culmen.components.networks.values import without_memory

__all__ = [
    'FAN_IN_UNIFORM',
    'NO_ACTION',
    'VALUE_HEAD',
    'ActionBox',
    'ActorCriticNetwork',
    'ActorCriticSettings',
    'BatchRenorm',
    'Bernoulli',
    'BernoulliHead',
    'BoundedPolicy',
    'Branches',
    'BranchingHead',
    'Categorical',
    'CategoricalHead',
    'Categoricals',
    'CategoricalsHead',
    'ChoiceNetworks',
    'ContinuousNetworks',
    'CriticParams',
    'Dense',
    'DeterministicHead',
    'DiagonalGaussian',
    'Distribution',
    'DuelingHead',
    'EncodedCriticParams',
    'Features',
    'GaussianHead',
    'Keyed',
    'LayerNormMLPTorso',
    'Linear',
    'MLPTorso',
    'MinAtarTorso',
    'NatureTorso',
    'Network',
    'Noise',
    'NoisyLinear',
    'Observed',
    'Orthogonal',
    'PixelTorso',
    'PolicyAndCritic',
    'PolicyAndValue',
    'Product',
    'RecurrentInputs',
    'RecurrentNetwork',
    'RenormedNetworks',
    'ResNetTorso',
    'SimBaTorso',
    'Risk',
    'SoftplusGaussianHead',
    'Seen',
    'TanhGaussian',
    'TanhGaussianHead',
    'Tasked',
    'ValueHead',
    'action_box',
    'as_float',
    'check_actions',
    'check_reward',
    'distorted',
    'draw_fractions',
    'drawing',
    'draws_are_actions',
    'dropout',
    'is_image',
    'leaf_distributions',
    'make_action_value_network',
    'make_actor_critic_network',
    'make_bounded_policy',
    'make_branches',
    'make_branching_network',
    'has_one_choice',
    'make_choice_networks',
    'make_continuous_networks',
    'make_divided_torso',
    'make_network',
    'make_policy_and_critic',
    'make_renormed_networks',
    'make_policy_head',
    'make_quantile_network',
    'make_recurrent_action_value_network',
    'make_torso',
    'noisy_dense',
    'num_discrete_actions',
    'observed',
    'only_legal',
    'random_shift',
    'take_key',
    'takers',
    'to_action',
    'unroll',
    'with_keys',
    'without_memory',
]
