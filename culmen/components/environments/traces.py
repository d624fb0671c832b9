"""What an environment did while it was checked: time steps compared with others, and with its goals."""

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from culmen.core.goals import ACHIEVED
from culmen.core.goals import DESIRED
from culmen.core.goals import Goals
from culmen.core.specs import leaf_paths


def difference(a: dm_env.TimeStep, b: dm_env.TimeStep) -> str | None:
    """The path of the first leaf in which two time steps differ, or None."""
    for name in dm_env.TimeStep._fields:
        one, other = (leaf_paths(getattr(each, name), name) for each in (a, b))
        if [path for path, _ in one] != [path for path, _ in other]:
            return name
        for (path, left), (_, right) in zip(one, other):
            if not same(left, right):
                return path
    return None


def same(a: Any, b: Any) -> bool:
    """Equal bits; NaN equals NaN."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def goal_problems(
    goals: Goals | None, timesteps: Sequence[dm_env.TimeStep]
) -> Iterator[tuple[str, str]]:
    """Where rewards and ends are not those that the goals give, as (kind, text).

    Rewards may differ by the rounding of float32, in which the functions of goals compute.

    Args: timesteps: of one environment, in order, with the fields of goals.
    """
    steps = [
        (number, timestep) for number, timestep in enumerate(timesteps) if not timestep.first()
    ]
    if goals is None or not steps:
        return
    achieved, desired = (
        jax.tree_util.tree_map(
            lambda *leaves: jnp.asarray(np.stack(leaves)),
            *(timestep.observation[name] for _, timestep in steps),
        )
        for name in (ACHIEVED, DESIRED)
    )
    rewards = np.asarray(goals.reward(achieved, desired))
    reached = np.asarray(goals.reached(achieved, desired))
    for (number, timestep), reward, is_reached in zip(steps, rewards, reached, strict=True):
        if not np.allclose(reward, timestep.reward, rtol=1e-4, atol=1e-5):
            yield (
                'goals.reward',
                f'step {number}: goals.reward gives {reward} for the goals of this observation, the '
                f'step had the reward {timestep.reward}',
            )
        if goals.ends and is_reached and np.any(timestep.discount):
            yield (
                'goals.ends',
                f'step {number}: the goal is reached and goals.ends is True, but the discount is '
                f'{timestep.discount}',
            )
