"""The losses of MPO's critics of distributions, against sums over their parts in double."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents.mpo import critics
from tests.agents.mpo import by_hand

KEY = jax.random.key(3)


def test_a_categorical_critic_learns_the_projected_mixture_of_the_candidates_returns():
    atoms = np.linspace(-2.0, 3.0, 6)
    head = critics.categorical(6, -2.0, 3.0)
    rng = np.random.default_rng(0)
    outputs, outputs_t = rng.normal(size=6), rng.normal(size=(3, 6))
    prior = np.array([0.2, 0.5, 0.3])
    given = [jnp.asarray(x, jnp.float32) for x in (outputs, 0.7, 0.8, outputs_t, np.log(prior))]
    loss = head.loss(*given, KEY)

    target = np.zeros(6)
    for s in range(3):
        shares = np.exp(outputs_t[s]) / np.sum(np.exp(outputs_t[s]))
        for z, share in zip(atoms, shares):
            place = (np.clip(0.7 + 0.8 * z, -2, 3) + 2) / 1.0
            low = min(int(place), 4)
            target[low] += prior[s] * share * (1 - (place - low))
            target[low + 1] += prior[s] * share * (place - low)
    log_shares = outputs - np.log(np.sum(np.exp(outputs)))
    assert loss == pytest.approx(-np.sum(target * log_shares), rel=1e-5)
    assert head.mean(given[0]) == pytest.approx(np.sum(np.exp(log_shares) * atoms), rel=1e-5)
    grad = jax.grad(lambda *given: head.loss(*given, KEY), argnums=3)(*given)
    assert (grad == 0).all()


def test_a_mixture_of_normals_learns_the_density_of_drawn_returns():
    head = critics.gaussians(2, 4_000)
    rng = np.random.default_rng(0)
    outputs, outputs_t = rng.normal(size=6), rng.normal(size=(3, 6))
    prior = np.array([0.2, 0.5, 0.3])
    given = [jnp.asarray(x, jnp.float32) for x in (outputs, 0.7, 0.8, outputs_t, np.log(prior))]
    loss = head.loss(*given, KEY)

    def parts(x):
        shares = np.exp(x[:2]) / np.sum(np.exp(x[:2]))
        return shares, x[2:4], np.log1p(np.exp(x[4:])) / np.log(2) + 1e-4

    shares, means, scales = parts(outputs)
    assert head.mean(given[0]) == pytest.approx(np.sum(shares * means), rel=1e-5)

    def cost(y):
        return -math.log(
            sum(
                w * math.exp(by_hand.log_density(y, m, s)) for w, m, s in zip(shares, means, scales)
            )
        )

    # The expectation over the candidates' returns, by quadrature.
    nodes, quadrature = np.polynomial.hermite_e.hermegauss(60)
    expected = 0.0
    for s in range(3):
        for weight, mean, scale in zip(*parts(outputs_t[s])):
            costs = [cost(0.7 + 0.8 * (mean + scale * x)) for x in nodes]
            expected += prior[s] * weight * np.sum(quadrature * costs) / math.sqrt(2 * math.pi)
    assert loss == pytest.approx(expected, rel=0.03)  # of 4,000 draws
    grad = jax.grad(lambda *given: head.loss(*given, KEY), argnums=3)(*given)
    assert (grad == 0).all()


def test_a_mixture_of_one_sharp_normal_is_its_density_at_the_target():
    head = critics.gaussians(1, 2)
    sharp = jnp.array([[0.0, 1.5, -40.0]])
    outputs = jnp.array([0.3, 1.0, 0.5])
    loss = head.loss(outputs, jnp.float32(0.2), jnp.float32(0.5), sharp, jnp.zeros(1), KEY)
    scale = math.log1p(math.exp(0.5)) / math.log(2) + 1e-4
    assert loss == pytest.approx(-by_hand.log_density(0.2 + 0.5 * 1.5, 1.0, scale), rel=1e-3)
