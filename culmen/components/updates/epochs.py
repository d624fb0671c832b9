"""Epochs of minibatches: several passes over one batch, each in an order of its own."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from culmen.core.errors import SettingError
from culmen.core.types import Array
from culmen.core.types import Metrics
from culmen.core.types import Nest


def epochs_of_minibatches(
    descend: Callable[[Any, Nest], tuple[Any, Metrics]],
    carry: Any,
    batch: Nest,
    key: jax.Array,
    num_epochs: int,
    num_minibatches: int,
    rows: str = 'rows',
) -> tuple[Any, Metrics]:
    """Descends once on each minibatch of each epoch, inside one scan.

    Args:
        descend: (carry, minibatch) -> (carry, metrics).
        carry: such as a training state; a pytree of arrays.
        batch: leaves [N, ...]; every row is in one minibatch of each epoch.
        key: of the epochs' orders.
        num_epochs: passes over the batch.
        num_minibatches: of an epoch; it divides N.
        rows: what the rows are, for the error.
    Returns: (carry, metrics of each minibatch: leaves [num_epochs * num_minibatches, ...]).
    Raises: SettingError that names num_minibatches.
    """
    batch = jax.tree_util.tree_map(jnp.asarray, batch)
    num = jax.tree_util.tree_leaves(batch)[0].shape[0]
    if num % num_minibatches:
        raise SettingError(
            f'num_minibatches must divide the {num} {rows} of a batch, got {num_minibatches}.'
        )

    def one(carry: Any, indices: Array) -> tuple[Any, Metrics]:
        return descend(carry, jax.tree_util.tree_map(lambda leaf: leaf[indices], batch))

    keys = jax.random.split(key, num_epochs)
    orders = jax.vmap(lambda key: jax.random.permutation(key, num))(keys)
    return jax.lax.scan(one, carry, orders.reshape((num_epochs * num_minibatches, -1)))
