"""Transformed returns and errors: each is its plain self between a transform and its inverse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import losses
from tests.components.losses import reference
from tests.components.losses import suite

PAIRS = {
    'identity': losses.IDENTITY_PAIR,
    'logp1': losses.SIGNED_LOGP1_PAIR,
    'hyperbolic': losses.SIGNED_HYPERBOLIC_PAIR,
    'sinh': losses.HYPERBOLIC_SIN_PAIR,
}


def sequence(seed=0):
    rng = np.random.default_rng(seed)
    q_tm1, q_t = rng.normal(size=(2, 6, 3)).astype(np.float32)
    a_tm1, a_t = rng.integers(0, 3, (2, 6))
    r = rng.normal(size=6).astype(np.float32)
    discount, mu, lambda_ = rng.uniform(0.1, 0.95, (3, 6)).astype(np.float32)
    return (
        q_tm1,
        q_t,
        a_tm1,
        a_t,
        r,
        discount,
        suite.softmax(rng.normal(size=(6, 3)).astype(np.float32)),
        mu,
        lambda_,
    )


def h(pair, x):
    return np.asarray(pair.apply(jnp.asarray(x, jnp.float32)), np.float64)


def h_inverse(pair, x):
    return np.asarray(pair.apply_inv(jnp.asarray(x, jnp.float32)), np.float64)


@pytest.mark.parametrize('pair', PAIRS.values(), ids=PAIRS)
def test_returns_and_errors(pair):
    q_tm1, q_t, a_tm1, a_t, r, discount, pi, mu, lambda_ = sequence()
    v, predicted = q_t[:, 0], reference.pick(q_tm1, a_tm1)
    plain, bootstrap = h_inverse(pair, v), h_inverse(pair, reference.pick(q_t, a_t))
    lambda_returns = reference.lambda_returns(r, discount, plain, lambda_)
    n_step = reference.n_step(r, discount, bootstrap, 3)
    suite.assert_close(
        losses.transformed_lambda_returns(pair, r, discount, v, lambda_), h(pair, lambda_returns)
    )
    suite.assert_close(
        losses.transformed_n_step_returns(pair, r, discount, reference.pick(q_t, a_t), 3),
        h(pair, n_step),
    )
    c = lambda_ * np.minimum(1, reference.pick(pi, a_t) / (mu + 1e-8))
    off_policy = reference.off_policy_from_action_values(
        h_inverse(pair, q_t), a_t, r, discount, c, pi
    )
    suite.assert_close(
        losses.transformed_general_off_policy_returns_from_action_values(
            pair, q_t, a_t, r, discount, c.astype(np.float32), pi
        ),
        h(pair, off_policy),
    )
    suite.assert_close(
        losses.transformed_retrace(
            q_tm1, q_t, a_tm1, a_t, r, discount, pi, mu, lambda_, tx_pair=pair
        ),
        h(pair, off_policy) - predicted,
    )
    best = reference.lambda_returns(r, discount, h_inverse(pair, q_t.max(-1)), lambda_)
    suite.assert_close(
        losses.transformed_q_lambda(q_tm1, a_tm1, r, discount, q_t, lambda_, tx_pair=pair),
        h(pair, best) - predicted,
    )
    suite.assert_close(
        losses.transformed_n_step_q_learning(q_tm1, a_tm1, q_t, a_t, r, discount, 3, tx_pair=pair),
        h(pair, n_step) - predicted,
    )


def test_without_a_pair_they_are_plain():
    q_tm1, q_t, a_tm1, a_t, r, discount, pi, mu, lambda_ = sequence()
    np.testing.assert_array_equal(
        losses.transformed_q_lambda(q_tm1, a_tm1, r, discount, q_t, lambda_),
        losses.q_lambda(q_tm1, a_tm1, r, discount, q_t, lambda_),
    )
    np.testing.assert_array_equal(
        losses.transformed_retrace(q_tm1, q_t, a_tm1, a_t, r, discount, pi, mu, lambda_),
        losses.retrace(q_tm1, q_t, a_tm1, a_t, r, discount, pi, mu, lambda_),
    )


@pytest.mark.slow
def test_targets_are_stopped_in_errors_and_flow_in_returns():
    q_tm1, q_t, a_tm1, a_t, r, discount, pi, mu, lambda_ = sequence()
    pair = losses.SIGNED_HYPERBOLIC_PAIR
    for error in (
        lambda q, r, **k: losses.transformed_q_lambda(
            q, a_tm1, r, discount, q_t, lambda_, tx_pair=pair, **k
        ),
        lambda q, r, **k: losses.transformed_retrace(
            q, q_t, a_tm1, a_t, r, discount, pi, mu, lambda_, tx_pair=pair, **k
        ),
        lambda q, r, **k: losses.transformed_n_step_q_learning(
            q, a_tm1, q_t, a_t, r, discount, 2, tx_pair=pair, **k
        ),
    ):
        slopes = jax.grad(lambda *args, e=error: jnp.sum(e(*args)), (0, 1))(q_tm1, r)
        np.testing.assert_allclose(slopes[0], -np.eye(3)[a_tm1])
        np.testing.assert_array_equal(slopes[1], 0.0)
        flowing = jax.grad(lambda r, e=error: jnp.sum(e(q_tm1, r, stop_target_gradients=False)))(r)
        assert np.all(np.asarray(flowing) > 0)
    flowing = jax.grad(lambda r: jnp.sum(losses.transformed_lambda_returns(pair, r, discount, r)))(
        r
    )
    assert np.all(np.asarray(flowing) > 0)


def test_a_cut_in_n_step_q_learning():
    q_tm1, q_t, a_tm1, a_t, r, discount, *_ = sequence()
    cut = np.array([1, 1, 0, 1, 1, 1], np.float32)
    whole = losses.transformed_n_step_q_learning(
        q_tm1, a_tm1, q_t, a_t, r, discount, 4, lambda_t=cut
    )
    alone = losses.transformed_n_step_q_learning(
        q_tm1[:3], a_tm1[:3], q_t[:3], a_t[:3], r[:3], discount[:3], 4
    )
    np.testing.assert_allclose(whole[:3], alone, rtol=1e-5)


def test_pairs_invert():
    x = jnp.linspace(-4, 4, 9)
    for pair in PAIRS.values():
        np.testing.assert_allclose(pair.apply_inv(pair.apply(x)), x, rtol=1e-4, atol=1e-5)
    x = jnp.linspace(0, 0.99, 9)
    pair = losses.DISCOUNT_TRANSFORM_PAIR
    np.testing.assert_allclose(pair.apply(x), -np.log(1 - np.asarray(x)), rtol=1e-4)
    np.testing.assert_allclose(pair.apply_inv(pair.apply(x)), x, rtol=1e-4, atol=1e-6)
    both = losses.compose_tx(
        losses.SIGNED_LOGP1_PAIR, losses.TxPair(lambda x: 2 * x, lambda x: x / 2)
    )
    np.testing.assert_allclose(both.apply(jnp.array([np.e - 1.0])), [2.0], rtol=1e-6)
    np.testing.assert_allclose(both.apply_inv(jnp.array([2.0])), [np.e - 1.0], rtol=1e-6)
    assert losses.compose_tx().apply(3.0) == losses.compose_tx().apply_inv(3.0) == 3.0


def test_coded_pairs_invert_and_differ_in_what_they_mean():
    x = jnp.array([-7.0, 0.0, 0.5, 7.0])
    tx = losses.SIGNED_HYPERBOLIC_PAIR
    for pair in (
        losses.twohot_pair(-10.0, 10.0, 5),
        losses.muzero_pair(-3.0, 3.0, 7, tx),
        losses.unbiased_transform_pair(-3.0, 3.0, 7, tx),
    ):
        code = pair.apply(x)
        np.testing.assert_allclose(jnp.sum(code, -1), 1.0, rtol=1e-6)
        np.testing.assert_allclose(pair.apply_inv(code), x, rtol=1e-3, atol=1e-3)
    # Half the mass on values 0 and tx⁻¹(2): MuZero's mean is tx⁻¹(1), the unbiased one half of it.
    spread = jnp.array([[0.0, 0.0, 0.5, 0.0, 0.5]])
    muzero = losses.muzero_pair(-2.0, 2.0, 5, tx).apply_inv(spread)
    np.testing.assert_allclose(muzero, tx.apply_inv(jnp.array([1.0])), rtol=1e-5)
    unbiased = losses.unbiased_transform_pair(-2.0, 2.0, 5, tx).apply_inv(spread)
    np.testing.assert_allclose(unbiased, tx.apply_inv(jnp.array([2.0])) / 2, rtol=1e-5)


def test_returns_of_coded_values_are_coded():
    pair = losses.muzero_pair(-3.0, 3.0, 7, losses.SIGNED_HYPERBOLIC_PAIR)
    _, _, _, _, r, discount, *_ = sequence()
    v = np.linspace(-2, 2, 6).astype(np.float32)
    coded = losses.transformed_lambda_returns(pair, r, discount, pair.apply(v), 0.5)
    assert coded.shape == (6, 7)
    plain = losses.lambda_returns(r, discount, v, 0.5)
    np.testing.assert_allclose(pair.apply_inv(coded), plain, rtol=1e-3, atol=1e-3)
