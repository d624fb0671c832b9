"""Losses of whole return distributions: categorical (C51) and quantile (QR-DQN, IQN).

A categorical distribution is K atoms and their logits; a quantile distribution is N equally
likely values and the quantile levels `tau` they stand for. Unlike the scalar errors of
`value_learning` these return losses. `_tm1` belongs to the time an action was taken, `_t` to the
time it led to. All take one element; batch with `jax.vmap`. Gradients stop at targets unless
`stop_target_gradients` is false (it may be traced).
"""

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import check
from culmen.components.losses._common import stop_gradient_if
from culmen.components.losses.distributions import categorical_cross_entropy
from culmen.components.losses.regression import huber_loss
from culmen.components.losses.value_learning import munchausen_bonus


def categorical_l2_project(z_p: Array, probs: Array, z_q: Array) -> Array:
    """Projects the distribution (z_p, probs) onto the atoms z_q, nearest in Cramér distance.

    The mass of an atom between two of z_q is shared between them in proportion to nearness; mass
    beyond an end goes to that end.

        out[i] = Σⱼ probs[j] hᵢ(clip(z_p[j], z_q[0], z_q[-1]))

    with hᵢ the triangle that is 1 at z_q[i] and 0 at its neighbours.

    Args:
        z_p: [Kp] atoms, in any order.
        probs: [Kp] their probabilities.
        z_q: [Kq] atoms to project onto, increasing, not necessarily evenly spaced.
    Returns: [Kq] probabilities. The mean is kept where no mass lies beyond the ends.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Bellemare et al., 2017, arXiv 1707.06887, eq. 7; Rowland et al., 2018, prop. 6.
    Example:
        >>> print(categorical_l2_project(
        ...     jnp.array([.25, 9.]), jnp.array([.5, .5]), jnp.array([0., 1., 2.])))
        [0.375 0.125 0.5  ]
    """
    z_p, probs, z_q = check('z_p[P]:real probs[P] z_q[Q]:real', z_p, probs, z_q)
    if len(z_q) == 1:
        return jnp.sum(probs, keepdims=True)
    # Between neighbours i and i+1 a place in [0, 1] says how far mass has moved to the upper one:
    # the part that passed z_q[i] less the part that passed z_q[i+1] stays at z_q[i].
    gaps = jnp.diff(z_q)
    steps = jnp.where(gaps > 0, gaps, 1)  # Atoms that coincide must not divide by zero.
    passed = jnp.clip((z_p[None, :] - z_q[:-1, None]) / steps[:, None], 0, 1)
    ones = jnp.ones_like(passed[:1])
    share = jnp.concatenate([ones, passed]) - jnp.concatenate([passed, 0 * ones])
    return share @ probs


def categorical_td_learning(
    v_atoms_tm1: Array,
    v_logits_tm1: Array,
    r_t: Numeric,
    discount_t: Numeric,
    v_atoms_t: Array,
    v_logits_t: Array,
    stop_target_gradients: Array | bool = True,
) -> Array:
    """Cross-entropy of a predicted value distribution to the projected one-step target.

        L = -Σᵢ m[i] log softmax(v_logits_tm1)[i]
        m = project(r_t + discount_t v_atoms_t, softmax(v_logits_t), onto v_atoms_tm1)

    Args:
        v_atoms_tm1, v_logits_tm1: [K] atoms and logits at t-1, the prediction.
        r_t, discount_t: scalar reward and discount at t; discount 0 makes the target one point.
        v_atoms_t, v_logits_t: [K'] atoms and logits at t.
        stop_target_gradients: whether gradients stop at the target.
    Returns: scalar loss.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Bellemare et al., 2017, arXiv 1707.06887, eq. 7 and algorithm 1.
    Example:
        >>> atoms = jnp.array([0., 1.])
        >>> print(categorical_td_learning(atoms, jnp.zeros(2), 1., 0., atoms, jnp.zeros(2)))
        0.6931472
    """
    v_atoms_tm1, v_logits_tm1, r_t, discount_t, v_atoms_t, v_logits_t = check(
        'v_atoms_tm1[K]:real v_logits_tm1[K] r_t[]:real discount_t[]:real '
        'v_atoms_t[L]:real v_logits_t[L]',
        v_atoms_tm1,
        v_logits_tm1,
        r_t,
        discount_t,
        v_atoms_t,
        v_logits_t,
    )
    target = categorical_l2_project(
        r_t + discount_t * v_atoms_t, jax.nn.softmax(v_logits_t), v_atoms_tm1
    )
    target = stop_gradient_if(stop_target_gradients, target)
    return categorical_cross_entropy(target, v_logits_tm1)


