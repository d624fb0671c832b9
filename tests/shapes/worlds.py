"""Small worlds, written in JAX, in which the agents of tests/shapes learn within some hundred steps."""

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import functional
from culmen.core.specs import EnvironmentSpec

NUM_SIGNS = 3
LENGTH = 4  # steps of an episode of signs
SHORTEST, LONGEST = 2, 6  # of uneven signs


def spec(observation: specs.Array, action: specs.Array) -> EnvironmentSpec:
    """Specs with one reward and one discount."""
    return EnvironmentSpec(observation, action, functional.REWARD, functional.DISCOUNT)


def _signs(shortest: int, longest: int) -> functional.Functional:
    def observe(sign: jax.Array) -> jax.Array:
        return jax.nn.one_hot(sign, NUM_SIGNS)

    def begin(key: jax.Array) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array]:
        sign = jax.random.randint(key, (), 0, NUM_SIGNS)
        length = jax.random.randint(jax.random.fold_in(key, 1), (), shortest, longest + 1)
        return (sign, jnp.int32(0), length), observe(sign)

    def advance(key, state, action):
        (sign, time, length), (shown, _) = state, begin(key)
        reward = (action == sign).astype(jnp.float32)
        after = (shown[0], time + 1, length)
        return after, functional.Outcome(observe(shown[0]), reward, terminated=time + 1 == length)

    return functional.Functional(
        spec(
            specs.BoundedArray((NUM_SIGNS,), np.float32, 0, 1, 'sign'),
            specs.DiscreteArray(NUM_SIGNS, np.int32, 'action'),
        ),
        begin,
        advance,
    )


_SIGNS, _UNEVEN_SIGNS = _signs(LENGTH, LENGTH), _signs(SHORTEST, LONGEST)

NUM_CELLS = 6


def _line() -> functional.Functional:
    def observe(cell: jax.Array) -> jax.Array:
        return jax.nn.one_hot(cell, NUM_CELLS)

    def begin(key: jax.Array) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array]:
        cell = jax.random.randint(key, (), 0, 2)
        return (cell, jnp.int32(0), jax.random.key_data(key)), observe(cell)

    def advance(key, state, action):
        cell, time, drawn = state
        cell = jnp.clip(cell + jnp.where(action == 1, 1, -1), 0, NUM_CELLS - 1)
        there = cell == NUM_CELLS - 1
        outcome = functional.Outcome(
            observe(cell), there.astype(jnp.float32), terminated=there, truncated=time + 1 == 20
        )
        return (cell, time + 1, drawn), outcome

    return functional.Functional(
        spec(
            specs.BoundedArray((NUM_CELLS,), np.float32, 0, 1, 'cell'),
            specs.DiscreteArray(2, np.int32, 'action'),
        ),
        begin,
        advance,
    )


_LINE = _line()


def signs(seed: int) -> dm_env.Environment:
    """Shows one of three signs at random, four times an episode; the action of its number earns 1.

    The best return is 4, that of random actions 4 / 3.
    """
    return functional.DmEnvironment(_SIGNS, seed)


def uneven_signs(seed: int) -> dm_env.Environment:
    """Signs in episodes of two to six steps, at random: the best return is 4 on average, as of `signs`."""
    return functional.DmEnvironment(_UNEVEN_SIGNS, seed)


def line(seed: int) -> dm_env.Environment:
    """Six cells in a row, begun at the left end; the right end earns 1 and ends the episode.

    Its state holds a key, which it does not need. Four or five steps lead there, of twenty that there are.
    The best return is 1, that of going left 0.
    """
    return functional.DmEnvironment(_LINE, seed)


def _paying(right: int) -> functional.Functional:
    def begin(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.int32(0), jnp.ones(1)

    def advance(key, earned, action):
        earned = (action == right).astype(jnp.int32)
        return earned, functional.Outcome(jnp.ones(1), earned, terminated=True)

    return functional.Functional(
        spec(
            specs.Array((1,), np.float32, 'observation'), specs.DiscreteArray(2, np.int32, 'action')
        ),
        begin,
        advance,
        measure=lambda earned: {'right': earned == 1},
    )


_PAYING = tuple(map(_paying, (0, 1)))


def pays_zero(seed: int) -> dm_env.Environment:
    """One step, in which action 0 earns 1; the observation says nothing. Its number is `right`."""
    return functional.DmEnvironment(_PAYING[0], seed)


def pays_one(seed: int) -> dm_env.Environment:
    """The same with action 1. No policy that takes both for one earns more than 0.5 on average."""
    return functional.DmEnvironment(_PAYING[1], seed)
