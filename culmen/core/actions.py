"""What an action may be: a nest of leaves, and which values of its discrete leaves are legal.

A leaf of an action's spec is read as

- one choice: a `DiscreteArray`;
- an array of choices: a `BoundedArray` of integers, or an array of bools. Each entry is a choice by itself,
  from its minimum to its maximum (of bools: False or True);
- a box: an array of floats.

An action of several leaves takes them all at once, and its parts have the names of the leaves' paths. Nothing
here knows an agent.
"""

from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs
from numpy.typing import NDArray

from culmen.core.errors import SettingError
from culmen.core.players import players
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import conform
from culmen.core.specs import leaf_paths
from culmen.core.specs import legal_actions
from culmen.core.types import Array
from culmen.core.types import Nest

# One choice; several choices; boxes of floats; choices beside boxes.
ActionKind = Literal['discrete', 'multi_discrete', 'continuous', 'hybrid']
MAX_VALUES = 2**16  # of one choice: agents have a number for each
_INT32 = np.iinfo(np.int32)


class Choices(NamedTuple):
    """The values that the entries of a discrete leaf may take, counted from their minimum."""

    minimum: NDArray[np.int64]  # [*shape]
    num_values: NDArray[np.int64]  # [*shape]: from 1

    @property
    def largest(self) -> int:
        """The number of values of the entry that has most: V."""
        return int(self.num_values.max())

    @property
    def exist(self) -> NDArray[np.bool_]:
        """bool[*shape, V]: which values an entry has."""
        return np.asarray(np.arange(self.largest) < self.num_values[..., None])


def choices(leaf: specs.Array) -> Choices | None:
    """The choices of a leaf of an action's spec.

    Returns: None for floats, for integers without bounds, beyond int32 or with more than `MAX_VALUES` values,
    and for arrays without entries.
    """
    if isinstance(leaf, specs.DiscreteArray):
        return Choices(np.zeros((), np.int64), np.asarray(leaf.num_values, np.int64))
    if leaf.dtype == bool:
        low, high = np.zeros(leaf.shape, np.int64), np.ones(leaf.shape, np.int64)
    elif isinstance(leaf, specs.BoundedArray) and leaf.dtype.kind in 'iu':
        least, most = (
            np.broadcast_to(np.asarray(bound, np.float64), leaf.shape)
            for bound in (leaf.minimum, leaf.maximum)
        )
        if np.any((least < _INT32.min) | (most > _INT32.max) | (most - least >= MAX_VALUES)):
            return None
        low, high = least.astype(np.int64), most.astype(np.int64)
    else:
        return None
    return Choices(low, high - low + 1) if low.size else None


def action_kind(spec: EnvironmentSpec) -> ActionKind | None:
    """What an environment's action is made of, or that of each of its players.

    Returns: None where a leaf is neither a choice nor a box, or where players' actions differ in this.
    """
    kinds = {_kind(spec.action[player]) for player in players(spec)} or {_kind(spec.action)}
    return kinds.pop() if len(kinds) == 1 else None


def _kind(action_spec: Any) -> ActionKind | None:
    leaves = jax.tree_util.tree_leaves(action_spec)
    chosen = [choices(leaf) is not None for leaf in leaves]
    boxes = [bool(np.issubdtype(leaf.dtype, np.floating)) for leaf in leaves]
    if not leaves or not all(c or b for c, b in zip(chosen, boxes)):
        return None
    if all(boxes):
        return 'continuous'
    if any(boxes):
        return 'hybrid'
    return 'discrete' if len(leaves) == 1 and leaves[0].shape == () else 'multi_discrete'


def check_shapes(action_spec: Any, action: Nest, whose: str) -> None:
    """Refuses the action of a policy that is not of the spec: other leaves, shapes, or floats for choices.

    Args:
        action: shapes and dtypes of one lane's.
        whose: names the policy in the error: 'actor'.
    Raises: SettingError that names the leaf, what the spec says and what was given.
    """
    name = f"the {whose}'s action"
    given = jax.tree_util.tree_structure(action_spec).flatten_up_to(
        conform(name, action_spec, action)
    )
    for (path, leaf), value in zip(leaf_paths(action_spec, name), given, strict=True):
        wants_integers = leaf.dtype.kind in 'biu'
        if tuple(value.shape) != tuple(leaf.shape) or (
            wants_integers and not jnp.issubdtype(value.dtype, jnp.integer) and value.dtype != bool
        ):
            raise SettingError(
                f'{path} must be {leaf.dtype}{list(leaf.shape)} as in its spec, '
                f'got {value.dtype}{list(value.shape)}.'
            )


def legal_masks(action_spec: Any, observation: Nest) -> list[Any]:
    """The masks in an observation's `legal_actions`, one for each leaf of an action; None for a leaf without.

    `legal_actions` is a nest: the mask of a leaf of the action, bool[..., *shape, V], has the path of that
    leaf. So the mask of an action that is one leaf is `legal_actions` itself.

    Args: action_spec: a nest. observation: or its spec.
    """
    legal = legal_actions(observation)
    given = {} if legal is None else dict(leaf_paths(legal))
    return [given.get(path) for path, _ in leaf_paths(action_spec)]


def allowed_choices(action_spec: Any, observation: Nest) -> list[Array | None]:
    """`legal_masks`, but all values where none of an entry is legal: a policy has to choose something.

    Returns: for each leaf bool[..., *shape, V], False at values that an entry does not have; None where all
    that there are may be taken, and for boxes.
    """
    leaves = [leaf for _, leaf in leaf_paths(action_spec)]
    return [
        None if mask is None else _allowed(choices(leaf), mask)
        for leaf, mask in zip(leaves, legal_masks(action_spec, observation), strict=True)
    ]


def _allowed(of_leaf: Choices | None, mask: Any) -> Array | None:
    if of_leaf is None:
        return None
    exist = of_leaf.exist
    if exist.all():
        legal = jnp.asarray(mask, bool)
        return legal | ~jnp.any(legal, axis=-1, keepdims=True)
    exist = np.reshape(exist, (1,) * (np.ndim(mask) - exist.ndim) + exist.shape)
    legal = jnp.asarray(mask, bool) & exist
    return legal | (~jnp.any(legal, axis=-1, keepdims=True) & exist)


def check_legal_actions(spec: EnvironmentSpec) -> None:
    """Refuses a mask of legal actions that belongs to no choice, or has another shape.

    Raises: SettingError that names the mask, its shape and what is accepted.
    """
    legal = legal_actions(spec.observation)
    if legal is None:
        return
    wanted = {
        path: (*leaf.shape, found.largest)
        for path, leaf in leaf_paths(spec.action)
        if (found := choices(leaf)) is not None
    }
    for path, leaf in leaf_paths(legal):
        name = 'observation/legal_actions' + (f'/{path}' if path else '')
        if path not in wanted:
            masks = ', '.join(f'{path or "legal_actions itself"}' for path in wanted) or 'none'
            raise SettingError(
                f'{name} must have the path of a discrete leaf of the action ({masks}); the action '
                f'is {spec.action!r}.'
            )
        if tuple(leaf.shape) != wanted[path]:
            raise SettingError(
                f'{name} must have the shape {wanted[path]}, with the values of a choice last, got '
                f'{tuple(leaf.shape)}.'
            )
