"""Distributions over the parts of an action: each against sums over all its values, or over many draws."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import networks

pytestmark = pytest.mark.slow

KEYS = jax.random.split(jax.random.key(0), 20_000)
GAP = np.finfo(np.float32).min


def bernoulli(*logits):
    return networks.Bernoulli(jnp.array(logits, jnp.float32))


def ragged(*last):
    """Two choices, of three values and of two."""
    return networks.Categoricals(jnp.array([[0.5, -1.0, 0.3], [*last, GAP]], jnp.float32))


def normal(mean, scale, kind=networks.DiagonalGaussian):
    return kind(jnp.array(mean, jnp.float32), jnp.log(jnp.array(scale, jnp.float32)))


# Each: a distribution, another of its kind, and all its draws.
DISCRETE = {
    'categorical': (
        networks.Categorical(jnp.array([0.1, 1.0, -2.0])),
        networks.Categorical(jnp.array([1.0, 0.0, 0.0])),
        [0, 1, 2],
    ),
    'categoricals': (ragged(1.0, 2.0), ragged(0.0, -1.0), list(itertools.product(range(3), range(2)))),
    'bernoulli': (bernoulli(0.7, -1.5), bernoulli(-0.2, 0.4), list(itertools.product((0, 1), (0, 1)))),
}  # fmt: skip


@pytest.mark.parametrize('name', DISCRETE)
def test_sums_over_all_values(name):
    policy, other, values = DISCRETE[name]
    log_prob = np.array([policy.log_prob(jnp.array(value)) for value in values], np.float64)
    its_log_prob = np.array([other.log_prob(jnp.array(value)) for value in values], np.float64)
    prob = np.exp(log_prob)
    assert prob.sum() == pytest.approx(1, rel=1e-5)
    assert float(policy.entropy()) == pytest.approx(-(prob * log_prob).sum(), rel=1e-5)
    divergence = (prob * (log_prob - its_log_prob)).sum()
    assert float(policy.kl(other)) == pytest.approx(divergence, rel=1e-4)
    assert float(policy.kl(policy)) == pytest.approx(0, abs=1e-6)
    assert policy.mode().tolist() == list(np.ravel(values[prob.argmax()])) or (
        policy.mode().tolist() == values[prob.argmax()]
    )
    drawn = jax.vmap(policy.sample)(KEYS)
    assert drawn.dtype == policy.mode().dtype == jnp.int32
    drawn = np.asarray(drawn).reshape(len(KEYS), -1)
    shares = [(drawn == np.ravel(value)).all(axis=1).mean() for value in values]
    np.testing.assert_allclose(shares, prob, atol=0.015)


@pytest.mark.parametrize('kind', [networks.DiagonalGaussian, networks.TanhGaussian])
def test_means_over_many_draws(kind):
    policy, other = normal([0.5, -0.3], [0.4, 0.9], kind), normal([0.0, 0.2], [1.0, 0.6], kind)
    drawn = jax.vmap(policy.sample)(KEYS)
    log_prob, its_log_prob = jax.vmap(policy.log_prob)(drawn), jax.vmap(other.log_prob)(drawn)
    assert float(policy.entropy()) == pytest.approx(-float(log_prob.mean()), abs=0.03)
    assert float(policy.kl(other)) == pytest.approx(
        float((log_prob - its_log_prob).mean()), abs=0.03
    )
    assert float(policy.kl(policy)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(('scale', 'tolerance'), [(0.1, 1e-3), (2.0, 1e-3), (np.exp(2.0), 0.1)])
@pytest.mark.parametrize('mean', [0.0, 1.0, 3.0])
def test_the_entropy_of_a_tanh_gaussian(mean, scale, tolerance):
    """The quadrature beside an integral over a fine grid."""
    x = np.linspace(mean - 10 * scale, mean + 10 * scale, 200_001)
    density = np.exp(-0.5 * ((x - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
    log_slope = 2 * (np.log(2) - x - np.logaddexp(0, -2 * x))
    step = x[1] - x[0]
    expected = 0.5 * np.log(2 * np.pi * np.e) + np.log(scale) + (density * log_slope).sum() * step
    policy = normal([mean, mean], [scale, scale], networks.TanhGaussian)
    assert float(policy.entropy()) == pytest.approx(2 * expected, abs=2 * tolerance)


def test_values_that_are_not_allowed_have_no_probability_and_no_gradient():
    categoricals = ragged(1.0, 2.0).only(jnp.array([[False, True, True], [True, True, False]]))
    assert (np.asarray(jax.vmap(categoricals.sample)(KEYS))[:, 0] > 0).all()
    pair = networks.Categorical(jnp.array([-1.0, 0.3])).entropy()
    both = networks.Categorical(jnp.array([1.0, 2.0])).entropy()
    assert float(categoricals.entropy()) == pytest.approx(float(pair + both), rel=1e-5)

    allowed = jnp.array([[True, False], [False, True], [True, True]])
    masked = bernoulli(3.0, -3.0, 0.5).only(allowed)
    assert masked.mode().tolist() == [0, 1, 1]
    drawn = np.asarray(jax.vmap(masked.sample)(KEYS))
    assert (drawn[:, 0] == 0).all() and (drawn[:, 1] == 1).all()
    assert float(masked.entropy()) == pytest.approx(float(bernoulli(0.5).entropy()), rel=1e-5)
    assert float(masked.log_prob(jnp.array([0, 1, 1]))) == pytest.approx(
        float(bernoulli(0.5).log_prob(jnp.array([1]))), rel=1e-5
    )

    def both_of(logits):
        policy = networks.Bernoulli(logits).only(allowed)
        return policy.entropy() + policy.log_prob(jnp.array([0, 1, 1])) + policy.kl(masked)

    gradient = jax.grad(both_of)(jnp.array([3.0, -3.0, 0.5]))
    assert gradient[:2].tolist() == [0, 0]
    assert gradient[2] != 0


def test_a_product_adds_up_its_parts():
    parts = {'a': DISCRETE['categoricals'][0], 'b': (bernoulli(0.3), normal([0.5], [2.0]))}
    others = {'a': DISCRETE['categoricals'][1], 'b': (bernoulli(-1.0), normal([0.0], [1.0]))}
    policy, other = networks.Product(parts), networks.Product(others)
    flat = [parts['a'], *parts['b']]
    flat_others = [others['a'], *others['b']]
    assert networks.leaf_distributions(policy) == flat
    drawn = policy.sample(jax.random.key(3))
    draws = [drawn['a'], *drawn['b']]
    assert float(policy.log_prob(drawn)) == pytest.approx(
        sum(float(part.log_prob(each)) for part, each in zip(flat, draws, strict=True)), rel=1e-6
    )
    assert float(policy.entropy()) == pytest.approx(
        sum(float(part.entropy()) for part in flat), rel=1e-6
    )
    assert float(policy.kl(other)) == pytest.approx(
        sum(float(part.kl(its)) for part, its in zip(flat, flat_others, strict=True)), rel=1e-6
    )
    assert policy.mode()['b'][1].tolist() == [0.5]
    many = jax.vmap(policy.sample)(KEYS)
    # Parts are independent, those of one kind too.
    twins = networks.Product((bernoulli(0.0), bernoulli(0.0)))
    a, b = jax.vmap(twins.sample)(KEYS)
    assert abs(np.corrcoef(np.asarray(a)[:, 0], np.asarray(b)[:, 0])[0, 1]) < 0.03
    assert (
        abs(np.corrcoef(np.asarray(many['b'][1])[:, 0], np.asarray(many['a'])[:, 0])[0, 1]) < 0.03
    )


def test_a_product_is_a_tree_that_is_cut_and_mapped():
    policy = networks.Product({'a': networks.Categorical(jnp.zeros((4, 3, 2)))})
    cut = jax.tree_util.tree_map(lambda leaf: leaf[:, :-1], policy)
    assert isinstance(cut.parts['a'], networks.Categorical)
    assert cut.entropy().shape == (4, 2)
    of_rows = jax.vmap(lambda policy, key: policy.sample(key))(policy, KEYS[:4])
    assert of_rows['a'].shape == (4, 3)
