"""IQN's loss by hand: quantiles that are linear in the fraction, and equation 3 as loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from culmen.agents import iqn
from culmen.agents.iqn import learning
from culmen.components import networks
from culmen.components.networks import Keyed
from culmen.components.networks import Network
from tests.agents import registry
from tests.agents.dqn import by_hand
from tests.agents.dqn.by_hand import CONTEXT
from tests.agents.dqn.by_hand import TWO

# Quantiles at tau are value + spread * (tau - 1/2), for three observations and two actions.
ONLINE = jnp.array([[[1.0, 2.0], [2.0, 1.0]], [[3.0, 1.0], [5.0, 4.0]], [[0.0, 0.0], [0.0, 1.0]]])
TARGET = jnp.array([[[0.0, 1.0], [0.2, 0.0]], [[8.0, 1.0], [6.0, 2.0]], [[4.0, 1.0], [4.0, 2.0]]])
PLAIN = {'n_step': 1, 'double': False, 'discount': 0.5, 'num_fractions': 3, 'num_target_fractions': 4,
         'num_policy_fractions': 5, 'huber_kappa': 1.0}  # fmt: skip


def apply(params, observation, tau):
    """float32[B, N, 2]. The fractions that were drawn are seen in `drawn`."""
    table = jnp.asarray(params)[
        jnp.asarray(observation['number'] if isinstance(observation, dict) else observation)
    ]
    apply.drawn.append(np.asarray(tau))
    return table[:, None, :, 0] + table[:, None, :, 1] * (tau[:, :, None] - 0.5)


apply.drawn = []
NETWORK = Network(init=lambda key: ONLINE, apply=apply)


def loss(sample=TWO, **settings):
    """(losses of the windows, fractions of the prediction, of the target, of the policy)."""
    config = iqn.IQNConfig(**{**PLAIN, **settings})
    apply.drawn.clear()
    value, (_, priorities) = iqn.loss(ONLINE, TARGET, sample, CONTEXT, NETWORK, config)
    assert float(value) == pytest.approx(float(np.mean(priorities)), rel=1e-5)
    return np.asarray(priorities), list(apply.drawn)


def quantile_loss(tau, of_target, prediction, kappa=1.0):
    """Equation 3, for fractions [N], target values [M] and predicted values [N]."""
    total = 0.0
    for t, predicted in zip(tau, prediction):
        for value in of_target:
            error = value - predicted
            size = abs(error)
            if kappa:
                size = (error**2 / 2 if size <= kappa else kappa * (size - kappa / 2)) / kappa
            total += abs(t - (error < 0)) * size / len(of_target)
    return total


def values(table, observation, tau):
    table = np.asarray(table)[observation]
    return table[None, :, 0] + table[None, :, 1] * (np.asarray(tau)[:, None] - 0.5)


def expected(drawn, selector=TARGET, kappa=1.0):
    """The losses of TWO, by the fractions that were drawn."""
    tau, of_target, of_policy = drawn[:3]
    best = values(selector, 1, of_policy[0]).mean(0).argmax()
    target = 1.0 + 0.5 * values(TARGET, 1, of_target[0])[:, best]
    first = quantile_loss(tau[0], target, values(ONLINE, 0, tau[0])[:, 1], kappa)
    last = quantile_loss(tau[1], np.full(4, -1.0), values(ONLINE, 1, tau[1])[:, 0], kappa)
    return [first, last]


@pytest.mark.parametrize('kappa', [0.0, 0.5, 1.0])
def test_it_is_the_quantile_loss_at_drawn_fractions(kappa):
    given, drawn = loss(huber_kappa=kappa)
    assert [tau.shape for tau in drawn] == [(2, 3), (2, 4), (2, 5)]
    assert all((0 <= tau).all() and (tau < 1).all() for tau in drawn)
    assert len({float(tau[0, 0]) for tau in drawn}) == 3  # each call draws its own
    np.testing.assert_allclose(given, expected(drawn, kappa=kappa), rtol=1e-4)


def test_the_online_network_selects_with_double():
    given, drawn = loss(double=True)
    np.testing.assert_allclose(given, expected(drawn, selector=ONLINE), rtol=1e-4)
    other = quantile_loss(drawn[0][0], 1.0 + 0.5 * values(TARGET, 1, drawn[1][0])[:, 0],
                          values(ONLINE, 0, drawn[0][0])[:, 1])  # fmt: skip
    assert given[0] != pytest.approx(other, rel=1e-3)


def test_fractions_differ_from_update_to_update():
    config = iqn.IQNConfig(**PLAIN)
    seen = []
    for i in range(2):
        apply.drawn.clear()
        iqn.loss(ONLINE, TARGET, TWO, CONTEXT._replace(key=jax.random.key(i)), NETWORK, config)
        seen.append(apply.drawn[0])
    assert (seen[0] != seen[1]).all()


def test_munchausen():
    """Vieillard et al. 2020, appendix B.2, with policies of the target network's means."""
    settings = {'munchausen': 0.8, 'temperature': 2.0, 'log_policy_clip': -0.6}
    given, drawn = loss(**settings)
    tau, of_target, of_policy, at_tm1 = drawn

    def policy(observation, tau):
        logits = values(TARGET, observation, tau).mean(0) / 2.0
        return np.exp(logits - np.log(np.exp(logits).sum()))

    bonus = 0.8 * np.clip(2.0 * np.log(policy(0, at_tm1[0])[1]), -0.6, 0.0)
    pi = policy(1, of_policy[0])
    soft = (values(TARGET, 1, of_target[0]) - 2.0 * np.log(pi)) @ pi
    first = quantile_loss(tau[0], 1.0 + bonus + 0.5 * soft, values(ONLINE, 0, tau[0])[:, 1])
    assert given[0] == pytest.approx(first, rel=1e-4)


