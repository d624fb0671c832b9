"""WPO's loss by hand, and its options."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import mpo
from culmen.agents import wpo
from culmen.agents.mpo import evaluation
from culmen.agents.mpo import learning
from culmen.agents.wpo.learning import natural
from culmen.agents.wpo.learning import wasserstein_flow
from culmen.components import updates
from culmen.components.networks import DiagonalGaussian
from culmen.components.networks import EncodedCriticParams
from tests.agents import registry
from tests.agents.mpo import by_hand

KEY = jax.random.key(3)


def test_the_flow_is_the_mean_of_the_products_of_slopes():
    rng = np.random.default_rng(0)
    mean, log_scale = rng.normal(size=(2, 3, 2))
    draws, slopes = rng.normal(size=(2, 4, 3, 2))
    policy = DiagonalGaussian(*(jnp.asarray(x, jnp.float32) for x in (mean, log_scale)))
    flow = wasserstein_flow(policy, jnp.float32(draws), jnp.float32(slopes))
    expected = np.zeros(3)
    for s in range(4):
        for b in range(3):
            for d in range(2):
                slope_of_log = -(draws[s, b, d] - mean[b, d]) / math.exp(log_scale[b, d]) ** 2
                expected[b] += slope_of_log * slopes[s, b, d] / 4
    np.testing.assert_allclose(flow, expected, rtol=1e-5)


def test_the_natural_gradient_of_the_flow():
    """Pfau et al. 2025, section 3.3: of the mean E[dQ/da], of the deviation E[(a - m) / s dQ/da]."""
    rng = np.random.default_rng(0)
    draws, slopes = rng.normal(size=(2, 4, 1, 2)).astype(np.float32)
    mean, scale = np.array([[0.3, -0.2]]), np.array([[0.5, 2.0]])

    def total(mean, scale):
        policy = natural(DiagonalGaussian(mean, jnp.log(scale)))
        return jnp.sum(wasserstein_flow(policy, draws, slopes))

    of_mean, of_scale = jax.grad(total, argnums=(0, 1))(jnp.float32(mean), jnp.float32(scale))
    expected_mean, expected_scale = np.zeros((2, 2))
    for s in range(4):
        for d in range(2):
            expected_mean[d] += slopes[s, 0, d] / 4
            expected_scale[d] += (draws[s, 0, d] - mean[0, d]) / scale[0, d] * slopes[s, 0, d] / 4
    np.testing.assert_allclose(of_mean[0], expected_mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(of_scale[0], expected_scale, rtol=1e-4, atol=1e-6)
    # What the policy is stays the same.
    policy = DiagonalGaussian(jnp.float32(mean), jnp.log(jnp.float32(scale)))
    for a, b in zip(policy, natural(policy), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def improvement(networks, critic, mask):
    seen = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 1)), jnp.float32)
    old = networks.policy(by_hand.OLD_POLICY, seen, seen)
    given = evaluation.Candidates(old, None, None, None, None)
    return learning.Improvement(seen, seen, jnp.asarray(mask), given, critic, KEY), seen


@pytest.mark.parametrize('squash', ['none', 'cube_root'])
@pytest.mark.parametrize('per_dimension', [False, True])
def test_the_policy_s_loss(squash, per_dimension):
    config = wpo.WPOConfig(
        num_samples=5, squash=squash, per_dimension=per_dimension, initial_alpha_mean=2.0,
        initial_alpha_scale=5.0, epsilon_mean=0.1, epsilon_scale=0.01,
    )  # fmt: skip
    networks, critic = by_hand.networks(), by_hand.critic(2, 1)
    mask = np.array([[True, True, False], [True, False, False]])
    given, seen = improvement(networks, critic, mask)
    duals = updates.initial_duals(
        registry.continuous_spec(by_hand.SIZE).action, {}, config.multipliers, per_dimension
    )
    loss, metrics = jax.jit(lambda params: wpo.policy_loss(params, duals, given, networks, config))(
        by_hand.POLICY
    )

    policy = networks.policy(by_hand.POLICY, seen, seen)
    draws = np.asarray(jax.vmap(policy.sample)(jax.random.split(KEY, 5)), np.float64)
    slope = np.asarray(critic.head['of_action'], np.float64)[:, 0]  # within the box, else 0
    new_scale, old_scale = (
        np.exp(np.asarray(p['log_scale'], np.float64)) for p in (by_hand.POLICY, by_hand.OLD_POLICY)
    )
    total, flows = [], []
    for b, t in zip(*np.nonzero(mask)):
        new, old = (
            float(seen[b, t, 0]) * np.asarray(p['mean'], np.float64)
            for p in (by_hand.POLICY, by_hand.OLD_POLICY)
        )
        flow = 0.0
        for s in range(5):
            for d in range(2):
                inside = abs(draws[s, b, t, d]) < 1
                gradient = slope[d] if inside else 0.0
                if squash == 'cube_root':
                    gradient = np.cbrt(gradient)
                flow -= (draws[s, b, t, d] - new[d]) / new_scale[d] ** 2 * gradient / 5
        of_means = [by_hand.kl_normal(old[d], old_scale[d], new[d], old_scale[d]) for d in range(2)]
        of_scales = [
            by_hand.kl_normal(old[d], old_scale[d], old[d], new_scale[d]) for d in range(2)
        ]
        cost = 0.0
        for divergences, alpha, epsilon in ((of_means, 2.0, 0.1), (of_scales, 5.0, 0.01)):
            bounded = divergences if per_dimension else [sum(divergences)]
            cost += sum(alpha * kl + alpha * (epsilon - kl) for kl in bounded)
        flows.append(flow)
        total.append(cost - flow)
    assert loss == pytest.approx(np.mean(total), rel=1e-5)
    assert metrics['policy_loss'] == pytest.approx(-np.mean(flows), rel=1e-4)
    assert 'kl_policy' not in metrics


def test_no_gradient_reaches_the_critic():
    config, networks = wpo.WPOConfig(num_samples=5), by_hand.networks()
    given, _ = improvement(networks, by_hand.critic(2, 1), np.ones((2, 3), bool))
    duals = updates.initial_duals(
        registry.continuous_spec(by_hand.SIZE).action, {}, config.multipliers, True
    )

    def loss(head):
        critic = EncodedCriticParams({}, head)
        return wpo.policy_loss(
            by_hand.POLICY, duals, given._replace(critic_params=critic), networks, config
        )[0]

    assert all((leaf == 0).all() for leaf in jax.grad(loss)(given.critic_params.head).values())


def test_critic_and_experience_are_those_of_mpo():
    settings = {'batch_size': 17, 'n_step': 3, 'replay_capacity': 99, 'min_replay_size': 9}
    spec = registry.continuous_spec()
    own, others = (agent(**settings).build(spec) for agent in (wpo.WPO, mpo.MPO))
    assert own.experience == others.experience


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'initial_alpha_mean': 0.0}, 'initial_alpha_mean must be above 0'),
        ({'initial_alpha_scale': 0.0}, 'initial_alpha_scale must be above 0'),
        ({'dual_learning_rate': -1.0}, 'dual_learning_rate must be at least 0'),
        ({'squash': 'tanh'}, 'squash'),
        ({'core': 'gru'}, 'core gru needs sequence_length'),
    ],
)
def test_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        wpo.WPO(**settings)
