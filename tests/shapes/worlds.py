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


def spec(observation: specs.Array, action: specs.Array) -> EnvironmentSpec:
    """Specs with one reward and one discount."""
    return EnvironmentSpec(observation, action, functional.REWARD, functional.DISCOUNT)


def _signs() -> functional.Functional:
    def observe(sign: jax.Array) -> jax.Array:
        return jax.nn.one_hot(sign, NUM_SIGNS)

    def begin(key: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        sign = jax.random.randint(key, (), 0, NUM_SIGNS)
        return (sign, jnp.int32(0)), observe(sign)

    def advance(key, state, action):
        (sign, time), (shown, _) = state, begin(key)
        reward = (action == sign).astype(jnp.float32)
        after = (shown[0], time + 1)
        return after, functional.Outcome(observe(shown[0]), reward, terminated=time + 1 == LENGTH)

    return functional.Functional(
        spec(
            specs.BoundedArray((NUM_SIGNS,), np.float32, 0, 1, 'sign'),
            specs.DiscreteArray(NUM_SIGNS, np.int32, 'action'),
        ),
        begin,
        advance,
    )


_SIGNS = _signs()


def signs(seed: int) -> dm_env.Environment:
    """Shows one of three signs at random, four times an episode; the action of its number earns 1.

    The best return is 4, that of random actions 4 / 3.
    """
    return functional.DmEnvironment(_SIGNS, seed)
