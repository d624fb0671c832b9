"""Continuous actions within bounds: the box of an environment, and the canonical one, [-1, 1].

Networks take and give canonical actions, flat vectors [B, D]. Environments, tables and samples have the
environment's own actions, [B, *shape] of the spec's dtype.
"""

import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.networks.action_kinds import check_reward
from culmen.components.networks.action_kinds import is_bounded_box
from culmen.components.networks.action_kinds import refusal
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Array

_UNIT = np.float32(2.0**-64)


class ActionBox(NamedTuple):
    """The bounds of an environment's action."""

    shape: tuple[int, ...]
    dtype: Any
    low: Any  # float32[*shape], NumPy
    high: Any  # float32[*shape], NumPy

    @property
    def size(self) -> int:
        """The number of dimensions D of canonical actions."""
        return math.prod(self.shape)

    def to_canonical(self, action: Array) -> jax.Array:
        """[..., *shape], within the bounds -> float32[..., D] in [-1, 1]."""
        action = jnp.asarray(action, jnp.float32)
        batch = action.shape[: action.ndim - len(self.shape)]
        if self._is_huge:
            # Scaled by a unit whose inverse fits float32 too, since the compiler would merge the two factors.
            middle, half = (self._like(each * _UNIT, action) for each in self._middle_and_half)
            scaled = jax.lax.optimization_barrier(action * _UNIT)
            return jnp.reshape((scaled - middle) / half, (*batch, self.size))
        low, width = (self._like(bound, action) for bound in (self.low, self.high - self.low))
        return jnp.reshape(2.0 * (action - low) / width - 1.0, (*batch, self.size))

    def from_canonical(self, action: Array) -> jax.Array:
        """float32[..., D], clipped to [-1, 1] -> [..., *shape] within the bounds, of the spec's dtype."""
        action = jnp.reshape(jnp.clip(action, -1.0, 1.0), (*action.shape[:-1], *self.shape))
        low, high = self._like(self.low, action), self._like(self.high, action)
        if self._is_huge:
            middle, half = (self._like(each, action) for each in self._middle_and_half)
            stretched = middle + half * action
        else:
            stretched = low + 0.5 * (action + 1.0) * (high - low)
        # Rounding may exceed a bound.
        dtype = jax.dtypes.canonicalize_dtype(self.dtype)
        return jnp.clip(stretched, low, high).astype(dtype)

    @property
    def _is_huge(self) -> bool:
        """Whether twice the distance of the bounds is more than float32 can hold."""
        with np.errstate(over='ignore'):
            return not bool(np.all(np.isfinite(2 * (self.high - self.low))))

    @property
    def _middle_and_half(self) -> tuple[Any, Any]:
        half_low, half_high = np.float32(0.5) * self.low, np.float32(0.5) * self.high
        return half_low + half_high, half_high - half_low

    def _like(self, bound: Any, action: jax.Array) -> Any:
        return np.reshape(bound, (1,) * (action.ndim - len(self.shape)) + self.shape)


def action_box(agent: str, spec: EnvironmentSpec, other: str = '') -> ActionBox:
    """The box of an environment's action.

    Args: agent: its name, for errors. other: what else it takes, for errors.
    Raises: ValueError that names the agent where the action is no array of floats within finite bounds,
        float32 can't hold these or tell them apart, or there is not one reward.
    """
    check_reward(agent, spec)
    return leaf_box(agent, spec.action, spec.action, other)


def leaf_box(agent: str, action: Any, action_spec: Any, other: str = '') -> ActionBox:
    """The box of a leaf of an action.

    Args: agent, other: as for `action_box`. action: the leaf. action_spec: the whole action.
    Raises: as `action_box`.
    """
    if not isinstance(action, specs.Array) or not is_bounded_box(action):
        wanted = (
            'a continuous action (a BoundedArray of floats with finite bounds, the minimum below the '
            'maximum)'
        )
        raise refusal(agent, f'{wanted} or {other}' if other else wanted, action_spec)
    with np.errstate(over='ignore'):
        low, high = (
            np.broadcast_to(np.asarray(bound, np.float32), action.shape)
            for bound in (action.minimum, action.maximum)
        )
        width = high - low
    if not np.all(np.isfinite(low) & np.isfinite(high) & (width >= np.finfo(np.float32).tiny)):
        raise ValueError(
            f'{agent} computes in float32, which can not hold the bounds of {action!r} or not tell them '
            f'apart; the argument canonical_actions of an environment makes them -1 and 1.'
        )
    return ActionBox(tuple(action.shape), action.dtype, low, high)
