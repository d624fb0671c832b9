"""The loss of C51.

Bellemare et al. 2017, algorithm 1. Departures from it:
1. Windows reach `n_step` rewards ahead; 1 is the paper's.
2. A window's priority is its loss, as in Hessel et al. 2018, "The Integrated Agent".
"""

import jax
import jax.numpy as jnp

from culmen.agents.c51.config import C51Config
from culmen.components import losses
from culmen.components import updates
from culmen.components import values
from culmen.components.networks import Network
from culmen.components.policies import mask_illegal
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import Metrics
from culmen.core.types import Params
from culmen.core.types import Sample


def support(config: C51Config) -> jax.Array:
    """The atoms, float32[num_atoms], evenly from v_min to v_max."""
    return jnp.linspace(config.v_min, config.v_max, config.num_atoms, dtype=jnp.float32)


def loss(
    params: Params,
    target_params: Params,
    sample: Sample,
    context: Context,
    network: Network,
    config: C51Config,
) -> tuple[jax.Array, tuple[Metrics, Array]]:
    """The loss of a batch of windows.

    Args:
        params, target_params: of the online and of the target network.
        sample: B windows of `n_step` transitions.
        context: of the update.
        network: gives the logits of each action's distribution.
    Returns: (loss [], (metrics, losses float32[B], which are the priorities)).
    """
    atoms = support(config)
    o_tm1, a_tm1, r_t, discount_t, o_t = values.transitions(sample, context, config)
    online, target, selector = values.with_noise(context, config, params, target_params, params)

    logits_tm1 = network.apply(online, o_tm1)
    logits_t = network.apply(target, o_t)
    # Without `double` the target network selects the action, too.
    logits_of_selector = network.apply(selector, o_t) if config.double else logits_t
    q_t_selector = mask_illegal(jax.nn.softmax(logits_of_selector) @ atoms, o_t)
    element_losses = jax.vmap(
        losses.categorical_double_q_learning, in_axes=(None, 0, 0, 0, 0, None, 0, 0)
    )(atoms, logits_tm1, a_tm1, r_t, discount_t, atoms, logits_t, q_t_selector)
    mean_loss = values.mean_loss(element_losses, sample, context, config)

    chosen = jnp.argmax(q_t_selector, axis=-1)
    of_chosen = jax.nn.softmax(jax.vmap(lambda logits, a: logits[a])(logits_t, chosen))
    of_taken = jax.nn.softmax(jax.vmap(lambda logits, a: logits[a])(logits_tm1, a_tm1))
    metrics = {
        'loss': mean_loss,
        'q': jnp.mean(of_taken @ atoms),
        updates.OUTSIDE: updates.mass_outside(atoms, of_chosen, r_t, discount_t),
        'mass_at_v_min': jnp.mean(of_taken[:, 0]),
        'mass_at_v_max': jnp.mean(of_taken[:, -1]),
    }
    return mean_loss, (metrics, element_losses)
