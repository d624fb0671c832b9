"""TD3's and DDPG's options beside the losses: acting, the network, experience, what is refused."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.agents import td3
from culmen.components.keys import unpack
from culmen.core.experience import Replay
from culmen.core.experience import Window
from culmen.core.types import TimeStep
from tests.agents import registry
from tests.agents import streams

SPEC = registry.continuous_spec()
LANES = 2000
SMALL = {
    'hidden_sizes': (8,), 'encoder_channels': (3, 5), 'min_replay_size': 8, 'replay_capacity': 64,
    'batch_size': 8, 'samples_per_insert': 8.0,
}  # fmt: skip


def act(role, actor_steps=0, agent=td3.TD3, **settings):
    """Actions [LANES, 2] on one observation, of a new agent."""
    parts = agent(**{'hidden_sizes': (4,), **settings}).build(SPEC)
    core = getattr(parts, role)
    timestep = TimeStep(np.ones(LANES, np.int32), None, None, jnp.ones((LANES, 4)))

    @jax.jit
    def of_a_new_agent(packed):
        params = parts.learner.variables(parts.learner.init(jax.random.key(0)))
        state = core.init(jax.random.key(0), streams.lanes(LANES))
        return core.select_action(params, timestep, state, unpack(packed))[0]

    return np.asarray(of_a_new_agent(streams.packed(7, actor_steps)))


@pytest.mark.parametrize('agent', [td3.TD3, td3.DDPG])
@pytest.mark.parametrize('noise', [0.1, 0.3])
def test_exploration_noise(agent, noise):
    best = act('evaluator', agent=agent, exploration_noise=noise)
    assert len(np.unique(best, axis=0)) == 1
    np.testing.assert_allclose(best, 0.0, atol=0.02)  # the last layer is small at first
    given = act('actor', agent=agent, exploration_noise=noise, random_steps=0)
    np.testing.assert_allclose(given.std(axis=0), noise, rtol=0.1)


def test_random_steps():
    for random_steps, actor_steps, uniform in ((100, 99, True), (100, 100, False), (0, 0, False)):
        given = act('actor', actor_steps, random_steps=random_steps)
        shares = np.histogram(given[:, 0], [-1.0, -0.5, 0.0, 0.5, 1.0])[0] / LANES
        assert np.allclose(shares, 0.25, atol=0.05) == uniform


def test_hidden_sizes_and_layer_norm():
    for layer_norm in (False, True):
        learner = td3.TD3(hidden_sizes=(5, 7), layer_norm=layer_norm).build(SPEC).learner
        state = jax.eval_shape(learner.init, jax.random.key(0))
        for params, shapes in (
            (state.policy_params, {(4, 5), (5, 7), (7, 2)}),
            (state.critic_params, {(2, 6, 5), (2, 5, 7), (2, 7, 1)}),
        ):
            assert shapes <= {leaf.shape for leaf in jax.tree_util.tree_leaves(params)}
            paths = jax.tree_util.tree_flatten_with_path(params)[0]
            norms = [leaf for path, leaf in paths if path[-1].key in ('scale', 'offset')]
            assert [leaf.shape[-1:] for leaf in norms] == [(5,), (5,)] * layer_norm


def test_experience():
    agent = td3.TD3(
        n_step=3, batch_size=17, replay_capacity=301, min_replay_size=29, samples_per_insert=3.5
    )
    assert agent.build(SPEC).experience == Replay(
        window=Window(length=3, ends=('observation',)),
        capacity=301,
        min_size=29,
        batch_size=17,
        samples_per_insert=3.5,
    )


def test_ddpg_is_td3_without_its_three_ideas():
    plain = {'num_critics': 1, 'policy_period': 1, 'target_noise': 0.0}
    given = {field.name: field.default for field in dataclasses.fields(td3.DDPG)}
    other = {
        'layer_norm': True,
        'exploration_noise': 0.2,
    }  # in place of batch norm; as in its paper
    assert (
        given
        == {field.name: field.default for field in dataclasses.fields(td3.TD3)} | plain | other
    )
    row = next(row for row in registry.AGENTS if row.name == 'td3')
    fields = {field.name: getattr(row.agent, field.name) for field in dataclasses.fields(row.agent)}
    sample = streams.samples(row)[0]
    after = []
    for agent in (td3.TD3(**{**fields, **plain}), td3.DDPG(**{**fields, **plain})):
        learner = agent.build(SPEC).learner
        state = jax.jit(learner.init)(jax.random.key(0))
        after.append(jax.jit(learner.update)(state, sample, streams.context(3))[0])
    streams.assert_trees_equal(*after)


def test_encoder_channels_and_augmentation_pad():
    image = specs.BoundedArray((10, 10, 1), np.uint8, 0, 255)
    spec = SPEC._replace(observation=image)
    row = registry.Row('pixels', td3.TD3(**SMALL), spec)
    sample = streams.samples(row)[0]
    states = []
    for pad in (0, 0, 2):
        learner = td3.TD3(**SMALL, augmentation_pad=pad).build(spec).learner
        state = jax.jit(learner.init)(jax.random.key(0))
        update = jax.jit(
            lambda state, packed, learner=learner: learner.update(state, sample, unpack(packed))[0]
        )
        states.append(update(state, streams.packed(3)))
    encoder = states[0].critic_params.encoder
    convolutions = [leaf.shape for leaf in jax.tree_util.tree_leaves(encoder) if leaf.ndim == 4]
    assert convolutions == [(3, 3, 1, 3), (3, 3, 3, 5)]
    streams.assert_trees_equal(states[0], states[1])
    for a, b in zip(*map(jax.tree_util.tree_leaves, (encoder, states[2].critic_params.encoder))):
        assert (a != b).any()
    # Vectors can't be shifted.
    of_vectors = streams.samples(next(row for row in registry.AGENTS if row.name == 'td3'))[0]
    learner = td3.TD3(augmentation_pad=2).build(SPEC).learner
    state = jax.eval_shape(learner.init, jax.random.key(0))
    with pytest.raises(ValueError, match='augmentation_pad must be 0 where no image is observed'):
        jax.eval_shape(
            lambda state, packed: learner.update(state, of_vectors, unpack(packed)),
            state,
            streams.packed(0),
        )


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('hidden_sizes', (64, 0), 'hidden_sizes must be at least 1, got 0'),
        ('num_critics', 0, 'num_critics must be at least 1'),
        ('encoder_channels', (8, 0), 'encoder_channels must be at least 1, got 0'),
        ('augmentation_pad', -1, 'augmentation_pad must be at least 0'),
        ('random_steps', -1, 'random_steps must be at least 0'),
        ('exploration_noise', -0.1, 'exploration_noise must be at least 0'),
        ('discount', 1.1, r'discount must be in \[0, 1\]'),
        ('n_step', 0, 'n_step must be at least 1'),
        ('policy_learning_rate', 0.0, 'policy_learning_rate must be above 0'),
        ('critic_learning_rate', 0.0, 'critic_learning_rate must be above 0'),
        ('policy_period', 0, 'policy_period must be at least 1'),
        ('target_rate', -0.1, r'target_rate must be in \[0, 1\]'),
        ('target_noise', -0.1, 'target_noise must be at least 0'),
        ('target_noise_clip', -0.1, 'target_noise_clip must be at least 0'),
        ('max_gradient_norm', 0.0, 'max_gradient_norm must be above 0'),
        ('batch_size', 0, 'batch_size must be at least 1'),
        ('replay_capacity', 0, 'replay_capacity must be at least 1'),
        ('min_replay_size', 10**8, r'min_replay_size must be in \[0, \d+\]'),
        ('samples_per_insert', 0.0, 'samples_per_insert must be above 0'),
    ],
)
@pytest.mark.parametrize('agent', [td3.TD3, td3.DDPG])
def test_a_value_out_of_range_is_refused_by_name(agent, field, value, words):
    with pytest.raises(ValueError, match=words):
        agent(**{field: value})


@pytest.mark.parametrize('agent', [td3.TD3, td3.DDPG])
def test_presets_are_settings(agent):
    for name, preset in agent.presets.items():
        assert agent(**preset) != agent(), name
        agent(**preset).build(SPEC)


def test_every_option_is_tested():
    """A field that no test of this folder sets is a field that may be ignored unnoticed."""
    folder = pathlib.Path(__file__).parent
    text = ''.join((folder / name).read_text() for name in ('test_loss.py', 'test_options.py'))
    for field in dataclasses.fields(td3.TD3):
        assert f'{field.name}=' in text or f"'{field.name}':" in text, field.name
