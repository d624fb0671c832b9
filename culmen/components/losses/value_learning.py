"""Temporal difference errors of state values and action values, one step or many.

Every function returns target minus prediction, so that the caller chooses what to do with it: an
L2 or a Huber loss, importance weights, priorities. Names with `_tm1` belong to the time t-1 of an
action, names with `_t` to the next time t: `q_tm1` is the prediction, `a_tm1` the action, `r_t` and
`discount_t` its result, and `q_t` the bootstrap. A termination has discount 0.

All take one element or one sequence; batch with `jax.vmap`. Gradients stop at the targets unless
`stop_target_gradients` is false (it may be traced). An action that is not legal at time t is
marked by -inf in `q_t`: it is never bootstrapped from and no gradient turns to NaN; a state
without legal actions has value 0.
"""

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import as_mask
from culmen.components.losses._common import check
from culmen.components.losses._common import stop_gradient_if
from culmen.components.losses.base import batched_index
from culmen.components.losses.multistep import lambda_returns


def td_learning(
    v_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    v_t: Numeric,
    stop_target_gradients: Array | bool = True,
) -> Array:
    """One-step temporal difference error of a state value.

        δ = r_t + discount_t v_t - v_tm1

    Args:
        v_tm1: scalar value of the observation at t-1, the prediction.
        r_t, discount_t: scalar reward and discount at t; discount 0 makes the target the reward.
        v_t: scalar value of the observation at t.
        stop_target_gradients: whether v_t gets no gradient; false yields the residual gradient.
    Returns: scalar error.
    Raises: ValueError naming the argument whose rank or dtype is wrong.
    Reference: Sutton, Learning to Predict by the Methods of Temporal Differences, 1988, eq. 4.
    Example:
        >>> print(td_learning(1., 2., .5, 4.))
        3.0
    """
    v_tm1, r_t, discount_t, v_t = check(
        'v_tm1[] r_t[]:real discount_t[]:real v_t[]:real', v_tm1, r_t, discount_t, v_t
    )
    return stop_gradient_if(stop_target_gradients, r_t + discount_t * v_t) - v_tm1


