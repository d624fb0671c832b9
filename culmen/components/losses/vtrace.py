"""V-trace: value errors and policy-gradient advantages from actions of another policy.

Position t of a sequence of T steps holds one step: `v_tm1` values the observation it started from,
`rho_tm1` = π(a_tm1) / μ(a_tm1) is the ratio of target to behaviour policy of the action taken
there, `r_t`, `discount_t` and `v_t` (before any reset) are what it led to. `v_tm1` and `v_t` are
separate, so `lambda_[t] = 0` at a truncation cuts the sequence there: the step bootstraps from its
own `v_t[t]`, in the errors and in the advantages.

A threshold of None clips nothing. Gradients stop at the targets unless `stop_target_gradients` is
false (it may be traced). Steps that `sample_mask` leaves out have errors and advantages 0, and the
step before one bootstraps from its own `v_t`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import as_mask
from culmen.components.losses._common import check
from culmen.components.losses._common import cut_before_masked
from culmen.components.losses._common import stop_gradient_if
from culmen.components.losses._common import stop_target_if
from culmen.components.losses._common import zero_masked
from culmen.components.losses._recurrence import solve_backwards
from culmen.components.losses.base import batched_index

_SEQUENCE = 'v_tm1[T] v_t[T]:real r_t[T]:real discount_t[T]:real rho_tm1[T]:real lambda_[T?]:real'


class VTraceOutput(NamedTuple):
    """V-trace's errors and advantages, for an actor-critic.

    Attributes:
        errors: [T] targets minus v_tm1, for the value loss.
        pg_advantage: [T] clipped ratio times (q_estimate - v_tm1), for the policy gradient.
        q_estimate: [T] estimates of the value of the actions taken.
    """

    errors: Array
    pg_advantage: Array
    q_estimate: Array


def vtrace(
    v_tm1: Array,
    v_t: Array,
    r_t: Array,
    discount_t: Array,
    rho_tm1: Array,
    lambda_: Numeric = 1.0,
    clip_rho_threshold: Numeric | None = 1.0,
    stop_target_gradients: Array | bool = True,
    sample_mask: Array | None = None,
) -> Array:
    """V-trace errors of state values.

        E[t] = ρ̄[t] δ[t] + discount_t[t] λ[t] c[t] E[t+1],  E[T] = 0
        δ[t] = r_t[t] + discount_t[t] v_t[t] - v_tm1[t]
        ρ̄ = min(clip_rho_threshold, ρ),  c = min(1, ρ)

    Args:
        v_tm1, v_t: [T] values before and after each step.
        r_t, discount_t: [T] rewards and discounts at t.
        rho_tm1: [T] importance ratios of the actions at t-1; ones yield `td_lambda`.
        lambda_: [T] or scalar; 0 yields one-step errors, 0 at a truncation cuts there.
        clip_rho_threshold: scalar that decides whose value is learned: large or None that of the
            target policy, towards 0 that of the behaviour policy.
        stop_target_gradients: whether v_tm1[t] gets a gradient as the prediction alone.
        sample_mask: [T], 0 at steps that do not count.
    Returns: [T] errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Espeholt et al., IMPALA, 2018, arXiv 1802.01561, eq. 1 and remark 2.
    Example:
        >>> v = jnp.array([1., 1., 1.])
        >>> print(vtrace(v[:-1], v[1:], jnp.ones(2), jnp.ones(2), jnp.array([.5, 2.])))
        [1. 1.]
    """
    return leaky_vtrace(
        v_tm1,
        v_t,
        r_t,
        discount_t,
        rho_tm1,
        1.0,
        lambda_,
        clip_rho_threshold,
        stop_target_gradients,
        sample_mask,
    )


def vtrace_td_error_and_advantage(
    v_tm1: Array,
    v_t: Array,
    r_t: Array,
    discount_t: Array,
    rho_tm1: Array,
    lambda_: Numeric = 1.0,
    clip_rho_threshold: Numeric | None = 1.0,
    clip_pg_rho_threshold: Numeric | None = 1.0,
    stop_target_gradients: Array | bool = True,
    sample_mask: Array | None = None,
) -> VTraceOutput:
    """V-trace errors of state values, and advantages for the policy gradient.

        q[t] = r_t[t] + discount_t[t] ((1 - λ[t]) v_t[t] + λ[t] (v_tm1[t+1] + E[t+1]))
        q[T-1] = r_t[T-1] + discount_t[T-1] v_t[T-1]
        A[t] = min(clip_pg_rho_threshold, ρ[t]) (q[t] - v_tm1[t])

    E are the errors of `vtrace`. Where λ[t] = 0, q[t] takes v_t[t] and not v_tm1[t+1], which
    after a cut is the first value of another episode.

    Args:
        v_tm1, v_t: [T] values before and after each step.
        r_t, discount_t: [T] rewards and discounts at t.
        rho_tm1: [T] importance ratios of the actions at t-1.
        lambda_: [T] or scalar; 0 at a truncation cuts there.
        clip_rho_threshold: scalar or None, the clip of the ratio in the errors.
        clip_pg_rho_threshold: scalar or None, the clip of the ratio in the advantages.
        stop_target_gradients: whether gradients stop at the targets of the errors.
        sample_mask: [T], 0 at steps that do not count.
    Returns: `VTraceOutput`. No gradient stops at its advantages: the policy's loss does that.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Espeholt et al., IMPALA, 2018, arXiv 1802.01561, eq. 1 and section 4.2.
    Example:
        >>> v = jnp.array([1., 1., 1.])
        >>> output = vtrace_td_error_and_advantage(
        ...     v[:-1], v[1:], jnp.ones(2), jnp.ones(2), jnp.array([.5, 2.]))
        >>> print(output.pg_advantage, output.q_estimate)
        [1. 1.] [3. 2.]
    """
    return leaky_vtrace_td_error_and_advantage(
        v_tm1,
        v_t,
        r_t,
        discount_t,
        rho_tm1,
        1.0,
        lambda_,
        clip_rho_threshold,
        clip_pg_rho_threshold,
        stop_target_gradients,
        sample_mask,
    )


def leaky_vtrace(
    v_tm1: Array,
    v_t: Array,
    r_t: Array,
    discount_t: Array,
    rho_tm1: Array,
    alpha_: Numeric = 1.0,
    lambda_: Numeric = 1.0,
    clip_rho_threshold: Numeric | None = 1.0,
    stop_target_gradients: Array | bool = True,
    sample_mask: Array | None = None,
) -> Array:
    """V-trace errors whose ratios leak past their clip.

    The errors of `vtrace`, with

        ρ̄ = α min(clip_rho_threshold, ρ) + (1 - α) ρ,  c = α min(1, ρ) + (1 - α) ρ

    Args:
        v_tm1, v_t: [T] values before and after each step.
        r_t, discount_t: [T] rewards and discounts at t.
        rho_tm1: [T] importance ratios of the actions at t-1.
        alpha_: scalar α in [0, 1]; 1 yields V-trace, 0 plain importance sampling.
        lambda_: [T] or scalar; 0 at a truncation cuts there.
        clip_rho_threshold: scalar, or None for no clip of ρ̄.
        stop_target_gradients: whether v_tm1[t] gets a gradient as the prediction alone.
        sample_mask: [T], 0 at steps that do not count.
    Returns: [T] errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Zahavy et al., A Self-Tuning Actor-Critic Algorithm, 2020, arXiv 2002.12928, eq. 11.
    Example:
        >>> v = jnp.zeros(3)
        >>> print(leaky_vtrace(v[:-1], v[1:], jnp.ones(2), jnp.ones(2), jnp.array([1., 3.]), .5))
        [3. 2.]
    """
    v_tm1, v_t, r_t, discount_t, rho_tm1, lambda_ = check(
        _SEQUENCE, v_tm1, v_t, r_t, discount_t, rho_tm1, lambda_
    )
    valid = as_mask(sample_mask, None, len(r_t), name='sample_mask')
    v_tm1, v_t, r_t, discount_t, rho_tm1 = zero_masked(valid, v_tm1, v_t, r_t, discount_t, rho_tm1)
    lambda_ = cut_before_masked(valid, lambda_)
    deltas = _leaky_clip(rho_tm1, clip_rho_threshold, alpha_) * (r_t + discount_t * v_t - v_tm1)
    errors = solve_backwards(deltas, discount_t * _leaky_clip(rho_tm1, 1.0, alpha_), lambda_)
    return stop_target_if(stop_target_gradients, errors, v_tm1)


def leaky_vtrace_td_error_and_advantage(
    v_tm1: Array,
    v_t: Array,
    r_t: Array,
    discount_t: Array,
    rho_tm1: Array,
    alpha: Numeric = 1.0,
    lambda_: Numeric = 1.0,
    clip_rho_threshold: Numeric | None = 1.0,
    clip_pg_rho_threshold: Numeric | None = 1.0,
    stop_target_gradients: Array | bool = True,
    sample_mask: Array | None = None,
) -> VTraceOutput:
    """Leaky V-trace errors of state values, and advantages for the policy gradient.

    The equations of `vtrace_td_error_and_advantage`, with every clipped ratio replaced by
    α min(threshold, ρ) + (1 - α) ρ.

    Args:
        v_tm1, v_t: [T] values before and after each step.
        r_t, discount_t: [T] rewards and discounts at t.
        rho_tm1: [T] importance ratios of the actions at t-1.
        alpha: scalar α in [0, 1]; 1 yields V-trace, 0 plain importance sampling. (The name has no
            underscore here, and has one in `leaky_vtrace`.)
        lambda_: [T] or scalar; 0 at a truncation cuts there.
        clip_rho_threshold, clip_pg_rho_threshold: scalars, or None for no clip, of the ratio in
            the errors and in the advantages.
        stop_target_gradients: whether gradients stop at the targets of the errors.
        sample_mask: [T], 0 at steps that do not count.
    Returns: `VTraceOutput`.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Zahavy et al., A Self-Tuning Actor-Critic Algorithm, 2020, arXiv 2002.12928, eq. 11.
    Example:
        >>> v = jnp.zeros(3)
        >>> output = leaky_vtrace_td_error_and_advantage(
        ...     v[:-1], v[1:], jnp.ones(2), jnp.ones(2), jnp.array([1., 3.]), .5)
        >>> print(output.pg_advantage, output.q_estimate)
        [3. 2.] [3. 1.]
    """
    v_tm1, v_t, r_t, discount_t, rho_tm1, lambda_ = check(
        _SEQUENCE, v_tm1, v_t, r_t, discount_t, rho_tm1, lambda_
    )
    errors = leaky_vtrace(
        v_tm1,
        v_t,
        r_t,
        discount_t,
        rho_tm1,
        alpha,
        lambda_,
        clip_rho_threshold,
        stop_target_gradients,
        sample_mask,
    )
    valid = as_mask(sample_mask, None, len(r_t), name='sample_mask')
    v_tm1, v_t, r_t, discount_t, rho_tm1 = zero_masked(valid, v_tm1, v_t, r_t, discount_t, rho_tm1)
    # The last step has no target after it: with lambda 0 it takes its own v_t, as a cut does.
    lambda_ = cut_before_masked(valid, jnp.broadcast_to(lambda_, discount_t.shape))
    lambda_ = jnp.concatenate([lambda_[:-1], jnp.zeros_like(lambda_[-1:])])
    targets_tm1 = v_tm1 + errors
    targets_t = jnp.concatenate([targets_tm1[1:], v_t[-1:]])
    q_estimate = r_t + discount_t * ((1 - lambda_) * v_t + lambda_ * targets_t)
    pg_advantage = _leaky_clip(rho_tm1, clip_pg_rho_threshold, alpha) * (q_estimate - v_tm1)
    return VTraceOutput(errors, pg_advantage, q_estimate)


def vtrace_from_importance_weights(
    log_rhos: Array,
    discounts: Array,
    rewards: Array,
    values: Array,
    bootstrap_value: Numeric,
    clip_rho_threshold: Numeric | None = 1.0,
    clip_pg_rho_threshold: Numeric | None = 1.0,
    lambda_: Numeric = 1.0,
    stop_target_gradients: Array | bool = True,
    sample_mask: Array | None = None,
) -> VTraceOutput:
    """V-trace from logarithms of importance ratios and the values along one unbroken sequence.

    The equations of `vtrace_td_error_and_advantage`, with ρ = exp(log_rhos),
    v_tm1 = values and v_t = [values[1:], bootstrap_value].

    Args:
        log_rhos: [T] log π(a_tm1) - log μ(a_tm1).
        discounts, rewards: [T] discounts and rewards at t.
        values: [T] values of the observations at t-1.
        bootstrap_value: scalar value of the last observation.
        clip_rho_threshold, clip_pg_rho_threshold: scalars, or None for no clip.
        lambda_: [T] or scalar. A sequence with a truncation inside needs separate v_tm1 and v_t:
            use `vtrace_td_error_and_advantage`.
        stop_target_gradients: whether gradients stop at the targets of the errors.
        sample_mask: [T], 0 at steps that do not count.
    Returns: `VTraceOutput`; the targets vs of the paper are values + errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Espeholt et al., IMPALA, 2018, arXiv 1802.01561, eq. 1 and section 4.2.
    Example:
        >>> output = vtrace_from_importance_weights(
        ...     jnp.log(jnp.array([.5, 2.])), jnp.ones(2), jnp.ones(2), jnp.ones(2), 1.)
        >>> print(output.errors)
        [1. 1.]
    """
    log_rhos, discounts, rewards, values, bootstrap_value = check(
        'log_rhos[T] discounts[T]:real rewards[T]:real values[T] bootstrap_value[]',
        log_rhos,
        discounts,
        rewards,
        values,
        bootstrap_value,
    )
    v_t = jnp.concatenate([values[1:], jnp.expand_dims(bootstrap_value, 0)])
    return vtrace_td_error_and_advantage(
        values,
        v_t,
        rewards,
        discounts,
        jnp.exp(log_rhos),
        lambda_,
        clip_rho_threshold,
        clip_pg_rho_threshold,
        stop_target_gradients,
        sample_mask,
    )


class VTraceFromLogitsOutput(NamedTuple):
    """V-trace's outputs, and the log-probabilities behind them.

    Attributes:
        errors, pg_advantage, q_estimate: [T], as in `VTraceOutput`.
        log_rhos: [T] logarithms of the importance ratios.
        behaviour_action_log_probs, target_action_log_probs: [T] of the actions taken.
    """

    errors: Array
    pg_advantage: Array
    q_estimate: Array
    log_rhos: Array
    behaviour_action_log_probs: Array
    target_action_log_probs: Array


def vtrace_from_logits(
    behaviour_policy_logits: Array,
    target_policy_logits: Array,
    actions: Array,
    discounts: Array,
    rewards: Array,
    values: Array,
    bootstrap_value: Numeric,
    clip_rho_threshold: Numeric | None = 1.0,
    clip_pg_rho_threshold: Numeric | None = 1.0,
    lambda_: Numeric = 1.0,
    stop_target_gradients: Array | bool = True,
    sample_mask: Array | None = None,
) -> VTraceFromLogitsOutput:
    """V-trace of categorical policies, from their logits.

        log ρ = log softmax(target_policy_logits)[a] - log softmax(behaviour_policy_logits)[a]

    Args:
        behaviour_policy_logits, target_policy_logits: [T, A] logits at t-1 of the policy that
            acted and of the one that learns; -inf marks an illegal action.
        actions: [T] actions taken at t-1.
        discounts, rewards: [T] discounts and rewards at t.
        values: [T] values of the observations at t-1.
        bootstrap_value: scalar value of the last observation.
        clip_rho_threshold, clip_pg_rho_threshold: scalars, or None for no clip.
        lambda_, stop_target_gradients, sample_mask: as in `vtrace_from_importance_weights`.
    Returns: `VTraceFromLogitsOutput`. Where gradients stop at targets, no gradient flows from
        the ratios to the logits either.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Espeholt et al., IMPALA, 2018, arXiv 1802.01561, eq. 1 and section 4.2.
    Example:
        >>> logits = jnp.zeros((2, 3))
        >>> output = vtrace_from_logits(
        ...     logits, logits, jnp.array([0, 1]), jnp.ones(2), jnp.ones(2), jnp.ones(2), 1.)
        >>> print(output.errors, output.log_rhos)
        [2. 1.] [0. 0.]
    """
    behaviour_policy_logits, target_policy_logits, actions = check(
        'behaviour_policy_logits[T,A] target_policy_logits[T,A] actions[T]:int',
        behaviour_policy_logits,
        target_policy_logits,
        actions,
    )
    behaviour = log_probs_from_logits_and_actions(behaviour_policy_logits, actions)
    target = log_probs_from_logits_and_actions(target_policy_logits, actions)
    log_rhos = target - behaviour
    output = vtrace_from_importance_weights(
        stop_gradient_if(stop_target_gradients, log_rhos),
        discounts,
        rewards,
        values,
        bootstrap_value,
        clip_rho_threshold,
        clip_pg_rho_threshold,
        lambda_,
        stop_target_gradients,
        sample_mask,
    )
    return VTraceFromLogitsOutput(*output, log_rhos, behaviour, target)


def log_probs_from_logits_and_actions(policy_logits: Array, actions: Array) -> Array:
    """Log-probabilities that categorical policies give to the actions taken.

        log softmax(policy_logits[...])[actions[...]]

    Args:
        policy_logits: [..., A] logits.
        actions: [...] actions.
    Returns: [...] log-probabilities.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Example:
        >>> print(log_probs_from_logits_and_actions(jnp.zeros((1, 2)), jnp.array([1])))
        [-0.6931472]
    """
    return batched_index(jax.nn.log_softmax(jnp.asarray(policy_logits)), actions)


def _leaky_clip(rho: Array, threshold: Numeric | None, alpha: Numeric) -> Array:
    """Mixes ratios clipped at a threshold (if there is one) with a share 1 - alpha of the unclipped ones."""
    if threshold is None:
        return rho
    clipped = jnp.minimum(rho, threshold)
    if isinstance(alpha, (int, float)) and alpha == 1:
        return clipped
    return alpha * clipped + (1 - alpha) * rho
