"""Chains of states, for exploration and hierarchy."""

from typing import Annotated
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import functional
from culmen.components.environments import rendering
from culmen.core.checks import Range
from culmen.core.specs import EnvironmentSpec

LENGTH = 6
SMALL, LARGE = 0.01, 1.0  # the reward at the left end without and with a visit to the right one


class ChainState(NamedTuple):
    """Where the agent is, and whether it has been at the right end."""

    position: jax.Array  # int32[]: 0 to 5
    visited: jax.Array  # bool[]


def six_states(
    *, show_visited: bool = False, max_steps: Annotated[int, Range(1)] = 1000
) -> functional.Functional:
    """Six states, and a reward that remembers: Kulkarni et al. 2016 (h-DQN, 1604.06057), section 4.1.

    Each episode begins in the second state and is over in the first, where the reward is 1 if the sixth was
    visited and 0.01 if not. Action 0 goes left; action 1 goes right half of the time, and left otherwise.

    Args:
        show_visited: whether the observation says that the sixth state was visited: float32[7], with a flag
            after the state, which is one-hot; False: float32[6], as in the paper.
        max_steps: steps after which an episode is truncated.
    """

    def observe(state: ChainState) -> jax.Array:
        place = jax.nn.one_hot(state.position, LENGTH, dtype=jnp.float32)
        if not show_visited:
            return place
        return jnp.concatenate([place, state.visited.astype(jnp.float32)[None]])

    def begin(key: jax.Array) -> tuple[tuple[ChainState, jax.Array], jax.Array]:
        del key
        state = ChainState(jnp.int32(1), jnp.bool_(False))
        return (state, jnp.int32(0)), observe(state)

    def advance(
        key: jax.Array, held: tuple[ChainState, jax.Array], action: jax.Array
    ) -> tuple[tuple[ChainState, jax.Array], functional.Outcome]:
        state, steps = held
        right = (action == 1) & jax.random.bernoulli(key)
        position = jnp.clip(state.position + jnp.where(right, 1, -1), 0, LENGTH - 1)
        state = ChainState(position, state.visited | (position == LENGTH - 1))
        home = position == 0
        reward = jnp.where(home, jnp.where(state.visited, LARGE, SMALL), 0.0)
        outcome = functional.Outcome(observe(state), reward, home, steps + 1 >= max_steps)
        return (state, steps + 1), outcome

    def render(held: tuple[ChainState, jax.Array]) -> np.ndarray[Any, Any]:
        """The states in a row: the agent red, the sixth green once it was visited."""
        picture = np.full((1, LENGTH, 3), 235, np.uint8)
        if held[0].visited:
            picture[0, LENGTH - 1] = 60, 180, 75
        picture[0, int(held[0].position)] = 220, 50, 50
        return rendering.enlarge(picture, 40)

    spec = EnvironmentSpec(
        observation=specs.BoundedArray((LENGTH + show_visited,), np.float32, 0, 1, 'state'),
        action=specs.DiscreteArray(2, np.int32, 'action'),
        reward=functional.REWARD,
        discount=functional.DISCOUNT,
    )
    return functional.Functional(spec, begin, advance, render)
