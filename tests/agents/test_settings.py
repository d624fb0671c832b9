"""Contracts of settings: presets build, and what an option that agents share does."""

import dataclasses

import jax
import numpy as np
import pytest
from dm_env import specs

from culmen.components.dispatch import unpack_context
from tests.agents import registry
from tests.agents import streams
from tests.agents.continuous import LANES
from tests.agents.continuous import act
from tests.agents.continuous import acted

ROWS = {type(row.agent).__name__: row for row in reversed(registry.AGENTS)}
CLASSES = {name: type(row.agent) for name, row in ROWS.items()}
SPEC = registry.continuous_spec()
# Where a preset of this name is at home.
SPECS_OF_PRESETS = {
    'atari': registry.discrete_spec(6, (84, 84, 4)),
    'atari_100k': registry.discrete_spec(6, (84, 84, 4)),
    'minatar': registry.discrete_spec(6, (10, 10, 4)),
    **dict.fromkeys(('cartpole', 'munchausen', 'noisy', 'plain', 'unit'), registry.discrete_spec()),
    **dict.fromkeys(('control', 'droq', 'mujoco', 'redq', 'simba', 'tqc'), SPEC),
    'tasks': registry.discrete_spec()._replace(num_tasks=2),
}


def of_all_with(*options):
    """Marks a test that sets these options, of all agents that have them."""
    chosen = [
        each
        for each in CLASSES.values()
        if set(options) <= {field.name for field in dataclasses.fields(each)}
    ]
    assert len(chosen) > 1, options
    return pytest.mark.parametrize('agent', chosen, ids=lambda each: each.__name__)


def test_presets_are_settings():
    found = {}
    for name, agent in CLASSES.items():
        for preset, settings in getattr(agent, 'presets', {}).items():
            assert agent(**settings) != agent(), (name, preset)
            agent(**settings).build(SPECS_OF_PRESETS[preset])
            found.setdefault(name, set()).add(preset)
    assert found == {
        'DQN': {'atari', 'atari_100k', 'minatar', 'munchausen', 'noisy'},
        'ApeX': {'atari'},
        'C51': {'atari', 'cartpole', 'minatar', 'unit'},
        'QRDQN': {'atari', 'minatar'},
        'IQN': {'atari', 'minatar', 'munchausen'},
        'Rainbow': {'atari', 'atari_100k', 'cartpole', 'minatar', 'unit'},
        'PQN': {'cartpole', 'minatar'},
        'R2D2': {'atari'},
        'IMPALA': {'atari', 'tasks'},
        'PPO': {'atari', 'mujoco'},
        'SAC': {'atari', 'droq', 'mujoco', 'redq', 'simba', 'tqc'},
        'CrossQ': {'mujoco'},
        'TD3': {'mujoco'},
        'DDPG': {'mujoco'},
        'D4PG': {'control'},
        'MPO': {'control'},
        'DMPO': {'control'},
        'WPO': {'control'},
        'REINFORCE': {'plain'},
        'VMPO': {'control'},
    }


@of_all_with('random_steps')
def test_random_steps(agent):
    given = jax.jit(
        lambda random_steps, packed, observed: acted(
            agent(hidden_sizes=(4,), random_steps=random_steps), 'actor', packed, observed
        )
    )
    for random_steps, actor_steps, uniform in ((100, 99, True), (100, 100, False), (0, 0, False)):
        packed = streams.packed(7, actor_steps)
        here, elsewhere = (np.asarray(given(random_steps, packed, at)) for at in (1.0, -3.0))
        assert np.array_equal(here, elsewhere) == uniform  # a policy would look
        if uniform:
            shares = np.histogram(here[:, 0], [-1.0, -0.5, 0.0, 0.5, 1.0])[0] / LANES
            np.testing.assert_allclose(shares, 0.25, atol=0.05)


@of_all_with('random_steps', 'exploration_noise')
@pytest.mark.parametrize('noise', [0.1, 0.3])
def test_exploration_noise(agent, noise):
    made = agent(hidden_sizes=(4,), exploration_noise=noise, random_steps=0)
    best = act(made, 'evaluator')
    assert len(np.unique(best, axis=0)) == 1
    np.testing.assert_allclose(best, 0.0, atol=0.02)  # the last layer is small at first
    np.testing.assert_allclose(act(made, 'actor').std(axis=0), noise, rtol=0.1)


# Of the policy's last layer; critics, and outputs of each.
OUTPUTS = {'SAC': (4, 2, 1), 'TD3': (2, 2, 1), 'DDPG': (2, 1, 1), 'D4PG': (2, 1, 51)}


@pytest.mark.parametrize('agent', [CLASSES[name] for name in OUTPUTS], ids=OUTPUTS)
@pytest.mark.parametrize('layer_norm', [False, True])
def test_hidden_sizes_and_layer_norm(agent, layer_norm):
    of_policy, num_critics, of_critic = OUTPUTS[agent.__name__]
    learner = agent(hidden_sizes=(5, 7), layer_norm=layer_norm).build(SPEC).learner
    state = jax.eval_shape(learner.init, jax.random.key(0))
    for params, before, sizes in (
        (state.policy_params, (), (4, 5, 7, of_policy)),
        (state.critic_params, (num_critics,), (6, 5, 7, of_critic)),
    ):
        paths = jax.tree_util.tree_flatten_with_path(params)[0]
        shapes = {leaf.shape for _, leaf in paths}
        assert {(*before, *layer) for layer in zip(sizes, sizes[1:])} <= shapes
        norms = [
            leaf for path, leaf in paths if getattr(path[-1], 'key', '') in ('scale', 'offset')
        ]
        assert [leaf.shape[-1:] for leaf in norms] == [(5,), (5,)] * layer_norm


@of_all_with('encoder_channels', 'augmentation_pad')
def test_encoder_channels_and_augmentation_pad(agent):
    image = specs.BoundedArray((10, 10, 1), np.uint8, 0, 255)
    spec = SPEC._replace(observation=image)
    small = {'hidden_sizes': (8,), 'encoder_channels': (3, 5), 'batch_size': 8}
    row = registry.Row('pixels', agent(**small, min_replay_size=8), spec)
    sample = streams.samples(row)[0]
    states = []
    for pad in (0, 2):
        learner = agent(**small, augmentation_pad=pad).build(spec).learner
        state = jax.jit(learner.init)(jax.random.key(0))
        update = jax.jit(
            lambda state, packed, learner=learner: learner.update(
                state, sample, unpack_context(packed)
            )[0]
        )
        states.append(update(state, streams.packed(3)))
    encoder, shifted = (state.critic_params.encoder for state in states)
    convolutions = [leaf.shape for leaf in jax.tree_util.tree_leaves(encoder) if leaf.ndim == 4]
    assert convolutions == [(3, 3, 1, 3), (3, 3, 3, 5)]
    for a, b in zip(*map(jax.tree_util.tree_leaves, (encoder, shifted)), strict=True):
        assert (a != b).any()
    # Vectors can't be shifted.
    learner = agent(augmentation_pad=2).build(SPEC).learner
    state = jax.eval_shape(learner.init, jax.random.key(0))
    vectors = np.zeros((*sample.steps.observation.shape[:2], 4), np.float32)
    of_vectors = sample._replace(steps=sample.steps._replace(observation=vectors))
    with pytest.raises(ValueError, match='augmentation_pad must be 0 where no image is observed'):
        jax.eval_shape(
            lambda state, packed: learner.update(state, of_vectors, unpack_context(packed)),
            state,
            streams.packed(0),
        )
