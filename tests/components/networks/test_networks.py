"""Networks: shapes, what follows the observation, and the arithmetic of heads."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.components import networks
from culmen.components.networks import as_float
from culmen.core.specs import EnvironmentSpec
from tests.agents import registry


def spec(observation):
    return EnvironmentSpec(
        observation,
        specs.DiscreteArray(3),
        specs.Array((), np.float32),
        specs.Array((), np.float32),
    )


def board(shape, dtype=np.float32):
    return specs.Array(shape, dtype, 'board')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('observation', 'module'),
    [
        (board((4,)), 'mlp_torso'),
        (board((10, 5)), 'mlp_torso'),
        ({'a': board((2,)), 'b': board((3, 3), np.int32)}, 'mlp_torso'),
        ({'a': board((2,)), 'legal_actions': board((3,), bool)}, 'mlp_torso'),
        (board((10, 10, 4), bool), 'min_atar_torso'),
        (board((84, 84, 4), np.uint8), 'nature_torso'),
    ],
)
@pytest.mark.parametrize('dueling', [False, True])
def test_the_torso_follows_the_observation(observation, module, dueling):
    network = networks.make_action_value_network(spec(observation), 3, (8, 8), dueling)
    params = network.init(jax.random.key(0))
    assert any(name.startswith(module) for name in params)
    batch = jax.tree_util.tree_map(lambda leaf: np.ones((5, *leaf.shape), leaf.dtype), observation)
    values = network.apply(params, batch)
    assert values.shape == (5, 3)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5)


def test_legal_actions_are_no_input():
    observation = {'a': board((2,)), 'legal_actions': board((3,), bool)}
    network = networks.make_action_value_network(spec(observation), 3)
    params = network.init(jax.random.key(0))
    values = [
        network.apply(
            params, {'a': np.ones((1, 2), np.float32), 'legal_actions': np.full((1, 3), legal)}
        )
        for legal in (True, False)
    ]
    np.testing.assert_array_equal(*values)


def test_advantages_of_a_dueling_head_have_mean_zero():
    head = hk.without_apply_rng(hk.transform(lambda x: networks.DuelingHead(4, 8)(x)))
    features = jax.random.normal(jax.random.key(1), (2, 6))
    params = head.init(jax.random.key(0), features)
    values = head.apply(params, features)
    # Equation 9: the mean of Q over actions is the state value alone.
    only_value = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([8, 1], name='value')(x)))
    value_params = {
        name.split('dueling_head/')[1]: p for name, p in params.items() if '/value/' in name
    }
    np.testing.assert_allclose(
        jnp.mean(values, axis=1, keepdims=True),
        only_value.apply(value_params, features),
        rtol=1e-5,
        atol=1e-6,
    )
    assert jnp.std(values) > 0


def test_bytes_are_scaled_and_the_rest_is_cast():
    assert as_float(np.array([255], np.uint8)) == 1.0
    assert as_float(np.array([255], np.int32)) == 255.0
    assert as_float(np.array([True])).dtype == jnp.float32


def test_a_continuous_action_is_refused_by_the_agents_name():
    continuous = spec(board((4,)))._replace(action=specs.BoundedArray((2,), np.float32, -1, 1))
    with pytest.raises(ValueError, match='DQN needs a discrete action'):
        networks.num_discrete_actions('DQN', continuous)


# By its type, since TensorFlow takes the name 'bfloat16' for its own.
@pytest.mark.parametrize('dtype', [np.float16, jnp.bfloat16, np.float64, np.int8, np.bool_])
@pytest.mark.parametrize('shape', [(4,), (10, 10, 2), (40, 40, 1)])
def test_networks_compute_in_float32_whatever_is_observed(dtype, shape):
    observation = specs.Array(shape, jnp.dtype(dtype))
    spec = registry.discrete_spec()._replace(observation=observation)
    large = np.full((1, *shape), 60_000).astype(jnp.dtype(dtype))
    actor_critic = networks.make_actor_critic_network('PPO', spec, (8,))
    step = lambda params, observation: actor_critic.step(params, observation, ())[0]
    for network in (networks.make_action_value_network(spec, 3, (8,)), actor_critic):
        params = jax.eval_shape(network.init, jax.random.key(0))
        assert {leaf.dtype for leaf in jax.tree_util.tree_leaves(params)} == {jnp.dtype('float32')}
        outputs = jax.eval_shape(
            network.apply if hasattr(network, 'apply') else step, params, large
        )
        assert {leaf.dtype for leaf in jax.tree_util.tree_leaves(outputs)} == {jnp.dtype('float32')}
