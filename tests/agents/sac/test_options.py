"""SAC's options beside the losses: acting, the network, what experience asks for, what is refused."""

import numpy as np
import pytest

from culmen.agents import sac
from culmen.core.experience import Replay
from culmen.core.experience import Window
from tests.agents import registry
from tests.agents.continuous import LANES
from tests.agents.continuous import act

SPEC = registry.continuous_spec()


def test_the_evaluator_acts_by_the_mode_and_the_actor_around_it():
    best = act(sac.SAC(hidden_sizes=(4,), random_steps=100), 'evaluator')
    assert len(np.unique(best, axis=0)) == 1
    drawn = act(sac.SAC(hidden_sizes=(4,), random_steps=0), 'actor')
    assert len(np.unique(drawn, axis=0)) == LANES
    # The median of a monotone function of a normal is the function of its mean.
    np.testing.assert_allclose(np.median(drawn, axis=0), best[0], atol=0.1)


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
