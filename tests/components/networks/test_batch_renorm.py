"""Batch renormalisation against Ioffe's algorithm 1 in double."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import networks
from tests.agents import registry

GENERATOR = np.random.default_rng(0)
# Of a column far from the running moments, of one near them, and of one without spread.
BATCHES = GENERATOR.normal(size=(4, 6, 3), loc=[9.0, 0.5, 1.0], scale=[5.0, 1.0, 0.0])


def transformed(momentum=0.9, warmup=2):
    return hk.without_apply_rng(
        hk.transform_with_state(
            lambda x, is_training: networks.BatchRenorm(momentum, warmup)(x, is_training)
        )
    )


def by_loop(batches, momentum, warmup):
    """Outputs of each batch in training, then the running mean and variance."""
    columns = batches.shape[-1]
    mean, variance, outputs = np.zeros(columns), np.ones(columns), []
    for call, batch in enumerate(batches):
        output = np.empty_like(batch)
        for column in range(columns):
            x = batch[:, column]
            m = sum(x) / len(x)
            v = sum((each - m) ** 2 for each in x) / len(x)
            s, running = np.sqrt(v + 1e-3), np.sqrt(variance[column] + 1e-3)
            r, d = 1.0, 0.0
            if call >= warmup:
                r = min(max(s / running, 1 / 3), 3)
                d = min(max((m - mean[column]) / running, -5), 5)
            output[:, column] = (x - m) / s * r + d
            mean[column] = momentum * mean[column] + (1 - momentum) * m
            variance[column] = momentum * variance[column] + (1 - momentum) * v
        outputs.append(output)
    return outputs, mean, variance


@pytest.mark.parametrize(('momentum', 'warmup'), [(0.9, 2), (0.5, 0), (0.9, 9)])
def test_outputs_and_running_moments(momentum, warmup):
    module = transformed(momentum, warmup)
    batches = jnp.asarray(BATCHES, jnp.float32)
    params, state = module.init(jax.random.key(0), batches[0], True)
    outputs, mean, variance = by_loop(np.asarray(batches, np.float64), momentum, warmup)
    for batch, expected in zip(batches, outputs):
        given, state = module.apply(params, state, batch, True)
        np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4)
    held = state['batch_renorm']
    np.testing.assert_allclose(held['mean'], mean, rtol=1e-5)
    np.testing.assert_allclose(held['variance'], variance, rtol=1e-5, atol=1e-6)
    assert held['calls'] == 4
    given, after = module.apply(params, state, batches[0], False)
    expected = (BATCHES[0] - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4)
    assert all((a == b).all() for a, b in zip(*map(jax.tree_util.tree_leaves, (after, state))))


def test_no_gradient_passes_through_the_correction():
    """With r and d as constants, the gradient is r times that of batch normalisation."""
    batch = jnp.asarray(BATCHES[0][:, 1:2], jnp.float32)
    weights = jnp.arange(6.0)[:, None]

    def total(batch, warmup):
        module = transformed(warmup=warmup)
        params, state = module.init(jax.random.key(0), batch, True)
        return jnp.sum(weights * module.apply(params, state, batch, True)[0])

    plain, renormed = (jax.grad(total)(batch, warmup) for warmup in (9, 0))
    ratio = np.sqrt(BATCHES[0][:, 1].var() + 1e-3) / np.sqrt(1 + 1e-3)
    np.testing.assert_allclose(renormed, ratio * plain, rtol=1e-3, atol=1e-5)


def test_each_critic_has_moments_of_its_own_and_scales_are_learned():
    spec = registry.continuous_spec()
    made = networks.make_renormed_networks(
        spec, networks.action_box('tests', spec), (5,), (7,), momentum=0.9, warmup=0, num_critics=3
    )
    policy, moments, critics, critic_moments = made.init(jax.random.key(0))
    leaves = jax.tree_util.tree_leaves(critic_moments)
    assert {leaf.shape for leaf in leaves} == {(3,), (3, 6), (3, 7)}
    scales = [leaf['scale'].shape for name, leaf in policy.items() if 'renorm' in name]
    assert sorted(scales) == [(4,), (5,)]
    features, action = GENERATOR.normal(size=(8, 4)), GENERATOR.normal(size=(8, 2))
    features, action = jnp.asarray(features, jnp.float32), jnp.asarray(action, jnp.float32)
    q, after = made.critics(critics.ensemble, critic_moments, features, action, True)
    assert q.shape == (3, 8)
    means = [leaf for leaf in jax.tree_util.tree_leaves(after) if leaf.shape == (3, 7)]
    assert not np.allclose(means[0][0], means[0][1])
    plain = networks.make_renormed_networks(
        spec, made.box, (5,), (7,), momentum=0.9, warmup=0, policy_norm=False
    )
    policy, moments, *_ = plain.init(jax.random.key(0))
    assert not jax.tree_util.tree_leaves(moments)
    assert not any('renorm' in name for name in policy)
