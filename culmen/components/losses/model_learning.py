"""Cuts trajectories into the pieces that a learned model unrolls from."""

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import check


def extract_subsequences(
    trajectories: Array,
    start_indices: Array,
    subsequence_len: int = 1,
    max_valid_start_idx: int | None = None,
) -> Array:
    """Subsequences of a batch of trajectories, n from each.

        out[k, b, i] = trajectories[start_indices[b, i] + k, b]

    Args:
        trajectories: [T, B, ...] trajectories.
        start_indices: [B, n] first steps.
        subsequence_len: number of steps of each.
        max_valid_start_idx: the largest that a start may be, if known; it is checked against T.
    Returns: [subsequence_len, B, n, ...] subsequences.
    Raises: ValueError naming the argument whose shape, dtype or value is wrong.
    Example:
        >>> print(extract_subsequences(jnp.arange(5)[:, None], jnp.array([[0, 2]]), 2)[:, 0])
        [[0 2]
         [1 3]]
    """
    trajectories = jnp.asarray(trajectories)
    [start_indices] = check('start_indices[B,N]:int', start_indices)
    if trajectories.ndim < 2 or trajectories.shape[1] != start_indices.shape[0]:
        raise ValueError(
            f'trajectories must have shape [T, B, ...] with B = '
            f'{start_indices.shape[0]}, got shape {trajectories.shape}'
        )
    if max_valid_start_idx is not None:
        needed = max_valid_start_idx + subsequence_len
        if len(trajectories) < needed:
            raise ValueError(
                f'trajectories must have at least {needed} steps, got {len(trajectories)}'
            )
    steps = jnp.arange(subsequence_len)[:, None, None] + start_indices[None]
    return trajectories[steps, jnp.arange(len(start_indices))[None, :, None]]


def sample_start_indices(
    rng_key: Array, batch_size: int, num_start_indices: int, max_valid_start_idx: int
) -> Array:
    """Random first steps for `extract_subsequences`, no two alike in one trajectory.

    Args:
        rng_key: a random key.
        batch_size: number B of trajectories.
        num_start_indices: number n of steps for each.
        max_valid_start_idx: the largest step; each in [0, max_valid_start_idx] is equally likely.
    Returns: [B, n] steps.
    Raises: ValueError if there are not enough steps to choose from.
    Example:
        >>> print(jnp.sort(sample_start_indices(jax.random.PRNGKey(0), 1, 3, 2)))
        [[0 1 2]]
    """
    if num_start_indices > max_valid_start_idx + 1:
        raise ValueError(
            f'num_start_indices must be at most max_valid_start_idx + 1 = '
            f'{max_valid_start_idx + 1}, got {num_start_indices}'
        )

    def choose(key: Array) -> Array:
        return jax.random.permutation(key, max_valid_start_idx + 1)[:num_start_indices]

    return jax.vmap(choose)(jax.random.split(rng_key, batch_size))
