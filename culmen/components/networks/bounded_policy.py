"""A policy over choices and bounded boxes, whose draws follow from the actions: recordings can teach it.

A box has a tanh-Gaussian in canonical units (`action_box`), so every draw is within the bounds, and every
action within them has a draw.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax

from culmen.components.networks.action_box import leaf_box
from culmen.components.networks.action_kinds import check_actions
from culmen.components.networks.base import Network
from culmen.components.networks.base import make_network
from culmen.components.networks.distributions import Categorical
from culmen.components.networks.distributions import Distribution
from culmen.components.networks.heads import ValueHead
from culmen.components.networks.leaf_actions import LeafActions
from culmen.components.networks.policy_heads import Head
from culmen.components.networks.policy_heads import make_policy_head
from culmen.components.networks.policy_heads import only_legal
from culmen.components.networks.tanh_gaussian import TanhGaussianHead
from culmen.components.networks.torsos import make_torso
from culmen.core.actions import choices
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import without_legal_actions
from culmen.core.types import Nest


class BoundedPolicy(NamedTuple):
    """A network that gives distributions over draws, and what actions these are."""

    network: Network  # (params, observation [B, ...]) -> Distribution
    leaves: tuple[LeafActions, ...]  # of the action
    structure: jax.tree_util.PyTreeDef  # of the action

    def to_draw(self, action: Nest) -> Nest:
        """The draws that are actions, leaves [B, ...]."""
        given = self.structure.flatten_up_to(action)
        return self.structure.unflatten(
            [leaf.to_draw(each) for leaf, each in zip(self.leaves, given)]
        )

    def to_action(self, drawn: Nest) -> Nest:
        """The actions that draws are, leaves [B, ...]."""
        given = self.structure.flatten_up_to(drawn)
        return self.structure.unflatten(
            [leaf.to_action(each) for leaf, each in zip(self.leaves, given)]
        )

    @property
    def is_continuous(self) -> bool:
        """Whether the action consists of boxes alone."""
        return all(leaf.choices is None for leaf in self.leaves)


def make_bounded_policy(
    agent: str, spec: EnvironmentSpec, hidden_sizes: Sequence[int] = (64, 64)
) -> BoundedPolicy:
    """A policy with a torso that fits the observation.

    One choice has the head of action values (`ValueHead`), whose outputs are the logits.

    Args:
        agent: its name, for errors.
        spec: of the environment; illegal values have no probability.
        hidden_sizes: of the MLP, where the observation is no image.
    Raises: ValueError that names the agent where a leaf offers no choices and is no box within finite bounds.
    """
    check_actions(agent, spec)
    leaves, structure = jax.tree_util.tree_flatten(spec.action)
    found = [choices(leaf) for leaf in leaves]
    actions = tuple(
        LeafActions(leaf, each, leaf_box(agent, leaf, spec.action) if each is None else None)
        for leaf, each in zip(leaves, found)
    )

    def forward(observation: Nest) -> Distribution:
        torso = make_torso(without_legal_actions(spec.observation), hidden_sizes)
        head = make_policy_head(spec.action, TanhGaussianHead, _value_head)
        policy = head(torso(without_legal_actions(observation)))
        return only_legal(policy, spec.action, observation)

    return BoundedPolicy(make_network(forward, spec), actions, structure)


def _value_head(num_values: int) -> Head:
    head = ValueHead(num_values)
    return lambda features: Categorical(head(features))
