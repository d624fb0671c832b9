"""A network as a pair of pure functions."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import haiku as hk
import jax

from culmen.components.networks.keyed import drawing
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import zeros_like
from culmen.core.types import Nest
from culmen.core.types import Params


class Network(NamedTuple):
    """`init(key) -> params` and `apply(params, *inputs) -> outputs`; inputs are batched [B, ...].

    A network that draws takes `Keyed` parameters.
    """

    init: Callable[[jax.Array], Params]
    apply: Callable[..., Any]


def make_network(forward: Callable[[Nest], Any], spec: EnvironmentSpec) -> Network:
    """Makes a network of a Haiku function of batched observations.

    Args:
        forward: observation [B, ...] -> outputs; it may create Haiku modules.
        spec: of the environment; its observation gives the shapes for initialisation.
    """
    transformed = hk.transform(forward)

    def init(key: jax.Array) -> Params:
        return transformed.init(key, zeros_like(spec.observation, (1,)))

    return Network(init, drawing(transformed.apply))
