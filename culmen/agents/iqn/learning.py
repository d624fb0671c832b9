"""The loss of IQN.

Dabney et al. 2018, equations 2 and 3. Departures from it:
1. Windows reach `n_step` rewards ahead; 1 is the paper's.
2. A window's priority is its loss.
"""

import functools

import jax
import jax.numpy as jnp

from culmen.agents.iqn.config import IQNConfig
from culmen.components import losses
from culmen.components import values
from culmen.components.networks import Keyed
from culmen.components.networks import Network
from culmen.components.networks import Risk
from culmen.components.networks import distorted
from culmen.components.networks import draw_fractions
from culmen.components.networks import take_key
from culmen.components.networks import with_keys
from culmen.components.policies import mask_illegal
from culmen.components.replay.stream.windows import Transitions
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import Metrics
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Sample


def quantiles_at(
    params: Keyed,
    observation: Nest,
    num: int,
    network: Network,
    is_noisy: bool,
    risk: Risk = 'neutral',
    risk_level: float | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Quantiles of all actions at `num` fractions that are drawn with the parameters' key.

    Args: is_noisy: whether the network draws, too.
    Returns: (fractions float32[B, num], quantiles float32[B, num, num_actions]).
    """
    batch_size = jax.tree_util.tree_leaves(observation)[0].shape[0]
    key, rest = take_key(params)
    tau = distorted(draw_fractions(key, num, batch_size), risk, risk_level)
    return tau, network.apply(rest if is_noisy else params.params, observation, tau)


def mean_of_policy(
    params: Keyed, observation: Nest, network: Network, config: IQNConfig, is_noisy: bool
) -> jax.Array:
    """Action values by which the policy chooses, float32[B, num_actions]: equation 2 and section 3."""
    num, risk, level = config.num_policy_fractions, config.risk, config.risk_level
    return jnp.mean(
        quantiles_at(params, observation, num, network, is_noisy, risk, level)[1], axis=1
    )


def loss(
    params: Params,
    target_params: Params,
    sample: Sample,
    context: Context,
    network: Network,
    config: IQNConfig,
) -> tuple[jax.Array, tuple[Metrics, Array]]:
    """The loss of a batch of windows.

    Args:
        params, target_params: of the online and of the target network.
        sample: B windows of `n_step` transitions.
        context: of the update.
        network: gives the quantiles of each action at any fractions.
    Returns: (loss [], (metrics, losses float32[B], which are the priorities)).
    """
    batch = values.transitions(sample, context, config)
    # Each call of a network draws its own fractions and its own noise.
    online, target, chooser, of_target = with_keys(
        context.key,
        params,
        target_params,
        params if config.double else target_params,
        target_params,
    )
    is_noisy = config.noise != 'none'
    tau, quantiles_tm1 = quantiles_at(online, batch.o_tm1, config.num_fractions, network, is_noisy)
    _, quantiles_t = quantiles_at(target, batch.o_t, config.num_target_fractions, network, is_noisy)
    q_t = mean_of_policy(chooser, batch.o_t, network, config, is_noisy)
    if config.munchausen is None:
        element_losses = values.quantile_losses(
            quantiles_tm1, tau, quantiles_t, q_t[:, None], batch, config.huber_kappa
        )
    else:
        # Vieillard et al. 2020, appendix B.2: the target network's policy at both ends.
        q_tm1 = mean_of_policy(of_target, batch.o_tm1, network, config, is_noisy)
        element_losses = munchausen_losses(
            quantiles_tm1, tau, quantiles_t, q_tm1, q_t, batch, config
        )
    mean_loss = values.mean_loss(element_losses, sample, context, config)
    metrics = {'loss': mean_loss, 'q': jnp.mean(quantiles_tm1)}
    return mean_loss, (metrics, element_losses)


def munchausen_losses(
    quantiles_tm1: jax.Array,
    tau: jax.Array,
    quantiles_t: jax.Array,
    q_tm1: jax.Array,
    q_t: jax.Array,
    batch: Transitions,
    config: IQNConfig,
) -> jax.Array:
    """The losses of Munchausen-IQN, float32[B].

    Args:
        quantiles_tm1, tau: of the online network, and the fractions that they stand for.
        quantiles_t: of the target network.
        q_tm1, q_t: float32[B, num_actions], of the target network, which give the policy.
    """
    loss_of_one = functools.partial(
        losses.quantile_munchausen_q_learning, temperature=config.temperature,
        log_policy_clip=config.log_policy_clip, alpha=config.munchausen,
        huber_param=config.huber_kappa, normalise_by_kappa=True,
    )  # fmt: skip
    return jax.vmap(loss_of_one)(
        quantiles_tm1, tau, batch.a_tm1, batch.r_t, batch.discount_t, quantiles_t,
        mask_illegal(q_t, batch.o_t, -jnp.inf), mask_illegal(q_tm1, batch.o_tm1, -jnp.inf),
    )  # fmt: skip
