"""The choices of an action in a row, a branch each: Tavakoli et al. 2018 (1711.08946). And their network."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs
from numpy.typing import NDArray

from culmen.components.networks.action_kinds import check_reward
from culmen.components.networks.action_kinds import is_choice
from culmen.components.networks.action_kinds import refusal
from culmen.components.networks.base import Network
from culmen.components.networks.base import make_network
from culmen.components.networks.heads import BranchingHead
from culmen.components.networks.leaf_actions import LeafActions
from culmen.components.networks.torsos import make_torso
from culmen.core.actions import allowed_choices
from culmen.core.actions import check_legal_actions
from culmen.core.actions import choices
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import without_legal_actions
from culmen.core.types import Array
from culmen.core.types import Nest


class Branches(NamedTuple):
    """The choices of an action in a row: D branches; the largest has V values."""

    spec: EnvironmentSpec
    leaves: tuple[LeafActions, ...]  # of the action
    num_values: NDArray[np.int64]  # [D]

    @property
    def exist(self) -> NDArray[np.bool_]:
        """bool[D, V]: which values a branch has."""
        return np.asarray(np.arange(self.num_values.max()) < self.num_values[:, None])

    def to_values(self, action: Nest) -> jax.Array:
        """Actions, leaves [B, ...] -> int32[B, D], the numbers of the values that they take."""
        given = jax.tree_util.tree_structure(self.spec.action).flatten_up_to(action)
        drawn = [leaf.to_draw(each) for leaf, each in zip(self.leaves, given, strict=True)]
        return jnp.concatenate([jnp.reshape(each, (len(each), -1)) for each in drawn], axis=1)

    def to_action(self, values: Array) -> Nest:
        """int32[B, D] -> actions, leaves [B, ...]."""
        sizes = [max(int(np.prod(leaf.spec.shape)), 1) for leaf in self.leaves]
        parts = jnp.split(jnp.asarray(values), np.cumsum(sizes)[:-1], axis=1)
        actions = [
            leaf.to_action(part if leaf.spec.shape else part[:, 0])
            for leaf, part in zip(self.leaves, parts, strict=True)
        ]
        return jax.tree_util.tree_structure(self.spec.action).unflatten(actions)

    def allowed(self, observation: Nest) -> Array:
        """bool[B, D, V]: the legal values of each branch; bool[1, D, V] where the observation masks none."""
        largest = int(self.num_values.max())
        parts = []
        for leaf, mask in zip(self.leaves, allowed_choices(self.spec.action, observation)):
            found = choices(leaf.spec)
            assert found is not None
            mask = found.exist[None] if mask is None else mask
            flat = jnp.reshape(mask, (len(mask), -1, found.largest))
            parts.append(jnp.pad(flat, ((0, 0), (0, 0), (0, largest - found.largest))))
        lanes = max(len(part) for part in parts)
        parts = [jnp.broadcast_to(part, (lanes, *part.shape[1:])) for part in parts]
        return jnp.concatenate(parts, axis=1)

    def mask_illegal(self, values: Array, observation: Nest) -> jax.Array:
        """Action values float32[B, D, V] with the least float at values that are not legal, or not there."""
        values = jnp.asarray(values)
        return jnp.where(self.allowed(observation), values, jnp.finfo(values.dtype).min)

    def mean(self, values: Array) -> jax.Array:
        """float32[]: the mean of action values float32[B, D, V] over those that are there."""
        return jnp.mean(jnp.asarray(values), where=self.exist[None])


def make_branches(agent: str, spec: EnvironmentSpec) -> Branches | None:
    """The branches of an environment's action; None where it is a lone choice, a DiscreteArray.

    Raises: ValueError that names the agent where a leaf of the action offers no choices, or where there is
        not one reward; or the mask of legal actions that does not fit.
    """
    leaves = jax.tree_util.tree_leaves(spec.action)
    if not leaves or not all(is_choice(leaf) for leaf in leaves):
        wanted = (
            'a discrete action (a DiscreteArray, a BoundedArray of integers, an array of bools, or a nest '
            'of them)'
        )
        raise refusal(agent, wanted, spec.action)
    check_reward(agent, spec)
    check_legal_actions(spec)
    if isinstance(spec.action, specs.DiscreteArray):
        return None
    found = [choices(leaf) for leaf in leaves]
    num_values = np.concatenate([each.num_values.ravel() for each in found if each is not None])
    parts = tuple(LeafActions(leaf, each, None) for leaf, each in zip(leaves, found))
    return Branches(spec, parts, num_values)


def make_branching_network(
    branches: Branches, hidden_sizes: Sequence[int] = (64, 64), dueling: bool = False
) -> Network:
    """A network of action values of each branch, with a torso that fits the observation and that all share.

    Args:
        branches: of the action.
        hidden_sizes: of the MLP, where the observation is no image.
        dueling: whether the head splits the state value, which the branches share, and their advantages.
    Returns: a network: observation [B, ...] -> float32[B, D, V], the least float where a branch has no value.
    """
    spec, num_values = branches.spec, branches.num_values.tolist()

    def forward(observation: Nest) -> jax.Array:
        torso = make_torso(without_legal_actions(spec.observation), hidden_sizes)
        features = torso(without_legal_actions(observation))
        return BranchingHead(num_values, features.shape[-1] if dueling else None)(features)

    return make_network(forward, spec)