def categorical_q_learning(
    q_atoms_tm1: Array,
    q_logits_tm1: Array,
    a_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    q_atoms_t: Array,
    q_logits_t: Array,
    stop_target_gradients: Array | bool = True,
    *,
    legal_actions_mask: Array | None = None,
) -> Array:
    """Cross-entropy to the target of the action whose distribution has the largest mean: C51.

        L = -Σᵢ m[i] log softmax(q_logits_tm1[a_tm1])[i]
        m = project(r_t + discount_t q_atoms_t, softmax(q_logits_t[a*]), onto q_atoms_tm1)
        a* = argmaxₐ Σᵢ q_atoms_t[i] softmax(q_logits_t[a])[i]

    Args:
        q_atoms_tm1: [K] atoms of the prediction.
        q_logits_tm1: [A, K] logits at t-1.
        a_tm1: scalar action taken at t-1.
        r_t, discount_t: scalar reward and discount at t.
        q_atoms_t, q_logits_t: [K'] atoms and [A, K'] logits at t.
        stop_target_gradients: whether gradients stop at the target.
        legal_actions_mask: [A], 0 or false at actions that a* may not be.
    Returns: scalar loss.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Bellemare et al., 2017, arXiv 1707.06887, algorithm 1.
    Example:
        >>> atoms = jnp.array([0., 1.])
        >>> print(categorical_q_learning(
        ...     atoms, jnp.zeros((2, 2)), 0, 1., 0., atoms, jnp.zeros((2, 2))))
        0.6931472
    """
    q_atoms_t, q_logits_t = check('q_atoms_t[L]:real q_logits_t[A,L]', q_atoms_t, q_logits_t)
    means = jax.nn.softmax(q_logits_t) @ q_atoms_t
    return categorical_double_q_learning(
        q_atoms_tm1,
        q_logits_tm1,
        a_tm1,
        r_t,
        discount_t,
        q_atoms_t,
        q_logits_t,
        means,
        stop_target_gradients,
        legal_actions_mask=legal_actions_mask,
    )


def categorical_double_q_learning(
    q_atoms_tm1: Array,
    q_logits_tm1: Array,
    a_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    q_atoms_t: Array,
    q_logits_t: Array,
    q_t_selector: Array,
    stop_target_gradients: Array | bool = True,
    *,
    legal_actions_mask: Array | None = None,
) -> Array:
    """Cross-entropy to the target of the action that another estimate selects.

    The equations of `categorical_q_learning`, with a* = argmaxₐ q_t_selector[a].

    Args:
        q_atoms_tm1: [K] atoms of the prediction.
        q_logits_tm1: [A, K] logits at t-1.
        a_tm1: scalar action taken at t-1.
        r_t, discount_t: scalar reward and discount at t.
        q_atoms_t, q_logits_t: [K'] atoms and [A, K'] logits at t.
        q_t_selector: [A] action values at t that choose; -inf marks an illegal action.
        stop_target_gradients: whether gradients stop at the target.
        legal_actions_mask: [A], 0 or false at actions that a* may not be.
    Returns: scalar loss.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Bellemare et al., 2017, arXiv 1707.06887, algorithm 1; van Hasselt et al., 2015,
        arXiv 1509.06461, eq. 4.
    Example:
        >>> atoms = jnp.array([0., 1.])
        >>> print(categorical_double_q_learning(
        ...     atoms, jnp.zeros((2, 2)), 0, 1., 0., atoms, jnp.zeros((2, 2)), jnp.zeros(2)))
        0.6931472
    """
    (q_atoms_tm1, q_logits_tm1, a_tm1, r_t, discount_t, q_atoms_t, q_logits_t, q_t_selector) = (
        check(
            'q_atoms_tm1[K]:real q_logits_tm1[A,K] a_tm1[]:int r_t[]:real '
            'discount_t[]:real q_atoms_t[L]:real '
            'q_logits_t[A,L] q_t_selector[A]:real',
            q_atoms_tm1,
            q_logits_tm1,
            a_tm1,
            r_t,
            discount_t,
            q_atoms_t,
            q_logits_t,
            q_t_selector,
        )
    )
    best = jnp.argmax(_only_legal(q_t_selector, legal_actions_mask))
    target = categorical_l2_project(
        r_t + discount_t * q_atoms_t, jax.nn.softmax(q_logits_t[best]), q_atoms_tm1
    )
    target = stop_gradient_if(stop_target_gradients, target)
    return categorical_cross_entropy(target, q_logits_tm1[a_tm1])


