"""Losses and returns of reinforcement learning: one function, one equation.

Functions take one element or one sequence, and a caller batches them with `jax.vmap`; a few
(subsequences of trajectories, a noisy prior) take batches and say so. `_tm1` marks quantities at
the time of an action, `_t` those at the next time step. A discount of 0 is a termination; a lambda
of 0 cuts a sequence at a truncation; an action value or a logit of -inf marks an illegal action.
Nothing here depends on networks, agents or environments.
"""

from culmen.components.losses.actor_critic import ActorCriticOutput
from culmen.components.losses.actor_critic import sequence_a2c_loss
from culmen.components.losses.actor_critic import sequence_advantage_actor_critic_loss
from culmen.components.losses.base import AllSum
from culmen.components.losses.base import assert_rank_and_shape_compatibility
from culmen.components.losses.base import batched_index
from culmen.components.losses.base import lhs_broadcast
from culmen.components.losses.base import one_hot
from culmen.components.losses.base import replace_masked
from culmen.components.losses.branching import branching_double_q_learning
from culmen.components.losses.branching import branching_q_learning
from culmen.components.losses.clipping import clip_gradient
from culmen.components.losses.distributional import categorical_double_q_learning
from culmen.components.losses.distributional import categorical_l2_project
from culmen.components.losses.distributional import categorical_q_learning
from culmen.components.losses.distributional import categorical_td_learning
from culmen.components.losses.distributional import quantile_expected_sarsa
from culmen.components.losses.distributional import quantile_munchausen_q_learning
from culmen.components.losses.distributional import quantile_q_learning
from culmen.components.losses.distributional import quantile_regression_loss
from culmen.components.losses.distributions import ContinuousDistribution
from culmen.components.losses.distributions import DiscreteDistribution
from culmen.components.losses.distributions import categorical_cross_entropy
from culmen.components.losses.distributions import categorical_entropy
from culmen.components.losses.distributions import categorical_importance_sampling_ratios
from culmen.components.losses.distributions import categorical_kl_divergence
from culmen.components.losses.distributions import categorical_sample
from culmen.components.losses.distributions import clipped_entropy_softmax
from culmen.components.losses.distributions import decoupled_multivariate_normal_kl_divergence
from culmen.components.losses.distributions import epsilon_greedy
from culmen.components.losses.distributions import factorised_kl_gaussian
from culmen.components.losses.distributions import gaussian_diagonal
from culmen.components.losses.distributions import greedy
from culmen.components.losses.distributions import multivariate_normal_kl_divergence
from culmen.components.losses.distributions import softmax
from culmen.components.losses.distributions import squashed_gaussian
from culmen.components.losses.embedding import embed_oar
from culmen.components.losses.episodic_memory import IntrinsicRewardState
from culmen.components.losses.episodic_memory import KNNQueryResult
from culmen.components.losses.episodic_memory import episodic_memory_intrinsic_rewards
from culmen.components.losses.episodic_memory import knn_query
from culmen.components.losses.episodic_memory import squared_euclidean
from culmen.components.losses.exploration import add_dirichlet_noise
from culmen.components.losses.exploration import add_gaussian_noise
from culmen.components.losses.exploration import add_ornstein_uhlenbeck_noise
from culmen.components.losses.general_value_functions import feature_control_rewards
from culmen.components.losses.general_value_functions import pixel_control_loss
from culmen.components.losses.general_value_functions import pixel_control_rewards
from culmen.components.losses.interruptions import fix_step_type_on_interruptions
from culmen.components.losses.model_learning import extract_subsequences
from culmen.components.losses.model_learning import sample_start_indices
from culmen.components.losses.moving_averages import EmaMoments
from culmen.components.losses.moving_averages import EmaState
from culmen.components.losses.moving_averages import create_ema
from culmen.components.losses.mpo import LagrangePenalty
from culmen.components.losses.mpo import MpoOutputs
from culmen.components.losses.mpo import at_least_smallest
from culmen.components.losses.mpo import compute_parametric_kl_penalty_and_dual_loss
from culmen.components.losses.mpo import get_top_k_weights
from culmen.components.losses.mpo import kl_alpha_loss
from culmen.components.losses.mpo import kl_constraint_loss
from culmen.components.losses.mpo import mpo_compute_weights_and_temperature_loss
from culmen.components.losses.mpo import mpo_loss
from culmen.components.losses.mpo import vmpo_compute_weights_and_temperature_loss
from culmen.components.losses.mpo import vmpo_loss
from culmen.components.losses.multistep import discounted_returns
from culmen.components.losses.multistep import general_off_policy_returns_from_action_values
from culmen.components.losses.multistep import general_off_policy_returns_from_q_and_v
from culmen.components.losses.multistep import importance_corrected_td_errors
from culmen.components.losses.multistep import lambda_returns
from culmen.components.losses.multistep import n_step_bootstrapped_returns
from culmen.components.losses.multistep import scan_discounted_sum
from culmen.components.losses.multistep import truncated_generalized_advantage_estimation
from culmen.components.losses.nested_updates import conditional_update
from culmen.components.losses.nested_updates import incremental_update
from culmen.components.losses.nested_updates import periodic_target_update
from culmen.components.losses.nested_updates import periodic_update
from culmen.components.losses.nested_updates import periodically
from culmen.components.losses.nested_updates import update_target_variables
from culmen.components.losses.nonlinear_bellman import DISCOUNT_TRANSFORM_PAIR
from culmen.components.losses.nonlinear_bellman import HYPERBOLIC_SIN_PAIR
from culmen.components.losses.nonlinear_bellman import IDENTITY_PAIR
from culmen.components.losses.nonlinear_bellman import SIGNED_HYPERBOLIC_PAIR
from culmen.components.losses.nonlinear_bellman import SIGNED_LOGP1_PAIR
from culmen.components.losses.nonlinear_bellman import TxPair
from culmen.components.losses.nonlinear_bellman import compose_tx
from culmen.components.losses.nonlinear_bellman import muzero_pair
from culmen.components.losses.nonlinear_bellman import (
    transformed_general_off_policy_returns_from_action_values,
)
from culmen.components.losses.nonlinear_bellman import transformed_lambda_returns
from culmen.components.losses.nonlinear_bellman import transformed_n_step_q_learning
from culmen.components.losses.nonlinear_bellman import transformed_n_step_returns
from culmen.components.losses.nonlinear_bellman import transformed_q_lambda
from culmen.components.losses.nonlinear_bellman import transformed_retrace
from culmen.components.losses.nonlinear_bellman import twohot_pair
from culmen.components.losses.nonlinear_bellman import unbiased_transform_pair
from culmen.components.losses.policy_gradients import clipped_surrogate_pg_loss
from culmen.components.losses.policy_gradients import discrete_policy_entropy_loss
from culmen.components.losses.policy_gradients import discrete_policy_gradient
from culmen.components.losses.policy_gradients import dpg_loss
from culmen.components.losses.policy_gradients import entropy_loss
from culmen.components.losses.policy_gradients import policy_entropy_loss
from culmen.components.losses.policy_gradients import policy_gradient
from culmen.components.losses.policy_gradients import policy_gradient_loss
from culmen.components.losses.policy_gradients import qpg_loss
from culmen.components.losses.policy_gradients import rm_loss
from culmen.components.losses.policy_gradients import rpg_loss
from culmen.components.losses.policy_targets import PolicyTarget
from culmen.components.losses.policy_targets import constant_policy_targets
from culmen.components.losses.policy_targets import sampled_policy_distillation_loss
from culmen.components.losses.policy_targets import zero_policy_targets
from culmen.components.losses.pop_art import PopArtOutput
from culmen.components.losses.pop_art import PopArtState
from culmen.components.losses.pop_art import art
from culmen.components.losses.pop_art import normalize
from culmen.components.losses.pop_art import pop
from culmen.components.losses.pop_art import popart
from culmen.components.losses.pop_art import unnormalize
from culmen.components.losses.pop_art import unnormalize_linear
from culmen.components.losses.regression import expectile_loss
from culmen.components.losses.regression import huber_loss
from culmen.components.losses.regression import l2_loss
from culmen.components.losses.regression import likelihood
from culmen.components.losses.regression import log_loss
from culmen.components.losses.retrace import RetraceOutput
from culmen.components.losses.retrace import retrace
from culmen.components.losses.retrace import retrace_continuous
from culmen.components.losses.retrace import retrace_from_action_log_probs
from culmen.components.losses.retrace import retrace_from_importance_weights
from culmen.components.losses.transforms import hyperbolic_arcsin
from culmen.components.losses.transforms import hyperbolic_sin
from culmen.components.losses.transforms import identity
from culmen.components.losses.transforms import logit
from culmen.components.losses.transforms import power
from culmen.components.losses.transforms import sigmoid
from culmen.components.losses.transforms import signed_expm1
from culmen.components.losses.transforms import signed_hyperbolic
from culmen.components.losses.transforms import signed_logp1
from culmen.components.losses.transforms import signed_parabolic
from culmen.components.losses.transforms import transform_from_2hot
from culmen.components.losses.transforms import transform_from_2hot_nonlinear
from culmen.components.losses.transforms import transform_to_2hot
from culmen.components.losses.transforms import transform_to_2hot_nonlinear
from culmen.components.losses.tree_util import transpose_first_axis_to_last
from culmen.components.losses.tree_util import transpose_last_axis_to_first
from culmen.components.losses.tree_util import tree_fn
from culmen.components.losses.tree_util import tree_map_zipped
from culmen.components.losses.tree_util import tree_replace_masked
from culmen.components.losses.tree_util import tree_select
from culmen.components.losses.tree_util import tree_split_key
from culmen.components.losses.tree_util import tree_split_leaves
from culmen.components.losses.value_learning import double_q_learning
from culmen.components.losses.value_learning import expected_sarsa
from culmen.components.losses.value_learning import munchausen_bonus
from culmen.components.losses.value_learning import munchausen_q_learning
from culmen.components.losses.value_learning import persistent_q_learning
from culmen.components.losses.value_learning import q_lambda
from culmen.components.losses.value_learning import q_learning
from culmen.components.losses.value_learning import qv_learning
from culmen.components.losses.value_learning import qv_max
from culmen.components.losses.value_learning import sarsa
from culmen.components.losses.value_learning import sarsa_lambda
from culmen.components.losses.value_learning import td_lambda
from culmen.components.losses.value_learning import td_learning
from culmen.components.losses.vtrace import VTraceFromLogitsOutput
from culmen.components.losses.vtrace import VTraceOutput
from culmen.components.losses.vtrace import leaky_vtrace
from culmen.components.losses.vtrace import leaky_vtrace_td_error_and_advantage
from culmen.components.losses.vtrace import log_probs_from_logits_and_actions
from culmen.components.losses.vtrace import vtrace
from culmen.components.losses.vtrace import vtrace_from_importance_weights
from culmen.components.losses.vtrace import vtrace_from_logits
from culmen.components.losses.vtrace import vtrace_td_error_and_advantage

