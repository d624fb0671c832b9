"""TD3's and DDPG's options beside the losses: acting, the network, experience, what is refused."""

import dataclasses

import jax
import pytest

from culmen.agents import td3
from culmen.core.experience import Replay
from culmen.core.experience import Window
from tests.agents import registry
from tests.agents import streams

SPEC = registry.continuous_spec()


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
