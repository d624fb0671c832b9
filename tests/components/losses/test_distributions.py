"""Policies as functions: probabilities by hand, divergences by sums, samples by their frequency."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import losses
from tests.components.losses import reference
from tests.components.losses import suite

KEY = jax.random.PRNGKey(0)
LOGITS = jnp.array([[0.0, 1.0, -1.0, 2.0], [0.5, 0.5, 3.0, -2.0]])
OTHER = jnp.array([[1.0, 0.0, 0.5, 0.0], [0.0, 2.0, 0.0, 1.0]])


@pytest.mark.parametrize('temperature', [0.5, 1.0])
def test_softmax(temperature):
    policy = losses.softmax(temperature)
    log_pi = reference.log_softmax(np.asarray(LOGITS, np.float64) / temperature)
    log_q = reference.log_softmax(np.asarray(OTHER, np.float64) / temperature)
    suite.assert_close(policy.probs(LOGITS), np.exp(log_pi))
    suite.assert_close(policy.logprob(jnp.array([1, 3]), LOGITS), log_pi[[0, 1], [1, 3]])
    suite.assert_close(policy.entropy(LOGITS), -np.sum(np.exp(log_pi) * log_pi, -1))
    suite.assert_close(policy.kl(LOGITS, OTHER), np.sum(np.exp(log_pi) * (log_pi - log_q), -1))
    draws = policy.sample(KEY, jnp.broadcast_to(LOGITS[0], (20000, 4)))
    np.testing.assert_allclose(np.bincount(draws) / 20000, np.exp(log_pi[0]), atol=0.02)


def test_a_clipped_entropy():
    policy, plain = losses.clipped_entropy_softmax(0.5, 0.25), losses.softmax(0.5)
    logits = jnp.array([[0.0, 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(
        policy.entropy(logits), [0.25 * np.log(4), plain.entropy(logits)[1]], rtol=1e-6
    )
    np.testing.assert_array_equal(policy.probs(LOGITS, None), plain.probs(LOGITS))
    actions = jnp.array([1, 2])
    np.testing.assert_array_equal(
        policy.logprob(actions, LOGITS, None), plain.logprob(actions, LOGITS)
    )
    np.testing.assert_array_equal(policy.sample(KEY, LOGITS, None), plain.sample(KEY, LOGITS))
    np.testing.assert_array_equal(policy.kl(LOGITS, OTHER), plain.kl(LOGITS, OTHER))
    assert np.all(losses.clipped_entropy_softmax().entropy(logits) <= np.log(4))


def test_greedy_and_epsilon_greedy():
    preferences = jnp.array([1.0, 3.0, 3.0, 0.0])
    np.testing.assert_allclose(losses.greedy().probs(preferences), [0.0, 0.5, 0.5, 0.0])
    np.testing.assert_allclose(losses.greedy().entropy(preferences), np.log(2), rtol=1e-6)
    assert losses.greedy().logprob(jnp.array(0), preferences) == -np.inf
    assert losses.greedy().kl is None
    policy = losses.epsilon_greedy(0.2)
    expected = np.array([0.05, 0.45, 0.45, 0.05])
    np.testing.assert_allclose(policy.probs(preferences), expected, rtol=1e-6)
    np.testing.assert_allclose(losses.epsilon_greedy().probs(preferences, 0.2), expected, rtol=1e-6)
    np.testing.assert_allclose(policy.logprob(jnp.array(1), preferences), np.log(0.45), rtol=1e-6)
    np.testing.assert_allclose(
        policy.entropy(preferences), -np.sum(expected * np.log(expected)), rtol=1e-6
    )
    draws = policy.sample(KEY, jnp.broadcast_to(preferences, (20000, 4)))
    np.testing.assert_allclose(np.bincount(draws) / 20000, expected, atol=0.02)
    with pytest.raises(ValueError, match='epsilon must be given'):
        losses.epsilon_greedy().probs(preferences)


def test_illegal_actions_are_never_taken():
    preferences, legal = jnp.array([9.0, 1.0, 2.0, 0.0]), jnp.array([0, 1, 1, 0])
    policy = losses.epsilon_greedy(0.5)
    expected = np.array([0.0, 0.25, 0.75, 0.0])
    for probs in (
        policy.probs(preferences, legal_actions_mask=legal),
        policy.probs(preferences, legal_actions_mask=legal > 0),
        policy.probs(jnp.where(legal > 0, preferences, -jnp.inf)),
    ):
        np.testing.assert_allclose(probs, expected)
    np.testing.assert_allclose(
        policy.entropy(preferences, legal_actions_mask=legal),
        -0.25 * np.log(0.25) - 0.75 * np.log(0.75),
        rtol=1e-6,
    )
    batch = jnp.broadcast_to(preferences, (500, 4))
    draws = policy.sample(KEY, batch, legal_actions_mask=jnp.broadcast_to(legal, (500, 4)))
    assert set(np.asarray(draws).tolist()) == {1, 2}
    assert policy.logprob(jnp.array(0), preferences, legal_actions_mask=legal) == -np.inf
    greedily = losses.greedy().probs(preferences, legal_actions_mask=legal)
    np.testing.assert_allclose(greedily, [0.0, 0.0, 1.0, 0.0])
    with pytest.raises(ValueError, match='legal_actions_mask must have the shape of preferences'):
        policy.probs(preferences, legal_actions_mask=legal[:3])
    np.testing.assert_array_equal(policy.probs(jnp.full(2, -jnp.inf)), 0.0)


def test_epsilon_may_be_traced():
    probs = jax.jit(lambda x, epsilon: losses.epsilon_greedy(epsilon).probs(x))
    np.testing.assert_allclose(probs(jnp.array([1.0, 0.0]), 0.5), [0.75, 0.25])


def normal_log_prob(x, mu, sigma):
    return np.sum(-0.5 * ((x - mu) / sigma) ** 2 - np.log(sigma * np.sqrt(2 * np.pi)), -1)


def normal_kl(mu_0, sigma_0, mu_1, sigma_1):
    return np.sum(
        np.log(sigma_1 / sigma_0) + (sigma_0**2 + (mu_0 - mu_1) ** 2) / (2 * sigma_1**2) - 0.5, -1
    )


def normals(seed=0):
    rng = np.random.default_rng(seed)
    mu_0, mu_1, x = rng.normal(size=(3, 4, 2)).astype(np.float32)
    sigma_0, sigma_1 = rng.uniform(0.5, 2.0, (2, 4, 2)).astype(np.float32)
    return mu_0, sigma_0, mu_1, sigma_1, x


def test_gaussian_diagonal():
    mu_0, sigma_0, mu_1, sigma_1, x = normals()
    policy = losses.gaussian_diagonal()
    log_prob = normal_log_prob(x, mu_0, sigma_0)
    suite.assert_close(policy.logprob(x, mu_0, sigma_0), log_prob)
    suite.assert_close(policy.prob(x, mu_0, sigma_0), np.exp(log_prob))
    suite.assert_close(
        policy.entropy(mu_0, sigma_0), np.sum(np.log(sigma_0 * np.sqrt(2 * np.pi * np.e)), -1)
    )
    suite.assert_close(
        policy.kl(mu_0, sigma_0, mu_1, sigma_1), normal_kl(mu_0, sigma_0, mu_1, sigma_1)
    )
    suite.assert_close(
        policy.kl_to_standard_normal(mu_0, sigma_0),
        normal_kl(mu_0, sigma_0, 0 * mu_0, 0 * mu_0 + 1),
    )
    draws = losses.gaussian_diagonal(0.5).sample(KEY, jnp.broadcast_to(mu_0[0], (20000, 2)))
    np.testing.assert_allclose(np.mean(draws, 0), mu_0[0], atol=0.02)
    np.testing.assert_allclose(np.std(draws, 0), 0.5, atol=0.02)
    suite.assert_close(
        losses.gaussian_diagonal(0.5).logprob(x, mu_0), normal_log_prob(x, mu_0, np.float32(0.5))
    )
    with pytest.raises(ValueError, match='sigma must be given'):
        policy.logprob(x, mu_0)


def test_squashed_gaussian():
    mu, raw, mu_1, raw_1, _ = normals()
    spec = types.SimpleNamespace(minimum=np.array([-1.0, 0.0]), maximum=np.array([1.0, 6.0]))
    policy = losses.squashed_gaussian(-2.0, 0.5)
    draws = policy.sample(KEY, mu, raw, spec)
    assert np.all(np.asarray(draws) >= spec.minimum)
    assert np.all(np.asarray(draws) <= spec.maximum)
    mean, scale = np.tanh(mu), np.exp(-2.0 + 1.25 * (np.tanh(raw) + 1))
    noise = np.asarray(jax.random.normal(KEY, mu.shape))
    half = (spec.maximum - spec.minimum) / 2
    suite.assert_close(draws, spec.minimum + half * (np.tanh(mean + scale * noise) + 1))
    # The density of the action is that before the tangent over the slope of the squashing.
    x = np.arctanh((np.asarray(draws, np.float64) - spec.minimum) / half - 1)
    slope = half * (1 - np.tanh(x) ** 2)
    log_prob = normal_log_prob(x, mean, scale) - np.sum(np.log(slope), -1)
    suite.assert_close(policy.logprob(draws, mu, raw, spec), log_prob, 1e-3, 1e-3)
    suite.assert_close(policy.prob(draws, mu, raw, spec), np.exp(log_prob), 1e-3, 1e-3)
    suite.assert_close(
        policy.entropy(mu, raw), np.sum(np.log(scale * np.sqrt(2 * np.pi * np.e)), -1)
    )
    mean_1, scale_1 = np.tanh(mu_1), np.exp(-2.0 + 1.25 * (np.tanh(raw_1) + 1))
    suite.assert_close(policy.kl(mu, raw, mu_1, raw_1), normal_kl(mean, scale, mean_1, scale_1))
    suite.assert_close(
        policy.kl_to_standard_normal(mu, raw), normal_kl(mean, scale, 0 * mean, 0 * mean + 1)
    )
    at_the_edge = policy.logprob(jnp.asarray(spec.maximum, jnp.float32), mu[0], raw[0], spec)
    assert np.isfinite(at_the_edge)
    unit = policy.sample(KEY, mu, raw)
    suite.assert_close(unit, (np.asarray(draws) - spec.minimum) / half - 1, 1e-4, 1e-5)


def test_categorical_functions():
    actions = jnp.array([3, 0])
    log_p = reference.log_softmax(np.asarray(LOGITS, np.float64))
    log_q = reference.log_softmax(np.asarray(OTHER, np.float64))
    ratios = losses.categorical_importance_sampling_ratios(LOGITS, OTHER, actions)
    suite.assert_close(ratios, np.exp(log_p - log_q)[[0, 1], [3, 0]])
    suite.assert_close(
        losses.categorical_cross_entropy(jnp.exp(log_p), OTHER), -np.sum(np.exp(log_p) * log_q, -1)
    )
    kl = losses.categorical_kl_divergence(LOGITS, OTHER)
    suite.assert_close(kl, np.sum(np.exp(log_p) * (log_p - log_q), -1))
    np.testing.assert_allclose(losses.categorical_kl_divergence(LOGITS, LOGITS), 0.0, atol=1e-6)
    cooler = losses.categorical_kl_divergence(LOGITS, OTHER, 2.0)
    np.testing.assert_allclose(
        cooler, losses.categorical_kl_divergence(LOGITS / 2, OTHER / 2), rtol=1e-5
    )
    for function in (losses.categorical_kl_divergence, losses.categorical_cross_entropy):
        with pytest.raises(ValueError, match='must have the shape of'):
            function(LOGITS, OTHER[:1])


def test_illegal_actions_are_no_nan():
    logits = jnp.array([1.0, 0.0, -jnp.inf])
    for function in (
        losses.categorical_entropy,
        lambda x: losses.categorical_kl_divergence(x, x * 0.5),
        lambda x: losses.categorical_kl_divergence(x, jnp.zeros(3)),
        lambda x: losses.categorical_cross_entropy(jnp.array([0.5, 0.5, 0.0]), x),
    ):
        value, gradient = jax.value_and_grad(function)(logits)
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))
    np.testing.assert_allclose(
        losses.categorical_entropy(logits), losses.categorical_entropy(logits[:2]), rtol=1e-6
    )


def test_samples_of_what_is_no_distribution():
    probs = jnp.array(
        [[0.0, 1.0], [2.0, 0.0], [0.0, 0.0], [jnp.nan, 1.0], [-0.5, 1.5], [jnp.inf, 1.0]]
    )
    np.testing.assert_array_equal(losses.categorical_sample(KEY, probs), [1, 0, -1, -1, -1, -1])
    draws = losses.categorical_sample(KEY, jnp.broadcast_to(jnp.array([1.0, 3.0]), (20000, 2)))
    np.testing.assert_allclose(np.mean(draws), 0.75, atol=0.02)


def test_divergences_of_normal_distributions():
    mu_0, sigma_0, mu_1, sigma_1, _ = normals()
    kl = losses.multivariate_normal_kl_divergence(mu_0, sigma_0, mu_1, sigma_1)
    suite.assert_close(kl, normal_kl(mu_0, sigma_0, mu_1, sigma_1))
    parts = losses.factorised_kl_gaussian(mu_0, sigma_0, mu_1, sigma_1, both_diagonal=True)
    full = losses.factorised_kl_gaussian(
        mu_0, jax.vmap(jnp.diag)(sigma_0**2), mu_1, jax.vmap(jnp.diag)(sigma_1**2)
    )
    suite.assert_close(full, parts, 1e-4, 1e-5)
    suite.assert_close(parts[1], normal_kl(mu_0, sigma_0, mu_0, sigma_1))
    suite.assert_close(parts[0], normal_kl(mu_0, sigma_1, mu_1, sigma_1))
    rng = np.random.default_rng(1)
    roots = rng.normal(size=(2, 3, 3)) + 2 * np.eye(3)
    cov_0, cov_1 = (root @ root.T for root in roots)
    delta = np.array([1.0, -1.0, 0.5])
    kl_mean, kl_cov = losses.factorised_kl_gaussian(
        jnp.zeros(3),
        jnp.asarray(cov_0, jnp.float32),
        jnp.asarray(delta, jnp.float32),
        jnp.asarray(cov_1, jnp.float32),
    )
    inverse = np.linalg.inv(cov_1)
    np.testing.assert_allclose(kl_mean, 0.5 * delta @ inverse @ delta, rtol=1e-3)
    log_ratio = np.log(np.linalg.det(cov_1) / np.linalg.det(cov_0))
    np.testing.assert_allclose(kl_cov, 0.5 * (np.trace(inverse @ cov_0) - 3 + log_ratio), rtol=1e-3)
    decoupled = losses.decoupled_multivariate_normal_kl_divergence(mu_0, sigma_0, mu_1, sigma_1)
    suite.assert_close(
        decoupled,
        (normal_kl(mu_0, sigma_0, mu_1, sigma_0), normal_kl(mu_0, sigma_0, mu_0, sigma_1)),
    )
    by_dimension = losses.decoupled_multivariate_normal_kl_divergence(
        mu_0, sigma_0, mu_1, sigma_1, per_dimension=True
    )
    suite.assert_close([np.sum(x, -1) for x in by_dimension], decoupled)
    with pytest.raises(ValueError, match=r'dist1_covariance_or_scale must have shape \(3, 3\)'):
        losses.factorised_kl_gaussian(jnp.zeros(3), jnp.ones(3), jnp.zeros(3), jnp.ones(3))