def quantile_regression_loss(
    dist_src: Array,
    tau_src: Array,
    dist_target: Array,
    huber_param: Numeric = 0.0,
    stop_target_gradients: Array | bool = True,
    *,
    normalise_by_kappa: bool = False,
) -> Array:
    """Loss whose minimum puts each value of dist_src at its quantile of dist_target.

        L = Σᵢ 1/M Σⱼ |tau_src[i] - 1[δᵢⱼ < 0]| l(δᵢⱼ),  δᵢⱼ = dist_target[j] - dist_src[i]

    with l the absolute value, or the Huber loss with kappa = huber_param where that is positive.

    Args:
        dist_src: [N] values predicted.
        tau_src: [N] quantile levels in (0, 1) that they stand for.
        dist_target: [M] samples or quantiles of the target.
        huber_param: scalar kappa; 0 yields plain quantile regression. It may be traced.
        stop_target_gradients: whether gradients stop at the targets and at the levels' weights.
        normalise_by_kappa: whether to divide by a positive kappa, as the paper does; then the
            loss approaches plain quantile regression as kappa approaches 0.
    Returns: scalar loss.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Dabney et al., Distributional RL with Quantile Regression, 2017, arXiv 1710.10044,
        eq. 10 (and 9 for the Huber loss); IQN, 2018, arXiv 1806.06923, eq. 3 divides by kappa.
    Example:
        >>> half = jnp.array([.5])
        >>> print(quantile_regression_loss(jnp.zeros(1), half, jnp.array([10.]), 2.))
        9.0
        >>> print(quantile_regression_loss(
        ...     jnp.zeros(1), half, jnp.array([10.]), 2., normalise_by_kappa=True))
        4.5
    """
    dist_src, tau_src, dist_target = check(
        'dist_src[N] tau_src[N]:real dist_target[M]:real', dist_src, tau_src, dist_target
    )
    dist_target = stop_gradient_if(stop_target_gradients, dist_target)
    delta = dist_target[None, :] - dist_src[:, None]
    weight = jnp.where(delta < 0, 1 - tau_src[:, None], tau_src[:, None])
    loss = _huber_or_absolute(delta, huber_param, normalise_by_kappa)
    return jnp.sum(jnp.mean(weight * loss, axis=-1))


def quantile_q_learning(
    dist_q_tm1: Array,
    tau_q_tm1: Array,
    a_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    dist_q_t_selector: Array,
    dist_q_t: Array,
    huber_param: Numeric = 0.0,
    stop_target_gradients: Array | bool = True,
    *,
    normalise_by_kappa: bool = False,
    legal_actions_mask: Array | None = None,
) -> Array:
    """Quantile loss to the one-step target of the action with the largest mean: QR-DQN, IQN.

        L = quantile_regression_loss(dist_q_tm1[:, a_tm1], tau_q_tm1, target)
        target = r_t + discount_t dist_q_t[:, a*],  a* = argmaxₐ meanᵢ dist_q_t_selector[i, a]

    Args:
        dist_q_tm1: [N, A] quantile values at t-1.
        tau_q_tm1: [N] quantile levels that they stand for.
        a_tm1: scalar action taken at t-1.
        r_t, discount_t: scalar reward and discount at t.
        dist_q_t_selector: [N'', A] quantile values at t that choose a*: those of dist_q_t yield
            Q-learning, those of the online network double Q-learning.
        dist_q_t: [N', A] quantile values at t.
        huber_param: scalar kappa; 0 yields plain quantile regression.
        stop_target_gradients: whether gradients stop at the target.
        normalise_by_kappa: see `quantile_regression_loss`.
        legal_actions_mask: [A], 0 or false at actions that a* may not be.
    Returns: scalar loss.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Dabney et al., 2017, arXiv 1710.10044, algorithm 1; 2018, arXiv 1806.06923, eq. 3.
    Example:
        >>> q = jnp.array([[0., 1.], [0., 3.]])
        >>> print(quantile_q_learning(q, jnp.array([.25, .75]), 0, 1., 0., q, q))
        1.0
    """
    (dist_q_tm1, tau_q_tm1, a_tm1, r_t, discount_t, dist_q_t_selector, dist_q_t) = check(
        'dist_q_tm1[N,A] tau_q_tm1[N] a_tm1[]:int r_t[]:real discount_t[]:real '
        'dist_q_t_selector[L,A]:real '
        'dist_q_t[M,A]:real',
        dist_q_tm1,
        tau_q_tm1,
        a_tm1,
        r_t,
        discount_t,
        dist_q_t_selector,
        dist_q_t,
    )
    best = jnp.argmax(_only_legal(jnp.mean(dist_q_t_selector, axis=0), legal_actions_mask))
    return quantile_regression_loss(
        dist_q_tm1[:, a_tm1],
        tau_q_tm1,
        r_t + discount_t * dist_q_t[:, best],
        huber_param,
        stop_target_gradients,
        normalise_by_kappa=normalise_by_kappa,
    )


