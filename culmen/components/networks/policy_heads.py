"""Policies over the actions of an environment: their heads, legal values, and actions of their draws.

Every leaf of an action has a distribution of its own, over its draws (`distributions`):

    one choice                              Categorical      the number of a value, int32[...]
    an array of N choices                   Categoricals     int32[..., N]
    an array of N choices of two values     Bernoulli        int32[..., N]
    a box of D numbers                      what `box_head` gives, float32[..., D] in units of the box

An action of several leaves has the Product of them. `culmen.core.actions` says which leaf is what.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.networks.action_kinds import HUGE
from culmen.components.networks.distributions import Distribution
from culmen.components.networks.distributions import Product
from culmen.components.networks.distributions import is_distribution
from culmen.components.networks.heads import BernoulliHead
from culmen.components.networks.heads import CategoricalHead
from culmen.components.networks.heads import CategoricalsHead
from culmen.core.actions import allowed_choices
from culmen.core.actions import choices
from culmen.core.types import Array
from culmen.core.types import Nest

Head = Callable[[jax.Array], Any]  # features [B, F] -> a distribution with leaves [B, ...]


def make_policy_head(
    action_spec: Any,
    box_head: Callable[[int], Head],
    choice_head: Callable[[int], Head] = CategoricalHead,
) -> Head:
    """The head of a policy over actions; called inside a Haiku transform.

    Args:
        action_spec: a nest.
        box_head: D -> the head of a box of D numbers.
        choice_head: number of values -> the head of one choice, which gives a Categorical.
    """
    leaves, structure = jax.tree_util.tree_flatten(action_spec)
    heads = [_head_of(leaf, box_head, choice_head) for leaf in leaves]
    if jax.tree_util.treedef_is_leaf(structure):
        return heads[0]
    return lambda features: Product(structure.unflatten([head(features) for head in heads]))


def _head_of(
    leaf: specs.Array, box_head: Callable[[int], Head], choice_head: Callable[[int], Head]
) -> Head:
    found = choices(leaf)
    if found is None:
        return box_head(math.prod(leaf.shape))
    if not leaf.shape:
        return choice_head(found.largest)
    num_values = found.num_values.ravel()
    if (num_values == 2).all():
        return BernoulliHead(len(num_values))
    return CategoricalsHead(num_values.tolist())


def only_legal(policy: Distribution, action_spec: Any, observation: Nest) -> Distribution:
    """A policy without the values that `legal_actions` of the observation forbids.

    Args:
        policy: over the actions of the spec, leaves [B, ...].
        observation: leaves [B, ...].
    """
    allowed = allowed_choices(action_spec, observation)
    if all(mask is None for mask in allowed):
        return policy
    parts, structure = jax.tree_util.tree_flatten(policy, is_leaf=is_distribution)
    masked = [
        part if mask is None else part.only(_by_choice(mask)) for part, mask in zip(parts, allowed)
    ]
    return structure.unflatten(masked)


def _by_choice(mask: Array) -> Array:
    """bool[B, V] as it is; bool[B, *shape, V] -> [B, N, V]."""
    return mask if mask.ndim < 3 else jnp.reshape(mask, (mask.shape[0], -1, mask.shape[-1]))


def to_action(action_spec: Any, drawn: Nest) -> Nest:
    """Turns draws of a policy into actions of the environment.

    Args:
        action_spec: of the environment, a nest.
        drawn: leaves [B, ...]. Numbers in units of a box are clipped to it. Without bounds, or where they
            are infinite or `HUGE`, the unit is 1.
    """
    return jax.tree_util.tree_map(_to_leaf, action_spec, drawn)


def _to_leaf(leaf: specs.Array, drawn: Array) -> Array:
    if isinstance(leaf, specs.DiscreteArray):
        return drawn
    found = choices(leaf)
    if found is not None:
        return choices_to_action(leaf, found.minimum, drawn)
    if len(leaf.shape) != 1:
        drawn = jnp.reshape(drawn, (*drawn.shape[:-1], *leaf.shape))
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
    if not isinstance(leaf, specs.BoundedArray):
        return drawn.astype(dtype)
    with np.errstate(over='ignore'):
        low, high = (
            np.broadcast_to(np.asarray(bound, np.float32), drawn.shape)
            for bound in (leaf.minimum, leaf.maximum)
        )
    bounded = (np.abs(low) < HUGE) & (np.abs(high) < HUGE)
    lower, upper = (0.5 * np.where(bounded, bound, 0).astype(np.float32) for bound in (low, high))
    middle = lower + upper
    half = np.where(bounded, upper - lower, 1).astype(np.float32)
    return jnp.clip(middle + half * drawn, low, high).astype(dtype)


def choices_to_action(leaf: specs.Array, minimum: Array, drawn: Array) -> jax.Array:
    """The numbers of values, int32[B, N] or int32[B], as the array of choices [B, *shape] of a spec."""
    values = jnp.reshape(drawn, (drawn.shape[0], *leaf.shape)).astype(jnp.int32)
    if minimum.any():
        values = values + minimum[None].astype(np.int32)
    return values.astype(jax.dtypes.canonicalize_dtype(leaf.dtype))


def draws_are_actions(action_spec: Any) -> bool:
    """Whether a policy's draws are the actions themselves, so that its log-probabilities are of actions."""

    def is_same(leaf: specs.Array) -> bool:
        found = choices(leaf)
        return found is not None and len(leaf.shape) < 2 and not found.minimum.any()

    return all(is_same(leaf) for leaf in jax.tree_util.tree_leaves(action_spec))
