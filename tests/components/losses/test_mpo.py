"""MPO and V-MPO: by hand, against loops over examples, and what each gradient reaches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import losses
from culmen.components.losses import LagrangePenalty
from tests.components.losses import suite

ETA, BOUND = 0.7, 0.1


def data(seed=0):
    rng = np.random.default_rng(seed)
    log_probs, q = rng.normal(size=(2, 4, 3)).astype(np.float32)
    kl, kl_dim = (
        rng.uniform(0.1, 1.0, (3, 1)).astype(np.float32)[:, 0],
        rng.uniform(0.1, 1.0, (3, 2)).astype(np.float32),
    )
    return log_probs, q, kl, kl_dim


def constraints(kl, kl_dim):
    return [
        (kl, LagrangePenalty(jnp.array(0.5), 0.2)),
        (kl_dim, LagrangePenalty(jnp.array([0.25, 2.0]), 0.3, per_dimension=True)),
    ]


def constraint_losses(kl, kl_dim):
    alphas = np.array([0.25, 2.0])
    return (0.5 * kl + kl_dim @ alphas, 0.5 * (0.2 - kl) + np.sum(alphas * (0.3 - kl_dim), -1))


def test_mpo_is_the_sum_of_its_parts():
    log_probs, q, kl, kl_dim = data()
    loss, outputs = losses.mpo_loss(
        log_probs,
        q,
        LagrangePenalty(jnp.array(ETA), BOUND),
        constraints(kl, kl_dim),
        policy_loss_weight=2.0,
        temperature_loss_weight=3.0,
        kl_loss_weight=5.0,
        alpha_loss_weight=7.0,
    )
    policy, temperature = np.zeros(3), np.zeros(3)
    for e in range(3):
        weights = np.exp(q[:, e] / ETA) / np.sum(np.exp(q[:, e] / ETA))
        suite.assert_close(outputs.normalized_weights[:, e], weights)
        policy[e] = -np.sum(weights * log_probs[:, e])
        temperature[e] = ETA * (BOUND + np.log(np.mean(np.exp(q[:, e] / ETA))))
    kl_loss, alpha_loss = constraint_losses(kl, kl_dim)
    suite.assert_close(outputs.policy_loss, policy)
    suite.assert_close(outputs.temperature_loss, temperature)
    suite.assert_close(outputs.kl_loss, kl_loss)
    suite.assert_close(outputs.alpha_loss, alpha_loss)
    assert outputs.num_samples == 4
    suite.assert_close(loss, 2 * policy + 3 * temperature + 5 * kl_loss + 7 * alpha_loss)


def test_the_axis_of_samples_may_be_any():
    log_probs, q, kl, kl_dim = data()
    penalty = LagrangePenalty(jnp.array(ETA), BOUND)
    first, _ = losses.mpo_loss(log_probs, q, penalty, constraints(kl, kl_dim))
    for axis in (1, -1):
        last, outputs = losses.mpo_loss(
            log_probs.T, q.T, penalty, constraints(kl, kl_dim), sample_axis=axis
        )
        np.testing.assert_allclose(last, first, rtol=1e-5)
        assert outputs.num_samples == 4
    for axis in (2, -3):
        with pytest.raises(ValueError, match=f'sample_axis must be an axis .* got {axis}'):
            losses.mpo_loss(log_probs, q, penalty, [], sample_axis=axis)


def every_gradient(kind, use_stop_gradient):
    log_probs, q, kl, _ = data()

    def total(log_probs, q, eta, alpha, kl):
        temperature, bounds = LagrangePenalty(eta, BOUND), [(kl, LagrangePenalty(alpha, 0.2))]
        if kind == 'mpo':
            return jnp.sum(
                losses.mpo_loss(
                    log_probs, q, temperature, bounds, use_stop_gradient=use_stop_gradient
                )[0]
            )
        return jnp.sum(
            losses.vmpo_loss(
                log_probs[0],
                q[0],
                temperature,
                bounds,
                top_k_fraction=0.7,
                use_stop_gradient=use_stop_gradient,
            )[0]
        )

    return jax.jit(jax.grad(total, (0, 1, 2, 3, 4)))(
        log_probs, q, jnp.array(ETA), jnp.array(0.5), kl
    ), kl


@pytest.mark.parametrize('kind', ['mpo', 'vmpo'])
def test_what_gradients_reach(kind):
    (log_probs, q, eta, alpha, kl), bounded = every_gradient(kind, True)
    assert np.any(np.asarray(log_probs) != 0)
    assert np.any(np.asarray(q) != 0)  # Through the temperature's loss alone.
    np.testing.assert_allclose(alpha, np.sum(0.2 - bounded), rtol=1e-5)
    np.testing.assert_allclose(kl, 0.5, rtol=1e-6)
    (_, _, free_eta, free_alpha, free_kl), _ = every_gradient(kind, False)
    np.testing.assert_allclose(free_alpha, 3 * 0.2, rtol=1e-5)  # α KL and -α KL cancel.
    np.testing.assert_allclose(free_kl, 0.0, atol=1e-7)
    assert abs(free_eta - eta) > 1e-3  # Weights that are not stopped move with the temperature.


def test_projection_keeps_multipliers_positive():
    loss, _, _ = losses.mpo_compute_weights_and_temperature_loss(
        jnp.zeros((2, 1)), LagrangePenalty(jnp.array(-3.0), 1.0), lambda alpha: alpha**2
    )
    np.testing.assert_allclose(loss, [9.0])
    np.testing.assert_allclose(losses.at_least_smallest(jnp.array([-1.0, 2.0])), [1e-10, 2.0])
    kl_loss, alpha_loss, alpha = losses.kl_constraint_loss(
        jnp.array([3.0]), LagrangePenalty(jnp.array(-2.0), 1.0), jnp.abs
    )
    assert alpha == 2
    np.testing.assert_allclose([kl_loss[0], alpha_loss[0]], [6.0, -4.0])
    assert losses.compute_parametric_kl_penalty_and_dual_loss([], jnp.abs) == (0.0, 0.0)


def test_all_actions_are_weighed_by_their_probability():
    rng = np.random.default_rng(0)
    values, logits = rng.normal(size=(2, 3, 4))
    prior = np.exp(logits) / np.sum(np.exp(logits), axis=0)
    penalty = LagrangePenalty(jnp.array(ETA), BOUND)

    def weigh(prior):
        return losses.mpo_compute_weights_and_temperature_loss(
            jnp.asarray(values, jnp.float32), penalty, losses.at_least_smallest,
            log_prior=None if prior is None else jnp.log(jnp.asarray(prior, jnp.float32)),
        )  # fmt: skip

    loss, weights, _ = weigh(prior)
    for i in range(4):
        parts = [prior[s, i] * np.exp(values[s, i] / ETA) for s in range(3)]
        np.testing.assert_allclose(weights[:, i], parts / np.sum(parts), rtol=1e-5)
        assert loss[i] == pytest.approx(ETA * (BOUND + np.log(np.sum(parts))), rel=1e-5)
    for one, other in zip(weigh(np.full((3, 4), 1 / 3)), weigh(None), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    with pytest.raises(ValueError, match='log_prior must have the shape of sample_q_values'):
        weigh(prior[:2])


def vmpo_reference(log_probs, advantages, restarting, importance, fraction):
    scaled = advantages / ETA
    order = sorted(range(len(scaled)), key=lambda i: (restarting[i] > 0, scaled[i]), reverse=True)
    chosen = [i for i in order[: int(fraction * len(scaled))] if restarting[i] > 0]
    weights = np.zeros(len(scaled))
    for i in chosen:
        weights[i] = importance[i] * np.exp(scaled[i])
    temperature = ETA * (BOUND + np.log(np.sum(weights) / len(chosen)))
    weights = weights / np.sum(weights)
    return -len(scaled) * weights * log_probs, temperature, weights, len(chosen)


@pytest.mark.parametrize('fraction', [0.3, 0.5, 0.9, 1.0])
def test_vmpo_is_the_sum_of_its_parts(fraction):
    rng = np.random.default_rng(1)
    log_probs, advantages = rng.normal(size=(2, 8)).astype(np.float32)
    restarting = np.array([1, 1, 0, 1, 1, 1, 0, 1], np.float32)
    importance = rng.uniform(0.5, 2.0, 8).astype(np.float32)
    kl, kl_dim = rng.uniform(size=8).astype(np.float32), rng.uniform(size=(8, 2)).astype(np.float32)
    loss, outputs = losses.vmpo_loss(
        log_probs,
        advantages,
        LagrangePenalty(jnp.array(ETA), BOUND),
        constraints(kl, kl_dim),
        restarting_weights=restarting,
        importance_weights=importance,
        top_k_fraction=fraction,
        policy_loss_weight=2.0,
        temperature_loss_weight=3.0,
        kl_loss_weight=5.0,
        alpha_loss_weight=7.0,
    )
    policy, temperature, weights, count = vmpo_reference(
        log_probs, advantages, restarting, importance, fraction
    )
    kl_loss, alpha_loss = constraint_losses(kl, kl_dim)
    suite.assert_close(outputs.normalized_weights, weights)
    suite.assert_close(outputs.policy_loss, policy)
    suite.assert_close(outputs.temperature_loss, temperature)
    np.testing.assert_allclose(outputs.num_samples, count)
    suite.assert_close(loss, 2 * policy + 3 * temperature + 5 * kl_loss + 7 * alpha_loss)


def test_vmpo_counts_everything_alike_by_default():
    log_probs, advantages = np.random.default_rng(2).normal(size=(2, 6)).astype(np.float32)
    penalty, ones = LagrangePenalty(jnp.array(ETA), BOUND), jnp.ones(6)
    loss, outputs = losses.vmpo_loss(log_probs, advantages, penalty, [])
    expected = vmpo_reference(log_probs, advantages, ones, ones, 0.5)
    suite.assert_close(outputs.normalized_weights, expected[2])
    suite.assert_close(loss, expected[0] + expected[1])


@pytest.mark.parametrize('fraction', [0.25, 0.5, 1.0])
def test_the_part_that_counts_may_be_traced(fraction):
    restarting = np.array([1, 1, 0, 1, 1, 1, 0, 1], np.float32)
    advantages = np.random.default_rng(4).normal(size=8).astype(np.float32)
    given = jax.jit(lambda part: losses.get_top_k_weights(part, restarting, advantages))(fraction)
    expected = losses.get_top_k_weights(fraction, restarting, advantages)
    np.testing.assert_array_equal(given, expected)


def test_vmpo_over_a_mapped_axis_is_one_step():
    log_probs, advantages = np.random.default_rng(3).normal(size=(2, 8)).astype(np.float32)
    penalty = LagrangePenalty(jnp.array(ETA), BOUND)
    whole, _ = losses.vmpo_loss(log_probs, advantages, penalty, [])
    parts = jax.vmap(
        lambda lp, adv: losses.vmpo_loss(lp, adv, penalty, [], axis_name='lanes')[0],
        axis_name='lanes',
    )(log_probs.reshape(2, 4), advantages.reshape(2, 4))
    np.testing.assert_allclose(parts.reshape(8), whole, rtol=1e-5)
    bounds = [(np.arange(8, dtype=np.float32), LagrangePenalty(2.0, 0.5))]
    mask = np.array([1, 1, 0, 1, 1, 1, 1, 0], np.float32)
    kl_loss, alpha_loss = losses.kl_alpha_loss(mask, bounds)
    mean = np.sum(mask * np.arange(8)) / 6
    np.testing.assert_allclose([kl_loss, alpha_loss], [2 * mean, 2 * (0.5 - mean)], rtol=1e-6)
    lanes = jax.vmap(
        lambda m, kl: losses.kl_alpha_loss(m, [(kl, LagrangePenalty(2.0, 0.5))], 'lanes'),
        axis_name='lanes',
    )(mask.reshape(2, 4), bounds[0][0].reshape(2, 4))
    np.testing.assert_allclose(lanes[0], kl_loss, rtol=1e-6)
    np.testing.assert_allclose(losses.kl_alpha_loss(mask), 0.0)


def test_refusals():
    x = jnp.ones(4)
    penalty = LagrangePenalty(jnp.array(1.0), 0.5)
    for fraction in (0.0, 1.5):
        with pytest.raises(ValueError, match=r'top_k_fraction must be in \(0, 1\]'):
            losses.vmpo_loss(x, x, penalty, [], top_k_fraction=fraction)
    with pytest.raises(ValueError, match='top_k_fraction must choose at least one of 4 examples'):
        losses.vmpo_loss(x, x, penalty, [], top_k_fraction=0.2)
    for name in ('restarting_weights', 'importance_weights'):
        with pytest.raises(ValueError, match=f'{name} must have the shape of advantages'):
            losses.vmpo_loss(x, x, penalty, [], **{name: jnp.ones(3)})
    with pytest.raises(ValueError, match='sample_log_probs must have the shape of sample_q_values'):
        losses.mpo_loss(jnp.ones((2, 3)), jnp.ones((3, 2)), penalty, [])
