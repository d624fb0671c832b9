"""Retrace: action values learned over many steps from actions of any behaviour policy.

The four forms of the algorithm take different inputs: the policy's probabilities and all action
values (`retrace`); values of the actions taken and log-ratios (`retrace_continuous`); the same along
one unbroken sequence (`retrace_from_importance_weights`); log-probabilities of the actions
(`retrace_from_action_log_probs`). Off-policy ratios are clipped at 1 and never amplified.
"""

from typing import NamedTuple

import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import as_mask
from culmen.components.losses._common import check
from culmen.components.losses._common import stop_gradient_if
from culmen.components.losses.base import batched_index
from culmen.components.losses.multistep import general_off_policy_returns_from_action_values
from culmen.components.losses.multistep import general_off_policy_returns_from_q_and_v


def retrace(
    q_tm1: Array,
    q_t: Array,
    a_tm1: Array,
    a_t: Array,
    r_t: Array,
    discount_t: Array,
    pi_t: Array,
    mu_t: Array,
    lambda_: Numeric,
    eps: Numeric = 1e-8,
    stop_target_gradients: Array | bool = True,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Retrace errors of action values.

        δ[t] = G[t] - q_tm1[t, a_tm1[t]]
        G[t] = r_t[t] + discount_t[t] (Σₐ pi_t[t, a] q_t[t, a] + c[t] (G[t+1] - q_t[t, a_t[t]]))
        c[t] = λ min(1, pi_t[t, a_t[t]] / (mu_t[t] + eps))

    Args:
        q_tm1: [T, A] action values at t-1, the predictions.
        q_t: [T, A] action values at t, often of a target network; -inf marks an illegal action,
            which must have probability 0.
        a_tm1, a_t: [T] actions taken at t-1 and at t.
        r_t, discount_t: [T] rewards and discounts at t.
        pi_t: [T, A] target policy at t.
        mu_t: [T] probability of a_t under the behaviour policy.
        lambda_: scalar or [T]; 0 yields expected Sarsa, 0 at a truncation cuts there.
        eps: scalar added to mu_t, against division by zero.
        stop_target_gradients: whether gradients stop at the returns.
        mask, sequence_lengths: which steps count; see `lambda_returns`. Others have error 0.
    Returns: [T] errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Munos et al., Safe and Efficient Off-Policy RL, 2016, arXiv 1606.02647, eq. 4.
    Example:
        >>> q = jnp.array([[1., 2.], [3., 4.], [5., 6.]])
        >>> a = jnp.array([0, 1, 0])
        >>> half = jnp.full(2, .5)
        >>> print(retrace(q[:-1], q[1:], a[:-1], a[1:], half, half, jnp.full((2, 2), .5), half, 1.))
        [ 0.875 -0.75 ]
    """
    q_tm1, q_t, a_tm1, a_t, r_t, discount_t, pi_t, mu_t, lambda_ = check(
        'q_tm1[T,A] q_t[T,A]:real a_tm1[T]:int a_t[T]:int r_t[T]:real '
        'discount_t[T]:real pi_t[T,A]:real mu_t[T]:real '
        'lambda_[T?]:real',
        q_tm1,
        q_t,
        a_tm1,
        a_t,
        r_t,
        discount_t,
        pi_t,
        mu_t,
        lambda_,
    )
    c_t = lambda_ * jnp.minimum(1, batched_index(pi_t, a_t) / (mu_t + eps))
    returns = general_off_policy_returns_from_action_values(
        q_t,
        a_t,
        r_t,
        discount_t,
        c_t,
        pi_t,
        stop_target_gradients,
        mask=mask,
        sequence_lengths=sequence_lengths,
    )
    return _masked(returns - batched_index(q_tm1, a_tm1), mask, sequence_lengths)


def retrace_continuous(
    q_tm1: Array,
    q_t: Array,
    v_t: Array,
    r_t: Array,
    discount_t: Array,
    log_rhos: Array,
    lambda_: Numeric,
    stop_target_gradients: Array | bool = True,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Retrace errors from the values of the actions taken, state values and log-ratios.

        δ[t] = G[t] - q_tm1[t]
        G[t] = r_t[t] + discount_t[t] (v_t[t] + λ min(1, exp(log_rhos[t])) (G[t+1] - q_t[t]))
        G[K-1] = r_t[K-1] + discount_t[K-1] v_t[K-1]

    Args:
        q_tm1: [K] values of the actions taken at t-1, the predictions.
        q_t: [K-1] values of the actions taken at t, but for the last step.
        v_t: [K] values at t under the target policy, such as a mean over sampled actions.
        r_t, discount_t: [K] rewards and discounts at t.
        log_rhos: [K-1] log π(a_t) - log μ(a_t), but for the last step.
        lambda_: scalar or [K-1]; 0 yields one-step errors, 0 at a truncation cuts there.
        stop_target_gradients: whether gradients stop at the returns.
        mask, sequence_lengths: which of the K steps count; others have error 0.
    Returns: [K] errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Munos et al., Safe and Efficient Off-Policy RL, 2016, arXiv 1606.02647, eq. 4.
    Example:
        >>> print(retrace_continuous(jnp.zeros(2), jnp.array([2.]), jnp.array([3., 7.]),
        ...                          jnp.ones(2), jnp.full(2, .5), jnp.array([-1e9]), 1.))
        [2.5 4.5]
    """
    q_tm1, q_t, v_t, r_t, discount_t, log_rhos, lambda_ = check(
        'q_tm1[K] q_t[K-1]:real v_t[K]:real r_t[K]:real discount_t[K]:real '
        'log_rhos[K-1] lambda_[K-1?]:real',
        q_tm1,
        q_t,
        v_t,
        r_t,
        discount_t,
        log_rhos,
        lambda_,
    )
    c_t = lambda_ * jnp.exp(jnp.minimum(0, log_rhos))
    returns = general_off_policy_returns_from_q_and_v(
        q_t,
        v_t,
        r_t,
        discount_t,
        c_t,
        stop_target_gradients,
        mask=mask,
        sequence_lengths=sequence_lengths,
    )
    return _masked(returns - q_tm1, mask, sequence_lengths)


class RetraceOutput(NamedTuple):
    """Retrace's errors along one sequence, and their parts.

    Attributes:
        errors: [T] targets minus q_values.
        targets: [T] returns that the action values learn.
        weights: [T] trace coefficients λ min(1, ρ) of the actions taken at t-1.
        deltas: [T] one-step errors r_t + discount_t v_t - q_tm1.
    """

    errors: Array
    targets: Array
    weights: Array
    deltas: Array


def retrace_from_importance_weights(
    log_rhos: Array,
    discounts: Array,
    rewards: Array,
    q_values: Array,
    values: Array,
    bootstrap_value: Numeric,
    lambda_: Numeric = 1.0,
    stop_target_gradients: Array | bool = True,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> RetraceOutput:
    """Retrace along one unbroken sequence, from log-ratios of the actions taken in it.

    The equation of `retrace_continuous`, with q_tm1 = q_values, q_t = q_values[1:],
    v_t = [values[1:], bootstrap_value] and the ratios of log_rhos[1:].

    Args:
        log_rhos: [T] log π(a_tm1) - log μ(a_tm1); the first does not enter the targets.
        discounts, rewards: [T] discounts and rewards at t.
        q_values: [T] values of the actions taken at t-1.
        values: [T] values at t-1 under the target policy; the first does not enter.
        bootstrap_value: scalar value of the last observation.
        lambda_: scalar or [T], of the action at t-1; 0 yields one-step errors.
        stop_target_gradients: whether gradients stop at the targets.
        mask, sequence_lengths: which steps count; others have error and target 0.
    Returns: `RetraceOutput`.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Munos et al., Safe and Efficient Off-Policy RL, 2016, arXiv 1606.02647, eq. 4.
    Example:
        >>> output = retrace_from_importance_weights(
        ...     jnp.zeros(2), jnp.full(2, .5), jnp.ones(2), jnp.array([0., 2.]),
        ...     jnp.array([0., 3.]), 7.)
        >>> print(output.targets, output.deltas)
        [3.75 4.5 ] [2.5 2.5]
    """
    log_rhos, discounts, rewards, q_values, values, bootstrap_value, lambda_ = check(
        'log_rhos[T] discounts[T]:real rewards[T]:real q_values[T] values[T] bootstrap_value[] '
        'lambda_[T?]:real',
        log_rhos,
        discounts,
        rewards,
        q_values,
        values,
        bootstrap_value,
        lambda_,
    )
    weights = lambda_ * jnp.exp(jnp.minimum(0, log_rhos))
    v_t = jnp.concatenate([values[1:], jnp.expand_dims(bootstrap_value, 0)])
    targets = general_off_policy_returns_from_q_and_v(
        q_values[1:],
        v_t,
        rewards,
        discounts,
        weights[1:],
        stop_target_gradients,
        mask=mask,
        sequence_lengths=sequence_lengths,
    )
    errors = _masked(targets - q_values, mask, sequence_lengths)
    one_step = stop_gradient_if(stop_target_gradients, rewards + discounts * v_t)
    deltas = _masked(one_step - q_values, mask, sequence_lengths)
    return RetraceOutput(errors, targets, weights, deltas)


def retrace_from_action_log_probs(
    target_action_log_probs: Array,
    behaviour_action_log_probs: Array,
    discounts: Array,
    rewards: Array,
    q_values: Array,
    values: Array,
    bootstrap_value: Numeric,
    lambda_: Numeric = 1.0,
    stop_target_gradients: Array | bool = True,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> RetraceOutput:
    """Retrace along one unbroken sequence, from log-probabilities of the actions taken in it.

    `retrace_from_importance_weights` of the difference of the two.

    Args:
        target_action_log_probs, behaviour_action_log_probs: [T] log π(a_tm1) and log μ(a_tm1).
        discounts, rewards, q_values, values, bootstrap_value, lambda_, stop_target_gradients,
            mask, sequence_lengths: as in `retrace_from_importance_weights`.
    Returns: `RetraceOutput`.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Munos et al., Safe and Efficient Off-Policy RL, 2016, arXiv 1606.02647, eq. 4.
    Example:
        >>> output = retrace_from_action_log_probs(
        ...     jnp.full(2, -1.), jnp.full(2, -1.), jnp.full(2, .5), jnp.ones(2),
        ...     jnp.array([0., 2.]), jnp.array([0., 3.]), 7.)
        >>> print(output.targets)
        [3.75 4.5 ]
    """
    target_action_log_probs, behaviour_action_log_probs = check(
        'target_action_log_probs[T] behaviour_action_log_probs[T]',
        target_action_log_probs,
        behaviour_action_log_probs,
    )
    return retrace_from_importance_weights(
        target_action_log_probs - behaviour_action_log_probs,
        discounts,
        rewards,
        q_values,
        values,
        bootstrap_value,
        lambda_,
        stop_target_gradients,
        mask=mask,
        sequence_lengths=sequence_lengths,
    )


def _masked(errors: Array, mask: Array | None, sequence_lengths: Array | int | None) -> Array:
    """Errors with 0 at the steps that do not count."""
    valid = as_mask(mask, sequence_lengths, len(errors))
    return errors if valid is None else jnp.where(valid, errors, 0)
