"""An environment written in JAX that counts its steps."""

import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import functional
from culmen.core.specs import EnvironmentSpec

SPEC = EnvironmentSpec(
    specs.Array((), np.int32), specs.DiscreteArray(2), functional.REWARD, functional.DISCOUNT
)


def begin(key):
    return jnp.int32(0), jnp.int32(0)


def advance(end, truncated=False):
    """The step of an environment that ends at `end`."""

    def step(key, n, action):
        done = n + 1 == end
        return n + 1, functional.Outcome(
            n + 1, 10.0 * (n + 1), done & (not truncated), done & truncated
        )

    return step


def count(end, truncated=False):
    """The environment."""
    return functional.Functional(SPEC, begin, advance(end, truncated))
