"""Policy-gradient losses, which a policy minimises, given advantages or action values.

Each takes one sequence of T steps and returns a scalar. The mean is taken over all T steps, or with
`normalise_by_weights` over the weights that count. Steps that `mask` leaves out do not count,
whatever their values. Minimising a loss makes good actions likelier. Logits of -inf mark illegal
actions.

The last three serve any distribution that has `log_prob` and `entropy`, and nests of them: a policy
of several actions at once is a nest of distributions, and its log-probability the sum.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import as_mask
from culmen.components.losses._common import check
from culmen.components.losses._common import stop_gradient_if
from culmen.components.losses.base import batched_index
from culmen.components.losses.distributions import categorical_entropy


def policy_gradient_loss(
    logits_t: Array,
    a_t: Array,
    adv_t: Array,
    w_t: Array,
    use_stop_gradient: Array | bool = True,
    *,
    normalise_by_weights: bool = False,
    mask: Array | None = None,
) -> Array:
    """The loss whose gradient is the policy gradient of a categorical policy.

        L = -1/T Σₜ w_t[t] adv_t[t] log softmax(logits_t[t])[a_t[t]]

    Args:
        logits_t: [T, A] logits of the policy at t.
        a_t: [T] actions taken at t.
        adv_t: [T] advantages of those actions; returns yield REINFORCE.
        w_t: [T] weights, such as 0 for steps that are not to count.
        use_stop_gradient: whether gradients stop at the advantages (it may be traced).
        normalise_by_weights: whether to divide by the sum of weights instead of T.
        mask: [T], 0 at steps that do not count.
    Returns: scalar loss.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Williams, Simple Statistical Gradient-Following Algorithms, 1992, eq. 4.
    Example:
        >>> print(policy_gradient_loss(
        ...     jnp.zeros((2, 2)), jnp.array([0, 1]), jnp.array([1., 3.]), jnp.array([1., 0.])))
        0.3465736
    """
    logits_t, a_t, adv_t, w_t = check(
        'logits_t[T,A] a_t[T]:int adv_t[T]:real w_t[T]:real', logits_t, a_t, adv_t, w_t
    )
    log_pi = batched_index(jax.nn.log_softmax(logits_t), a_t)
    adv_t = stop_gradient_if(use_stop_gradient, adv_t)
    return _mean(-log_pi * adv_t, w_t, normalise_by_weights, mask)


def entropy_loss(
    logits_t: Array, w_t: Array, *, normalise_by_weights: bool = False, mask: Array | None = None
) -> Array:
    """The negative entropy of a categorical policy; minimising it keeps the policy stochastic.

        L = -1/T Σₜ w_t[t] H(softmax(logits_t[t]))

    Args:
        logits_t: [T, A] logits of the policy at t; -inf marks illegal actions.
        w_t: [T] weights.
        normalise_by_weights: whether to divide by the sum of weights instead of T.
        mask: [T], 0 at steps that do not count.
    Returns: scalar loss.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Williams and Peng, Function Optimization Using Connectionist Reinforcement Learning
        Algorithms, 1991; Mnih et al., 2016, arXiv 1602.01783, section 4.
    Example:
        >>> print(entropy_loss(jnp.zeros((2, 2)), jnp.ones(2)))
        -0.6931472
    """
    logits_t, w_t = check('logits_t[T,A] w_t[T]:real', logits_t, w_t)
    return _mean(-categorical_entropy(logits_t), w_t, normalise_by_weights, mask)


def dpg_loss(
    a_t: Array,
    dqda_t: Array,
    dqda_clipping: Numeric | None = None,
    use_stop_gradient: Array | bool = True,
) -> Array:
    """The loss whose gradient climbs a critic: the deterministic policy gradient.

        L[d] = ½ (sg(a_t[d] + dqda_t[d]) - a_t[d])²

    Its gradient to a_t is -dqda_t, so that a step down it is a step up the critic.

    Args:
        a_t: [D] action of the policy, differentiable in its parameters.
        dqda_t: [D] gradient of the critic to the action.
        dqda_clipping: scalar; a dqda_t whose L2 norm is larger is scaled to it. None clips nothing.
        use_stop_gradient: whether gradients stop at the target (it may be traced).
    Returns: [D] losses, one a dimension; sum them.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Silver et al., Deterministic Policy Gradient Algorithms, 2014, eq. 9; Lillicrap et
        al., 2015, arXiv 1509.02971, eq. 6.
    Example:
        >>> print(dpg_loss(jnp.zeros(2), jnp.array([3., 4.]), dqda_clipping=2.5))
        [1.125 2.   ]
    """
    a_t, dqda_t = check('a_t[D] dqda_t[D]:real', a_t, dqda_t)
    if dqda_clipping is not None:
        square = jnp.sum(jnp.square(dqda_t))
        too_long = square > jnp.square(dqda_clipping)
        norm = jnp.sqrt(jnp.where(too_long, square, 1))  # No infinite gradient at a norm of 0.
        dqda_t = dqda_t * jnp.where(too_long, dqda_clipping / norm, 1)
    target = stop_gradient_if(use_stop_gradient, a_t + dqda_t)
    return 0.5 * jnp.square(target - a_t)


def qpg_loss(
    logits_t: Array,
    q_t: Array,
    use_stop_gradient: Array | bool = True,
    *,
    mask: Array | None = None,
    normalise_by_weights: bool = False,
) -> Array:
    """Policy gradient over all actions, from action values.

        L = -1/T Σₜ Σₐ π(a) adv(a),  adv(a) = q_t[t, a] - Σᵦ π(b) q_t[t, b]

    Args:
        logits_t: [T, A] logits of the policy π at t.
        q_t: [T, A] action values at t.
        use_stop_gradient: whether gradients stop at the advantages, the policy in their baseline
            included (it may be traced).
        mask: [T], 0 at steps that do not count.
        normalise_by_weights: whether to divide by the number of steps that count instead of T.
    Returns: scalar loss. Its value is 0: the gradient is what matters.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Srinivasan et al., Actor-Critic Policy Optimization in Partially Observable
        Multiagent Environments, 2018, arXiv 1810.09026, eq. 4 (QPG).
    Example:
        >>> gradient = jax.grad(qpg_loss)(jnp.zeros((1, 2)), jnp.array([[1., 3.]]))
        >>> print(gradient)
        [[ 0.5 -0.5]]
    """
    policy, advantages = _advantages(logits_t, q_t, use_stop_gradient)
    advantages = stop_gradient_if(use_stop_gradient, advantages)
    return _mean(-jnp.sum(policy * advantages, axis=-1), None, normalise_by_weights, mask)


def rm_loss(
    logits_t: Array,
    q_t: Array,
    use_stop_gradient: Array | bool = True,
    *,
    mask: Array | None = None,
    normalise_by_weights: bool = False,
) -> Array:
    """Regret matching: policy gradient over the actions that are better than the policy.

        L = -1/T Σₜ Σₐ π(a) max(0, adv(a)),  adv(a) = q_t[t, a] - Σᵦ π(b) q_t[t, b]

    Args:
        logits_t: [T, A] logits of the policy π at t.
        q_t: [T, A] action values at t.
        use_stop_gradient: whether gradients stop at the regrets (it may be traced).
        mask: [T], 0 at steps that do not count.
        normalise_by_weights: whether to divide by the number of steps that count instead of T.
    Returns: scalar loss.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Srinivasan et al., 2018, arXiv 1810.09026, eq. 6 (RMPG).
    Example:
        >>> print(rm_loss(jnp.zeros((1, 2)), jnp.array([[1., 3.]])))
        -0.5
    """
    policy, advantages = _advantages(logits_t, q_t, use_stop_gradient)
    regrets = stop_gradient_if(use_stop_gradient, jax.nn.relu(advantages))
    return _mean(-jnp.sum(policy * regrets, axis=-1), None, normalise_by_weights, mask)


def rpg_loss(
    logits_t: Array,
    q_t: Array,
    use_stop_gradient: Array | bool = True,
    *,
    mask: Array | None = None,
    normalise_by_weights: bool = False,
) -> Array:
    """Regret policy gradient: the summed regrets, lowered by raising the baseline.

        L = 1/T Σₜ Σₐ max(0, adv(a)),  adv(a) = q_t[t, a] - Σᵦ π(b) q_t[t, b]

    Args:
        logits_t: [T, A] logits of the policy π at t.
        q_t: [T, A] action values at t.
        use_stop_gradient: whether gradients stop at q_t; those to the policy in the baseline are
            the point and always flow.
        mask: [T], 0 at steps that do not count.
        normalise_by_weights: whether to divide by the number of steps that count instead of T.
    Returns: scalar loss.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Srinivasan et al., 2018, arXiv 1810.09026, eq. 5 (RPG).
    Example:
        >>> print(rpg_loss(jnp.zeros((1, 2)), jnp.array([[1., 3.]])))
        1.0
    """
    _, advantages = _advantages(logits_t, q_t, use_stop_gradient)
    return _mean(jnp.sum(jax.nn.relu(advantages), axis=-1), None, normalise_by_weights, mask)


def clipped_surrogate_pg_loss(
    prob_ratios_t: Array,
    adv_t: Array,
    epsilon: Numeric,
    use_stop_gradient: Array | bool = True,
    *,
    mask: Array | None = None,
    normalise_by_weights: bool = False,
) -> Array:
    """PPO's loss: the policy gains nothing by moving far from the one that acted.

        L = -1/T Σₜ min(ρ adv_t[t], clip(ρ, 1 - ε, 1 + ε) adv_t[t]),  ρ = prob_ratios_t[t]

    Args:
        prob_ratios_t: [T] ratios π(a) / π_old(a) of the actions taken; not log-probabilities.
        adv_t: [T] advantages of those actions.
        epsilon: scalar ε > 0; large yields the unclipped surrogate.
        use_stop_gradient: whether gradients stop at the advantages (it may be traced).
        mask: [T], 0 at steps that do not count.
        normalise_by_weights: whether to divide by the number of steps that count instead of T.
    Returns: scalar loss.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Schulman et al., Proximal Policy Optimization, 2017, arXiv 1707.06347, eq. 7.
    Example:
        >>> print(clipped_surrogate_pg_loss(jnp.array([2., .5]), jnp.array([1., 1.]), .2))
        -0.85
    """
    prob_ratios_t, adv_t, epsilon = check(
        'prob_ratios_t[T] adv_t[T]:real epsilon[]:real', prob_ratios_t, adv_t, epsilon
    )
    adv_t = stop_gradient_if(use_stop_gradient, adv_t)
    clipped = jnp.clip(prob_ratios_t, 1 - epsilon, 1 + epsilon)
    surrogate = jnp.minimum(prob_ratios_t * adv_t, clipped * adv_t)
    return _mean(-surrogate, None, normalise_by_weights, mask)


def policy_gradient(
    policies: Any, actions: Any, action_values: Array, use_stop_gradient: Array | bool = True
) -> Array:
    """Policy-gradient losses of any distributions, or a nest of them.

        L[...] = -sg(action_values[...]) Σᵢ log πᵢ(actionsᵢ)[...]

    Args:
        policies: a distribution, or a nest of them: anything with `log_prob`.
        actions: the actions taken, in the same nest.
        action_values: [...] advantages or returns, of the shape of the log-probabilities.
        use_stop_gradient: whether gradients stop at the action values (it may be traced).
    Returns: [...] losses, one an element.
    Raises: ValueError if the nests or the shapes differ.
    Reference: Williams, Simple Statistical Gradient-Following Algorithms, 1992, eq. 4.
    Example:
        >>> class Coin:
        ...     def log_prob(self, action): return jnp.log(jnp.where(action == 1, .75, .25))
        >>> print(policy_gradient([Coin()], [jnp.array([1])], jnp.array([2.])))
        [0.5753642]
    """
    log_probs = [policy.log_prob(action) for policy, action in _pairs(policies, actions)]
    action_values = jnp.asarray(action_values)
    for log_prob in log_probs:
        if log_prob.shape != action_values.shape:
            raise ValueError(
                f'action_values must have the shape of the log-probabilities, '
                f'{log_prob.shape}, got shape {action_values.shape}'
            )
    return -stop_gradient_if(use_stop_gradient, action_values) * sum(log_probs[1:], log_probs[0])


def policy_entropy_loss(policies: Any, scale_op: Callable[[Any], Array] | None = None) -> Array:
    """Negative entropies of any distributions, or a nest of them.

        L[...] = -scale Σᵢ H(πᵢ)[...]

    Args:
        policies: a distribution, or a nest of them: anything with `entropy`.
        scale_op: a function of `policies` that gives the scale, or None for 1.
    Returns: [...] losses, one an element.
    Reference: Williams and Peng, 1991; Mnih et al., 2016, arXiv 1602.01783, section 4.
    Example:
        >>> class Coin:
        ...     def entropy(self): return jnp.log(jnp.array([2.]))
        >>> print(policy_entropy_loss([Coin(), Coin()]))
        [-1.3862944]
    """
    entropies = [policy.entropy() for policy in _leaves(policies)]
    entropy = sum(entropies[1:], entropies[0])
    return -entropy if scale_op is None else -scale_op(policies) * entropy


def discrete_policy_entropy_loss(policy_logits: Any, normalise: bool = False) -> Array:
    """Negative entropies of categorical policies, or a nest of them that act at once.

        L[...] = -Σᵢ H(softmax(policy_logitsᵢ))[...],  divided by Σᵢ log Aᵢ if normalised

    Args:
        policy_logits: [..., A] logits, or a nest of them; -inf marks illegal actions.
        normalise: whether to divide by the entropy of the uniform policy, so that L is in [-1, 0].
    Returns: [...] losses, one an element.
    Reference: Williams and Peng, 1991; Mnih et al., 2016, arXiv 1602.01783, section 4.
    Example:
        >>> print(discrete_policy_entropy_loss([jnp.zeros(2), jnp.zeros(4)], normalise=True))
        -1.0
    """
    leaves = jax.tree_util.tree_leaves(policy_logits)
    entropies = [categorical_entropy(logits) for logits in leaves]
    entropy = sum(entropies[1:], entropies[0])
    if normalise:
        entropy = entropy / sum(math.log(logits.shape[-1]) for logits in leaves)
    return -entropy


def discrete_policy_gradient(
    policy_logits: Any, actions: Any, action_values: Array, use_stop_gradient: Array | bool = True
) -> Array:
    """Policy-gradient losses of categorical policies, or a nest of them that act at once.

        L[...] = -sg(action_values[...]) Σᵢ log softmax(policy_logitsᵢ[...])[actionsᵢ[...]]

    Args:
        policy_logits: [..., A] logits, or a nest of them.
        actions: [...] the actions taken, in the same nest.
        action_values: [...] advantages or returns.
        use_stop_gradient: whether gradients stop at the action values (it may be traced).
    Returns: [...] losses, one an element.
    Raises: ValueError if the nests or the shapes differ.
    Reference: Williams, Simple Statistical Gradient-Following Algorithms, 1992, eq. 4.
    Example:
        >>> print(discrete_policy_gradient(jnp.zeros((1, 2)), jnp.array([0]), jnp.array([2.])))
        [1.3862944]
    """
    policies = jax.tree_util.tree_map(_Categorical, policy_logits)
    return policy_gradient(policies, actions, action_values, use_stop_gradient)


class _Categorical:
    """The categorical distribution of logits, with the methods that the losses above call."""

    def __init__(self, logits: Array):
        self._logits = jnp.asarray(logits)

    def log_prob(self, action: Array) -> Array:
        return batched_index(jax.nn.log_softmax(self._logits), action)


def _advantages(
    logits_t: Array, q_t: Array, use_stop_gradient: Array | bool
) -> tuple[Array, Array]:
    """The policy [T, A], and the advantages of all actions."""
    logits_t, q_t = check('logits_t[T,A] q_t[T,A]:real', logits_t, q_t)
    policy = jax.nn.softmax(logits_t)
    q_t = stop_gradient_if(use_stop_gradient, q_t)
    return policy, q_t - jnp.sum(policy * q_t, axis=-1, keepdims=True)


def _mean(
    losses: Array, weights: Array | None, normalise_by_weights: bool, mask: Array | None
) -> Array:
    """The weighted mean of [T] losses over T, or over the weights that count (0 if none does)."""
    valid = as_mask(mask, None, len(losses))
    if weights is None:
        weights = jnp.ones_like(losses)
    if valid is not None:
        losses, weights = (jnp.where(valid, x, 0) for x in (losses, weights))
    total = jnp.sum(losses * weights)
    if not normalise_by_weights:
        return total / len(losses)
    weight = jnp.sum(weights)
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), 0)


def _leaves(policies: Any) -> list[Any]:
    """The distributions of a nest of tuples, lists and dicts, in the order of JAX's trees."""
    if isinstance(policies, dict):
        return [leaf for name in sorted(policies) for leaf in _leaves(policies[name])]
    if isinstance(policies, (tuple, list)):
        return [leaf for policy in policies for leaf in _leaves(policy)]
    return [policies]


def _pairs(policies: Any, actions: Any) -> list[tuple[Any, Any]]:
    """Pairs of a distribution and its actions, from two nests of the same structure."""
    distributions = _leaves(policies)
    leaves = jax.tree_util.tree_leaves(actions)
    if len(leaves) != len(distributions):
        raise ValueError(
            f'actions must be a nest like policies, with {len(distributions)} leaves, '
            f'got {len(leaves)}'
        )
    return list(zip(distributions, leaves))
