"""Which actions an agent takes, and which of Culmen's agents take those that it does not.

`build` of an agent calls these checks, so that a refusal comes before anything runs.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from dm_env import specs

from culmen.core.actions import check_legal_actions
from culmen.core.actions import choices
from culmen.core.specs import EnvironmentSpec

HUGE = 1e30  # bounds from here on count as none: some specs write the largest float for no bound


def is_box(leaf: specs.Array) -> bool:
    """Whether a leaf of an action is an array of floats."""
    return bool(np.issubdtype(leaf.dtype, np.floating))


def is_bounded_box(leaf: specs.Array) -> bool:
    """Whether a leaf is an array of floats within finite bounds, the minimum below the maximum."""
    return (
        is_box(leaf)
        and isinstance(leaf, specs.BoundedArray)
        and bool(np.all(np.isfinite(leaf.minimum) & np.isfinite(leaf.maximum)))
        and bool(np.all(np.less(leaf.minimum, leaf.maximum)))
    )


def is_choice(leaf: specs.Array) -> bool:
    """Whether a leaf is one choice or an array of choices."""
    return choices(leaf) is not None


def _every(*kinds: Callable[[specs.Array], bool]) -> Callable[[Any], bool]:
    """Takes nests of one leaf or more, each of one of these kinds."""

    def takes(action_spec: Any) -> bool:
        leaves = jax.tree_util.tree_leaves(action_spec)
        return bool(leaves) and all(any(is_kind(leaf) for is_kind in kinds) for leaf in leaves)

    return takes


def _lone(is_kind: Callable[[specs.Array], bool]) -> Callable[[Any], bool]:
    """Takes one leaf of a kind."""
    return lambda action_spec: isinstance(action_spec, specs.Array) and is_kind(action_spec)


_one_choice = _lone(lambda leaf: isinstance(leaf, specs.DiscreteArray))
_choice_or_box = _lone(lambda leaf: isinstance(leaf, specs.DiscreteArray) or is_bounded_box(leaf))

# What each agent takes. A refusal names those that take what is refused.
_TAKES: dict[str, Callable[[Any], bool]] = {
    'a2c': _every(is_choice, is_box),
    'ape_x': _one_choice,
    'bc': _every(is_choice, is_bounded_box),
    'c51': _one_choice,
    'crossq': _lone(is_bounded_box),
    'd4pg': _lone(is_bounded_box),
    'ddpg': _lone(is_bounded_box),
    'dmpo': _choice_or_box,
    'dqn': _every(is_choice),
    'impala': _every(is_choice, is_box),
    'iqn': _one_choice,
    'mpo': _choice_or_box,
    'ppo': _every(is_choice, is_box),
    'pqn': _one_choice,
    'qr_dqn': _one_choice,
    'r2d2': _one_choice,
    'rainbow': _one_choice,
    'reinforce': _every(is_choice, is_box),
    'sac': _choice_or_box,
    'td3': _lone(is_bounded_box),
    'wpo': _lone(is_bounded_box),
    'vmpo': _every(is_choice, is_box),
}


def takers(action_spec: Any) -> list[str]:
    """The names of Culmen's agents that take such actions."""
    return [name for name, takes in _TAKES.items() if takes(action_spec)]


def refusal(agent: str, wanted: str, action_spec: Any) -> ValueError:
    """The error of an agent that does not take an environment's actions.

    Args:
        agent: its name.
        wanted: what it takes.
        action_spec: of the environment.
    """
    others = ', '.join(takers(action_spec))
    return ValueError(
        f'{agent} needs {wanted}, got {action_spec!r}. '
        + (f'Agents that take it: {others}.' if others else 'No agent of Culmen takes it.')
    )


def check_reward(agent: str, spec: EnvironmentSpec) -> None:
    """Checks the reward of an agent that seeks one: players, for example, have one each.

    Raises: ValueError that names the agent and the reward.
    """
    if getattr(spec.reward, 'shape', None) != ():
        raise ValueError(f'{agent} needs one reward, float32[], got {spec.reward!r}.')


def check_actions(agent: str, spec: EnvironmentSpec) -> None:
    """Checks the actions of an agent that takes choices and boxes, and nests of them.

    Raises: ValueError that names the agent where a leaf is neither; or that names the mask of legal actions
        that does not fit.
    """
    if not _every(is_choice, is_box)(spec.action):
        raise refusal(
            agent,
            'actions of choices (a DiscreteArray, a BoundedArray of integers, an array of bools) and boxes '
            '(an Array of floats), or a nest of them',
            spec.action,
        )
    check_legal_actions(spec)


def warn_of_huge_bounds(agent: str, action_spec: Any) -> None:
    """Warns that an agent ignores the bounds of a box, where they are finite but huge."""
    for leaf in filter(is_box, jax.tree_util.tree_leaves(action_spec)):
        bounds = getattr(leaf, 'minimum', 0.0), getattr(leaf, 'maximum', 0.0)
        if any(np.any(np.isfinite(bound) & (np.abs(bound) >= HUGE)) for bound in bounds):
            warnings.warn(
                f'{agent} takes bounds of {HUGE:g} and more for none: in such a dimension of {leaf!r} '
                f'the unit of its actions is 1.',
                stacklevel=2,
            )
