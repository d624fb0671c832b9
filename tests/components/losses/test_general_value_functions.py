"""Pixel and feature control: by hand, against loops over cells, scaled and cropped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import losses
from tests.components.losses import reference


def pictures(seed=0):
    return np.random.default_rng(seed).normal(size=(4, 4, 6, 2)).astype(np.float32)


def cell_rewards(x, size):
    change = np.abs(x[1:] - x[:-1])
    return np.array(
        [
            [
                [change[t, i : i + size, j : j + size].mean() for j in range(0, x.shape[2], size)]
                for i in range(0, x.shape[1], size)
            ]
            for t in range(len(change))
        ]
    )


@pytest.mark.parametrize('size', [1, 2])
def test_pixel_control_rewards(size):
    x = pictures()
    np.testing.assert_allclose(
        losses.pixel_control_rewards(x, size), cell_rewards(x, size), rtol=1e-5
    )
    batch = jax.vmap(lambda x: losses.pixel_control_rewards(x, size))(np.stack([x, 2 * x]))
    np.testing.assert_allclose(batch[1], 2 * cell_rewards(x, size), rtol=1e-5)


def test_feature_control_rewards():
    features = jnp.array([[1.0, 5.0], [4.0, 3.0], [0.0, 0.0]])
    change = np.array([[3.0, -2.0], [-4.0, -3.0]])
    for kind, expected in (
        ('feature', features[1:]),
        ('absolute_change', np.abs(change)),
        ('increase', change),
        ('decrease', -change),
    ):
        np.testing.assert_allclose(losses.feature_control_rewards(features, kind), expected)
    np.testing.assert_allclose(losses.feature_control_rewards(features), np.abs(change))
    potential = losses.feature_control_rewards(features, 'potential', 0.5)
    np.testing.assert_allclose(potential, [[1.0, -3.5], [-4.0, -3.0]])


def pixel_loss(x, actions, q, discounts, size):
    rewards = cell_rewards(x, size)
    loss = np.zeros(rewards.shape)
    for i in range(rewards.shape[1]):
        for j in range(rewards.shape[2]):
            returns = reference.lambda_returns(
                rewards[:, i, j], discounts, q[1:, i, j].max(-1), 1.0
            )
            loss[:, i, j] = 0.5 * (returns - reference.pick(q[:-1, i, j], actions)) ** 2
    return loss


@pytest.mark.parametrize('discount', [0.9, np.array([0.9, 0.0, 0.5], np.float32)])
def test_pixel_control_loss(discount):
    x, actions = pictures(), np.array([1, 0, 2])
    q = np.random.default_rng(1).normal(size=(4, 2, 3, 3)).astype(np.float32)
    discounts = np.broadcast_to(discount, 3)
    loss = losses.pixel_control_loss(x, actions, q, discount, 2)
    np.testing.assert_allclose(loss, pixel_loss(x, actions, q, discounts, 2), rtol=1e-4)
    scaled = losses.pixel_control_loss(x, actions, q, discount, 2, 0.25)
    np.testing.assert_allclose(scaled, pixel_loss(x / 4, actions, q, discounts, 2), rtol=1e-4)
    cropped = losses.pixel_control_loss(
        x, actions, q[:, :1, :2], discount, 2, crop_height_dim=(1, 3), crop_width_dim=(0, 4)
    )
    expected = pixel_loss(x[:, 1:3, :4], actions, q[:, :1, :2], discounts, 2)
    np.testing.assert_allclose(cropped, expected, rtol=1e-4)
    whole_numbers = losses.pixel_control_loss(
        (x * 100).astype(np.int32), actions, q, discount, 2, 0.01
    )
    np.testing.assert_allclose(
        whole_numbers,
        pixel_loss((x * 100).astype(np.int32) / 100, actions, q, discounts, 2),
        rtol=1e-3,
        atol=1e-5,
    )


def test_only_the_values_of_the_actions_taken_learn():
    x, actions = pictures(), np.array([1, 0, 2])
    q = np.zeros((4, 2, 3, 3), np.float32)
    gradient = np.asarray(
        jax.grad(lambda q: jnp.sum(losses.pixel_control_loss(x, actions, q, 0.9, 2)))(q)
    )
    assert np.all(gradient[-1] == 0)
    for t in range(3):
        for a in range(3):
            assert np.all((gradient[t, ..., a] != 0) == (a == actions[t]))


def test_refusals():
    x = pictures()
    with pytest.raises(ValueError, match='cell_size must divide .* 4 and 6, got 4'):
        losses.pixel_control_rewards(x, 4)
    with pytest.raises(ValueError, match='observations must have rank 4'):
        losses.pixel_control_rewards(x[0], 2)
    with pytest.raises(ValueError, match=r'action_values must have shape .*= \(2, 3\), got'):
        losses.pixel_control_loss(x, np.zeros(3, int), np.zeros((4, 3, 2, 3), np.float32), 0.9, 2)
    with pytest.raises(ValueError, match='cumulant_type must be feature, .*, got wrong'):
        losses.feature_control_rewards(jnp.zeros((2, 2)), 'wrong')
    with pytest.raises(ValueError, match='discount must be given'):
        losses.feature_control_rewards(jnp.zeros((2, 2)), 'potential')
