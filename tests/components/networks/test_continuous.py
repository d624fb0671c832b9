"""Networks of bounded actions: boxes, the tanh-Gaussian, ensembles of critics."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.components.networks import TanhGaussian
from culmen.components.networks import TanhGaussianHead
from culmen.components.networks import action_box
from culmen.components.networks import make_continuous_networks
from tests.agents import registry

pytestmark = pytest.mark.slow


def box_of(minimum, maximum, shape, dtype=np.float32):
    spec = registry.continuous_spec()
    return action_box('X', spec._replace(action=specs.BoundedArray(shape, dtype, minimum, maximum)))


# Boxes.


def test_the_bounds_are_the_canonical_ones():
    box = box_of([-2.0, 0.0], [2.0, 10.0], (2,))
    assert box.size == 2
    actions = np.array([[-2.0, 0.0], [0.0, 5.0], [2.0, 10.0], [1.0, 2.5]], np.float32)
    canonical = np.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0], [0.5, -0.5]], np.float32)
    np.testing.assert_allclose(box.to_canonical(actions), canonical, rtol=1e-6)
    np.testing.assert_allclose(box.from_canonical(canonical), actions, rtol=1e-6)
    # Any leading axes: a batch of windows too.
    np.testing.assert_allclose(box.to_canonical(actions[None]), canonical[None], rtol=1e-6)


@pytest.mark.parametrize(
    ('shape', 'dtype'), [((), np.float32), ((2, 3), np.float32), ((2,), np.float16)]
)
def test_any_shape_and_dtype(shape, dtype):
    box = box_of(-0.1, 0.3, shape, dtype)
    canonical = np.random.default_rng(0).uniform(-1.5, 1.5, (50, box.size)).astype(np.float32)
    actions = box.from_canonical(canonical)
    assert actions.shape == (50, *shape)
    assert actions.dtype == dtype
    for action in np.asarray(actions):
        specs.BoundedArray(shape, dtype, -0.1, 0.3).validate(action)
    back = box.to_canonical(actions)
    assert back.shape == (50, box.size)
    assert back.dtype == jnp.float32
    np.testing.assert_allclose(back, np.clip(canonical, -1, 1), atol=1e-2)


def test_rounding_never_steps_over_a_bound():
    generator = np.random.default_rng(0)
    low = generator.normal(size=1000).astype(np.float32)
    high = low + generator.uniform(1e-3, 1, 1000).astype(np.float32)
    box = box_of(low, high, (1000,))
    for canonical in (-1.0, 1.0):
        actions = np.asarray(box.from_canonical(jnp.full((1, 1000), canonical)))[0]
        assert (actions >= low).all() and (actions <= high).all()


@pytest.mark.parametrize(
    'action',
    [
        specs.DiscreteArray(3),
        specs.Array((2,), np.float32),
        specs.BoundedArray((2,), np.int32, 0, 3),
        specs.BoundedArray((2,), np.float32, -np.inf, np.inf),
        specs.BoundedArray((2,), np.float32, [0.0, 1.0], [1.0, 1.0]),
        {'a': specs.BoundedArray((2,), np.float32, -1, 1)},
    ],
)
def test_other_actions_are_refused_by_the_agent_s_name(action):
    with pytest.raises(ValueError, match='SAC needs a continuous action'):
        action_box('SAC', registry.continuous_spec()._replace(action=action))


# The tanh-Gaussian.


def test_a_density_integrates_to_one_and_is_that_of_the_samples():
    policy = TanhGaussian(jnp.array([0.3]), jnp.array([-0.4]))
    edges = np.linspace(-1, 1, 20_001, dtype=np.float32)
    middles = 0.5 * (edges[1:] + edges[:-1])
    density = np.exp(jax.jit(jax.vmap(policy.log_prob))(jnp.asarray(middles)[:, None]))
    assert density.mean() * 2 == pytest.approx(1.0, abs=1e-3)
    keys = jax.random.split(jax.random.key(0), 100_000)
    draws = np.asarray(jax.jit(jax.vmap(policy.sample))(keys))[:, 0]
    for low, high in ((-1, -0.5), (-0.5, 0.2), (0.2, 0.7), (0.7, 1)):
        inside = (middles > low) & (middles < high)
        share = np.mean((draws > low) & (draws < high))
        assert share == pytest.approx(density[inside].sum() * 1e-4, abs=0.01)


def test_sample_and_log_prob_agree_with_log_prob():
    policy = TanhGaussian(jnp.array([[0.5, -1.0], [0.0, 0.2]]), jnp.array([[-1.0, 0.0], [0.1, -2]]))
    action, log_prob = policy.sample_and_log_prob(jax.random.key(3))
    assert log_prob.shape == (2,)
    np.testing.assert_array_equal(action, policy.sample(jax.random.key(3)))
    np.testing.assert_allclose(policy.log_prob(action), log_prob, rtol=1e-4)
    np.testing.assert_allclose(policy.mode(), np.tanh(policy.mean), rtol=1e-6)


def test_the_log_prob_against_the_change_of_variables_in_double():
    mean, log_scale, key = 0.7, 0.3, jax.random.key(1)
    action, log_prob = TanhGaussian(jnp.array([mean]), jnp.array([log_scale])).sample_and_log_prob(
        key
    )
    before = np.arctanh(np.float64(action[0]))
    normal = np.exp(-0.5 * ((before - mean) / np.exp(log_scale)) ** 2)
    normal /= np.sqrt(2 * np.pi) * np.exp(log_scale)
    assert log_prob == pytest.approx(np.log(normal / (1 - np.tanh(before) ** 2)), rel=1e-4)


@pytest.mark.parametrize('mean', [-40.0, 40.0, 1e4])
def test_a_saturated_policy_has_finite_log_probs_and_gradients(mean):
    def log_prob(mean, log_scale):
        action, value = TanhGaussian(mean[None], log_scale[None]).sample_and_log_prob(
            jax.random.key(0)
        )
        assert action.shape == (1,)
        return value

    for log_scale in (-20.0, 2.0):
        inputs = jnp.float32(mean), jnp.float32(log_scale)
        value, gradients = jax.jit(jax.value_and_grad(log_prob, argnums=(0, 1)))(*inputs)
        assert np.isfinite(value)
        assert np.isfinite(gradients).all()
        # log(1 - tanh(x)^2) falls by 2 for each 1 that |x| grows: it is not cut off anywhere.
        assert gradients[0] == pytest.approx(2.0 * np.sign(mean), rel=1e-4)
    for action in (-1.0, 1.0):
        given = TanhGaussian(jnp.zeros(1), jnp.zeros(1)).log_prob(jnp.array([action]))
        assert np.isfinite(given)


def test_the_head_bounds_its_scales():
    head = hk.without_apply_rng(hk.transform(lambda x: TanhGaussianHead(3)(x)))
    params = head.init(jax.random.key(0), jnp.ones((1, 4)))
    policy = head.apply(params, 1e4 * jax.random.normal(jax.random.key(1), (64, 4)))
    assert policy.mean.shape == policy.log_scale.shape == (64, 3)
    assert (policy.log_scale.min(), policy.log_scale.max()) == (-20.0, 2.0)


# Policy and critics.


def make(observation=None, **options):
    spec = registry.continuous_spec()
    if observation is not None:
        spec = spec._replace(observation=observation)
    networks = make_continuous_networks(
        spec, lambda: TanhGaussianHead(2), action_box('tests', spec), (8, 6), **options
    )
    return networks, *jax.jit(networks.init)(jax.random.key(0))


@pytest.mark.parametrize('num_critics', [1, 2, 5])
def test_each_critic_is_a_network_of_its_own(num_critics):
    networks, _, params = make(num_critics=num_critics)
    features, action = jnp.ones((7, 4)), jnp.full((7, 2), 0.5)
    critics = jax.jit(networks.critics)
    values = critics(params.ensemble, features, action)
    assert values.shape == (num_critics, 7)
    assert len(np.unique(values[:, 0])) == num_critics  # initialised apart
    for leaf in jax.tree_util.tree_leaves(params.ensemble):
        assert leaf.shape[0] == num_critics
    changed = jax.tree_util.tree_map(lambda leaf: leaf.at[-1].add(1.0), params.ensemble)
    after = critics(changed, features, action)
    np.testing.assert_allclose(after[:-1], values[:-1], rtol=1e-6)
    assert (after[-1] != values[-1]).all()


def test_critics_read_features_and_action():
    networks, _, params = make()
    features = jax.random.normal(jax.random.key(1), (3, 4))
    action = jax.random.uniform(jax.random.key(2), (3, 2))
    critics = jax.jit(networks.critics)
    values = critics(params.ensemble, features, action)
    assert (critics(params.ensemble, features + 1, action) != values).all()
    assert (critics(params.ensemble, features, action + 1) != values).all()


def test_a_vector_is_encoded_as_it_is():
    observation = {'b': specs.Array((2, 2), np.float32), 'a': specs.Array((), np.int32)}
    networks, policy_params, params = make(observation)
    assert not jax.tree_util.tree_leaves(params.encoder)
    given = {'b': np.arange(8, dtype=np.float32).reshape(2, 2, 2), 'a': np.array([7, 9], np.int32)}
    features = networks.encode(params.encoder, given)
    np.testing.assert_array_equal(features, [[7, 0, 1, 2, 3], [9, 4, 5, 6, 7]])
    assert networks.policy(policy_params, features).mean.shape == (2, 2)


def test_weights_begin_uniform_in_the_root_of_their_inputs():
    spec = registry.continuous_spec()
    sizes = (400, 200)
    networks = make_continuous_networks(
        spec, lambda: TanhGaussianHead(2), action_box('tests', spec), sizes, num_critics=9
    )
    policy_params, params = jax.jit(networks.init)(jax.random.key(0))
    leaves = jax.tree_util.tree_leaves((policy_params, params))
    weights = [leaf for leaf in leaves if leaf.ndim > 1 and leaf.shape[-2] >= 200]
    assert len(weights) == 4
    for w in weights:
        bound = w.shape[-2] ** -0.5
        assert 0.99 * bound < abs(w).max() <= bound
        np.testing.assert_allclose(w.std(), bound / 3**0.5, rtol=0.05)


def test_hidden_sizes():
    _, policy_params, params = make()
    shapes = {leaf.shape for leaf in jax.tree_util.tree_leaves(policy_params)}
    assert {(4, 8), (8, 6), (6, 4)} <= shapes
    shapes = {leaf.shape for leaf in jax.tree_util.tree_leaves(params.ensemble)}
    assert {(2, 6, 8), (2, 8, 6), (2, 6, 1)} <= shapes


MAX = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ('minimum', 'maximum'),
    [(-MAX, MAX), (0.0, MAX), (-MAX, -0.5 * MAX), (-3e38, 1.0), ([-1.0, -MAX], [1.0, MAX]), (0.0, 1e-30)],
)  # fmt: skip
def test_huge_and_tiny_boxes_are_computed_without_overflow(minimum, maximum):
    box = box_of(minimum, maximum, (2,))
    canonical = np.array([[-1.0, -0.5], [0.0, 0.25], [0.5, 1.0]], np.float32)
    actions = np.asarray(jax.jit(box.from_canonical)(canonical), np.float64)
    low, high = (np.broadcast_to(np.asarray(b, np.float64), (2,)) for b in (minimum, maximum))
    np.testing.assert_allclose(
        actions, 0.5 * (low + high) + 0.5 * (high - low) * canonical, rtol=1e-5, atol=1e-6 * high.max()
    )  # fmt: skip
    np.testing.assert_allclose(
        jax.jit(box.to_canonical)(actions.astype(np.float32)), canonical, atol=1e-6
    )


@pytest.mark.parametrize(
    ('minimum', 'maximum'), [(-1e300, 1e300), (1.0, 1.0 + 1e-12), (0.0, 1e-300), (1.0, 1e39)]
)
def test_bounds_that_float32_can_not_hold_are_refused(minimum, maximum):
    with pytest.raises(ValueError, match='X computes in float32, .* canonical_actions'):
        box_of(minimum, maximum, (2,), np.float64)


def test_actions_of_64_bits_are_given_in_32():
    assert box_of(-1.0, 1.0, (2,), np.float64).from_canonical(np.zeros((1, 2))).dtype == np.float32
