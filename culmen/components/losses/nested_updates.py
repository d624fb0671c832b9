"""Updates of target networks: at once, periodically, or incrementally."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric


def conditional_update(new_tensors: Any, old_tensors: Any, is_time: Array | bool) -> Any:
    """The new tree if it is time, else the old one.

    Args:
        new_tensors, old_tensors: trees of one structure.
        is_time: scalar boolean (it may be traced).
    Returns: one of the trees.
    Example:
        >>> print(conditional_update({'w': 1.}, {'w': 0.}, True)['w'])
        1.0
    """
    return jax.tree_util.tree_map(
        lambda new, old: jnp.where(is_time, new, old), new_tensors, old_tensors
    )


def periodic_update(
    new_tensors: Any, old_tensors: Any, steps: Array | int, update_period: Array | int
) -> Any:
    """The new tree when the number of steps is a multiple of the period, else the old one.

    Args:
        new_tensors, old_tensors: trees of one structure.
        steps: scalar number of steps taken; 0 is a multiple.
        update_period: scalar period.
    Returns: one of the trees.
    Reference: Mnih et al., Human-Level Control through Deep RL, 2015, algorithm 1.
    Example:
        >>> print(periodic_update(jnp.array(1.), jnp.array(0.), 6, 3))
        1.0
    """
    return conditional_update(new_tensors, old_tensors, jnp.asarray(steps) % update_period == 0)


def incremental_update(new_tensors: Any, old_tensors: Any, step_size: Numeric) -> Any:
    """The old tree moved part of the way to the new one.

        out = step_size new + (1 - step_size) old

    Args:
        new_tensors, old_tensors: trees of one structure.
        step_size: scalar in [0, 1]; 1 yields the new tree.
    Returns: a tree.
    Reference: Lillicrap et al., 2015, arXiv 1509.02971, section 3; Polyak and Juditsky, 1992.
    Example:
        >>> print(incremental_update(jnp.array(4.), jnp.array(0.), .25))
        1.0
    """
    return jax.tree_util.tree_map(
        lambda new, old: step_size * new + (1 - step_size) * old, new_tensors, old_tensors
    )


def update_target_variables(
    target_variables: Any, source_variables: Any, tau: Numeric = 1.0
) -> Any:
    """`incremental_update` with the target first: (1 - tau) target + tau source.

    Args:
        target_variables, source_variables: trees of one structure.
        tau: scalar in [0, 1]; 1 yields the source.
    Returns: the new target.
    Reference: Lillicrap et al., 2015, arXiv 1509.02971, section 3.
    Example:
        >>> print(update_target_variables(jnp.array(0.), jnp.array(4.), .25))
        1.0
    """
    return incremental_update(source_variables, target_variables, tau)


def periodic_target_update(
    target_variables: Any,
    source_variables: Any,
    update_period: Array | int,
    tau: Numeric = 1.0,
    *,
    steps: Array | int,
) -> Any:
    """`update_target_variables` when the number of steps is a multiple of the period.

    Args:
        target_variables, source_variables: trees of one structure.
        update_period: scalar period.
        tau: scalar in [0, 1], how far the target moves then.
        steps: scalar number of steps taken; 0 is a multiple.
    Returns: the new target.
    Reference: Mnih et al., Human-Level Control through Deep RL, 2015, algorithm 1.
    Example:
        >>> target, source = jnp.array(0.), jnp.array(4.)
        >>> print([float(periodic_target_update(target, source, 2, .5, steps=t)) for t in (1, 2)])
        [0.0, 2.0]
    """
    moved = update_target_variables(target_variables, source_variables, tau)
    return periodic_update(moved, target_variables, steps, update_period)


def periodically(
    body: Callable[[Any], Any], period: Array | int, counter: Array | int, state: Any
) -> Any:
    """Runs a function of a state when the counter is a multiple of the period.

    Args:
        body: a function from a tree to a tree of the same structure, shapes and dtypes. It is not
            run at other times.
        period: scalar period.
        counter: scalar number of calls so far; 0 is a multiple.
        state: what body takes.
    Returns: body(state), or state.
    Example:
        >>> print([int(periodically(lambda x: x + 1, 2, t, jnp.array(0))) for t in range(4)])
        [1, 0, 1, 0]
    """
    return jax.lax.cond(
        jnp.asarray(counter) % period == 0, body, lambda unchanged: unchanged, state
    )
