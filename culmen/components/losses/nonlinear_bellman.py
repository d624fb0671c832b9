"""Bellman equations between transformed values: h(r + γ h⁻¹(v)).

A `TxPair` holds a transform h and its inverse. A network predicts h(value); targets are built from
h⁻¹ of the predictions and transformed again, so that errors are in the units of the network's outputs.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax.numpy as jnp

from culmen.components.losses import transforms
from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import check
from culmen.components.losses.base import batched_index
from culmen.components.losses.multistep import general_off_policy_returns_from_action_values
from culmen.components.losses.multistep import lambda_returns
from culmen.components.losses.multistep import n_step_bootstrapped_returns


class TxPair(NamedTuple):
    """A transform of values and its inverse.

    Attributes:
        apply: from values to what the network predicts.
        apply_inv: back.
    Example:
        >>> double = TxPair(lambda x: 2 * x, lambda x: x / 2)
        >>> print(double.apply_inv(double.apply(3.)))
        3.0
    """

    apply: Callable[[Any], Any]
    apply_inv: Callable[[Any], Any]


IDENTITY_PAIR = TxPair(transforms.identity, transforms.identity)
SIGNED_LOGP1_PAIR = TxPair(transforms.signed_logp1, transforms.signed_expm1)
SIGNED_HYPERBOLIC_PAIR = TxPair(transforms.signed_hyperbolic, transforms.signed_parabolic)
HYPERBOLIC_SIN_PAIR = TxPair(transforms.hyperbolic_arcsin, transforms.hyperbolic_sin)
DISCOUNT_TRANSFORM_PAIR = TxPair(lambda x: -jnp.log1p(-x), lambda x: -jnp.expm1(-x))


def compose_tx(*tx_list: TxPair) -> TxPair:
    """Composes pairs: the first is applied first, and inverted last.

    Args:
        tx_list: pairs h₁, h₂, ...
    Returns: the pair of h₂(h₁(x)) and h₁⁻¹(h₂⁻¹(x)); the identity for none.
    Example:
        >>> plus_one = TxPair(lambda x: x + 1, lambda x: x - 1)
        >>> double = TxPair(lambda x: 2 * x, lambda x: x / 2)
        >>> print(compose_tx(plus_one, double).apply(3.))
        8.0
    """

    def apply(x: Any) -> Any:
        for pair in tx_list:
            x = pair.apply(x)
        return x

    def apply_inv(x: Any) -> Any:
        for pair in reversed(tx_list):
            x = pair.apply_inv(x)
        return x

    return TxPair(apply, apply_inv)


def twohot_pair(min_value: float, max_value: float, num_bins: int) -> TxPair:
    """The pair from scalars to two-hot probabilities on evenly spaced bins, and to their mean.

    Args:
        min_value, max_value: places of the first and the last bin.
        num_bins: number K of bins.
    Returns: a pair from [...] to [..., K].
    Reference: Schrittwieser et al., MuZero, 2019, arXiv 1911.08265, appendix F.
    Example:
        >>> print(twohot_pair(0., 2., 3).apply(jnp.array([.5])))
        [[0.5 0.5 0. ]]
    """
    return TxPair(
        lambda x: transforms.transform_to_2hot(x, min_value, max_value, num_bins),
        lambda probs: transforms.transform_from_2hot(probs, min_value, max_value, num_bins),
    )


def muzero_pair(min_value: float, max_value: float, num_bins: int, tx: TxPair) -> TxPair:
    """The pair that transforms a scalar and spreads it over bins evenly spaced after the transform.

    Args:
        min_value, max_value: places of the first and the last bin, in transformed units.
        num_bins: number K of bins.
        tx: the transform; `SIGNED_HYPERBOLIC_PAIR` is MuZero's.
    Returns: a pair from [...] to [..., K]. Its inverse takes the mean before it inverts tx, which
        is biased where the probabilities are spread: see `unbiased_transform_pair`.
    Reference: Schrittwieser et al., MuZero, 2019, arXiv 1911.08265, appendix F.
    Example:
        >>> pair = muzero_pair(-2., 2., 5, SIGNED_HYPERBOLIC_PAIR)
        >>> print(jnp.round(pair.apply_inv(pair.apply(jnp.array([3.]))), 4))
        [3.]
    """
    return compose_tx(tx, twohot_pair(min_value, max_value, num_bins))


def unbiased_transform_pair(
    min_value: float, max_value: float, num_bins: int, tx: TxPair
) -> TxPair:
    """The pair that spreads a scalar over bins placed non-linearly, and takes their plain mean.

    The bins stand at tx.apply_inv of evenly spaced places, so the non-linearity lies in the bins
    and the mean of any probabilities is the mean of the values.

    Args:
        min_value, max_value: places of the first and the last bin, in transformed units.
        num_bins: number K of bins.
        tx: the transform.
    Returns: a pair from [...] to [..., K].
    Example:
        >>> pair = unbiased_transform_pair(-2., 2., 5, SIGNED_HYPERBOLIC_PAIR)
        >>> print(jnp.round(pair.apply_inv(pair.apply(jnp.array([1.5]))), 4))
        [1.5]
    """
    bins = tx.apply_inv(jnp.linspace(min_value, max_value, num_bins))
    return TxPair(
        lambda x: transforms.transform_to_2hot_nonlinear(x, bins),
        lambda probs: transforms.transform_from_2hot_nonlinear(probs, bins),
    )


def transformed_lambda_returns(
    tx_pair: TxPair,
    r_t: Array,
    discount_t: Array,
    v_t: Array,
    lambda_: Numeric = 1.0,
    stop_target_gradients: Array | bool = False,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Lambda-returns between transformed values.

        h(lambda_returns(r_t, discount_t, h⁻¹(v_t), λ))

    Args:
        tx_pair: h and its inverse.
        r_t, discount_t: [T] rewards and discounts at t, not transformed.
        v_t: [T] transformed values of the observation each step led to; [T, K] for a two-hot pair.
        lambda_, stop_target_gradients, mask, sequence_lengths: as in `lambda_returns`.
    Returns: [T] transformed returns; [T, K] for a two-hot pair.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: van Hasselt et al., 2019, arXiv 1907.03687, section 3.
    Example:
        >>> print(transformed_lambda_returns(
        ...     SIGNED_LOGP1_PAIR, jnp.array([1.]), jnp.array([.5]), jnp.log(jnp.array([5.]))))
        [1.3862944]
    """
    return tx_pair.apply(
        lambda_returns(
            r_t,
            discount_t,
            tx_pair.apply_inv(v_t),
            lambda_,
            stop_target_gradients,
            mask=mask,
            sequence_lengths=sequence_lengths,
        )
    )