def td_lambda(
    v_tm1: Array,
    r_t: Array,
    discount_t: Array,
    v_t: Array,
    lambda_: Numeric,
    stop_target_gradients: Array | bool = True,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Temporal difference errors of state values towards lambda-returns.

        δ[t] = G[t] - v_tm1[t],  G[t] = r_t[t] + discount_t[t] ((1 - λ[t]) v_t[t] + λ[t] G[t+1])

    Args:
        v_tm1: [T] values of the observations at t-1, the predictions.
        r_t, discount_t: [T] rewards and discounts at t.
        v_t: [T] values of the observations that each step led to, before any reset.
        lambda_: [T] or scalar; 0 yields one-step errors, 1 Monte Carlo errors. 0 at a truncation
            makes that step bootstrap from its own v_t.
        stop_target_gradients: whether gradients stop at the returns.
        mask, sequence_lengths: which steps count; see `lambda_returns`. Others have error 0.
    Returns: [T] errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Sutton and Barto, Reinforcement Learning, 2nd ed., eq. 12.2 and section 12.1.
    Example:
        >>> v = jnp.array([1., 2., 3.])
        >>> print(td_lambda(v[:-1], jnp.array([1., 1.]), jnp.array([.5, .5]), v[1:], 1.))
        [1.25 0.5 ]
    """
    v_tm1, r_t, discount_t, v_t, lambda_ = check(
        'v_tm1[T] r_t[T]:real discount_t[T]:real v_t[T]:real lambda_[T?]:real',
        v_tm1,
        r_t,
        discount_t,
        v_t,
        lambda_,
    )
    return _sequence_errors(
        v_tm1, r_t, discount_t, v_t, lambda_, stop_target_gradients, mask, sequence_lengths
    )


def sarsa(
    q_tm1: Array,
    a_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    q_t: Array,
    a_t: Numeric,
    stop_target_gradients: Array | bool = True,
) -> Array:
    """One-step error that bootstraps from the action taken next.

        δ = r_t + discount_t q_t[a_t] - q_tm1[a_tm1]

    Args:
        q_tm1: [A] action values at t-1, the predictions.
        a_tm1, a_t: scalar actions taken at t-1 and at t.
        r_t, discount_t: scalar reward and discount at t.
        q_t: [A] action values at t.
        stop_target_gradients: whether gradients stop at the target.
    Returns: scalar error.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Sutton and Barto, Reinforcement Learning, 2nd ed., eq. 6.7.
    Example:
        >>> print(sarsa(jnp.array([1., 2.]), 0, 1., .5, jnp.array([4., 6.]), 1))
        3.0
    """
    q_tm1, a_tm1, r_t, discount_t, q_t, a_t = check(
        'q_tm1[A] a_tm1[]:int r_t[]:real discount_t[]:real q_t[A]:real a_t[]:int',
        q_tm1,
        a_tm1,
        r_t,
        discount_t,
        q_t,
        a_t,
    )
    target = r_t + discount_t * batched_index(q_t, a_t)
    return stop_gradient_if(stop_target_gradients, target) - batched_index(q_tm1, a_tm1)


def expected_sarsa(
    q_tm1: Array,
    a_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    q_t: Array,
    probs_a_t: Array,
    stop_target_gradients: Array | bool = True,
) -> Array:
    """One-step error that bootstraps from the expectation under a policy.

        δ = r_t + discount_t Σₐ probs_a_t[a] q_t[a] - q_tm1[a_tm1]

    Args:
        q_tm1: [A] action values at t-1, the predictions.
        a_tm1: scalar action taken at t-1.
        r_t, discount_t: scalar reward and discount at t.
        q_t: [A] action values at t; -inf marks an illegal action.
        probs_a_t: [A] the policy at t. One-hot at the maximum yields Q-learning, one-hot at the
            action taken yields Sarsa.
        stop_target_gradients: whether gradients stop at the target, the policy included.
    Returns: scalar error.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: van Seijen et al., A Theoretical and Empirical Analysis of Expected Sarsa, 2009,
        eq. 5.
    Example:
        >>> print(expected_sarsa(jnp.array([1., 2.]), 0, 1., .5, jnp.array([4., 6.]),
        ...                      jnp.array([.5, .5])))
        2.5
    """
    q_tm1, a_tm1, r_t, discount_t, q_t, probs_a_t = check(
        'q_tm1[A] a_tm1[]:int r_t[]:real discount_t[]:real q_t[A]:real probs_a_t[A]:real',
        q_tm1,
        a_tm1,
        r_t,
        discount_t,
        q_t,
        probs_a_t,
    )
    target = r_t + discount_t * jnp.dot(probs_a_t, _without_illegal(q_t))
    return stop_gradient_if(stop_target_gradients, target) - batched_index(q_tm1, a_tm1)


def sarsa_lambda(
    q_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    q_t: Array,
    a_t: Array,
    lambda_: Numeric,
    stop_target_gradients: Array | bool = True,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Errors of action values towards lambda-returns of the actions taken.

        δ[t] = G[t] - q_tm1[t, a_tm1[t]]
        G[t] = r_t[t] + discount_t[t] ((1 - λ[t]) q_t[t, a_t[t]] + λ[t] G[t+1])

    Args:
        q_tm1, q_t: [T, A] action values at t-1 (predictions) and at t (bootstraps).
        a_tm1, a_t: [T] actions taken at t-1 and at t.
        r_t, discount_t: [T] rewards and discounts at t.
        lambda_: [T] or scalar; 0 yields one-step Sarsa, 1 Monte Carlo errors.
        stop_target_gradients: whether gradients stop at the returns.
        mask, sequence_lengths: which steps count; see `lambda_returns`. Others have error 0.
    Returns: [T] errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Sutton and Barto, Reinforcement Learning, 2nd ed., section 12.7.
    Example:
        >>> q = jnp.array([[1., 2.], [3., 4.], [5., 6.]])
        >>> a = jnp.array([0, 1, 0])
        >>> half = jnp.array([.5, .5])
        >>> print(sarsa_lambda(q[:-1], a[:-1], half, half, q[1:], a[1:], 0.))
        [ 1.5 -1. ]
    """
    q_tm1, a_tm1, r_t, discount_t, q_t, a_t, lambda_ = check(
        'q_tm1[T,A] a_tm1[T]:int r_t[T]:real discount_t[T]:real q_t[T,A]:real '
        'a_t[T]:int lambda_[T?]:real',
        q_tm1,
        a_tm1,
        r_t,
        discount_t,
        q_t,
        a_t,
        lambda_,
    )
    return _sequence_errors(
        batched_index(q_tm1, a_tm1),
        r_t,
        discount_t,
        batched_index(q_t, a_t),
        lambda_,
        stop_target_gradients,
        mask,
        sequence_lengths,
    )


def q_learning(
    q_tm1: Array,
    a_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    q_t: Array,
    stop_target_gradients: Array | bool = True,
) -> Array:
    """One-step error that bootstraps from the best action.

        δ = r_t + discount_t maxₐ q_t[a] - q_tm1[a_tm1]

    Args:
        q_tm1: [A] action values at t-1, the predictions.
        a_tm1: scalar action taken at t-1.
        r_t, discount_t: scalar reward and discount at t.
        q_t: [A] action values at t, often of a target network; -inf marks an illegal action.
        stop_target_gradients: whether gradients stop at the target.
    Returns: scalar error.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Sutton and Barto, Reinforcement Learning, 2nd ed., eq. 6.8; Watkins, 1989.
    Example:
        >>> print(q_learning(jnp.array([1., 2.]), 0, 1., .5, jnp.array([4., 6.])))
        3.0
    """
    q_tm1, a_tm1, r_t, discount_t, q_t = check(
        'q_tm1[A] a_tm1[]:int r_t[]:real discount_t[]:real q_t[A]:real',
        q_tm1,
        a_tm1,
        r_t,
        discount_t,
        q_t,
    )
    target = r_t + discount_t * _best(q_t)
    return stop_gradient_if(stop_target_gradients, target) - batched_index(q_tm1, a_tm1)


def double_q_learning(
    q_tm1: Array,
    a_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    q_t_value: Array,
    q_t_selector: Array,
    stop_target_gradients: Array | bool = True,
) -> Array:
    """One-step error in which one estimate chooses the best action and another gives its value.

        δ = r_t + discount_t q_t_value[argmaxₐ q_t_selector[a]] - q_tm1[a_tm1]

    Two estimates with different errors remove most of the maximum's upward bias.

    Args:
        q_tm1: [A] action values at t-1, the predictions.
        a_tm1: scalar action taken at t-1.
        r_t, discount_t: scalar reward and discount at t.
        q_t_value: [A] action values at t that value the choice (the target network's).
        q_t_selector: [A] action values at t that choose (the online network's); -inf marks an
            illegal action, in either. The same array as q_t_value yields Q-learning.
        stop_target_gradients: whether gradients stop at the target.
    Returns: scalar error.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: van Hasselt, Double Q-learning, 2010, alg. 1; van Hasselt et al., 2015,
        arXiv 1509.06461, eq. 4.
    Example:
        >>> print(double_q_learning(jnp.array([1., 2.]), 0, 1., .5,
        ...                         jnp.array([4., 6.]), jnp.array([9., 8.])))
        2.0
    """
    q_tm1, a_tm1, r_t, discount_t, q_t_value, q_t_selector = check(
        'q_tm1[A] a_tm1[]:int r_t[]:real discount_t[]:real q_t_value[A]:real q_t_selector[A]:real',
        q_tm1,
        a_tm1,
        r_t,
        discount_t,
        q_t_value,
        q_t_selector,
    )
    best_value = batched_index(_without_illegal(q_t_value), jnp.argmax(q_t_selector))
    target = r_t + discount_t * best_value
    return stop_gradient_if(stop_target_gradients, target) - batched_index(q_tm1, a_tm1)


def persistent_q_learning(
    q_tm1: Array,
    a_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    q_t: Array,
    action_gap_scale: Numeric,
    stop_target_gradients: Array | bool = True,
) -> Array:
    """One-step error that favours repeating the last action, which widens the action gap.

        δ = r_t + discount_t ((1 - α) maxₐ q_t[a] + α q_t[a_tm1]) - q_tm1[a_tm1]

    Args:
        q_tm1: [A] action values at t-1, the predictions.
        a_tm1: scalar action taken at t-1.
        r_t, discount_t: scalar reward and discount at t.
        q_t: [A] action values at t; -inf marks an illegal action, for which the best stands in.
        action_gap_scale: scalar α in [0, 1]; 0 yields Q-learning, 1 evaluates never changing the
            action.
        stop_target_gradients: whether gradients stop at the target.
    Returns: scalar error.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Bellemare et al., Increasing the Action Gap, 2016, arXiv 1512.04860, eq. 11.
    Example:
        >>> print(persistent_q_learning(jnp.array([1., 2.]), 0, 1., .5, jnp.array([4., 6.]), .5))
        2.5
    """
    q_tm1, a_tm1, r_t, discount_t, q_t, action_gap_scale = check(
        'q_tm1[A] a_tm1[]:int r_t[]:real discount_t[]:real q_t[A]:real action_gap_scale[]:real',
        q_tm1,
        a_tm1,
        r_t,
        discount_t,
        q_t,
        action_gap_scale,
    )
    best = _best(q_t)
    again = batched_index(q_t, a_tm1)
    again = jnp.where(jnp.isneginf(again), best, again)
    target = r_t + discount_t * ((1 - action_gap_scale) * best + action_gap_scale * again)
    return stop_gradient_if(stop_target_gradients, target) - batched_index(q_tm1, a_tm1)


def qv_learning(
    q_tm1: Array,
    a_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    v_t: Numeric,
    stop_target_gradients: Array | bool = True,
) -> Array:
    """One-step error of an action value that bootstraps from a state value.

        δ = r_t + discount_t v_t - q_tm1[a_tm1]

    Args:
        q_tm1: [A] action values at t-1, the predictions.
        a_tm1: scalar action taken at t-1.
        r_t, discount_t: scalar reward and discount at t.
        v_t: scalar state value at t, itself learned by `td_learning` or `td_lambda`.
        stop_target_gradients: whether gradients stop at the target.
    Returns: scalar error.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Wiering and van Hasselt, Two Novel On-policy Reinforcement Learning Algorithms based
        on TD(λ)-methods, 2007, eq. 4.
    Example:
        >>> print(qv_learning(jnp.array([1., 2.]), 1, 1., .5, 4.))
        1.0
    """
    q_tm1, a_tm1, r_t, discount_t, v_t = check(
        'q_tm1[A] a_tm1[]:int r_t[]:real discount_t[]:real v_t[]:real',
        q_tm1,
        a_tm1,
        r_t,
        discount_t,
        v_t,
    )
    target = r_t + discount_t * v_t
    return stop_gradient_if(stop_target_gradients, target) - batched_index(q_tm1, a_tm1)


def qv_max(
    v_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    q_t: Array,
    stop_target_gradients: Array | bool = True,
) -> Array:
    """One-step error of a state value that bootstraps from the best action value.

        δ = r_t + discount_t maxₐ q_t[a] - v_tm1

    Args:
        v_tm1: scalar value of the observation at t-1, the prediction.
        r_t, discount_t: scalar reward and discount at t.
        q_t: [A] action values at t; -inf marks an illegal action.
        stop_target_gradients: whether gradients stop at the target.
    Returns: scalar error.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Wiering and van Hasselt, The QV Family Compared to Other Reinforcement Learning
        Algorithms, 2009, section II.
    Example:
        >>> print(qv_max(1., 1., .5, jnp.array([4., 6.])))
        3.0
    """
    v_tm1, r_t, discount_t, q_t = check(
        'v_tm1[] r_t[]:real discount_t[]:real q_t[A]:real', v_tm1, r_t, discount_t, q_t
    )
    return stop_gradient_if(stop_target_gradients, r_t + discount_t * _best(q_t)) - v_tm1


def q_lambda(
    q_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    q_t: Array,
    lambda_: Numeric,
    stop_target_gradients: Array | bool = True,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Errors of action values towards lambda-returns of the best action.

        δ[t] = G[t] - q_tm1[t, a_tm1[t]]
        G[t] = r_t[t] + discount_t[t] ((1 - λ[t]) maxₐ q_t[t, a] + λ[t] G[t+1])

    Args:
        q_tm1, q_t: [T, A] action values at t-1 (predictions) and at t (bootstraps); -inf in q_t
            marks an illegal action.
        a_tm1: [T] actions taken at t-1.
        r_t, discount_t: [T] rewards and discounts at t.
        lambda_: a scalar yields Peng's Q(λ); [T] with zeros where the action taken at t was not
            greedy yields Watkins's; 0 yields one-step Q-learning.
        stop_target_gradients: whether gradients stop at the returns.
        mask, sequence_lengths: which steps count; see `lambda_returns`. Others have error 0.
    Returns: [T] errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Sutton and Barto, Reinforcement Learning, 2nd ed., section 12.10; Peng and Williams,
        Incremental Multi-Step Q-Learning, 1994.
    Example:
        >>> q = jnp.array([[1., 2.], [3., 4.], [5., 6.]])
        >>> half = jnp.array([.5, .5])
        >>> print(q_lambda(q[:-1], jnp.array([0, 1]), half, half, q[1:], 1.))
        [ 1.25 -0.5 ]
    """
    q_tm1, a_tm1, r_t, discount_t, q_t, lambda_ = check(
        'q_tm1[T,A] a_tm1[T]:int r_t[T]:real discount_t[T]:real q_t[T,A]:real lambda_[T?]:real',
        q_tm1,
        a_tm1,
        r_t,
        discount_t,
        q_t,
        lambda_,
    )
    return _sequence_errors(
        batched_index(q_tm1, a_tm1),
        r_t,
        discount_t,
        _best(q_t),
        lambda_,
        stop_target_gradients,
        mask,
        sequence_lengths,
    )


def munchausen_q_learning(
    q_tm1: Array,
    a_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    q_t: Array,
    target_q_tm1: Array,
    temperature: Numeric = 0.03,
    log_policy_clip: Numeric = -1.0,
    alpha: Numeric = 0.9,
    stop_target_gradients: Array | bool = True,
) -> Array:
    """One-step error of soft Q-learning that adds the scaled log-policy to the reward.

        δ = r_t + α clip(τ log π(a_tm1), log_policy_clip, 0) + discount_t V - q_tm1[a_tm1]
        π = softmax(target_q_tm1 / τ),  V = τ log Σₐ exp(q_t[a] / τ)

    Args:
        q_tm1: [A] action values at t-1, the predictions.
        a_tm1: scalar action taken at t-1.
        r_t, discount_t: scalar reward and discount at t.
        q_t: [A] action values at t, of the target network; -inf marks an illegal action.
        target_q_tm1: [A] action values at t-1 of the target network, which give the policy.
        temperature: scalar τ > 0; towards 0 the soft maximum becomes the maximum.
        log_policy_clip: scalar ≤ 0, the lowest that τ log π may be.
        alpha: scalar in [0, 1]; 0 yields soft Q-learning.
        stop_target_gradients: whether gradients stop at the target, the added term included.
    Returns: scalar error.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Vieillard et al., Munchausen Reinforcement Learning, 2020, arXiv 2007.14430, eq. 2.
    Example:
        >>> q = jnp.array([0., 0.])
        >>> print(munchausen_q_learning(q, 0, 1., .5, q, q, temperature=1.))  # 1 + (.5 - .9) log 2
        0.7227411
    """
    (q_tm1, a_tm1, r_t, discount_t, q_t, target_q_tm1, temperature, log_policy_clip, alpha) = check(
        'q_tm1[A] a_tm1[]:int r_t[]:real discount_t[]:real q_t[A]:real '
        'target_q_tm1[A]:real temperature[]:real '
        'log_policy_clip[]:real alpha[]:real',
        q_tm1,
        a_tm1,
        r_t,
        discount_t,
        q_t,
        target_q_tm1,
        temperature,
        log_policy_clip,
        alpha,
    )
    bonus = alpha * munchausen_bonus(target_q_tm1, a_tm1, temperature, log_policy_clip)
    target = r_t + bonus + discount_t * _soft_best(q_t, temperature)
    return stop_gradient_if(stop_target_gradients, target) - batched_index(q_tm1, a_tm1)


def munchausen_bonus(
    target_q_tm1: Array,
    a_tm1: Numeric,
    temperature: Numeric = 0.03,
    log_policy_clip: Numeric = -1.0,
) -> Array:
    """The clipped log-policy that Munchausen agents add to their reward, before it is scaled.

        clip(τ log π(a_tm1), log_policy_clip, 0),  π = softmax(target_q_tm1 / τ)

    Args:
        target_q_tm1: [A] action values at t-1 of the target network.
        a_tm1: scalar action taken at t-1.
        temperature: scalar τ > 0.
        log_policy_clip: scalar ≤ 0; 0 yields no bonus at all.
    Returns: scalar in [log_policy_clip, 0].
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Vieillard et al., Munchausen Reinforcement Learning, 2020, arXiv 2007.14430,
        section 3 and appendix B.1.
    Example:
        >>> print(munchausen_bonus(jnp.array([0., 0.]), 0, 1.))  # log(1/2)
        -0.6931472
    """
    target_q_tm1, a_tm1, temperature, log_policy_clip = check(
        'target_q_tm1[A]:real a_tm1[]:int temperature[]:real log_policy_clip[]:real',
        target_q_tm1,
        a_tm1,
        temperature,
        log_policy_clip,
    )
    scaled_log_pi = batched_index(target_q_tm1, a_tm1) - _soft_best(target_q_tm1, temperature)
    return jnp.clip(scaled_log_pi, log_policy_clip, 0)


def _sequence_errors(
    predictions: Array,
    r_t: Array,
    discount_t: Array,
    v_t: Array,
    lambda_: Array,
    stop_target_gradients: Array | bool,
    mask: Array | None,
    sequence_lengths: Array | int | None,
) -> Array:
    """Lambda-returns minus predictions, all [T]; 0 at the steps that do not count."""
    returns = lambda_returns(
        r_t,
        discount_t,
        v_t,
        lambda_,
        stop_target_gradients,
        mask=mask,
        sequence_lengths=sequence_lengths,
    )
    errors = returns - predictions
    valid = as_mask(mask, sequence_lengths, len(r_t))
    return errors if valid is None else jnp.where(valid, errors, 0)


def _without_illegal(q: Array) -> Array:
    """Action values with 0 in place of the -inf of illegal actions."""
    return jnp.where(jnp.isneginf(q), 0, q)


def _best(q: Array) -> Array:
    """The value of the best legal action along the last axis; 0 where none is legal."""
    return _without_illegal(jnp.max(q, axis=-1))


def _soft_best(q: Array, temperature: Array) -> Array:
    """The soft maximum τ log Σₐ exp(q[a] / τ) over the legal actions; 0 where none is legal."""
    illegal = jnp.isneginf(q)
    best = jax.lax.stop_gradient(_best(q))
    below = jnp.where(illegal, 0, q - best)
    total = jnp.sum(jnp.where(illegal, 0, jnp.exp(below / temperature)))
    none = jnp.all(illegal)
    return jnp.where(none, 0, best + temperature * jnp.log(jnp.where(none, 1, total)))
