"""Optimisers, and the step that moves parameters along the gradient of a loss."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from culmen.components.counts.schedules import Schedule
from culmen.components.counts.schedules import linear_schedule
from culmen.core.types import Array
from culmen.core.types import Params


def make_optimizer(
    rule: optax.GradientTransformation, max_gradient_norm: float | Array | None = None
) -> optax.GradientTransformation:
    """An optimiser that treats all parameters as one vector, which takes fewer and larger kernels.

    Args:
        rule: one of Optax's, such as `optax.adam(1e-3)`.
        max_gradient_norm: gradients with a larger global norm are scaled to it; None: no clipping.
    """
    if max_gradient_norm is not None:
        rule = optax.chain(optax.clip_by_global_norm(max_gradient_norm), rule)
    return optax.flatten(rule)


def gradient_step(
    loss: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    params: Params,
    optimizer_state: optax.OptState,
    *inputs: Any,
    has_aux: bool = False,
    learning_rate: Array | None = None,
) -> tuple[Params, optax.OptState, Any]:
    """Moves parameters once, down the gradient of a loss.

    Args:
        loss: (params, *inputs) -> a loss [], or with `has_aux` (a loss [], anything), as for `jax.grad`.
        optimizer: made by `make_optimizer`.
        params: where the gradient is taken, and what moves.
        optimizer_state: the optimiser's.
        inputs: of the loss.
        learning_rate: float32[], for a rule without one of its own (`optax.scale_by_adam`); None: the rule's.
    Returns: (params, optimizer state, what the loss returned).
    """
    value, grads = jax.value_and_grad(loss, has_aux=has_aux)(params, *inputs)
    updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
    if learning_rate is None:
        return optax.apply_updates(params, updates), optimizer_state, value
    params = jax.tree_util.tree_map(lambda p, u: p - learning_rate * u, params, updates)
    return params, optimizer_state, value


def learning_rate_schedule(
    learning_rate: float | Array, decay_steps: float | Array | None
) -> Schedule:
    """A learning rate that falls linearly to 0 over the first `decay_steps` actor steps; None: a constant."""
    return linear_schedule(learning_rate, 0.0, decay_steps)
