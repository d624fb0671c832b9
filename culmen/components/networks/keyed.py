"""Networks that draw while they act or learn: noisy layers, dropout.

A network takes `Keyed(params, key)` wherever it takes parameters. Policies pass parameters on as they are, so
`culmen.components.policies.keyed` lets the networks of any policy draw; a loss makes a `Keyed` of the
parameters by which it is differentiated. Without a key a network draws nothing; one that never draws ignores
it.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import haiku as hk
import jax

from culmen.core.types import Params


class Keyed(NamedTuple):
    """Parameters, and what the network draws with."""

    params: Params
    key: (
        jax.Array
    )  # a key []: one draw for the whole batch; keys [B]: a draw for each row of the batch


def drawing(apply: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a network that takes parameters or `Keyed` ones.

    Args:
        apply: (params, key or None, *inputs) -> outputs, such as a Haiku transform's. Leaves of inputs and
            outputs are [B, ...].
    Returns: (params or Keyed, *inputs) -> outputs.
    """

    def applied(params: Params, *inputs: Any) -> Any:
        if not isinstance(params, Keyed):
            return apply(params, None, *inputs)
        held, keys = params
        if not keys.ndim:
            return apply(held, keys, *inputs)

        def of_row(key: jax.Array, row: Any) -> Any:
            batch = jax.tree_util.tree_map(lambda leaf: leaf[None], row)
            return jax.tree_util.tree_map(lambda leaf: leaf[0], apply(held, key, *batch))

        return jax.vmap(of_row)(keys, inputs)

    return applied


def take_key(params: Params) -> tuple[jax.Array, Params]:
    """A key to draw with beside a network, and parameters for its own draws.

    Args: params: `Keyed`.
    Returns: (a key [] or keys [B], parameters with another).
    """
    held, keys = params
    split = jax.vmap(jax.random.split, out_axes=1) if keys.ndim else jax.random.split
    own, others = split(keys)
    return own, Keyed(held, others)


def with_keys(key: jax.Array, *params: Params) -> list[Params]:
    """Parameters of several calls of networks, each with a key of its own. Args: key: []."""
    return [
        Keyed(held, own)
        for held, own in zip(params, jax.random.split(key, len(params)), strict=True)
    ]


def split_keyed(params: Params, num: int) -> list[Params]:
    """Takes a tuple of `num` networks' parameters apart; each gets keys of its own if there are keys.

    Example:
        >>> encoder, policy = split_keyed(({'w': 1}, {'w': 2}), 2)
    """
    if not isinstance(params, Keyed):
        return list(params)
    keys = params.key
    if keys.ndim:
        of_networks = jax.vmap(lambda key: jax.random.split(key, num), out_axes=1)(keys)
    else:
        of_networks = jax.random.split(keys, num)
    return [Keyed(held, key) for held, key in zip(params.params, of_networks, strict=True)]


def next_draw() -> jax.Array | None:
    """A key for a draw of a layer; None where there is to be none. Inside a transform.

    No layer draws while parameters are initialised, so that they do not depend on its draws.
    """
    return None if hk.running_init() else hk.maybe_next_rng_key()


def dropout(rate: float, values: jax.Array) -> jax.Array:
    """Sets values to 0 with probability `rate`, and scales the others by 1 / (1 - rate). Inside a transform.

    Without a key values stay as they are. Reference: Srivastava et al. 2014, JMLR 15, section 4.
    """
    key = next_draw()
    return values if key is None else hk.dropout(key, rate, values)