def quantile_expected_sarsa(
    dist_q_tm1: Array,
    tau_q_tm1: Array,
    a_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    dist_q_t: Array,
    probs_a_t: Array,
    huber_param: Numeric = 0.0,
    stop_target_gradients: Array | bool = True,
    *,
    normalise_by_kappa: bool = False,
) -> Array:
    """Quantile losses to the one-step targets of all actions, weighted by a policy.

        L = Σₐ probs_a_t[a] quantile_regression_loss(dist_q_tm1[:, a_tm1], tau_q_tm1, targetₐ)
        targetₐ = r_t + discount_t dist_q_t[:, a]

    Args:
        dist_q_tm1: [N, A] quantile values at t-1.
        tau_q_tm1: [N] quantile levels that they stand for.
        a_tm1: scalar action taken at t-1.
        r_t, discount_t: scalar reward and discount at t.
        dist_q_t: [N', A] quantile values at t.
        probs_a_t: [A] the policy at t; one-hot at the largest mean yields `quantile_q_learning`.
        huber_param: scalar kappa; 0 yields plain quantile regression.
        stop_target_gradients: whether gradients stop at the targets and the policy.
        normalise_by_kappa: see `quantile_regression_loss`.
    Returns: scalar loss.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Dabney et al., 2017, arXiv 1710.10044, eq. 10; van Seijen et al., 2009, eq. 5.
    Example:
        >>> q = jnp.array([[0., 1.], [0., 3.]])
        >>> print(quantile_expected_sarsa(
        ...     q, jnp.array([.25, .75]), 0, 1., 1., q, jnp.array([.5, .5])))
        2.0
    """
    dist_q_tm1, tau_q_tm1, a_tm1, r_t, discount_t, dist_q_t, probs_a_t = check(
        'dist_q_tm1[N,A] tau_q_tm1[N] a_tm1[]:int r_t[]:real discount_t[]:real '
        'dist_q_t[M,A]:real probs_a_t[A]:real',
        dist_q_tm1,
        tau_q_tm1,
        a_tm1,
        r_t,
        discount_t,
        dist_q_t,
        probs_a_t,
    )
    prediction = dist_q_tm1[:, a_tm1]

    def loss_of(target: Array) -> Array:
        return quantile_regression_loss(
            prediction,
            tau_q_tm1,
            target,
            huber_param,
            stop_target_gradients,
            normalise_by_kappa=normalise_by_kappa,
        )

    losses = jax.vmap(loss_of, in_axes=1)(r_t + discount_t * dist_q_t)
    return jnp.dot(stop_gradient_if(stop_target_gradients, probs_a_t), losses)


