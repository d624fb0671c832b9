"""Temporal difference errors of actions of several choices, each of which has a branch of action values.

Tavakoli et al. 2018, "Action Branching Architectures for Deep Reinforcement Learning" (1711.08946). Branch d
of D has an action value for each value of choice d. So their number is a sum over the choices, not a product.
All branches have one target, with the mean of their bootstraps.
"""

import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import check
from culmen.components.losses._common import stop_gradient_if
from culmen.components.losses.base import batched_index


def branching_q_learning(
    q_tm1: Array,
    a_tm1: Array,
    r_t: Numeric,
    discount_t: Numeric,
    q_t: Array,
    stop_target_gradients: Array | bool = True,
) -> Array:
    """One-step errors that bootstrap from the best value of each branch.

        δ[d] = r_t + discount_t (1/D) Σₑ maxₐ q_t[e, a] - q_tm1[d, a_tm1[d]]

    Args:
        q_tm1: [D, A] action values at t-1, the predictions.
        a_tm1: [D] the action taken at t-1.
        r_t, discount_t: scalar reward and discount at t.
        q_t: [D, A] action values at t, often of a target network; -inf marks an illegal value.
        stop_target_gradients: whether gradients stop at the target.
    Returns: [D] errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Tavakoli et al., Action Branching Architectures, 2018, arXiv 1711.08946, the mean operator of
        the temporal-difference target, with one network that chooses and values.
    Example:
        >>> q_t = jnp.array([[4., 6.], [2., 0.]])
        >>> print(branching_q_learning(
        ...     jnp.array([[1., 2.], [3., 4.]]), jnp.array([0, 1]), 1., .5, q_t))
        [ 2. -1.]
    """
    q_tm1, a_tm1, r_t, discount_t, q_t = check(
        'q_tm1[D,A] a_tm1[D]:int r_t[]:real discount_t[]:real q_t[D,A]:real',
        q_tm1,
        a_tm1,
        r_t,
        discount_t,
        q_t,
    )
    target = r_t + discount_t * _mean_of_legal(jnp.max(q_t, axis=-1))
    return stop_gradient_if(stop_target_gradients, target) - batched_index(q_tm1, a_tm1)


def branching_double_q_learning(
    q_tm1: Array,
    a_tm1: Array,
    r_t: Numeric,
    discount_t: Numeric,
    q_t_value: Array,
    q_t_selector: Array,
    stop_target_gradients: Array | bool = True,
) -> Array:
    """One-step errors in which one estimate chooses the best value of each branch and another values it.

        δ[d] = r_t + discount_t (1/D) Σₑ q_t_value[e, argmaxₐ q_t_selector[e, a]] - q_tm1[d, a_tm1[d]]

    Args:
        q_tm1: [D, A] action values at t-1, the predictions.
        a_tm1: [D] the action taken at t-1.
        r_t, discount_t: scalar reward and discount at t.
        q_t_value: [D, A] action values at t that value the choices (the target network's).
        q_t_selector: [D, A] action values at t that choose (the online network's); -inf marks an illegal
            value, in either.
        stop_target_gradients: whether gradients stop at the target.
    Returns: [D] errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Tavakoli et al., Action Branching Architectures, 2018, arXiv 1711.08946, the mean operator of
        the temporal-difference target.
    Example:
        >>> q_t = jnp.array([[4., 6.], [2., 0.]])
        >>> print(branching_double_q_learning(
        ...     jnp.array([[1., 2.], [3., 4.]]), jnp.array([0, 1]), 1., .5, q_t, -q_t))
        [ 1. -2.]
    """
    q_tm1, a_tm1, r_t, discount_t, q_t_value, q_t_selector = check(
        'q_tm1[D,A] a_tm1[D]:int r_t[]:real discount_t[]:real '
        'q_t_value[D,A]:real q_t_selector[D,A]:real',
        q_tm1,
        a_tm1,
        r_t,
        discount_t,
        q_t_value,
        q_t_selector,
    )
    best = batched_index(q_t_value, jnp.argmax(q_t_selector, axis=-1))
    target = r_t + discount_t * _mean_of_legal(best)
    return stop_gradient_if(stop_target_gradients, target) - batched_index(q_tm1, a_tm1)


def _mean_of_legal(best: Array) -> Array:
    """The mean of the branches' best values [D]; those without a legal value count as 0."""
    return jnp.mean(jnp.where(jnp.isneginf(best), 0, best))