@pytest.mark.parametrize('munchausen', [None, 0.9])
def test_illegal_actions_are_not_in_the_target(munchausen):
    legal = [[[True, True], [False, True]]]
    sample = by_hand.sample([0], [1], [[1.0]], [[1.0]], [1], legal=legal)
    given, drawn = loss(sample, munchausen=munchausen)
    target = 1.0 + 0.5 * values(TARGET, 1, drawn[1][0])[:, 1]
    if munchausen is not None:
        logits = values(TARGET, 0, drawn[3][0]).mean(0) / 0.03
        log_pi = 0.03 * (logits[1] - logits.max() - np.log(np.exp(logits - logits.max()).sum()))
        target += munchausen * np.clip(log_pi, -1.0, 0.0)
    first = quantile_loss(drawn[0][0], target, values(ONLINE, 0, drawn[0][0])[:, 1])
    assert given == pytest.approx([first], rel=1e-4)


@pytest.mark.parametrize(
    ('risk', 'level', 'formula'),
    [
        ('neutral', None, lambda t: t),
        ('cvar', 0.25, lambda t: 0.25 * t),
        ('wang', -0.75, lambda t: scipy.stats.norm.cdf(scipy.stats.norm.ppf(t) - 0.75)),
        ('cpw', 0.71, lambda t: t**0.71 / (t**0.71 + (1 - t) ** 0.71) ** (1 / 0.71)),
        ('power', -2.0, lambda t: 1 - (1 - t) ** (1 / 3)),
        ('power', 2.0, lambda t: t ** (1 / 3)),
    ],
)
def test_risk_distorts_the_fractions_of_the_policy_alone(risk, level, formula):
    tau = np.linspace(0.01, 0.99, 9, dtype=np.float32)
    given = networks.distorted(tau, risk, level)
    np.testing.assert_allclose(given, formula(tau), rtol=1e-4, atol=1e-6)
    (_, plain), (_, drawn) = loss(), loss(risk=risk, risk_level=level)
    np.testing.assert_array_equal(plain[0], drawn[0])
    np.testing.assert_array_equal(plain[1], drawn[1])
    np.testing.assert_allclose(drawn[2], formula(plain[2]), rtol=1e-3, atol=1e-6)


def test_an_averse_policy_takes_the_sure_action():
    # At observation 1 the second action has the larger mean, and a spread of 4 around it.
    config = iqn.IQNConfig(**{**PLAIN, 'num_policy_fractions': 2_000})
    of = functools.partial(
        learning.mean_of_policy, Keyed(ONLINE, jax.random.key(0)), jnp.array([1]), NETWORK, is_noisy=False
    )  # fmt: skip
    np.testing.assert_allclose(of(config=config)[0], [3.0, 5.0], atol=0.1)
    averse = iqn.IQNConfig(**PLAIN, risk='cvar', risk_level=0.1)
    # The mean of the lowest tenth: tau averages 0.05.
    np.testing.assert_allclose(of(config=averse)[0], [3 - 0.45, 5 - 4 * 0.45], atol=0.1)


def test_the_network_embeds_fractions_by_cosines():
    """Equation 4, with ReLU features before the product."""
    spec = registry.discrete_spec(num_actions=2)
    network = networks.make_quantile_network(spec, 2, (3, 5), embedding_size=4)
    params = network.init(jax.random.key(0))
    held = jax.tree_util.tree_map(np.asarray, params)
    observation = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    tau = np.float32([[0.1, 0.9, 0.5], [0.3, 0.2, 0.7]])
    layers = [
        next(layer for layer in held.values() if layer['w'].shape == shape)
        for shape in ((4, 3), (3, 5), (5, 2))
    ]
    both = [
        held[name]
        for name in sorted(held, key=lambda name: 'torso' not in name)
        if held[name]['w'].shape == (4, 3)
    ]
    assert len(both) == 2  # of the observation, and of the four cosines
    features = np.maximum(observation @ both[0]['w'] + both[0]['b'], 0)
    cosines = np.cos(np.pi * np.arange(4) * tau[:, :, None])
    embedded = np.maximum(cosines @ both[1]['w'] + both[1]['b'], 0)
    hidden = np.maximum((features[:, None] * embedded) @ layers[1]['w'] + layers[1]['b'], 0)
    expected = hidden @ layers[2]['w'] + layers[2]['b']
    np.testing.assert_allclose(
        network.apply(params, observation, tau), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'num_fractions': 0}, 'num_fractions must be at least 1, got 0'),
        ({'risk': 'cvar'}, "risk_level must be a number where risk is 'cvar', got None"),
        ({'risk_level': 0.5}, "risk_level must be None where risk is 'neutral', got 0.5"),
        ({'risk': 'cvar', 'risk_level': 1.5}, r'risk_level must be in \(0, 1\], got 1.5'),
        ({'risk': 'cpw', 'risk_level': 0.0}, 'risk_level must be above 0'),
        ({'munchausen': 0.9}, 'double must be False with munchausen'),
        ({'munchausen': 0.9, 'double': False, 'risk': 'wang', 'risk_level': -1.0},
         "risk must be 'neutral' with munchausen"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        iqn.IQN(**settings)
