"""One gradient step or target update of one network in a training state, whatever else the state holds.

A network `name` has the fields `{name}_params`, `{name}_optimizer_state` and, if it has a target network,
`target_{name}_params`; a state of a lone network has `params`, `optimizer_state` and `target_params`.
"""

from collections.abc import Callable
from typing import Any

import optax

from culmen.components.updates.optimizers import gradient_step
from culmen.core.types import Array


def train(
    state: Any,
    loss: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    *inputs: Any,
    name: str = '',
    has_aux: bool = False,
    learning_rate: Array | None = None,
) -> tuple[Any, Any]:
    """Moves one network of a state down the gradient of its loss.

    Args:
        state: a named tuple, such as TargetTrainingState.
        loss: (the network's parameters, *inputs) -> a loss, as for `gradient_step`.
        optimizer: of the network.
        inputs: of the loss.
        name: of the network; '': the lone one.
        has_aux, learning_rate: as for `gradient_step`.
    Returns: (the state after the step, what the loss returned).
    """
    params, optimizer_state = _params(name), _field(name, 'optimizer_state')
    moved, after, value = gradient_step(
        loss, optimizer, getattr(state, params), getattr(state, optimizer_state), *inputs,
        has_aux=has_aux, learning_rate=learning_rate,
    )  # fmt: skip
    return state._replace(**{params: moved, optimizer_state: after}), value


def follow(state: Any, rate: float | Array, *names: str) -> Any:
    """Moves target networks by a fraction of their distance to the networks.

    Args:
        rate: in [0, 1]; 1 copies.
        names: of the networks; none: the lone one.
    """
    for name in names or ('',):
        target = optax.incremental_update(
            getattr(state, _params(name)), getattr(state, _target(name)), rate
        )
        state = state._replace(**{_target(name): target})
    return state


def copy_every(state: Any, steps: Array, period: int | Array, *names: str) -> Any:
    """Copies networks to their targets where a count is a multiple of a period.

    Args:
        steps: int32[], this update included: `context.rule_steps + 1`.
        period: in the same unit.
        names: of the networks; none: the lone one.
    """
    for name in names or ('',):
        target = optax.periodic_update(
            getattr(state, _params(name)), getattr(state, _target(name)), steps, period
        )
        state = state._replace(**{_target(name): target})
    return state


def _field(name: str, field: str) -> str:
    return f'{name}_{field}' if name else field


def _params(name: str) -> str:
    return _field(name, 'params')


def _target(name: str) -> str:
    return f'target_{_params(name)}'
