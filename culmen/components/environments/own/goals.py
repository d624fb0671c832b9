"""Bits to flip until they are those of a goal."""

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
from culmen.core.goals import Goals
from culmen.core.specs import EnvironmentSpec


class BitState(NamedTuple):
    """The bits, the goal, and the steps made."""

    bits: jax.Array  # float32[n], 0 or 1
    goal: jax.Array  # float32[n]
    steps: jax.Array  # int32[]


def bit_flip(
    *,
    bits: Annotated[int, Range(1, 30)] = 8,
    max_steps: Annotated[int | None, Range(1)] = None,
) -> functional.Functional:
    """Bits to flip until they are a goal's: Andrychowicz et al. 2017 (1707.01495), section 3.1.

    An action flips one bit. The reward is -1, and 0 at the goal, where the episode is over. Bits and goal are
    drawn each episode and differ at first. The observation has the fields `observation`, `achieved_goal` (the
    same bits) and `desired_goal`, float32[bits].

    Args:
        bits: how many there are; also the number of actions.
        max_steps: steps after which an episode is truncated; None: as many as bits, as in the paper.
    """
    longest = bits if max_steps is None else max_steps

    def reached(achieved: jax.Array, desired: jax.Array) -> jax.Array:
        return jnp.all(achieved == desired, axis=-1)

    def reward(achieved: jax.Array, desired: jax.Array) -> jax.Array:
        return reached(achieved, desired).astype(jnp.float32) - 1.0

    def observe(state: BitState) -> dict[str, jax.Array]:
        return {
            'observation': state.bits,
            'achieved_goal': state.bits,
            'desired_goal': state.goal,
        }

    def begin(key: jax.Array) -> tuple[BitState, dict[str, jax.Array]]:
        of_bits, of_goal = jax.random.split(key)
        first = jax.random.bernoulli(of_bits, shape=(bits,))
        # Which bits differ: any set of them but the empty one.
        differ = (jax.random.randint(of_goal, (), 1, 2**bits) >> jnp.arange(bits)) & 1
        goal = first ^ (differ == 1)
        state = BitState(first.astype(jnp.float32), goal.astype(jnp.float32), jnp.int32(0))
        return state, observe(state)

    def advance(
        key: jax.Array, state: BitState, action: jax.Array
    ) -> tuple[BitState, functional.Outcome]:
        del key
        flipped = jnp.where(jnp.arange(bits) == action, 1.0 - state.bits, state.bits)
        state = BitState(flipped, state.goal, state.steps + 1)
        over = reached(state.bits, state.goal)
        outcome = functional.Outcome(
            observe(state), reward(state.bits, state.goal), over, state.steps >= longest
        )
        return state, outcome

    def render(state: BitState) -> np.ndarray[Any, Any]:
        """The bits above those of the goal."""
        colours = np.array([(235, 235, 235), (50, 90, 220)], np.uint8)
        return rendering.enlarge(colours[np.stack([state.bits, state.goal]).astype(int)])

    bit = specs.BoundedArray((bits,), np.float32, 0, 1)
    spec = EnvironmentSpec(
        observation={'observation': bit, 'achieved_goal': bit, 'desired_goal': bit},
        action=specs.DiscreteArray(bits, np.int32, 'bit'),
        reward=functional.REWARD,
        discount=functional.DISCOUNT,
        goals=Goals(reward, reached, ends=True),
    )
    return functional.Functional(spec, begin, advance, render)
