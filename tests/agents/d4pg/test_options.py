"""D4PG's options beside the losses: acting, the network, experience, what is refused."""

import pytest

from culmen.agents import d4pg
from culmen.core.experience import Replay
from culmen.core.experience import Window
from tests.agents import registry

SPEC = registry.continuous_spec()


def test_experience():
    agent = d4pg.D4PG(
        n_step=3,
        batch_size=17,
        replay_capacity=301,
        min_replay_size=29,
        samples_per_insert=3.5,
        priority_exponent=0.7,
    )
    assert agent.build(SPEC).experience == Replay(
        window=Window(length=3, ends=('observation',)),
        capacity=301,
        min_size=29,
        batch_size=17,
        samples_per_insert=3.5,
        priority_exponent=0.7,
    )
    assert not d4pg.D4PG().build(SPEC).experience.prioritised


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('hidden_sizes', (64, 0), 'hidden_sizes must be at least 1, got 0'),
        ('num_atoms', 1, 'num_atoms must be at least 2'),
        ('v_max', -150.0, 'v_max must be finite and above -150.0'),
        ('v_max', float('inf'), 'v_max must be finite and above -150.0, got inf'),
        ('v_min', float('nan'), 'v_min must be finite, got nan'),
        ('priority_exponent', -0.5, 'priority_exponent must be at least 0'),
        ('importance_exponent', 1.5, r'importance_exponent must be in'),
        ('random_steps', -1, 'random_steps must be at least 0'),
        ('exploration_noise', -0.1, 'exploration_noise must be at least 0'),
        ('discount', 1.1, r'discount must be in \[0, 1\]'),
        ('n_step', 0, 'n_step must be at least 1'),
        ('policy_learning_rate', 0.0, 'policy_learning_rate must be above 0'),
        ('critic_learning_rate', 0.0, 'critic_learning_rate must be above 0'),
        ('target_update_period', 0, 'target_update_period must be at least 1'),
        ('max_gradient_norm', 0.0, 'max_gradient_norm must be above 0'),
        ('batch_size', 0, 'batch_size must be at least 1'),
        ('replay_capacity', 0, 'replay_capacity must be at least 1'),
        ('min_replay_size', 10**8, r'min_replay_size must be in \[0, \d+\]'),
        ('samples_per_insert', 0.0, 'samples_per_insert must be above 0'),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value, words):
    with pytest.raises(ValueError, match=words):
        d4pg.D4PG(**{field: value})
