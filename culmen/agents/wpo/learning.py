"""The policy's loss of WPO.

Pfau et al. 2025 (2505.00663), algorithm 1. Departures from it:
1. The critic and the experience are MPO's (`culmen.agents.mpo`), whose targets are n-step returns or
   Retrace's.
2. The Fisher matrix is that of the normal distribution in its means and deviations, as in Acme, not that of
   the network's parameters.
3. The flow is a mean over the draws, as in the paper; Acme's is a sum, with costs to match.
"""

from typing import Any

import jax
import jax.numpy as jnp

from culmen.agents.mpo import critics
from culmen.agents.mpo import evaluation
from culmen.agents.mpo.learning import Improvement
from culmen.agents.mpo.learning import policy_metrics
from culmen.agents.wpo.config import WPOConfig
from culmen.components import losses
from culmen.components import updates
from culmen.components.networks import DiagonalGaussian
from culmen.components.networks import PolicyAndCritic
from culmen.core.types import Metrics
from culmen.core.types import Params


def natural(policy: DiagonalGaussian) -> DiagonalGaussian:
    """The same policy, with natural gradients: those of means times s^2, those of deviations times s^2 / 2.

    These are the inverse of the Fisher matrix of a normal distribution with the deviation s.
    """
    scale = jnp.exp(policy.log_scale)
    variance = jax.lax.stop_gradient(jnp.square(scale))

    def rescaled(value: jax.Array, factor: jax.Array) -> jax.Array:
        fixed = jax.lax.stop_gradient(value)
        return fixed + factor * (value - fixed)

    mean, scale = rescaled(jnp.asarray(policy.mean), variance), rescaled(scale, 0.5 * variance)
    return DiagonalGaussian(mean, jnp.log(scale))


def wasserstein_flow(policy: DiagonalGaussian, draws: jax.Array, slopes: jax.Array) -> jax.Array:
    """A function whose gradient by the policy is that of equation 9, estimated by draws.

    Args:
        policy: leaves [..., D].
        draws: float32[S, ..., D], of the policy.
        slopes: float32[S, ..., D]: the gradients of the critic there, in the action.
    Returns: float32[...]: the mean over the draws of (gradient of log p in the action) . slopes. No gradient
        reaches draws and slopes.
    """
    draws, slopes = jax.lax.stop_gradient((draws, slopes))
    log_slopes = jax.vmap(jax.grad(lambda drawn: jnp.sum(policy.log_prob(drawn))))(draws)
    return jnp.mean(jnp.sum(log_slopes * slopes, axis=-1), axis=0)


def policy_loss(
    policy_params: Params,
    dual_params: updates.DualParams,
    improvement: Improvement,
    networks: PolicyAndCritic,
    config: WPOConfig,
) -> tuple[jax.Array, Metrics]:
    """Minus the flow, and what the policy's change costs, as a mean over the real steps.

    Returns: (loss [], metrics).
    """
    features, head = improvement.features, critics.expected()
    policy: Any = networks.policy(policy_params, features, improvement.observation)
    keys = jax.random.split(improvement.key, config.num_samples)
    draws = jax.lax.stop_gradient(jax.vmap(policy.sample)(keys))

    def total_value(drawn: jax.Array) -> jax.Array:
        outputs = evaluation.outputs_of(improvement.critic_params, features, drawn, networks, head)
        return jnp.sum(head.mean(outputs))

    slopes = jax.vmap(jax.grad(total_value))(draws)
    if config.squash == 'cube_root':
        slopes = jnp.cbrt(slopes)
    flow = wasserstein_flow(natural(policy), draws, slopes)

    of_policy = updates.divergences(improvement.candidates.policy, policy)
    bounds = updates.kl_constraints(of_policy, dual_params, config.epsilons)
    kl_loss, alpha_loss = losses.compute_parametric_kl_penalty_and_dual_loss(
        bounds, updates.positive
    )
    mean = updates.masked_mean(kl_loss + alpha_loss - flow, improvement.mask)
    metrics = {
        'policy_loss': updates.masked_mean(-flow, improvement.mask),
        'slope': updates.masked_mean(jnp.mean(jnp.abs(slopes), axis=(0, -1)), improvement.mask),
        **policy_metrics(policy, of_policy, dual_params, improvement.mask),
    }
    return mean, metrics
