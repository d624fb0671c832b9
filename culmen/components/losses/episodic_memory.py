"""Novelty within an episode: how far an observation's embedding lies from those remembered."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.losses._common import Array
from culmen.components.losses._common import Numeric
from culmen.components.losses._common import check


class KNNQueryResult(NamedTuple):
    """The nearest points in memory of each query, nearest first.

    Attributes:
        neighbors: [Q, K, D] points.
        neighbor_indices: [Q, K] their indices in the data.
        neighbor_neg_distances: [Q, K] their distances, negated.
    """

    neighbors: Array
    neighbor_indices: Array
    neighbor_neg_distances: Array


def squared_euclidean(x: Array, y: Array) -> Array:
    """Squared Euclidean distance, Σ_d (x[d] - y[d])².

    Example:
        >>> print(squared_euclidean(jnp.array([0., 0.]), jnp.array([3., 4.])))
        25.0
    """
    return jnp.sum(jnp.square(x - y))


def knn_query(
    data: Array,
    query_points: Array,
    num_neighbors: int,
    metric: Callable[[Array, Array], Array] = squared_euclidean,
) -> KNNQueryResult:
    """Finds the points of a memory that lie nearest to each query.

    Args:
        data: [M, D] remembered points; a row of inf is never near.
        query_points: [Q, D] queries.
        num_neighbors: how many to find; at most M are.
        metric: distance of two points [D].
    Returns: `KNNQueryResult`.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Example:
        >>> result = knn_query(jnp.array([[0.], [5.], [9.]]), jnp.array([[6.]]), 2)
        >>> print(result.neighbor_indices, result.neighbor_neg_distances)
        [[1 2]] [[-1. -9.]]
    """
    data, query_points = check('data[M,D]:real query_points[Q,D]:real', data, query_points)
    distances = jax.vmap(jax.vmap(metric, (None, 0)), (0, None))(query_points, data)
    nearest, indices = jax.lax.top_k(-distances, min(num_neighbors, len(data)))
    return KNNQueryResult(data[indices], indices, nearest)


class IntrinsicRewardState(NamedTuple):
    """The state that the episodic reward carries from call to call.

    Attributes:
        memory: [M, D] embeddings, a ring.
        next_memory_index: where the next embedding goes.
        distance_sum, distance_count: of all squared distances to neighbours so far.
    """

    memory: Array
    next_memory_index: Array | int = 0
    distance_sum: Array | float = 0.0
    distance_count: Array | int = 0


def episodic_memory_intrinsic_rewards(
    embeddings: Array,
    num_neighbors: int,
    reward_scale: Numeric,
    intrinsic_reward_state: IntrinsicRewardState | None = None,
    constant: Numeric = 1e-3,
    epsilon: Numeric = 1e-4,
    cluster_distance: Numeric = 8e-3,
    max_similarity: Numeric = 8.0,
    max_memory_size: int = 30_000,
) -> tuple[Array, IntrinsicRewardState]:
    """Never Give Up's rewards for embeddings unlike those earlier in the episode.

        r = scale / s,  s = √(Σₖ ε / (dₖ + ε)) + c,  0 where s > max_similarity
        dₖ = max(d²(xₖ, x) / (d²ₘ + c) - ξ, 0)

    over the nearest remembered xₖ; d²ₘ is the mean of all squared distances so far. The embeddings
    are remembered after they are rewarded. The paper divides by d²ₘ alone; the constant keeps a
    memory of equal embeddings from dividing by 0.

    Args:
        embeddings: [B, D] of observations that follow one another.
        num_neighbors: how many neighbours count.
        reward_scale: scalar factor.
        intrinsic_reward_state: the state that the last call gave; None begins with a memory of
            num_neighbors zeros and otherwise empty.
        constant: scalar c.
        epsilon: scalar ε of the kernel.
        cluster_distance: scalar ξ, below which a neighbour counts as the same place.
        max_similarity: scalar, above which there is no reward.
        max_memory_size: length M of the memory; the oldest embeddings are replaced.
    Returns: [B] rewards, and the state for the next call.
    Raises: ValueError naming the argument whose shape or dtype is wrong.
    Reference: Puigdomènech Badia et al., Never Give Up, 2020, arXiv 2003.13350, eq. 2 and
        algorithm 1.
    Example:
        >>> rewards, state = episodic_memory_intrinsic_rewards(
        ...     jnp.array([[0.], [5.]]), 1, 1., max_memory_size=4)
        >>> print(jnp.round(rewards, 2), state.next_memory_index)
        [  1.   123.68] 2
    """
    [embeddings] = check('embeddings[B,D]:real', embeddings)
    if intrinsic_reward_state is None:
        is_empty = jnp.arange(max_memory_size)[:, None] >= num_neighbors
        memory = jnp.broadcast_to(
            jnp.where(is_empty, jnp.inf, 0.0), (max_memory_size, embeddings.shape[1])
        )
        intrinsic_reward_state = IntrinsicRewardState(memory.astype(embeddings.dtype))
    memory, next_index, distance_sum, distance_count = intrinsic_reward_state
    if memory.shape != (max_memory_size, embeddings.shape[1]):
        raise ValueError(
            f'intrinsic_reward_state.memory must have shape [M, D] = '
            f'{(max_memory_size, embeddings.shape[1])}, got shape {memory.shape}'
        )
    distances = -knn_query(memory, embeddings, num_neighbors).neighbor_neg_distances
    distance_sum = distance_sum + jnp.sum(distances)
    distance_count = distance_count + distances.size
    rate = distances / (distance_sum / distance_count + constant)
    rate = jnp.maximum(rate - cluster_distance, 0)
    similarity = jnp.sqrt(jnp.sum(epsilon / (rate + epsilon), axis=-1)) + constant
    rewards = jnp.where(similarity > max_similarity, 0, reward_scale / similarity)
    rows = (next_index + jnp.arange(len(embeddings))) % max_memory_size
    return rewards, IntrinsicRewardState(
        jnp.asarray(memory).at[rows].set(embeddings),
        (next_index + len(embeddings)) % max_memory_size,
        distance_sum,
        distance_count,
    )
