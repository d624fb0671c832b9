"""Small worlds, written in JAX, whose actions have several parts."""

from typing import Any

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import functional
from culmen.core.actions import choices
from culmen.core.specs import leaf_paths
from tests.shapes.worlds import LENGTH
from tests.shapes.worlds import NUM_SIGNS
from tests.shapes.worlds import spec


def _matching(action: Any, masked: str | None = None) -> functional.Functional:
    """Signs whose right action has several parts; each part earns by itself, and all together 1 a step.

    Entry i of a leaf of choices should take value (sign + i) modulo its number of values, counted from its
    minimum; numbers of a box should be at 1/4, 1/2 or 3/4 of it. In the part that is `masked` the value after
    the right one is forbidden, and costs 10.
    """
    leaves = leaf_paths(action)
    num_parts = sum(int(np.prod(leaf.shape)) for _, leaf in leaves)

    def right(leaf: specs.Array, sign: jax.Array) -> jax.Array:
        found = choices(leaf)
        if found is None:
            width = leaf.maximum - leaf.minimum
            share = 0.25 * (sign.astype(jnp.float32) + 1)
            return jnp.broadcast_to(leaf.minimum + share * width, leaf.shape)
        entries = np.arange(found.minimum.size).reshape(leaf.shape)
        return (sign + entries) % found.num_values

    def earned(leaf: specs.Array, given: jax.Array, sign: jax.Array) -> jax.Array:
        found, wanted = choices(leaf), right(leaf, sign)
        if found is None:
            off = jnp.abs(given - wanted) / (leaf.maximum - leaf.minimum)
            return jnp.sum(1 - jnp.minimum(4 * off, 1))
        return jnp.sum((given - found.minimum == wanted).astype(jnp.float32))

    def observe(sign: jax.Array) -> Any:
        shown = jax.nn.one_hot(sign, NUM_SIGNS)
        if masked is None:
            return shown
        [mask] = [
            jnp.arange(leaf.num_values) != forbidden(leaf, sign)
            for path, leaf in leaves
            if path == masked
        ]
        return {'sign': shown, 'legal_actions': {masked: mask}}

    def forbidden(leaf: specs.Array, sign: jax.Array) -> jax.Array:
        return (right(leaf, sign) + 1) % leaf.num_values

    def begin(key: jax.Array) -> Any:
        sign = jax.random.randint(key, (), 0, NUM_SIGNS)
        return (sign, jnp.int32(0)), observe(sign)

    def advance(key: jax.Array, state: Any, taken: Any) -> Any:
        (sign, time), (shown, _) = state, begin(key)
        reward = 0.0
        for (path, leaf), given in zip(leaves, jax.tree_util.tree_leaves(taken), strict=True):
            reward += earned(leaf, given, sign) / num_parts
            if path == masked:
                reward -= 10.0 * (given == forbidden(leaf, sign))
        over = time + 1 == LENGTH
        return (shown[0], time + 1), functional.Outcome(observe(shown[0]), reward, over)

    sign = specs.BoundedArray((NUM_SIGNS,), np.float32, 0, 1, 'sign')
    if masked is None:
        return functional.Functional(spec(sign, action), begin, advance)
    [size] = [leaf.num_values for path, leaf in leaves if path == masked]
    masks = {masked: specs.Array((size,), bool, 'legal')}
    return functional.Functional(
        spec({'sign': sign, 'legal_actions': masks}, action), begin, advance
    )


_MOVE = specs.DiscreteArray(3, np.int32, 'move')
_SWITCHES = specs.BoundedArray((2,), np.int8, 0, 1, 'switches')
_HYBRID = _matching(
    {'aim': specs.BoundedArray((1,), np.float32, -2, 2, 'aim'), 'move': _MOVE}, masked='move'
)
_CHOICES = _matching({'move': _MOVE, 'switches': _SWITCHES}, masked='move')
_LEVELS = _matching(specs.BoundedArray((2,), np.int32, [0, -1], [2, 0], 'levels'))
_FLAGS = _matching(specs.Array((3,), bool, 'flags'))


def hybrid(seed: int) -> dm_env.Environment:
    """Signs with a choice of three, one of which is forbidden, beside a number. The best return is 4."""
    return functional.DmEnvironment(_HYBRID, seed)


def several(seed: int) -> dm_env.Environment:
    """Signs with a choice of three, one of which is forbidden, beside two switches. The best return is 4."""
    return functional.DmEnvironment(_CHOICES, seed)


def levels(seed: int) -> dm_env.Environment:
    """Signs with an array of two choices, of three values and of two. The best return is 4."""
    return functional.DmEnvironment(_LEVELS, seed)


def flags(seed: int) -> dm_env.Environment:
    """Signs with three bools. The best return is 4."""
    return functional.DmEnvironment(_FLAGS, seed)
