"""Environments written in JAX: pure functions of one lane, vmapped by the loops.

A dm_env environment that is one of these behind dm_env's methods has a property `jax_environment`, which
gives it. Its spec then has it as `model`, for agents that search or plan by the true model.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol

import dm_env
import jax

from culmen.core.types import Nest
from culmen.core.types import TimeStep

if TYPE_CHECKING:
    from culmen.core.specs import EnvironmentSpec

STATE = 'environment_state'  # the field of an observation that holds its environment's state


class JaxEnvironment(Protocol):
    """An environment of pure functions. Leaves of its time steps have no batch axis."""

    def spec(self) -> 'EnvironmentSpec':
        """The specs of one environment."""
        ...

    def reset(self, key: jax.Array) -> tuple[Any, TimeStep]:
        """Begins an episode: returns (state, time step at FIRST)."""
        ...

    def step(self, key: jax.Array, state: Any, action: Nest) -> tuple[Any, TimeStep]:
        """Takes one step. From a state at LAST it ignores the action and begins a new episode (FIRST)."""
        ...


def model_of(environment: dm_env.Environment) -> JaxEnvironment | None:
    """What an environment is in JAX; None for one of Python, and for one that changes what is in it."""
    # Asked of the class: a wrapper that delegates its attributes is not what it wraps.
    if getattr(type(environment), 'jax_environment', None) is None:
        return None
    model: JaxEnvironment = environment.jax_environment
    return model


def environment_state(observation: Nest) -> Nest | None:
    """The field `environment_state` of an observation or of its spec; None without one.

    It is a state of `EnvironmentSpec.model`: `model.step(key, state, action)` goes on from it.
    """
    return observation.get(STATE) if isinstance(observation, Mapping) else None


def without_environment_state(observation: Nest) -> Nest:
    """An observation (or its spec) without `environment_state`; if one field remains, that field itself."""
    if environment_state(observation) is None:
        return observation
    fields = {name: value for name, value in observation.items() if name != STATE}
    return next(iter(fields.values())) if len(fields) == 1 else fields
