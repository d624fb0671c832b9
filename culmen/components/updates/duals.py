"""The dual variables of MPO and V-MPO: a temperature, and multipliers of the bounds on a policy's change.

They are learned beside the policy, by an optimiser of their own, down the same loss
(`culmen.components.losses.mpo_loss`, `vmpo_loss`). What is learned is a raw number; `positive` of it is the
temperature or the multiplier.

References: Abdolmaleki et al. 2018 (1806.06920; 1812.02256), Song et al. 2019 (1909.12238).
"""

import math
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import TypeAlias
from typing import cast

import jax
import jax.numpy as jnp
import optax

from culmen.components import losses
from culmen.components.networks import DiagonalGaussian
from culmen.components.networks import Distribution
from culmen.components.networks import Product
from culmen.components.networks import leaf_distributions
from culmen.components.networks.distributions import is_distribution
from culmen.core.actions import choices
from culmen.core.types import Array

# Raw numbers by name: 'temperature', or what an agent has in its place; 'policy' [] of choices; 'mean' and
# 'scale' of boxes, [D] with a bound for each dimension, else [].
DualParams: TypeAlias = dict[str, jax.Array]

_LEAST_RAW = -18.0  # below, `positive` stays at 1e-8, and its gradient would be lost
_LEAST = 1e-8


def positive(raw: Array) -> jax.Array:
    """What a raw number stands for: softplus(raw) + 1e-8, above 0."""
    return jax.nn.softplus(raw) + _LEAST


def raw_of(value: float | Array) -> jax.Array:
    """The raw number that stands for a positive one: the inverse of `positive`, to rounding."""
    value = jnp.asarray(value, jnp.float32)
    return value + jnp.log(-jnp.expm1(-value))


def initial_duals(
    action_spec: Any,
    temperatures: Mapping[str, float | Array],
    multipliers: Mapping[str, float | Array],
    per_dimension: bool,
) -> DualParams:
    """Raw numbers of given temperatures, and of the multipliers that the leaves of an action need.

    Args:
        action_spec: of the environment, a nest.
        temperatures: by name, each [] or an array.
        multipliers: of 'policy', needed where there is a choice, and of 'mean' and 'scale', needed where
            there is a box. Others are left out.
        per_dimension: whether each dimension of the boxes has multipliers of its own.
    """
    leaves = jax.tree_util.tree_leaves(action_spec)
    boxes = [leaf for leaf in leaves if choices(leaf) is None]
    num_dimensions = sum(math.prod(leaf.shape) for leaf in boxes)
    shapes: dict[str, tuple[int, ...]] = {'policy': ()} if len(boxes) < len(leaves) else {}
    if boxes:
        of_box = (num_dimensions,) if per_dimension else ()
        shapes |= {'mean': of_box, 'scale': of_box}
    return {
        **{name: raw_of(value) for name, value in temperatures.items()},
        **{name: jnp.full(shape, raw_of(multipliers[name])) for name, shape in shapes.items()},
    }


def divergences(old: Distribution, new: Distribution) -> dict[str, jax.Array]:
    """How far a policy is from an old one, in parts that are bounded one by one.

    Args: old, new: policies over the same draws, leaves [...]. Gradients reach `new` alone.
    Returns: 'policy' float32[...], KL(old, new) summed over the choices, if there are any; 'mean' and 'scale'
        float32[..., D], those of the means and of the deviations alone, over all D dimensions of the boxes.
    Reference: Abdolmaleki et al. 2018 (1812.02256), section 4.2 and appendix D.
    """
    old = jax.lax.stop_gradient(old)
    found: dict[str, list[jax.Array]] = {}
    for before, after in zip(leaf_distributions(old), leaf_distributions(new), strict=True):
        if not isinstance(before, DiagonalGaussian):
            found.setdefault('policy', []).append(before.kl(after))
            continue
        parts = losses.decoupled_multivariate_normal_kl_divergence(
            jnp.asarray(before.mean), jnp.exp(before.log_scale),
            jnp.asarray(after.mean), jnp.exp(after.log_scale),
            per_dimension=True,
        )  # fmt: skip
        for name, part in zip(('mean', 'scale'), parts, strict=True):
            found.setdefault(name, []).append(part)
    return {
        name: sum(parts[1:], parts[0]) if name == 'policy' else jnp.concatenate(parts, axis=-1)
        for name, parts in found.items()
    }


