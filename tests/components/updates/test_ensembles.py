"""What is made of an ensemble's outputs, against loops over the papers' formulas in double."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import updates
from culmen.components.networks import Keyed

GENERATOR = np.random.default_rng(3)
NUM_CRITICS, BATCH, NUM_QUANTILES = 3, 4, 5
REWARD = GENERATOR.normal(size=BATCH)
DISCOUNT = np.array([0.9, 0.0, 0.5, 0.9])
Q_TM1, Q_T = GENERATOR.normal(size=(2, NUM_CRITICS, BATCH))
Z_TM1, Z_T = GENERATOR.normal(size=(2, NUM_CRITICS, BATCH, NUM_QUANTILES), scale=2.0)


def single(*arrays):
    return [jnp.asarray(each, jnp.float32) for each in arrays]


def test_the_loss_of_values_and_the_least_of_all():
    critics = updates.value_critics()
    loss = 0.0
    for i in range(NUM_CRITICS):
        for b in range(BATCH):
            y = REWARD[b] + DISCOUNT[b] * min(Q_T[j, b] for j in range(NUM_CRITICS))
            loss += (y - Q_TM1[i, b]) ** 2 / 2 / BATCH
    q_tm1, q_t, r_t, discount_t = single(Q_TM1, Q_T, REWARD, DISCOUNT)
    assert critics.loss(q_tm1, r_t, discount_t, critics.target(q_t)) == pytest.approx(
        loss, rel=1e-5
    )
    params = {'w': q_t}
    assert critics.chosen(params, jax.random.key(0)) is params


@pytest.mark.parametrize('num_drawn', [1, 2])
def test_a_subset_is_drawn_without_repeats_and_anew_for_each_key(num_drawn):
    critics = updates.value_critics(num_drawn)
    params = {'w': jnp.arange(5.0), 'b': jnp.arange(5.0)[:, None] + 10}
    chosen = jax.vmap(lambda key: critics.chosen(params, key))(
        jax.random.split(jax.random.key(0), 200)
    )
    assert chosen['w'].shape == (200, num_drawn)
    np.testing.assert_array_equal(chosen['b'][..., 0], chosen['w'] + 10)  # whole critics
    assert all(len(set(row)) == num_drawn for row in np.asarray(chosen['w']).tolist())
    counts = np.bincount(np.asarray(chosen['w'], int).ravel(), minlength=5)
    np.testing.assert_allclose(counts / counts.sum(), 0.2, atol=0.08)


@pytest.mark.parametrize('num_dropped', [0, 1, 3])
def test_truncated_quantiles(num_dropped):
    """Kuznetsov et al. 2020, equations 8 to 11."""
    kept = NUM_CRITICS * (NUM_QUANTILES - num_dropped)
    loss = 0.0
    for n in range(NUM_CRITICS):
        for b in range(BATCH):
            pool = sorted(Z_T[:, b].ravel())[:kept]
            for m in range(NUM_QUANTILES):
                tau = (2 * (m + 1) - 1) / (2 * NUM_QUANTILES)
                for z in pool:
                    u = REWARD[b] + DISCOUNT[b] * z - Z_TM1[n, b, m]
                    huber = u**2 / 2 if abs(u) <= 1 else abs(u) - 0.5
                    loss += abs(tau - (u < 0)) * huber / (kept * NUM_QUANTILES * BATCH)
    critics = updates.quantile_critics(num_dropped)
    z_tm1, z_t, r_t, discount_t = single(Z_TM1, Z_T, REWARD, DISCOUNT)
    target = critics.target(z_t)
    assert target.shape == (BATCH, kept)
    assert critics.loss(z_tm1, r_t, discount_t, target) == pytest.approx(loss, rel=1e-5)
    params = {'w': z_t}
    assert critics.chosen(params, jax.random.key(0)) is params


def test_what_the_policy_climbs():
    q, z = single(Q_T, Z_T)
    of = updates.value_critics, lambda value: updates.quantile_critics(1, value)
    np.testing.assert_allclose(of[0](None, 'least').value(q), Q_T.min(axis=0), rtol=1e-6)
    np.testing.assert_allclose(of[0](None, 'mean').value(q), Q_T.mean(axis=0), rtol=1e-5)
    means = Z_T.mean(axis=2)
    np.testing.assert_allclose(of[1]('least').value(z), means.min(axis=0), rtol=1e-5)
    np.testing.assert_allclose(of[1]('mean').value(z), means.mean(axis=0), rtol=1e-5)


def test_no_gradient_passes_through_a_target():
    for critics, tm1, t in (
        (updates.value_critics(), Q_TM1, Q_T),
        (updates.quantile_critics(1), Z_TM1, Z_T),
    ):
        tm1, t, r_t, discount_t = single(tm1, t, REWARD, DISCOUNT)
        gradient = jax.grad(
            lambda t, tm1=tm1, critics=critics, r_t=r_t, discount_t=discount_t: critics.loss(
                tm1, r_t, discount_t, critics.target(t)
            )
        )(t)
        assert (gradient == 0).all()


def test_networks_that_drop_units_get_a_key():
    key = jax.random.key(1)
    assert updates.value_critics().drawing({'w': 1}, key) == {'w': 1}
    for critics in (updates.value_critics(drops=True), updates.quantile_critics(1, drops=True)):
        assert critics.drawing({'w': 1}, key) == Keyed({'w': 1}, key)
