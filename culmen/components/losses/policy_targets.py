"""Targets for distilling a policy: actions and their weights.

Distributions are duck-typed: `sample(seed=, sample_shape=)`, `batch_shape`, `log_prob`.
"""

from typing import Any
from typing import NamedTuple

import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import stop_gradient_if


class PolicyTarget(NamedTuple):
    """Target actions and their weights.

    Attributes:
        actions: [N, ..., D?] actions.
        weights: [N, ...] their weights.
    """

    actions: Array
    weights: Array


def constant_policy_targets(
    distribution: Any, rng_key: Array, num_samples: int, weights_scale: Numeric = 1.0
) -> PolicyTarget:
    """Samples of a distribution, all with the same weight.

    Distilled with weight 1 they pull a policy towards the distribution.

    Args:
        distribution: what to sample, such as a uniform one.
        rng_key: a random key.
        num_samples: number N of samples.
        weights_scale: scalar weight of each.
    Returns: `PolicyTarget` of [N, ...] actions and weights.
    Example:
        >>> class Two:
        ...     batch_shape = ()
        ...     def sample(self, seed, sample_shape): return jnp.full(sample_shape, 2)
        >>> targets = constant_policy_targets(Two(), jax.random.PRNGKey(0), 3, .5)
        >>> print(targets.actions, targets.weights)
        [2 2 2] [0.5 0.5 0.5]
    """
    actions = distribution.sample(seed=rng_key, sample_shape=(num_samples,))
    weights = weights_scale * jnp.ones((num_samples, *distribution.batch_shape))
    return PolicyTarget(actions, weights)


def zero_policy_targets(
    distribution: Any, rng_key: Array, num_samples: int, *, weights_scale: Numeric = 0.0
) -> PolicyTarget:
    """Samples of a distribution with weight 0: targets of the right shape without effect.

    Args:
        distribution, rng_key, num_samples: as in `constant_policy_targets`.
        weights_scale: scalar weight of each, 0.
    Returns: `PolicyTarget` of [N, ...] actions and weights.
    Example:
        >>> class Two:
        ...     batch_shape = ()
        ...     def sample(self, seed, sample_shape): return jnp.full(sample_shape, 2)
        >>> print(zero_policy_targets(Two(), jax.random.PRNGKey(0), 3).weights)
        [0. 0. 0.]
    """
    return constant_policy_targets(distribution, rng_key, num_samples, weights_scale)


def sampled_policy_distillation_loss(
    distribution: Any, policy_targets: PolicyTarget, stop_target_gradients: Array | bool = True
) -> Array:
    """Weighted cross-entropy of a policy to sampled targets.

        L = -mean(weights max(log π(actions), lowest))

    Args:
        distribution: the policy, anything with `log_prob`.
        policy_targets: actions and weights; `lowest` is the lowest finite number, so that an
            impossible action gives no infinity.
        stop_target_gradients: whether gradients stop at the targets (it may be traced).
    Returns: scalar loss.
    Example:
        >>> class Coin:
        ...     def log_prob(self, actions): return jnp.log(jnp.full(actions.shape, .5))
        >>> target = PolicyTarget(jnp.array([0, 1]), jnp.array([1., 1.]))
        >>> print(sampled_policy_distillation_loss(Coin(), target))
        0.6931472
    """
    weights = stop_gradient_if(stop_target_gradients, policy_targets.weights)
    actions = stop_gradient_if(stop_target_gradients, policy_targets.actions)
    log_probs = distribution.log_prob(actions)
    return -jnp.mean(weights * jnp.maximum(log_probs, jnp.finfo(log_probs.dtype).min))