def transformed_n_step_returns(
    tx_pair: TxPair,
    r_t: Array,
    discount_t: Array,
    v_t: Array,
    n: int,
    lambda_t: Numeric = 1.0,
    stop_target_gradients: Array | bool = False,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """n-step returns between transformed values.

        h(n_step_bootstrapped_returns(r_t, discount_t, h⁻¹(v_t), n, λ))

    Args:
        tx_pair: h and its inverse.
        r_t, discount_t: [T] rewards and discounts at t, not transformed.
        v_t: [T] transformed values; [T, K] for a two-hot pair.
        n, lambda_t, stop_target_gradients, mask, sequence_lengths: as in
            `n_step_bootstrapped_returns`.
    Returns: [T] transformed returns; [T, K] for a two-hot pair.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: van Hasselt et al., 2019, arXiv 1907.03687, section 3; Kapturowski et al., R2D2,
        2019, eq. 1.
    Example:
        >>> print(transformed_n_step_returns(
        ...     SIGNED_LOGP1_PAIR, jnp.array([1.]), jnp.array([.5]), jnp.log(jnp.array([5.])), 1))
        [1.3862944]
    """
    return tx_pair.apply(
        n_step_bootstrapped_returns(
            r_t,
            discount_t,
            tx_pair.apply_inv(v_t),
            n,
            lambda_t,
            stop_target_gradients,
            mask=mask,
            sequence_lengths=sequence_lengths,
        )
    )


def transformed_general_off_policy_returns_from_action_values(
    tx_pair: TxPair,
    q_t: Array,
    a_t: Array,
    r_t: Array,
    discount_t: Array,
    c_t: Array,
    pi_t: Array,
    stop_target_gradients: Array | bool = False,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> Array:
    """Off-policy returns between transformed action values.

        h(general_off_policy_returns_from_action_values(h⁻¹(q_t), a_t, r_t, discount_t, c_t, pi_t))

    Args:
        tx_pair: h and its inverse.
        q_t: [K, A] transformed action values at t.
        a_t, r_t, discount_t, c_t, pi_t, stop_target_gradients, mask, sequence_lengths: as in
            `general_off_policy_returns_from_action_values`.
    Returns: [K] transformed returns.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: van Hasselt et al., 2019, arXiv 1907.03687, section 3; Munos et al., 2016,
        arXiv 1606.02647, eq. 4.
    Example:
        >>> print(transformed_general_off_policy_returns_from_action_values(
        ...     SIGNED_LOGP1_PAIR, jnp.log(jnp.array([[5., 5.]])), jnp.array([0]), jnp.ones(1),
        ...     jnp.array([.5]), jnp.ones(1), jnp.array([[.5, .5]])))
        [1.3862944]
    """
    return tx_pair.apply(
        general_off_policy_returns_from_action_values(
            tx_pair.apply_inv(q_t),
            a_t,
            r_t,
            discount_t,
            c_t,
            pi_t,
            stop_target_gradients,
            mask=mask,
            sequence_lengths=sequence_lengths,
        )
    )


def transformed_q_lambda(
    q_tm1: Array,
    a_tm1: Array,
    r_t: Array,
    discount_t: Array,
    q_t: Array,
    lambda_: Numeric,
    stop_target_gradients: Array | bool = True,
    tx_pair: TxPair = IDENTITY_PAIR,
) -> Array:
    """Q(λ) errors between transformed action values.

        δ[t] = h(G[t]) - q_tm1[t, a_tm1[t]]
        G = lambda_returns(r_t, discount_t, h⁻¹(maxₐ q_t), λ)

    Args:
        q_tm1, q_t: [T, A] transformed action values at t-1 and at t.
        a_tm1: [T] actions taken at t-1.
        r_t, discount_t: [T] rewards and discounts at t, not transformed.
        lambda_: a scalar yields Peng's Q(λ), [T] with zeros off the greedy actions Watkins's.
        stop_target_gradients: whether gradients stop at the returns.
        tx_pair: h and its inverse, h increasing.
    Returns: [T] errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: van Hasselt et al., 2019, arXiv 1907.03687, section 3.
    Example:
        >>> print(transformed_q_lambda(
        ...     jnp.zeros((1, 2)), jnp.array([0]), jnp.ones(1), jnp.array([.5]),
        ...     jnp.log(jnp.array([[5., 2.]])), 1., tx_pair=SIGNED_LOGP1_PAIR))
        [1.3862944]
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
    returns = transformed_lambda_returns(
        tx_pair, r_t, discount_t, jnp.max(q_t, axis=-1), lambda_, stop_target_gradients
    )
    return returns - batched_index(q_tm1, a_tm1)


def transformed_retrace(
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
    tx_pair: TxPair = IDENTITY_PAIR,
) -> Array:
    """Retrace errors between transformed action values.

    The equation of `retrace` with h⁻¹(q_t) for q_t and h(G) for G.

    Args:
        q_tm1, q_t: [T, A] transformed action values at t-1 and at t.
        a_tm1, a_t, r_t, discount_t, pi_t, mu_t, lambda_, eps, stop_target_gradients: as in
            `retrace`.
        tx_pair: h and its inverse.
    Returns: [T] errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Kapturowski et al., R2D2, 2019, section 2.3; Munos et al., 2016, arXiv 1606.02647,
        eq. 4.
    Example:
        >>> print(transformed_retrace(
        ...     jnp.zeros((1, 2)), jnp.log(jnp.array([[5., 5.]])), jnp.array([0]), jnp.array([0]),
        ...     jnp.ones(1), jnp.array([.5]), jnp.array([[.5, .5]]), jnp.array([.5]), 1.,
        ...     tx_pair=SIGNED_LOGP1_PAIR))
        [1.3862944]
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
    returns = transformed_general_off_policy_returns_from_action_values(
        tx_pair, q_t, a_t, r_t, discount_t, c_t, pi_t, stop_target_gradients
    )
    return returns - batched_index(q_tm1, a_tm1)


def transformed_n_step_q_learning(
    q_tm1: Array,
    a_tm1: Array,
    target_q_t: Array,
    a_t: Array,
    r_t: Array,
    discount_t: Array,
    n: int,
    stop_target_gradients: Array | bool = True,
    tx_pair: TxPair = IDENTITY_PAIR,
    *,
    lambda_t: Numeric = 1.0,
) -> Array:
    """n-step Q-learning errors between transformed action values: R2D2's.

        δ[t] = h(G[t]) - q_tm1[t, a_tm1[t]]
        G = n_step_bootstrapped_returns(r_t, discount_t, h⁻¹(target_q_t[a_t]), n)

    Args:
        q_tm1: [T, A] transformed action values at t-1, the predictions.
        a_tm1: [T] actions taken at t-1.
        target_q_t: [T, A] transformed action values at t, of the target network.
        a_t: [T] actions that bootstrap: the argmax of the online network yields double
            Q-learning, that of target_q_t plain Q-learning.
        r_t, discount_t: [T] rewards and discounts at t, not transformed.
        n: number of steps.
        stop_target_gradients: whether gradients stop at the returns.
        tx_pair: h and its inverse.
        lambda_t: [T] or scalar; 0 at a truncation makes that step bootstrap from its own value.
    Returns: [T] errors.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Kapturowski et al., R2D2, 2019, eq. 1.
    Example:
        >>> print(transformed_n_step_q_learning(
        ...     jnp.zeros((1, 2)), jnp.array([0]), jnp.log(jnp.array([[5., 2.]])), jnp.array([0]),
        ...     jnp.ones(1), jnp.array([.5]), 1, tx_pair=SIGNED_LOGP1_PAIR))
        [1.3862944]
    """
    q_tm1, a_tm1, target_q_t, a_t, r_t, discount_t = check(
        'q_tm1[T,A] a_tm1[T]:int target_q_t[T,A]:real a_t[T]:int r_t[T]:real discount_t[T]:real',
        q_tm1,
        a_tm1,
        target_q_t,
        a_t,
        r_t,
        discount_t,
    )
    returns = transformed_n_step_returns(
        tx_pair, r_t, discount_t, batched_index(target_q_t, a_t), n, lambda_t, stop_target_gradients
    )
    return returns - batched_index(q_tm1, a_tm1)
