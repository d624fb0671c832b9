"""The leaves of an action, between actions of the environment and what networks and policies count in."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.networks.action_box import ActionBox
from culmen.components.networks.policy_heads import choices_to_action
from culmen.core.actions import Choices
from culmen.core.types import Array


class LeafActions(NamedTuple):
    """A leaf of an action, between actions [B, *shape] and draws: int32[B], int32[B, N] or float32[B, D]."""

    spec: specs.Array
    choices: Choices | None
    box: ActionBox | None  # if it offers no choices

    def to_draw(self, action: Array) -> jax.Array:
        """The draw that is an action."""
        if self.box is not None:
            return self.box.to_canonical(action)
        action, minimum = jnp.asarray(action), self.choices.minimum  # type: ignore[union-attr]
        if minimum.any():
            action = action - minimum[None].astype(np.int32)
        drawn = action.astype(jnp.int32)
        return jnp.reshape(drawn, (drawn.shape[0], -1)) if self.spec.shape else drawn

    def to_action(self, drawn: Array) -> jax.Array:
        """The action that a draw is."""
        if self.box is not None:
            return self.box.from_canonical(drawn)
        if isinstance(self.spec, specs.DiscreteArray):
            return jnp.asarray(drawn)
        return choices_to_action(self.spec, self.choices.minimum, drawn)  # type: ignore[union-attr]