def kl_constraints(
    of_policy: Mapping[str, jax.Array],
    duals: DualParams,
    epsilons: Mapping[str, float | Array],
) -> list[tuple[jax.Array, losses.LagrangePenalty]]:
    """The bounds on `divergences`, as `losses.mpo_loss` and `vmpo_loss` take them; `positive` projects.

    Args:
        of_policy: of the policy from the old one.
        duals: with a multiplier for each; where it is a scalar, the sum over the dimensions is bounded.
        epsilons: the bounds.
    """
    found = []
    for name, divergence in of_policy.items():
        multiplier, epsilon = duals[name], cast(Any, epsilons[name])
        per_dimension = multiplier.ndim > 0
        if name != 'policy' and not per_dimension:
            divergence = jnp.sum(divergence, axis=-1)
        found.append((divergence, losses.LagrangePenalty(multiplier, epsilon, per_dimension)))
    return found


def decoupled(old: Distribution, new: Distribution) -> tuple[Any, Any]:
    """A policy with the new means and the old deviations, and one with the old means and the new deviations.

    Choices are new in the first and old in the second. No gradient reaches `old`.
    """
    old = jax.lax.stop_gradient(old)

    def means(before: Any, after: Any) -> Any:
        if not isinstance(before, DiagonalGaussian):
            return after
        return DiagonalGaussian(after.mean, before.log_scale)

    def scales(before: Any, after: Any) -> Any:
        if not isinstance(before, DiagonalGaussian):
            return before
        return DiagonalGaussian(before.mean, after.log_scale)

    if not (isinstance(old, Product) and isinstance(new, Product)):
        return means(old, new), scales(old, new)
    of_means, of_scales = (
        jax.tree_util.tree_map(join, old.parts, new.parts, is_leaf=is_distribution)
        for join in (means, scales)
    )
    return Product(of_means), Product(of_scales)


def train_with_duals(
    state: Any,
    loss: Callable[..., tuple[jax.Array, Any]],
    optimizer: optax.GradientTransformation,
    dual_optimizer: optax.GradientTransformation,
    *inputs: Any,
    name: str = '',
    learning_rate: Array | None = None,
) -> tuple[Any, tuple[jax.Array, Any]]:
    """Moves one network of a state and the dual variables down the gradient of one loss.

    Args:
        state: a named tuple with the fields of the network `name`, as for `train`, and with `dual_params` and
            `dual_optimizer_state`.
        loss: (the network's parameters, the dual variables, *inputs) -> (a loss [], anything).
        optimizer, dual_optimizer: of the network, and of the dual variables.
        inputs: of the loss.
        name: of the network; '': the lone one.
        learning_rate: of the network, as for `gradient_step`; None: that of its optimiser.
    Returns: (the state after both steps, what the loss returned).
    """
    params, optimizer_state = (
        f'{name}_{field}' if name else field for field in ('params', 'optimizer_state')
    )
    value, (grads, dual_grads) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        getattr(state, params), state.dual_params, *inputs
    )
    changes, after = optimizer.update(grads, getattr(state, optimizer_state))
    if learning_rate is not None:
        changes = jax.tree_util.tree_map(lambda change: -learning_rate * change, changes)
    dual_changes, dual_after = dual_optimizer.update(dual_grads, state.dual_optimizer_state)
    duals = optax.apply_updates(state.dual_params, dual_changes)
    moved = {
        params: optax.apply_updates(getattr(state, params), changes),
        optimizer_state: after,
        'dual_params': jax.tree_util.tree_map(lambda raw: jnp.maximum(raw, _LEAST_RAW), duals),
        'dual_optimizer_state': dual_after,
    }
    return state._replace(**moved), value
