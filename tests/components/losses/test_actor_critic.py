"""Whole actor-critic losses: against their parts, with masks, and for any distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import losses
from tests.components.losses import reference
from tests.components.losses import suite


class Categorical:
    def __init__(self, logits):
        self.logits = logits

    def log_prob(self, action):
        return losses.softmax().logprob(action, self.logits)

    def entropy(self):
        return losses.softmax().entropy(self.logits)


def sequence():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 3)).astype(np.float32)
    v, r = rng.normal(size=(2, 5)).astype(np.float32)
    return (
        logits,
        v,
        rng.integers(0, 3, 5),
        r,
        np.array([0.9, 0.9, 0, 0.9, 0.9], np.float32),
        np.float32(0.5),
    )


def expected_parts(logits, v, a, r, discount, bootstrap, lambda_, mask=None):
    returns = reference.lambda_returns(r, discount, np.append(v[1:], bootstrap), lambda_, mask)
    counted = np.ones(5) if mask is None else mask
    log_pi = reference.log_softmax(logits.astype(float))
    policy = -np.sum(counted * reference.pick(log_pi, a) * (returns - v))
    baseline = 0.5 * np.sum(counted * (returns - v) ** 2)
    entropy = -np.sum(counted[:, None] * np.exp(log_pi) * log_pi)
    return policy, baseline, entropy, counted * (returns - v), returns


@pytest.mark.parametrize('mask', [None, np.array([1, 1, 1, 1, 0])])
@pytest.mark.parametrize('general', [False, True])
def test_the_loss_is_the_sum_of_its_parts(general, mask):
    args = sequence()
    policy, baseline, entropy, advantages, returns = expected_parts(*args, 0.8, mask)
    function = losses.sequence_a2c_loss if general else losses.sequence_advantage_actor_critic_loss
    first = Categorical(args[0]) if general else args[0]
    output = function(first, *args[1:], 0.8, 0.1, 0.5, mask=mask)
    np.testing.assert_allclose(output.policy_gradient_loss, policy, rtol=1e-5)
    np.testing.assert_allclose(output.baseline_loss, 0.5 * baseline, rtol=1e-5)
    np.testing.assert_allclose(output.entropy, entropy, rtol=1e-5)
    np.testing.assert_allclose(output.entropy_loss, -0.1 * entropy, rtol=1e-5)
    np.testing.assert_allclose(output.advantages, advantages, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(output.discounted_returns, returns, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(output.loss, policy + 0.5 * baseline - 0.1 * entropy, rtol=1e-5)
    if mask is not None:
        short = function(first, *args[1:], 0.8, 0.1, 0.5, sequence_lengths=4)
        np.testing.assert_allclose(short.loss, output.loss)


def test_the_defaults():
    args = sequence()
    policy, baseline, *_ = expected_parts(*args, 1.0)
    for output in (
        losses.sequence_advantage_actor_critic_loss(*args),
        losses.sequence_a2c_loss(Categorical(args[0]), *args[1:]),
    ):
        np.testing.assert_allclose(output.loss, policy + baseline, rtol=1e-5)
        assert output.entropy_loss == 0


def test_the_entropy_may_be_scaled():
    args = sequence()
    plain = losses.sequence_advantage_actor_critic_loss(*args, entropy_cost=1.0)
    normalised = losses.sequence_advantage_actor_critic_loss(
        *args, entropy_cost=1.0, normalise_entropy=True
    )
    np.testing.assert_allclose(normalised.entropy, plain.entropy / np.log(3), rtol=1e-6)
    scaled = losses.sequence_a2c_loss(
        Categorical(args[0]), *args[1:], entropy_cost=1.0, entropy_scale_op=lambda _: 0.25
    )
    np.testing.assert_allclose(scaled.entropy, plain.entropy / 4, rtol=1e-6)


def test_the_baseline_learns_from_its_error_alone():
    logits, v, *rest = sequence()
    gradient = jax.grad(
        lambda v: losses.sequence_advantage_actor_critic_loss(logits, v, *rest).loss
    )(v)
    advantages = losses.sequence_advantage_actor_critic_loss(logits, v, *rest).advantages
    np.testing.assert_allclose(gradient, -advantages, rtol=1e-5)


def test_gradients_are_those_of_constant_advantages():
    logits, v, a, *rest = sequence()
    *_, advantages, returns = expected_parts(logits, v, a, *rest, 0.8)

    def loss(logits, v):
        log_pi = reference.log_softmax(logits)
        policy = -np.sum(reference.pick(log_pi, a) * advantages)
        entropy = -np.sum(np.exp(log_pi) * log_pi)
        return policy + 0.25 * np.sum((returns - v) ** 2) - 0.1 * entropy

    actual = jax.grad(
        lambda logits, v: (
            losses.sequence_advantage_actor_critic_loss(logits, v, a, *rest, 0.8, 0.1, 0.5).loss
        ),
        (0, 1),
    )(logits, v)
    suite.assert_close(actual, suite.differences(loss, (logits, v), (0, 1)), 1e-4, 1e-4)


def test_a_nest_of_actions_is_one_action():
    logits, v, a, *rest = sequence()
    one = losses.sequence_advantage_actor_critic_loss(logits, v, a, *rest, entropy_cost=1.0)
    two = losses.sequence_advantage_actor_critic_loss(
        [logits, logits], v, [a, a], *rest, entropy_cost=1.0
    )
    np.testing.assert_allclose(two.policy_gradient_loss, 2 * one.policy_gradient_loss, rtol=1e-6)
    np.testing.assert_allclose(two.entropy, 2 * one.entropy, rtol=1e-6)


def test_a_batch_is_refused_by_name():
    logits, v, *rest = sequence()
    with pytest.raises(ValueError, match=r'baseline_values must have rank 1 .*\(1, 5\)'):
        losses.sequence_advantage_actor_critic_loss(logits, jnp.asarray(v)[None], *rest)
    with pytest.raises(ValueError, match='bootstrap_value must have rank 0'):
        losses.sequence_a2c_loss(Categorical(logits), v, *rest[:-1], jnp.zeros(1))
