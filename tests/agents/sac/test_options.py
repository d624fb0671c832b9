"""SAC's options beside the losses: acting, the network, what experience asks for, what is refused."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.agents import sac
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


def act(role, actor_steps, **settings):
    """Actions [LANES, 2] on one observation, of a new agent."""
    parts = sac.SAC(**{'hidden_sizes': (4,), **settings}).build(SPEC)
    core = getattr(parts, role)
    timestep = TimeStep(np.ones(LANES, np.int32), None, None, jnp.ones((LANES, 4)))

    @jax.jit
    def of_a_new_agent(packed):
        params = parts.learner.variables(parts.learner.init(jax.random.key(0)))
        state = core.init(jax.random.key(0), streams.lanes(LANES))
        return core.select_action(params, timestep, state, unpack(packed))[0]

    return np.asarray(of_a_new_agent(streams.packed(7, actor_steps)))


def test_random_steps():
    quarters = [-1.0, -0.5, 0.0, 0.5, 1.0]
    for random_steps, actor_steps, uniform in ((100, 99, True), (100, 100, False), (0, 0, False)):
        given = act('actor', actor_steps, random_steps=random_steps)
        shares = np.histogram(given[:, 0], quarters)[0] / LANES
        assert np.allclose(shares, 0.25, atol=0.05) == uniform


def test_the_evaluator_acts_by_the_mode_and_the_actor_around_it():
    best = act('evaluator', 0, random_steps=100)
    assert len(np.unique(best, axis=0)) == 1
    drawn = act('actor', 0, random_steps=0)
    assert len(np.unique(drawn, axis=0)) == LANES
    # The median of a monotone function of a normal is the function of its mean.
    np.testing.assert_allclose(np.median(drawn, axis=0), best[0], atol=0.1)


@pytest.mark.parametrize('layer_norm', [False, True])
def test_hidden_sizes_and_layer_norm(layer_norm):
    learner = sac.SAC(hidden_sizes=(5, 7), layer_norm=layer_norm).build(SPEC).learner
    state = jax.eval_shape(learner.init, jax.random.key(0))
    for params, shapes in (
        (state.policy_params, {(4, 5), (5, 7), (7, 4)}),
        (state.critic_params, {(2, 6, 5), (2, 5, 7), (2, 7, 1)}),
    ):
        assert shapes <= {leaf.shape for leaf in jax.tree_util.tree_leaves(params)}
        paths = jax.tree_util.tree_flatten_with_path(params)[0]
        norms = [
            leaf for path, leaf in paths if getattr(path[-1], 'key', '') in ('scale', 'offset')
        ]
        assert [leaf.shape[-1:] for leaf in norms] == [(5,), (5,)] * layer_norm


def test_experience():
    agent = sac.SAC(
        batch_size=17, replay_capacity=301, min_replay_size=29, samples_per_insert=3.5
    )  # fmt: skip
    assert agent.build(SPEC).experience == Replay(
        window=Window(length=1),
        capacity=301,
        min_size=29,
        batch_size=17,
        samples_per_insert=3.5,
    )


def test_encoder_channels_and_augmentation_pad():
    image = specs.BoundedArray((10, 10, 1), np.uint8, 0, 255)
    spec = SPEC._replace(observation=image)
    row = registry.Row('pixels', sac.SAC(**SMALL), spec)
    sample = streams.samples(row)[0]
    states = []
    for pad in (0, 0, 2):
        learner = sac.SAC(**SMALL, augmentation_pad=pad).build(spec).learner
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
    of_vectors = streams.samples(next(row for row in registry.AGENTS if row.name == 'sac'))[0]
    learner = sac.SAC(augmentation_pad=2).build(SPEC).learner
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
        ('encoder_channels', (8, 0), 'encoder_channels must be at least 1, got 0'),
        ('augmentation_pad', -1, 'augmentation_pad must be at least 0'),
        ('random_steps', -1, 'random_steps must be at least 0'),
        ('discount', 1.1, r'discount must be in \[0, 1\]'),
        ('target_rate', -0.1, r'target_rate must be in \[0, 1\]'),
        ('learning_rate', 0.0, 'learning_rate must be above 0'),
        ('temperature', -0.1, 'temperature must be at least 0'),
        ('initial_temperature', 0.0, 'initial_temperature must be above 0'),
        ('max_gradient_norm', 0.0, 'max_gradient_norm must be above 0'),
        ('batch_size', 0, 'batch_size must be at least 1'),
        ('replay_capacity', 0, 'replay_capacity must be at least 1'),
        ('min_replay_size', 10**8, r'min_replay_size must be in \[0, \d+\]'),
        ('samples_per_insert', 0.0, 'samples_per_insert must be above 0'),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value, words):
    with pytest.raises(ValueError, match=words):
        sac.SAC(**{field: value})


def test_presets_are_settings():
    for name, preset in sac.SAC.presets.items():
        agent = sac.SAC(**preset)
        assert agent != sac.SAC(), name
        agent.build(SPEC)


def test_every_option_is_tested():
    """A field that no test of this folder sets is a field that may be ignored unnoticed."""
    folder = pathlib.Path(__file__).parent
    text = ''.join((folder / name).read_text() for name in ('test_loss.py', 'test_options.py'))
    for field in dataclasses.fields(sac.SAC):
        assert f'{field.name}=' in text or f"'{field.name}':" in text, field.name