def quantile_munchausen_q_learning(
    dist_q_tm1: Array,
    tau_q_tm1: Array,
    a_tm1: Numeric,
    r_t: Numeric,
    discount_t: Numeric,
    dist_q_t: Array,
    q_t_selector: Array,
    target_q_tm1: Array,
    temperature: Numeric = 0.03,
    log_policy_clip: Numeric = -1.0,
    alpha: Numeric = 0.9,
    huber_param: Numeric = 1.0,
    stop_target_gradients: Array | bool = True,
    *,
    normalise_by_kappa: bool = False,
) -> Array:
    """Quantile loss to the soft target with the scaled log-policy in the reward: Munchausen-IQN.

        L = quantile_regression_loss(dist_q_tm1[:, a_tm1], tau_q_tm1, target)
        target[j] = r_t + α clip(τ log π_tm1(a_tm1), log_policy_clip, 0)
                    + discount_t Σₐ π_t(a) (dist_q_t[j, a] - τ log π_t(a))
        π_tm1 = softmax(target_q_tm1 / τ),  π_t = softmax(q_t_selector / τ)

    Args:
        dist_q_tm1: [N, A] quantile values at t-1.
        tau_q_tm1: [N] quantile levels that they stand for.
        a_tm1: scalar action taken at t-1.
        r_t, discount_t: scalar reward and discount at t.
        dist_q_t: [N', A] quantile values at t, of the target network.
        q_t_selector: [A] their means, which give the policy at t; -inf marks an illegal action.
        target_q_tm1: [A] mean action values at t-1 of the target network.
        temperature, log_policy_clip, alpha: as in `munchausen_q_learning`; alpha 0 yields the
            soft form of QR-DQN and IQN.
        huber_param: scalar kappa.
        stop_target_gradients: whether gradients stop at the target.
        normalise_by_kappa: see `quantile_regression_loss`.
    Returns: scalar loss.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Vieillard et al., Munchausen Reinforcement Learning, 2020, arXiv 2007.14430, eq. 2
        and appendix B.2.
    Example:
        >>> q = jnp.zeros((1, 2))
        >>> print(quantile_munchausen_q_learning(  # The target is 1 + (.5 - .9) log 2.
        ...     q, jnp.array([.5]), 0, 1., .5, q, q[0], q[0], temperature=1., huber_param=0.))
        0.36137056
    """
    (
        dist_q_tm1,
        tau_q_tm1,
        a_tm1,
        r_t,
        discount_t,
        dist_q_t,
        q_t_selector,
        target_q_tm1,
        temperature,
    ) = check(
        'dist_q_tm1[N,A] tau_q_tm1[N] a_tm1[]:int r_t[]:real discount_t[]:real dist_q_t[M,A]:real '
        'q_t_selector[A]:real target_q_tm1[A]:real temperature[]:real',
        dist_q_tm1,
        tau_q_tm1,
        a_tm1,
        r_t,
        discount_t,
        dist_q_t,
        q_t_selector,
        target_q_tm1,
        temperature,
    )
    bonus = alpha * munchausen_bonus(target_q_tm1, a_tm1, temperature, log_policy_clip)
    illegal = jnp.isneginf(q_t_selector)
    logits = jnp.where(illegal, 0, q_t_selector) / temperature
    log_pi = jax.nn.log_softmax(jnp.where(illegal, -jnp.inf, logits))
    pi, log_pi = jnp.where(illegal, 0, jnp.exp(log_pi)), jnp.where(illegal, 0, log_pi)
    dist_q_t = jnp.where(illegal[None, :], 0, dist_q_t)
    soft_values = (dist_q_t - temperature * log_pi[None, :]) @ pi
    return quantile_regression_loss(
        dist_q_tm1[:, a_tm1],
        tau_q_tm1,
        r_t + bonus + discount_t * soft_values,
        huber_param,
        stop_target_gradients,
        normalise_by_kappa=normalise_by_kappa,
    )


def _huber_or_absolute(delta: Array, kappa: Numeric, normalise_by_kappa: bool) -> Array:
    """The Huber loss where kappa > 0, over kappa if asked, and the absolute value where it is 0."""

    def huber(positive: Numeric) -> Array:
        loss = huber_loss(delta, positive)
        return loss / positive if normalise_by_kappa else loss

    if isinstance(kappa, (int, float)):  # A plain number decides before compilation.
        return huber(kappa) if kappa > 0 else jnp.abs(delta)
    [kappa] = check('huber_param[]:real', kappa)
    return jnp.where(kappa > 0, huber(jnp.where(kappa > 0, kappa, 1)), jnp.abs(delta))


def _only_legal(q: Array, legal_actions_mask: Array | None) -> Array:
    """Action values with -inf at illegal actions."""
    if legal_actions_mask is None:
        return q
    _, legal_actions_mask = check('q[A] legal_actions_mask[A]:mask', q, legal_actions_mask)
    return jnp.where(legal_actions_mask != 0, q, -jnp.inf)
