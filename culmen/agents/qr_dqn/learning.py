"""The loss of QR-DQN.

Dabney et al. 2018, algorithm 1. Departures from it:
1. Windows reach `n_step` rewards ahead; 1 is the paper's.
2. A window's priority is its loss, which is divided by `huber_kappa` (1 in the paper).
"""

import jax
import jax.numpy as jnp

from culmen.agents.qr_dqn.config import QRDQNConfig
from culmen.components import values
from culmen.components.networks import Network
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import Metrics
from culmen.core.types import Params
from culmen.core.types import Sample


def midpoints(num_quantiles: int) -> jax.Array:
    """The fractions that quantiles stand for, float32[N]: (2 i - 1) / 2 N, lemma 2."""
    return (jnp.arange(num_quantiles, dtype=jnp.float32) + 0.5) / num_quantiles


def loss(
    params: Params,
    target_params: Params,
    sample: Sample,
    context: Context,
    network: Network,
    config: QRDQNConfig,
) -> tuple[jax.Array, tuple[Metrics, Array]]:
    """The loss of a batch of windows.

    Args:
        params, target_params: of the online and of the target network.
        sample: B windows of `n_step` transitions.
        context: of the update.
        network: gives the quantiles of each action.
    Returns: (loss [], (metrics, losses float32[B], which are the priorities)).
    """
    batch = values.transitions(sample, context, config)
    online, target, selector = values.with_noise(context, config, params, target_params, params)

    quantiles_tm1 = jnp.swapaxes(network.apply(online, batch.o_tm1), 1, 2)  # [B, N, num_actions]
    quantiles_t = jnp.swapaxes(network.apply(target, batch.o_t), 1, 2)
    of_selector = quantiles_t  # Without `double` the target network selects the action, too.
    if config.double:
        of_selector = jnp.swapaxes(network.apply(selector, batch.o_t), 1, 2)
    tau = jnp.broadcast_to(midpoints(config.num_quantiles), quantiles_tm1.shape[:2])
    element_losses = values.quantile_losses(
        quantiles_tm1, tau, quantiles_t, of_selector, batch, config.huber_kappa
    )
    mean_loss = values.mean_loss(element_losses, sample, context, config)
    metrics = {'loss': mean_loss, 'q': jnp.mean(quantiles_tm1)}
    return mean_loss, (metrics, element_losses)
