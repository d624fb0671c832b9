"""Distributions, recurrent cores, and networks of policy and value."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.components import networks
from culmen.components.networks import Orthogonal
from culmen.components.networks import recurrent
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from tests.agents import registry
from tests.agents import streams

pytestmark = pytest.mark.slow

STEP_TYPE = np.array([[MID, LAST, FIRST, MID], [FIRST, MID, MID, MID]], np.int32)


def test_categorical():
    policy = networks.Categorical(jnp.log(jnp.array([[0.2, 0.8], [0.5, 0.5]])))
    np.testing.assert_allclose(policy.log_prob(jnp.array([1, 0])), np.log([0.8, 0.5]), rtol=1e-5)
    entropy = -(0.2 * np.log(0.2) + 0.8 * np.log(0.8))
    np.testing.assert_allclose(policy.entropy(), [entropy, np.log(2)], rtol=1e-5)
    assert policy.mode().tolist() == [1, 0]
    drawn = jax.vmap(policy.sample)(jax.random.split(jax.random.key(0), 2_000))
    np.testing.assert_allclose(drawn.mean(0), [0.8, 0.5], atol=0.04)
    assert drawn.dtype == policy.mode().dtype == jnp.int32


def test_diagonal_gaussian():
    scale = np.array([2.0, 0.5])
    policy = networks.DiagonalGaussian(
        jnp.array([1.0, -1.0]), jnp.log(jnp.asarray(scale, jnp.float32))
    )
    x = np.array([2.0, -1.5])
    density = np.prod(np.exp(-0.5 * ((x - [1, -1]) / scale) ** 2) / (scale * np.sqrt(2 * np.pi)))
    assert float(policy.log_prob(jnp.asarray(x, jnp.float32))) == pytest.approx(np.log(density))
    entropy = np.sum(0.5 * np.log(2 * np.pi * np.e * scale**2))
    assert float(policy.entropy()) == pytest.approx(entropy, rel=1e-5)
    assert policy.mode().tolist() == [1.0, -1.0]
    drawn = jax.vmap(policy.sample)(jax.random.split(jax.random.key(0), 4_000))
    np.testing.assert_allclose(drawn.mean(0), [1, -1], atol=0.1)
    np.testing.assert_allclose(drawn.std(0), scale, rtol=0.05)


def test_what_is_drawn_in_units_of_the_box_is_brought_into_it():
    box = specs.BoundedArray((2,), np.float32, [0.0, -3.0], [4.0, 1.0])
    drawn = jnp.array([[0.0, 1.0], [-0.5, 7.0], [-9.0, -1.0]])
    expected = [[2.0, 1.0], [1.0, 1.0], [0.0, -3.0]]
    np.testing.assert_allclose(networks.to_action(box, drawn), expected)
    discrete = specs.DiscreteArray(3)
    assert networks.to_action(discrete, jnp.array([2])).tolist() == [2]


def test_an_orthogonal_matrix():
    for shape in ((3, 7), (7, 3), (4, 4)):
        init = hk.transform(lambda shape=shape: Orthogonal(2.0)(shape, jnp.float32))
        matrix = np.asarray(init.apply({}, jax.random.key(0)))
        assert matrix.shape == shape
        np.testing.assert_allclose(np.linalg.svd(matrix)[1], 2.0, rtol=1e-5)


@pytest.mark.parametrize('kind', ['lstm', 'gru'])
def test_a_core_is_unrolled_like_single_steps_and_starts_anew_at_first(kind):
    def whole(inputs, state):
        return recurrent.unroll(recurrent.make_core(kind, 5), inputs, STEP_TYPE, state)

    def one(inputs, state):
        return recurrent.make_core(kind, 5)(inputs, state)

    whole, one = (hk.without_apply_rng(hk.transform(each)) for each in (whole, one))
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(2, 4, 3)).astype(np.float32)
    begin = recurrent.initial_state(kind, 5, 2)
    state = jax.tree_util.tree_map(lambda x: x + 0.5, begin)
    params = one.init(jax.random.key(0), inputs[:, 0], state)
    outputs, after = jax.jit(whole.apply)(params, inputs, state)
    for t in range(4):
        first = jnp.asarray(STEP_TYPE[:, t] == FIRST)[:, None]
        state = jax.tree_util.tree_map(
            lambda new, old, first=first: jnp.where(first, new, old), begin, state
        )
        output, state = one.apply(params, inputs[:, t], state)
        np.testing.assert_allclose(outputs[:, t], output, rtol=1e-5, atol=1e-6)
    streams.assert_trees_close(after, state)


@pytest.mark.parametrize('core', ['none', 'lstm', 'gru'])
@pytest.mark.parametrize(
    'spec',
    [registry.legal_spec(), registry.continuous_spec(), registry.hybrid_spec()],
    ids=['a', 'b', 'c'],
)
def test_a_network_says_of_a_window_what_it_said_step_by_step(core, spec):
    network = networks.make_actor_critic_network('', spec, (8,), core=core, core_size=5)
    params = jax.jit(network.init)(jax.random.key(0))
    generator = np.random.default_rng(0)
    observation = streams.random_observation(spec.observation, (2, 4), generator)
    state = begin = network.initial_state(2)
    assert bool(jax.tree_util.tree_leaves(state)) == (core != 'none')
    whole = jax.jit(network.unroll)(params, observation, STEP_TYPE, state)
    assert whole.value.shape == (2, 4)
    step = jax.jit(network.step)
    for t in range(4):
        first = jnp.asarray(STEP_TYPE[:, t] == FIRST)[:, None]
        state = jax.tree_util.tree_map(
            lambda new, old, first=first: jnp.where(first, new, old), begin, state
        )
        at_t = jax.tree_util.tree_map(lambda x, t=t: x[:, t], observation)
        output, state = step(params, at_t, state)
        expected = jax.tree_util.tree_map(lambda x, t=t: x[:, t], whole)
        streams.assert_trees_close(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('core', ['none', 'gru'])
def test_a_network_that_is_told_of_tasks_gives_each_its_own_policy_and_value(core):
    spec = registry.legal_spec()._replace(num_tasks=3)
    network = networks.make_actor_critic_network(
        '', spec, (8,), core=core, core_size=5, task_input=True
    )
    assert network.num_tasks == 3
    params = jax.jit(network.init)(jax.random.key(0))
    observation = {'vector': np.ones((3, 4), np.float32), 'legal_actions': np.ones((3, 3), bool)}
    tasked = networks.Tasked(observation, np.arange(3, dtype=np.int32))
    output, _ = jax.jit(network.step)(params, tasked, network.initial_state(3))
    assert len(set(output.value.tolist())) == 3
    assert len(set(output.policy.logits[:, 0].tolist())) == 3
    windows = jax.tree_util.tree_map(lambda x: x[:, None], tasked)
    unrolled = jax.jit(network.unroll)(
        params, windows, np.full((3, 1), MID, np.int32), network.initial_state(3)
    )
    np.testing.assert_allclose(unrolled.value[:, 0], output.value, rtol=1e-5)


def test_a_network_of_one_task_can_not_be_told_of_it():
    with pytest.raises(ValueError, match='task_input must be False where A2C has one environment'):
        networks.make_actor_critic_network('A2C', registry.discrete_spec(), task_input=True)


def test_illegal_actions_have_no_probability():
    spec = registry.legal_spec()
    network = networks.make_actor_critic_network('', spec, (8,))
    params = jax.jit(network.init)(jax.random.key(0))
    observation = {
        'vector': np.ones((1, 4), np.float32),
        'legal_actions': np.array([[True, False, True]]),
    }
    policy = network.step(params, observation, ())[0].policy
    probability = jax.nn.softmax(policy.logits)
    assert probability[0, 1] == 0.0
    assert (probability[0, ::2] > 0.4).all()
    assert float(policy.entropy()[0]) == pytest.approx(np.log(2), abs=1e-2)


def test_the_residual_torso_is_that_of_the_paper():
    spec = registry.discrete_spec(6, (72, 96, 3))
    network = networks.make_actor_critic_network('', spec, torso='resnet', shared_torso=True)
    params = jax.eval_shape(network.init, jax.random.key(0))
    convolutions = [leaf['w'].shape for name, leaf in params.items() if 'conv' in name]
    assert len(convolutions) == 15  # Espeholt et al. 2018, figure 3: 15 convolutional layers
    assert convolutions[0] == (3, 3, 3, 16)
    dense = [leaf['w'].shape for name, leaf in params.items() if name.endswith('torso/linear')]
    assert dense == [(9 * 12 * 32, 256)]


@pytest.mark.parametrize('bound', [np.finfo(np.float32).max, 1e300])
def test_huge_bounds_are_none_and_the_agent_says_so(bound):
    action = specs.BoundedArray((2,), np.float64, [-bound, -2.0], [bound, 4.0])
    spec = registry.continuous_spec()._replace(action=action)
    with pytest.warns(UserWarning, match='PPO takes bounds of 1e\\+30 and more for none'):
        networks.make_actor_critic_network('PPO', spec)
    drawn = np.array([[0.5, 0.5], [-1e9, -1.0]], np.float32)
    np.testing.assert_allclose(networks.to_action(action, drawn), [[0.5, 2.5], [-1e9, -2.0]])