__all__ = [
    'DISCOUNT_TRANSFORM_PAIR',
    'HYPERBOLIC_SIN_PAIR',
    'IDENTITY_PAIR',
    'SIGNED_HYPERBOLIC_PAIR',
    'SIGNED_LOGP1_PAIR',
    'ActorCriticOutput',
    'AllSum',
    'ContinuousDistribution',
    'DiscreteDistribution',
    'EmaMoments',
    'EmaState',
    'IntrinsicRewardState',
    'KNNQueryResult',
    'LagrangePenalty',
    'MpoOutputs',
    'PolicyTarget',
    'PopArtOutput',
    'PopArtState',
    'RetraceOutput',
    'TxPair',
    'VTraceFromLogitsOutput',
    'VTraceOutput',
    'add_dirichlet_noise',
    'add_gaussian_noise',
    'add_ornstein_uhlenbeck_noise',
    'art',
    'assert_rank_and_shape_compatibility',
    'at_least_smallest',
    'batched_index',
    'branching_double_q_learning',
    'branching_q_learning',
    'categorical_cross_entropy',
    'categorical_double_q_learning',
    'categorical_entropy',
    'categorical_importance_sampling_ratios',
    'categorical_kl_divergence',
    'categorical_l2_project',
    'categorical_q_learning',
    'categorical_sample',
    'categorical_td_learning',
    'clip_gradient',
    'clipped_entropy_softmax',
    'clipped_surrogate_pg_loss',
    'compose_tx',
    'compute_parametric_kl_penalty_and_dual_loss',
    'conditional_update',
    'constant_policy_targets',
    'create_ema',
    'decoupled_multivariate_normal_kl_divergence',
    'discounted_returns',
    'discrete_policy_entropy_loss',
    'discrete_policy_gradient',
    'double_q_learning',
    'dpg_loss',
    'embed_oar',
    'entropy_loss',
    'episodic_memory_intrinsic_rewards',
    'epsilon_greedy',
    'expected_sarsa',
    'expectile_loss',
    'extract_subsequences',
    'factorised_kl_gaussian',
    'feature_control_rewards',
    'fix_step_type_on_interruptions',
    'gaussian_diagonal',
    'general_off_policy_returns_from_action_values',
    'general_off_policy_returns_from_q_and_v',
    'get_top_k_weights',
    'greedy',
    'huber_loss',
    'hyperbolic_arcsin',
    'hyperbolic_sin',
    'identity',
    'importance_corrected_td_errors',
    'incremental_update',
    'kl_alpha_loss',
    'kl_constraint_loss',
    'knn_query',
    'l2_loss',
    'lambda_returns',
    'leaky_vtrace',
    'leaky_vtrace_td_error_and_advantage',
    'lhs_broadcast',
    'likelihood',
    'log_loss',
    'log_probs_from_logits_and_actions',
    'logit',
    'mpo_compute_weights_and_temperature_loss',
    'mpo_loss',
    'multivariate_normal_kl_divergence',
    'munchausen_bonus',
    'munchausen_q_learning',
    'muzero_pair',
    'n_step_bootstrapped_returns',
    'normalize',
    'one_hot',
    'periodic_target_update',
    'periodic_update',
    'periodically',
    'persistent_q_learning',
    'pixel_control_loss',
    'pixel_control_rewards',
    'policy_entropy_loss',
    'policy_gradient',
    'policy_gradient_loss',
    'pop',
    'popart',
    'power',
    'q_lambda',
    'q_learning',
    'qpg_loss',
    'quantile_expected_sarsa',
    'quantile_munchausen_q_learning',
    'quantile_q_learning',
    'quantile_regression_loss',
    'qv_learning',
    'qv_max',
    'replace_masked',
    'retrace',
    'retrace_continuous',
    'retrace_from_action_log_probs',
    'retrace_from_importance_weights',
    'rm_loss',
    'rpg_loss',
    'sample_start_indices',
    'sampled_policy_distillation_loss',
    'sarsa',
    'sarsa_lambda',
    'scan_discounted_sum',
    'sequence_a2c_loss',
    'sequence_advantage_actor_critic_loss',
    'sigmoid',
    'signed_expm1',
    'signed_hyperbolic',
    'signed_logp1',
    'signed_parabolic',
    'softmax',
    'squared_euclidean',
    'squashed_gaussian',
    'td_lambda',
    'td_learning',
    'transform_from_2hot',
    'transform_from_2hot_nonlinear',
    'transform_to_2hot',
    'transform_to_2hot_nonlinear',
    'transformed_general_off_policy_returns_from_action_values',
    'transformed_lambda_returns',
    'transformed_n_step_q_learning',
    'transformed_n_step_returns',
    'transformed_q_lambda',
    'transformed_retrace',
    'transpose_first_axis_to_last',
    'transpose_last_axis_to_first',
    'tree_fn',
    'tree_map_zipped',
    'tree_replace_masked',
    'tree_select',
    'tree_split_key',
    'tree_split_leaves',
    'truncated_generalized_advantage_estimation',
    'twohot_pair',
    'unbiased_transform_pair',
    'unnormalize',
    'unnormalize_linear',
    'update_target_variables',
    'vmpo_compute_weights_and_temperature_loss',
    'vmpo_loss',
    'vtrace',
    'vtrace_from_importance_weights',
    'vtrace_from_logits',
    'vtrace_td_error_and_advantage',
    'zero_policy_targets',
]
