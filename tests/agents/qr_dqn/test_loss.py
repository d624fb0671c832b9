"""QR-DQN's loss by hand: a table of quantiles, and equation 10 as loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.agents import qr_dqn
from culmen.components.networks import Network
from tests.agents.dqn import by_hand
from tests.agents.dqn.by_hand import CONTEXT
from tests.agents.dqn.by_hand import TWO

# Quantiles of three observations, two actions and three fractions.
ONLINE = np.random.default_rng(1).normal(size=(3, 2, 3), scale=2.0).astype(np.float32)
TARGET = np.random.default_rng(2).normal(size=(3, 2, 3), scale=2.0).astype(np.float32)
NETWORK = Network(init=lambda key: jnp.asarray(ONLINE), apply=by_hand.lookup)
PLAIN = {'n_step': 1, 'double': False, 'discount': 0.5, 'num_quantiles': 3, 'huber_kappa': 1.0}


def loss(sample=TWO, online=ONLINE, target=TARGET, **settings):
    config = qr_dqn.QRDQNConfig(**{**PLAIN, **settings})
    tables = jnp.asarray(online), jnp.asarray(target)
    value, (metrics, priorities) = qr_dqn.loss(*tables, sample, CONTEXT, NETWORK, config)
    return float(value), np.asarray(priorities), metrics


def quantile_loss(o_tm1, a_tm1, reward, discount, o_t, selector=TARGET, kappa=1.0, legal=(0, 1)):
    """Dabney et al. 2018, algorithm 1: the sum over predicted, the mean over target quantiles."""
    best = max(legal, key=lambda a: selector[o_t, a].mean())
    total = 0.0
    for i in range(3):
        tau = (2 * i + 1) / 6
        for j in range(3):
            error = reward + discount * TARGET[o_t, best, j] - ONLINE[o_tm1, a_tm1, i]
            size = abs(error)
            if kappa:
                size = (error**2 / 2 if size <= kappa else kappa * (size - kappa / 2)) / kappa
            total += abs(tau - (error < 0)) * size / 3
    return total


@pytest.mark.parametrize('kappa', [0.0, 0.5, 1.0])
def test_it_is_the_quantile_regression_loss(kappa):
    value, priorities, metrics = loss(huber_kappa=kappa)
    expected = [
        quantile_loss(0, 1, 1.0, 0.5, 1, kappa=kappa), quantile_loss(1, 0, -1.0, 0.0, 2, kappa=kappa),
    ]  # fmt: skip
    np.testing.assert_allclose(priorities, expected, rtol=1e-5)
    assert value == pytest.approx(np.mean(expected), rel=1e-5)
    assert metrics['q'] == pytest.approx(ONLINE[:2].mean(), rel=1e-5)


def test_the_online_network_selects_with_double():
    online = np.array(ONLINE)
    best = int(np.argmax(TARGET[1].mean(-1)))
    online[1, 1 - best] += 10.0
    expected = quantile_loss(0, 1, 1.0, 0.5, 1, selector=online)
    assert loss(online=online, double=True)[1][0] == pytest.approx(expected, rel=1e-5)
    assert loss(online=online)[1][0] == pytest.approx(quantile_loss(0, 1, 1.0, 0.5, 1), rel=1e-5)


def test_illegal_actions_are_not_selected():
    best = int(np.argmax(TARGET[1].mean(-1)))
    legal = [[[True, True], [best != 0, best != 1]]]
    sample = by_hand.sample([0], [1], [[1.0]], [[1.0]], [1], legal=legal)
    expected = quantile_loss(0, 1, 1.0, 0.5, 1, legal=(1 - best,))
    assert loss(sample)[1] == pytest.approx([expected], rel=1e-5)


def test_no_gradient_reaches_the_target():
    config = qr_dqn.QRDQNConfig(**{**PLAIN, 'double': True})

    def of(online, target):
        return qr_dqn.loss(online, target, TWO, CONTEXT, NETWORK, config)[0]

    online, target = jax.grad(of, argnums=(0, 1))(jnp.asarray(ONLINE), jnp.asarray(TARGET))
    assert not np.asarray(target).any()
    assert np.asarray(online)[0, 1].all()
    assert not np.asarray(online)[2].any()


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match='num_quantiles must be at least 1, got 0'):
        qr_dqn.QRDQN(num_quantiles=0)
    with pytest.raises(ValueError, match='huber_kappa must be at least 0'):
        qr_dqn.QRDQN(huber_kappa=-1.0)
