"""Losses of batches of quantiles."""

import functools

import jax
import jax.numpy as jnp

from culmen.components import losses
from culmen.components.replay.stream.windows import Transitions
from culmen.core.specs import allowed_actions
from culmen.core.types import Array


def quantile_losses(
    quantiles_tm1: Array,
    tau: Array,
    quantiles_t: Array,
    quantiles_of_selector: Array,
    batch: Transitions,
    kappa: float | Array,
) -> jax.Array:
    """The quantile losses of B transitions to the best action of a selector (`losses.quantile_q_learning`).

    Args:
        quantiles_tm1: float32[B, N, num_actions], the predictions.
        tau: float32[B, N], the fractions that they stand for.
        quantiles_t: float32[B, M, num_actions], of the target network.
        quantiles_of_selector: float32[B, L, num_actions], whose means choose among legal actions.
        batch: B transitions.
        kappa: error at which the loss turns linear, by which it is divided; 0: absolute errors.
    Returns: float32[B].
    """
    loss = functools.partial(losses.quantile_q_learning, huber_param=kappa, normalise_by_kappa=True)
    inputs = (
        quantiles_tm1, tau, batch.a_tm1, batch.r_t, batch.discount_t, quantiles_of_selector, quantiles_t,
    )  # fmt: skip
    legal = allowed_actions(batch.o_t)
    if legal is None:
        return jax.vmap(loss)(*inputs)
    return jax.vmap(lambda mask, *rest: loss(*rest, legal_actions_mask=mask))(
        jnp.broadcast_to(legal, (*batch.r_t.shape, legal.shape[-1])), *inputs
    )
