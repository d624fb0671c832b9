"""Uniformly random actions of any spec."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.core.errors import SettingError
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import allowed_actions
from culmen.core.types import Nest


def uniform_actions(agent: str, spec: EnvironmentSpec, observation: Nest, keys: jax.Array) -> Nest:
    """Draws an action for each lane: a legal discrete action, or a point of a box.

    Args:
        agent: its name, for errors.
        spec: of the environment; its action may be a nest.
        observation: [B, ...], whose `legal_actions` mask a lone discrete action.
        keys: one a lane [B].
    Returns: leaves [B, ...], int32 or float32.
    Raises: SettingError that names the agent, for a leaf without finite bounds.
    """
    leaves, structure = jax.tree_util.tree_flatten(spec.action)
    allowed = allowed_actions(observation) if len(leaves) == 1 else None
    drawn = []
    for i, leaf in enumerate(leaves):
        of_leaf = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, i)
        drawn.append(_draw(agent, leaf, allowed, of_leaf))
    return structure.unflatten(drawn)


def _draw(agent: str, leaf: Any, allowed: Any, keys: jax.Array) -> jax.Array:
    if isinstance(leaf, specs.DiscreteArray):
        # The largest of independent uniforms is each legal action with the same probability.
        chances = jax.vmap(lambda key: jax.random.uniform(key, (leaf.num_values,), jnp.float32))(
            keys
        )
        if allowed is not None:
            chances = jnp.where(allowed, chances, -1.0)
        return jnp.argmax(chances, axis=-1).astype(jnp.int32)
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
