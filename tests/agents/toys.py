"""Environments of the registry's specs, for whole runs: random observations, episodes of three steps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.environments import functional
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import TimeStep
from tests.agents import registry


class Toy:
    """A JaxEnvironment of any spec: random observations, three steps an episode, the time as reward."""

    def __init__(self, spec: Any) -> None:
        self._spec = spec

    def spec(self) -> Any:
        return self._spec

    def reset(self, key: jax.Array) -> tuple[jax.Array, TimeStep]:
        return jnp.int32(0), TimeStep(
            jnp.int32(FIRST), jnp.float32(0), jnp.float32(1), self._observe(key)
        )

    def step(self, key: jax.Array, time: jax.Array, action: Any) -> tuple[jax.Array, TimeStep]:
        time = (time + 1) % 4
        step_type = jnp.select([time == 0, time == 3], [FIRST, LAST], MID).astype(jnp.int32)
        discount = jnp.where(time == 3, 0.0, 1.0)
        return time, TimeStep(step_type, time.astype(jnp.float32), discount, self._observe(key))

    def _observe(self, key: jax.Array) -> Any:
        leaves, structure = jax.tree_util.tree_flatten(self._spec.observation)
        keys = jax.random.split(key, len(leaves))

        def draw(key: jax.Array, leaf: Any) -> jax.Array:
            if leaf.dtype == bool:
                return jax.random.bernoulli(key, 0.5, leaf.shape).at[..., 0].set(True)
            if np.issubdtype(leaf.dtype, np.integer):
                return jax.random.randint(key, leaf.shape, 0, leaf.maximum + 1).astype(leaf.dtype)
            return jax.random.uniform(key, leaf.shape, leaf.dtype, -1.0, 1.0)

        return structure.unflatten(map(draw, keys, leaves))


# One object each, so that its steps are compiled once.
DISCRETE, LEGAL, CONTINUOUS, BOX, MULTI_DISCRETE, MULTI_BINARY, HYBRID, BRANCHES = map(
    Toy,
    (
        registry.discrete_spec(),
        registry.legal_spec(),
        registry.continuous_spec(),
        registry.box_spec(),
        registry.multi_discrete_spec(),
        registry.multi_binary_spec(),
        registry.hybrid_spec(),
        registry.branches_spec(),
    ),
)


def discrete(seed):
    return functional.DmEnvironment(DISCRETE, seed)


def legal(seed):
    return functional.DmEnvironment(LEGAL, seed)


def continuous(seed):
    return functional.DmEnvironment(CONTINUOUS, seed)


def box(seed):
    return functional.DmEnvironment(BOX, seed)


def multi_discrete(seed):
    return functional.DmEnvironment(MULTI_DISCRETE, seed)


def multi_binary(seed):
    return functional.DmEnvironment(MULTI_BINARY, seed)


def hybrid(seed):
    return functional.DmEnvironment(HYBRID, seed)


def branches(seed):
    return functional.DmEnvironment(BRANCHES, seed)


MAKERS = (discrete, legal, continuous, box, multi_discrete, multi_binary, hybrid, branches)


def of(row):
    """The environment, seed -> dm_env.Environment, that a row's agent is for; a tuple of several."""
    for make in MAKERS:
        if repr(make(0).functions.spec()) == repr(row.spec._replace(num_tasks=1)):
            return make if row.spec.num_tasks == 1 else (make,) * row.spec.num_tasks
    raise LookupError(f'no environment has the spec of {row.name}')
