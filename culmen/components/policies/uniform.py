"""Uniformly random actions of any spec."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.core.actions import allowed_choices
from culmen.core.actions import check_legal_actions
from culmen.core.actions import choices
from culmen.core.errors import SettingError
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Array
from culmen.core.types import Nest


def uniform_actions(agent: str, spec: EnvironmentSpec, observation: Nest, keys: jax.Array) -> Nest:
    """Draws an action for each lane: legal values of its choices, and points of its boxes.

    Args:
        agent: its name, for errors.
        spec: of the environment; its action may be a nest.
        observation: [B, ...], whose `legal_actions` mask the choices.
        keys: one a lane [B].
    Returns: leaves [B, ...], int32 or float32.
    Raises: SettingError that names the agent, for a leaf without finite bounds; or that names the mask which
        does not fit its leaf.
    """
    check_legal_actions(spec)
    leaves, structure = jax.tree_util.tree_flatten(spec.action)
    drawn = []
    for i, allowed in enumerate(allowed_choices(spec.action, observation)):
        of_leaf = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, i)
        drawn.append(_draw(agent, leaves[i], allowed, of_leaf))
    return structure.unflatten(drawn)


def uniform_choices(leaf: specs.Array, allowed: Array | None, keys: jax.Array) -> jax.Array:
    """Draws each choice of a leaf of an action, by itself.

    Args:
        leaf: one choice, or an array of choices.
        allowed: bool[B, *shape, V], the values to draw from; None: all.
        keys: one a lane [B].
    Returns: int32[B, *shape], the numbers of values, counted from 0.
    """
    found = choices(leaf)
    assert found is not None
    # The largest of independent uniforms is each allowed value with the same probability.
    shape = (*leaf.shape, found.largest)
    chances = jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float32))(keys)
    if allowed is None and not found.exist.all():
        allowed = found.exist[None]
    if allowed is not None:
        chances = jnp.where(allowed, chances, -1.0)
    return jnp.argmax(chances, axis=-1).astype(jnp.int32)


def _draw(agent: str, leaf: Any, allowed: Any, keys: jax.Array) -> jax.Array:
    if isinstance(leaf, specs.DiscreteArray) or leaf.dtype == bool:
        return uniform_choices(leaf, allowed, keys)
    if allowed is not None:
        return uniform_choices(leaf, allowed, keys) + np.asarray(leaf.minimum, np.int32)[None]
    low, high = getattr(leaf, 'minimum', -np.inf), getattr(leaf, 'maximum', np.inf)
    if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
        raise SettingError(f'{agent} needs actions within finite bounds, got {leaf!r}.')
    if np.issubdtype(leaf.dtype, np.floating):
        with np.errstate(over='ignore'):
            low, high = (
                np.broadcast_to(bound, leaf.shape).astype(np.float32) for bound in (low, high)
            )
            width = high - low
        if not np.all(np.isfinite(low) & np.isfinite(high)):
            raise SettingError(
                f'{agent} computes in float32, which can not hold the bounds of {leaf!r}.'
            )
        shares = jax.vmap(lambda key: jax.random.uniform(key, leaf.shape, jnp.float32))(keys)
        if np.all(np.isfinite(width)):
            drawn = jnp.asarray(low[None] + shares * width[None])
        else:
            drawn = jnp.asarray((1 - shares) * low[None] + shares * high[None])
        return jnp.clip(drawn, low[None], high[None])
    if np.any(np.asarray(high, np.int64) >= np.iinfo(np.int32).max):
        raise SettingError(f'{agent} draws actions below {np.iinfo(np.int32).max}, got {leaf!r}.')
    return jax.vmap(lambda key: jax.random.randint(key, leaf.shape, low, high + 1, jnp.int32))(keys)
