"""A sum tree on the device, with many children per node: draws leaves in proportion to their weights.

A draw uses a new random number at every level, so the probability of a leaf is a product of precise shares
for any number of leaves. A single number of 23 bits could not draw well among millions.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp

_CHILDREN = 16

# The leaves, then sums of 16, of 256 ...; each level is padded with zeros to whole nodes.
Levels: TypeAlias = tuple[jax.Array, ...]


def make(num_leaves: int) -> Levels:
    """Makes a tree of zeros. Returns: float32[16 k] for each level; the last level is one node."""
    levels = []
    while True:
        num_nodes = -(-num_leaves // _CHILDREN)
        levels.append(jnp.zeros(num_nodes * _CHILDREN, jnp.float32))
        if num_nodes == 1:
            return tuple(levels)
        num_leaves = num_nodes


def total(levels: Levels) -> jax.Array:
    """float32[]: the sum of all weights."""
    return jnp.sum(levels[-1])


def write(levels: Levels, leaves: jax.Array, weights: jax.Array) -> Levels:
    """Sets weights.

    Args:
        leaves: int32[N]; those past the last leaf are skipped. Of equal leaves the largest weight counts.
        weights: float32[N], finite and at least 0.
    """
    # In a scatter the order of equal leaves is not defined on every device; a maximum needs no order.
    levels = (
        levels[0].at[leaves].set(0.0, mode='drop').at[leaves].max(weights, mode='drop'),
        *levels[1:],
    )
    return update_sums(levels, leaves)


def update_sums(levels: Levels, leaves: jax.Array) -> Levels:
    """Recomputes the sums above leaves int32[N]. Skips those past the last leaf."""
    out = [levels[0]]
    node = leaves
    for above in levels[1:]:
        below = out[-1].reshape(-1, _CHILDREN)
        # A skipped leaf stays past the end of every level.
        node = jnp.where(node < below.size, node // _CHILDREN, above.size)
        sums = jnp.sum(below.at[node].get(mode='clip'), axis=1)
        out.append(above.at[node].set(sums, mode='drop'))
    return tuple(out)


def draw(levels: Levels, key: jax.Array, num: int) -> tuple[jax.Array, jax.Array]:
    """Draws leaves in proportion to their weights. At least one weight must be above 0.

    Returns: (leaves int32[num], their probabilities float32[num]).
    """
    fractions = jax.random.uniform(key, (len(levels), num), jnp.float32)
    node = jnp.zeros(num, jnp.int32)
    for fraction, level in zip(fractions, reversed(levels), strict=True):
        children = level.reshape(-1, _CHILDREN)[node]
        sums = jnp.cumsum(children, axis=1)
        # The first child whose running sum exceeds the target, so its own weight is above 0.
        child = jnp.sum(sums <= fraction[:, None] * sums[:, -1:], axis=1)
        node = node * _CHILDREN + jnp.minimum(child, _CHILDREN - 1).astype(jnp.int32)
    return node, levels[0][node] / total(levels)
