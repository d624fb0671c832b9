"""Environments written in JAX: pure functions of one lane, vmapped by the loops."""

from typing import Any
from typing import Protocol

import jax

from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Nest
from culmen.core.types import TimeStep


class JaxEnvironment(Protocol):
    """An environment of pure functions. Leaves of its time steps have no batch axis."""

    def spec(self) -> EnvironmentSpec:
        """The specs of one environment."""
        ...

    def reset(self, key: jax.Array) -> tuple[Any, TimeStep]:
        """Begins an episode: returns (state, time step at FIRST)."""
        ...

    def step(self, key: jax.Array, state: Any, action: Nest) -> tuple[Any, TimeStep]:
        """Takes one step. From a state at LAST it ignores the action and begins a new episode (FIRST)."""
        ...
