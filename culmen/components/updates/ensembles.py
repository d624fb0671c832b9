"""What is made of an ensemble of critics: a target, a loss, and the value that a policy climbs.

`Critics` is what a loss asks of an ensemble, so that an agent's losses are written once. Outputs are action
values [num_critics, B], or quantiles of returns [num_critics, B, num_quantiles].
"""

from collections.abc import Callable
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components import losses
from culmen.components.networks import Keyed
from culmen.components.updates.critics import ensemble_td_loss
from culmen.core.types import Params

PolicyValue = Literal['least', 'mean']


class Critics(NamedTuple):
    """How losses use an ensemble."""

    # (the target ensemble's parameters, a key) -> those of the critics that a target is made of.
    chosen: Callable[[Params, jax.Array], Params]
    # their outputs -> values [B], or samples of the return [B, K].
    target: Callable[[jax.Array], jax.Array]
    # (outputs, rewards [B], discounts [B], targets [B] or [B, K]) -> the loss [], summed over the critics.
    loss: Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]
    value: Callable[[jax.Array], jax.Array]  # outputs -> what a policy climbs [B]
    drops: bool = False  # whether the networks drop units, in targets too

    def drawing(self, params: Params, key: jax.Array) -> Params:
        """The ensemble's parameters, with a key where its networks draw."""
        return Keyed(params, key) if self.drops else params


def value_critics(
    num_drawn: int | None = None, policy_value: PolicyValue = 'least', drops: bool = False
) -> Critics:
    """Critics of values, whose target is the least of all, or of some that are drawn for each update.

    Args:
        num_drawn: the size of the subset M, Chen et al. 2021 (2101.05982), algorithm 1; None: all of them.
        policy_value: of what a policy climbs: the least of all critics, or their mean.
        drops: whether the networks drop units.
    """

    def chosen(ensemble: Params, key: jax.Array) -> Params:
        if num_drawn is None:
            return ensemble
        num_critics = len(jax.tree_util.tree_leaves(ensemble)[0])
        drawn = jax.random.permutation(key, num_critics)[:num_drawn]
        return jax.tree_util.tree_map(lambda leaf: leaf[drawn], ensemble)

    return Critics(
        chosen, lambda q_t: jnp.min(q_t, axis=0), ensemble_td_loss, _value(policy_value), drops
    )


def quantile_critics(
    num_dropped: int, policy_value: PolicyValue = 'mean', drops: bool = False
) -> Critics:
    """Critics of quantiles, whose target is their pool without the largest: truncated quantile critics.

    Kuznetsov et al. 2020 (2005.04269), equations 8 to 11.

    Args:
        num_dropped: quantiles that are left out of the target for each critic.
        policy_value: as for `value_critics`, of the means of the critics' quantiles.
        drops: whether the networks drop units.
    """

    def target(z_t: jax.Array) -> jax.Array:
        num_critics, batch, num_quantiles = z_t.shape
        pool = jnp.sort(jnp.reshape(jnp.swapaxes(z_t, 0, 1), (batch, -1)), axis=1)
        return pool[:, : num_critics * (num_quantiles - num_dropped)]

    def loss(z_tm1: jax.Array, r_t: jax.Array, discount_t: jax.Array, z_t: jax.Array) -> jax.Array:
        num_quantiles = z_tm1.shape[-1]
        levels = (jnp.arange(num_quantiles, dtype=jnp.float32) + 0.5) / num_quantiles
        targets = r_t[:, None] + discount_t[:, None] * z_t
        of_batch = jax.vmap(losses.quantile_regression_loss, in_axes=(0, None, 0, None))
        of_critics = jax.vmap(of_batch, in_axes=(0, None, None, None))
        # The paper's loss is the mean over the predicted quantiles too.
        return jnp.sum(jnp.mean(of_critics(z_tm1, levels, targets, 1.0), axis=1)) / num_quantiles

    of_means = _value(policy_value)
    return Critics(
        lambda ensemble, key: ensemble,
        target,
        loss,
        lambda z: of_means(jnp.mean(z, axis=-1)),
        drops,
    )


def _value(policy_value: PolicyValue) -> Callable[[jax.Array], jax.Array]:
    if policy_value == 'mean':
        return lambda q: jnp.mean(q, axis=0)
    # The least by its index: the gradient of `min` compares numbers for equality, and finds no equal one if
    # the compiler rounds q in two ways.
    return lambda q: losses.batched_index(q.T, jnp.argmin(q, axis=0))
