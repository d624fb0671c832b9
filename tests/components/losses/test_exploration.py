"""Noise and novelty: exact without noise, right in distribution, remembered in a ring."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import losses

KEY = jax.random.PRNGKey(0)


def test_gaussian_noise():
    action = jnp.full((100, 200), 3.0)
    noisy = losses.add_gaussian_noise(KEY, action, 0.5)
    np.testing.assert_allclose(np.mean(noisy), 3.0, atol=0.02)
    np.testing.assert_allclose(np.std(noisy), 0.5, atol=0.02)
    np.testing.assert_array_equal(losses.add_gaussian_noise(KEY, action, 0.0), action)


def test_ornstein_uhlenbeck_noise():
    action, noise = jnp.array([1.0, 2.0]), jnp.array([4.0, -8.0])
    still = losses.add_ornstein_uhlenbeck_noise(KEY, action, noise, 0.25, 0.0)
    np.testing.assert_allclose(still, [1 + 3, 2 - 6])
    fresh = losses.add_ornstein_uhlenbeck_noise(KEY, action, noise, 1.0, 0.5)
    np.testing.assert_allclose(fresh, losses.add_gaussian_noise(KEY, action, 0.5))
    with pytest.raises(ValueError, match=r'noise_tm1 must have the shape of action, \(2,\)'):
        losses.add_ornstein_uhlenbeck_noise(KEY, action, noise[:1], 0.25, 0.0)


def test_dirichlet_noise():
    prior = jnp.broadcast_to(jnp.array([0.5, 0.25, 0.25]), (5000, 3))
    noisy = np.asarray(losses.add_dirichlet_noise(KEY, prior, 0.5, 0.25))
    np.testing.assert_allclose(noisy.sum(1), 1.0, rtol=1e-5)
    assert np.all(noisy >= 0.75 * np.asarray(prior) - 1e-6)
    np.testing.assert_allclose(noisy.mean(0), 0.75 * np.asarray(prior[0]) + 0.25 / 3, atol=0.01)
    # The variance of one part of Dirichlet(α, α, α) is (1/3)(2/3) / (3α + 1).
    np.testing.assert_allclose(noisy.var(0), 0.25**2 * (2 / 9) / 2.5, rtol=0.1)
    np.testing.assert_allclose(losses.add_dirichlet_noise(KEY, prior, 0.5, 0.0), prior)
    with pytest.raises(ValueError, match=r'prior must have rank 2 .*got shape \(3,\)'):
        losses.add_dirichlet_noise(KEY, prior[0], 0.5, 0.25)


def test_nearest_neighbours():
    data = jnp.array([[0.0, 0.0], [3.0, 4.0], [jnp.inf, jnp.inf], [1.0, 0.0]])
    result = losses.knn_query(data, jnp.array([[0.0, 0.0], [3.0, 3.0]]), 2)
    np.testing.assert_array_equal(result.neighbor_indices, [[0, 3], [1, 3]])
    np.testing.assert_allclose(result.neighbor_neg_distances, [[0, -1], [-1, -13]])
    np.testing.assert_array_equal(result.neighbors[1], [[3.0, 4.0], [1.0, 0.0]])
    assert losses.knn_query(data, data, 9).neighbor_indices.shape == (4, 4)
    by_first = losses.knn_query(data, data[:1], 1, lambda x, y: jnp.abs(x[0] - y[0] - 1))
    np.testing.assert_array_equal(by_first.neighbor_indices, [[0]])


def novelty(embeddings, neighbors, memory, distances):
    """The paper's formula, embedding by embedding."""
    nearest = [sorted(np.sum((m - x) ** 2) for m in memory)[:neighbors] for x in embeddings]
    distances = distances + [d for row in nearest for d in row]
    rewards = []
    for row in nearest:
        rate = np.maximum(np.array(row) / (np.mean(distances) + 1e-3) - 8e-3, 0)
        similarity = np.sqrt(np.sum(1e-4 / (rate + 1e-4))) + 1e-3
        rewards.append(0 if similarity > 8 else 2.0 / similarity)
    return rewards, distances


def test_novelty_over_an_episode():
    rng = np.random.default_rng(0)
    step = jax.jit(
        lambda x, state: losses.episodic_memory_intrinsic_rewards(
            x, 3, 2.0, state, max_memory_size=10
        )
    )
    state, memory, distances = None, [np.zeros(2)] * 3, []
    ring = np.full((10, 2), np.inf)
    ring[:3] = 0
    for call in range(6):
        x = rng.normal(size=(2, 2)).astype(np.float32)
        rewards, state = step(x, state)
        memory = list(ring[np.isfinite(ring[:, 0])])
        expected, distances = novelty(x, 3, memory, distances)
        np.testing.assert_allclose(rewards, expected, rtol=1e-3)
        rows = (2 * call + np.arange(2)) % 10
        ring[rows] = x
        np.testing.assert_array_equal(state.memory, ring)
        assert state.next_memory_index == (2 * call + 2) % 10
    assert state.distance_count == len(distances)
    np.testing.assert_allclose(state.distance_sum, np.sum(distances), rtol=1e-4)


def test_the_same_again_and_again_earns_nothing():
    memory = losses.IntrinsicRewardState(jnp.zeros((100, 1)))
    rewards, _ = losses.episodic_memory_intrinsic_rewards(
        jnp.zeros((1, 1)), 70, 1.0, memory, max_memory_size=100
    )
    assert rewards[0] == 0  # √70 > 8.
    with pytest.raises(ValueError, match=r'intrinsic_reward_state.memory must have shape \[M, D\]'):
        losses.episodic_memory_intrinsic_rewards(jnp.zeros((1, 1)), 3, 1.0, memory)
