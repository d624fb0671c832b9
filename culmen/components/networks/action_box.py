"""Continuous actions within bounds: the box of an environment, and the canonical one, [-1, 1].

Networks speak canonical actions, flat vectors [B, D]; environments, tables and samples the
environment's own, [B, *shape] of the spec's dtype.
"""

import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Array


class ActionBox(NamedTuple):
    """The bounds of an environment's action."""

    shape: tuple[int, ...]
    dtype: Any
    low: Any  # float32[*shape], NumPy
    high: Any  # float32[*shape], NumPy

    @property
    def size(self) -> int:
        """Numbers of an action: the D of canonical ones."""
        return math.prod(self.shape)

    def to_canonical(self, action: Array) -> jax.Array:
        """[..., *shape], within the bounds -> float32[..., D] in [-1, 1]."""
        action = jnp.asarray(action, jnp.float32)
        batch = action.shape[: action.ndim - len(self.shape)]
        low, width = (self._like(bound, action) for bound in (self.low, self.high - self.low))
        return jnp.reshape(2.0 * (action - low) / width - 1.0, (*batch, self.size))

    def from_canonical(self, action: Array) -> jax.Array:
        """float32[..., D], clipped to [-1, 1] -> [..., *shape] within the bounds, of the spec's dtype."""
        action = jnp.reshape(jnp.clip(action, -1.0, 1.0), (*action.shape[:-1], *self.shape))
        low, high = self._like(self.low, action), self._like(self.high, action)
        # Rounding may step over a bound.
        return jnp.clip(low + 0.5 * (action + 1.0) * (high - low), low, high).astype(self.dtype)

    def _like(self, bound: Any, action: jax.Array) -> Any:
        return np.reshape(bound, (1,) * (action.ndim - len(self.shape)) + self.shape)


def action_box(agent: str, spec: EnvironmentSpec) -> ActionBox:
    """The box of an environment's action.

    Args: agent: whose it is, for the error.
    Raises: ValueError that names the agent where the action is no array of floats within finite bounds.
    """
    action = spec.action
    if (
        not isinstance(action, specs.BoundedArray)
        or not np.issubdtype(action.dtype, np.floating)
        or not np.all(np.isfinite(action.minimum) & np.isfinite(action.maximum))
        or not np.all(np.less(action.minimum, action.maximum))
    ):
        raise ValueError(
            f'{agent} needs a continuous action (a BoundedArray of floats with finite bounds, the '
            f'minimum below the maximum), got {action!r}.'
        )
    low, high = (
        np.broadcast_to(np.asarray(bound, np.float32), action.shape)
        for bound in (action.minimum, action.maximum)
    )
    return ActionBox(tuple(action.shape), action.dtype, low, high)
