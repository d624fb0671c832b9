"""A network as a pair of pure functions."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import haiku as hk
import jax

from culmen.components.networks.keyed import drawing
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import zeros_like
from culmen.core.types import Array
from culmen.core.types import Params


class Network(NamedTuple):
    """`init(key) -> params` and `apply(params, *inputs) -> outputs`; inputs are batched [B, ...].

    A network that draws takes `Keyed` parameters.
    """

    init: Callable[[jax.Array], Params]
    apply: Callable[..., Any]


def make_network(forward: Callable[..., Any], spec: EnvironmentSpec, *inputs: Array) -> Network:
    """Makes a network of a Haiku function of batched observations.

    Args:
        forward: observation [B, ...], and more inputs -> outputs; it may create Haiku modules.
        spec: of the environment; its observation gives the shapes for initialisation.
        inputs: for initialisation, what `forward` takes beside the observation, [1, ...].
    """

    def reserving(*given: Any) -> Any:
        # Keys for several layers by one split: each takes XLA a good part of a second to compile.
        if hk.maybe_get_rng_sequence_state() is not None and not hk.running_init():
            hk.reserve_rng_keys(6)
        return forward(*given)

    transformed = hk.transform(reserving)

    def init(key: jax.Array) -> Params:
        return transformed.init(key, zeros_like(spec.observation, (1,)), *inputs)

    return Network(init, drawing(transformed.apply))
