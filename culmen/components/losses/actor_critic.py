"""Whole losses of advantage actor-critic over one sequence: policy, baseline and entropy in one.

`sequence_advantage_actor_critic_loss` is for categorical policies, `sequence_a2c_loss` for any
distributions. Both take one unbroken sequence of T steps; batch with `jax.vmap`.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import as_mask
from culmen.components.losses._common import check
from culmen.components.losses.multistep import lambda_returns
from culmen.components.losses.policy_gradients import discrete_policy_entropy_loss
from culmen.components.losses.policy_gradients import discrete_policy_gradient
from culmen.components.losses.policy_gradients import policy_entropy_loss
from culmen.components.losses.policy_gradients import policy_gradient


class ActorCriticOutput(NamedTuple):
    """A loss and its parts.

    Attributes:
        loss: scalar, the sum of the parts over steps.
        policy_gradient_loss: scalar.
        baseline_loss: scalar, times its cost.
        entropy_loss: scalar, times its cost; 0 without one.
        entropy: scalar, the summed entropy of the policy (scaled or normalised if asked).
        advantages: [T] returns minus baseline.
        discounted_returns: [T] lambda-returns.
    """

    loss: Array
    policy_gradient_loss: Array
    baseline_loss: Array
    entropy_loss: Array
    entropy: Array
    advantages: Array
    discounted_returns: Array


def sequence_advantage_actor_critic_loss(
    policy_logits: Any,
    baseline_values: Array,
    actions: Any,
    rewards: Array,
    pcontinues: Array,
    bootstrap_value: Numeric,
    lambda_: Numeric = 1.0,
    entropy_cost: Numeric | None = None,
    baseline_cost: Numeric = 1.0,
    normalise_entropy: bool = False,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> ActorCriticOutput:
    """The loss of advantage actor-critic (A2C, A3C) with categorical policies.

        L = Σₜ -log π(a[t]) sg(G[t] - v[t]) + ½ baseline_cost (sg(G[t]) - v[t])² - entropy_cost H[t]

    with G the lambda-returns of the rewards, bootstrapped from [v[1:], bootstrap_value].

    Args:
        policy_logits: [T, A] logits at t-1, or a nest of them for several actions at once.
        baseline_values: [T] values v of the observations at t-1.
        actions: [T] actions taken at t-1, in the same nest.
        rewards, pcontinues: [T] rewards and discounts at t.
        bootstrap_value: scalar value of the last observation.
        lambda_: [T] or scalar; 1 yields A3C, smaller generalised advantages.
        entropy_cost: scalar, or None for no entropy term.
        baseline_cost: scalar.
        normalise_entropy: whether the entropy is a part of the largest one.
        mask, sequence_lengths: which steps count; see `lambda_returns`.
    Returns: `ActorCriticOutput`; the loss is a sum over the steps.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Mnih et al., Asynchronous Methods for Deep RL, 2016, arXiv 1602.01783, section 4;
        Schulman et al., 2016, arXiv 1506.02438, eq. 16.
    Example:
        >>> output = sequence_advantage_actor_critic_loss(
        ...     jnp.zeros((1, 2)), jnp.array([1.]), jnp.array([0]), jnp.array([2.]),
        ...     jnp.array([.5]), 4., entropy_cost=1.)
        >>> print(output.loss, output.advantages)  # 3 log 2 + 9 / 2 - log 2
        5.8862944 [3.]
    """
    returns, advantages, valid = _returns_and_advantages(
        baseline_values, rewards, pcontinues, bootstrap_value, lambda_, mask, sequence_lengths
    )
    return _join(
        discrete_policy_gradient(policy_logits, actions, advantages),
        discrete_policy_entropy_loss(policy_logits, normalise=normalise_entropy),
        baseline_values,
        returns,
        advantages,
        valid,
        entropy_cost,
        baseline_cost,
    )


def sequence_a2c_loss(
    policies: Any,
    baseline_values: Array,
    actions: Any,
    rewards: Array,
    pcontinues: Array,
    bootstrap_value: Numeric,
    lambda_: Numeric = 1.0,
    entropy_cost: Numeric | None = None,
    baseline_cost: Numeric = 1.0,
    entropy_scale_op: Callable[[Any], Array] | None = None,
    *,
    mask: Array | None = None,
    sequence_lengths: Array | int | None = None,
) -> ActorCriticOutput:
    """The loss of advantage actor-critic with any distributions: A2C with generalised advantages.

    The equation of `sequence_advantage_actor_critic_loss`.

    Args:
        policies: distributions over T steps with `log_prob` and `entropy`, or a nest of them.
        baseline_values: [T] values of the observations at t-1.
        actions: [T, ...] actions taken at t-1, in the same nest.
        rewards, pcontinues: [T] rewards and discounts at t.
        bootstrap_value: scalar value of the last observation.
        lambda_: [T] or scalar.
        entropy_cost: scalar, or None for no entropy term; then no `entropy` is needed.
        baseline_cost: scalar.
        entropy_scale_op: a function of `policies` that scales the entropy, or None.
        mask, sequence_lengths: which steps count; see `lambda_returns`.
    Returns: `ActorCriticOutput`; the loss is a sum over the steps.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Mnih et al., Asynchronous Methods for Deep RL, 2016, arXiv 1602.01783, section 4;
        Schulman et al., 2016, arXiv 1506.02438, eq. 16.
    Example:
        >>> class Coin:
        ...     def log_prob(self, action): return jnp.log(jnp.full(action.shape, .5))
        >>> output = sequence_a2c_loss(
        ...     Coin(), jnp.array([1.]), jnp.array([0]), jnp.array([2.]), jnp.array([.5]), 4.)
        >>> print(output.loss)  # 3 log 2 + 9 / 2
        6.5794415
    """
    returns, advantages, valid = _returns_and_advantages(
        baseline_values, rewards, pcontinues, bootstrap_value, lambda_, mask, sequence_lengths
    )
    entropy = (
        jnp.zeros_like(advantages)
        if entropy_cost is None
        else policy_entropy_loss(policies, entropy_scale_op)
    )
    return _join(
        policy_gradient(policies, actions, advantages),
        entropy,
        baseline_values,
        returns,
        advantages,
        valid,
        entropy_cost,
        baseline_cost,
    )


def _returns_and_advantages(
    baseline_values: Array,
    rewards: Array,
    pcontinues: Array,
    bootstrap_value: Numeric,
    lambda_: Numeric,
    mask: Array | None,
    sequence_lengths: Array | int | None,
) -> tuple[Array, Array, Array | None]:
    baseline_values, rewards, pcontinues, bootstrap_value, lambda_ = check(
        'baseline_values[T] rewards[T]:real pcontinues[T]:real bootstrap_value[] lambda_[T?]:real',
        baseline_values,
        rewards,
        pcontinues,
        bootstrap_value,
        lambda_,
    )
    v_t = jnp.concatenate([baseline_values[1:], jnp.expand_dims(bootstrap_value, 0)])
    returns = lambda_returns(
        rewards, pcontinues, v_t, lambda_, True, mask=mask, sequence_lengths=sequence_lengths
    )
    valid = as_mask(mask, sequence_lengths, len(rewards))
    advantages = returns - baseline_values
    return returns, advantages if valid is None else jnp.where(valid, advantages, 0), valid


def _join(
    policy_losses: Array,
    entropy_losses: Array,
    baseline_values: Array,
    returns: Array,
    advantages: Array,
    valid: Array | None,
    entropy_cost: Numeric | None,
    baseline_cost: Numeric,
) -> ActorCriticOutput:
    def total(losses: Array) -> Array:
        return jnp.sum(losses if valid is None else jnp.where(valid, losses, 0))

    policy_loss = total(policy_losses)
    baseline_loss = baseline_cost * total(0.5 * jnp.square(returns - baseline_values))
    entropy = -total(entropy_losses)
    entropy_loss = jnp.zeros_like(entropy) if entropy_cost is None else -entropy_cost * entropy
    return ActorCriticOutput(
        policy_loss + baseline_loss + entropy_loss,
        policy_loss,
        baseline_loss,
        entropy_loss,
        entropy,
        advantages,
        returns,
    )
