"""Targets of policies: samples, their weights, the distillation loss."""

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components import losses


class Die:
    """Three faces, a batch of two dice, as Distrax would have them."""

    batch_shape = (2,)

    def __init__(self, logits):
        self.logits = logits

    def sample(self, seed, sample_shape):
        return jax.random.categorical(seed, self.logits, shape=(*sample_shape, 2))

    def log_prob(self, actions):
        logits = jnp.broadcast_to(self.logits, (len(actions), 2, 3))
        return losses.batched_index(jax.nn.log_softmax(logits), actions)


DIE = Die(jnp.array([[0.0, 1.0, 2.0], [0.0, 0.0, -jnp.inf]]))
KEY = jax.random.PRNGKey(0)


def test_constant_and_zero_targets():
    targets = losses.constant_policy_targets(DIE, KEY, 5)
    np.testing.assert_array_equal(targets.actions, DIE.sample(KEY, (5,)))
    np.testing.assert_array_equal(targets.weights, np.ones((5, 2)))
    half = losses.constant_policy_targets(DIE, KEY, 5, 0.5)
    np.testing.assert_array_equal(half.weights, np.full((5, 2), 0.5))
    zero = losses.zero_policy_targets(DIE, KEY, 5)
    np.testing.assert_array_equal(zero.actions, targets.actions)
    np.testing.assert_array_equal(zero.weights, np.zeros((5, 2)))


def test_distillation_by_hand():
    actions, weights = jnp.array([[0, 0], [2, 1]]), jnp.array([[1.0, 2.0], [0.5, 1.0]])
    loss = losses.sampled_policy_distillation_loss(DIE, losses.PolicyTarget(actions, weights))
    norm = np.log(1 + np.e + np.e**2)
    expected = (1.0 * norm + 2 * np.log(2) + 0.5 * (norm - 2) + np.log(2)) / 4
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    zero = losses.zero_policy_targets(DIE, KEY, 5)
    assert losses.sampled_policy_distillation_loss(DIE, zero) == 0
    impossible = losses.PolicyTarget(jnp.array([[0, 2]]), jnp.array([[0.0, 0.5]]))
    assert np.isfinite(losses.sampled_policy_distillation_loss(DIE, impossible))


def test_the_targets_are_stopped_unless_asked():
    actions = jnp.array([[0, 0], [2, 1]])

    def loss(weights, **keywords):
        return losses.sampled_policy_distillation_loss(
            DIE, losses.PolicyTarget(actions, weights), **keywords
        )

    np.testing.assert_array_equal(jax.grad(loss)(jnp.ones((2, 2))), 0.0)
    flowing = jax.grad(lambda w: loss(w, stop_target_gradients=False))(jnp.ones((2, 2)))
    np.testing.assert_allclose(flowing, -DIE.log_prob(actions) / 4, rtol=1e-6)
