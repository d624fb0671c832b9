"""Culmen's own small environments, written in JAX and needing no other package: `jax/catch`."""

from typing import Any

import dm_env

from culmen.components.environments import arguments
from culmen.components.environments import functional
from culmen.components.environments.arguments import Argument
from culmen.components.environments.arguments import signature_arguments
from culmen.components.environments.own import MAKERS


def names() -> list[str]:
    """The environments."""
    return sorted(MAKERS)


def check(identity: str) -> None:
    """Raises ValueError with the nearest names where there is no such environment."""
    arguments.check_name('jax', identity, names())


def options(identity: str) -> tuple[dict[str, Argument], bool]:
    """The arguments of an environment, and False: it takes no others."""
    check(identity)
    return signature_arguments(MAKERS[identity]), False


_BUILT: dict[Any, functional.Functional] = {}


def make(identity: str, seed: int, **arguments: Any) -> dm_env.Environment:
    """Builds an environment. Args: arguments: of its maker in culmen/components/environments/own."""
    check(identity)
    # Environments with equal arguments are one object, so that a compiled loop knows them as one.
    key = (identity, *sorted(arguments.items()))
    if key not in _BUILT:
        _BUILT[key] = MAKERS[identity](**arguments)
    return functional.DmEnvironment(_BUILT[key], seed)
