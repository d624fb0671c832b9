"""Distributions over actions, which the policy of an actor-critic gives, as trees of arrays.

Each is a named tuple of its parameters, so it passes through `jax.vmap`, is stored in extras and is cut
and indexed like any other tree. The formulas are those of `culmen.components.losses`.

Continuous actions are drawn in units of the box: -1 and 1 are the bounds of each dimension. Draws are not
bounded, so that their density is the normal's; `to_action` brings them into the box.
"""

import warnings
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components import losses
from culmen.core.types import Array


class Categorical(NamedTuple):
    """A distribution over num_actions actions."""

    logits: Array  # float32[..., num_actions]

    def sample(self, key: jax.Array) -> jax.Array:
        """int32[...]: actions drawn with one key for all."""
        return losses.softmax().sample(key, self.logits).astype(jnp.int32)

    def mode(self) -> jax.Array:
        """int32[...]: the likeliest actions, the first of equals."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def log_prob(self, action: Array) -> jax.Array:
        """float32[...] of actions int32[...]."""
        return losses.softmax().logprob(action, self.logits)

    def entropy(self) -> jax.Array:
        """float32[...]."""
        return losses.softmax().entropy(self.logits)


class DiagonalGaussian(NamedTuple):
    """A normal distribution over D independent numbers."""

    mean: Array  # float32[..., D]
    log_scale: Array  # float32[..., D]: of the standard deviation

    def sample(self, key: jax.Array) -> jax.Array:
        """float32[..., D], drawn with one key for all."""
        return losses.gaussian_diagonal().sample(key, self.mean, jnp.exp(self.log_scale))

    def mode(self) -> jax.Array:
        """float32[..., D]: the means."""
        return jnp.asarray(self.mean)

    def log_prob(self, action: Array) -> jax.Array:
        """float32[...]: log-densities of float32[..., D]."""
        return losses.gaussian_diagonal().logprob(action, self.mean, jnp.exp(self.log_scale))

    def entropy(self) -> jax.Array:
        """float32[...]."""
        return losses.gaussian_diagonal().entropy(self.mean, jnp.exp(self.log_scale))


Distribution: TypeAlias = Categorical | DiagonalGaussian

HUGE = 1e30  # bounds from here on count as none: some specs write the largest float for no bound


def is_discrete(agent: str, action_spec: Any) -> bool:
    """Whether an environment's action is discrete; False if it is one vector of floats.

    Raises: ValueError that names the agent where the action is anything else.
    """
    if isinstance(action_spec, specs.DiscreteArray):
        return True
    if (
        isinstance(action_spec, specs.Array)
        and len(action_spec.shape) == 1
        and np.issubdtype(action_spec.dtype, np.floating)
    ):
        return False
    raise ValueError(
        f'{agent} needs a discrete action (a DiscreteArray) or a vector of floats (an Array of '
        f'shape [D]), got {action_spec!r}.'
    )


def warn_of_huge_bounds(agent: str, action_spec: Any) -> None:
    """Warns that an agent ignores the bounds of a vector of floats, where they are finite but huge."""
    bounds = getattr(action_spec, 'minimum', 0.0), getattr(action_spec, 'maximum', 0.0)
    if any(np.any(np.isfinite(bound) & (np.abs(bound) >= HUGE)) for bound in bounds):
        warnings.warn(
            f'{agent} takes bounds of {HUGE:g} and more for none: in such a dimension of {action_spec!r} '
            f'the unit of its actions is 1.',
            stacklevel=2,
        )


def to_action(action_spec: Any, drawn: Array) -> Array:
    """Turns draws of a policy into actions of the environment.

    Args:
        action_spec: of the environment.
        drawn: of a Categorical, int32[...]; or of a DiagonalGaussian, float32[..., D] in units of the
            box, clipped to it. Without bounds, or where they are infinite or `HUGE`, the unit is 1.
    """
    if not isinstance(action_spec, specs.BoundedArray) or isinstance(
        action_spec, specs.DiscreteArray
    ):
        return drawn
    with np.errstate(over='ignore'):
        low, high = (
            np.broadcast_to(np.asarray(bound, np.float32), drawn.shape)
            for bound in (action_spec.minimum, action_spec.maximum)
        )
    bounded = (np.abs(low) < HUGE) & (np.abs(high) < HUGE)
    lower, upper = (0.5 * np.where(bounded, bound, 0).astype(np.float32) for bound in (low, high))
    middle = lower + upper
    half = np.where(bounded, upper - lower, 1).astype(np.float32)
    return jnp.clip(middle + half * drawn, low, high)
