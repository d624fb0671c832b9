"""Experiments: what is refused before anything runs."""

import pickle

import pytest

import culmen
from culmen.agents import dqn


@pytest.mark.parametrize(
    ('changes', 'error', 'words'),
    [
        (
            {'max_actor_steps': -5},
            ValueError,
            'Experiment.max_actor_steps must be at least 1, got -5',
        ),
        ({'max_actor_steps': None}, ValueError, 'needs max_actor_steps or max_learner_steps'),
        ({'seed': -1}, ValueError, 'Experiment.seed must be in'),
        ({'num_environments': 0}, ValueError, 'Experiment.num_environments must be at least 1'),
        ({'lag': -1}, ValueError, 'Experiment.lag must be at least 0'),
        ({'updates_per_call': 0}, ValueError, 'Experiment.updates_per_call must be at least 1'),
        ({'environment': 3}, TypeError, 'Experiment.environment must be'),
        ({'agent': dqn.DQN}, TypeError, 'must be an agent'),
        ({'evaluation': 3}, TypeError, 'Experiment.evaluation must be Evaluation'),
    ],
)
def test_impossible_values_are_refused_by_name(changes, error, words):
    settings = {'agent': dqn.DQN(), 'environment': 'bsuite/catch/0', 'max_actor_steps': 10}
    with pytest.raises(error, match=words):
        culmen.Experiment(**{**settings, **changes})


def test_evaluation_and_checkpoint_are_checked():
    with pytest.raises(ValueError, match='Evaluation.episodes must be at least 1'):
        culmen.Evaluation(episodes=0)
    with pytest.raises(ValueError, match='Checkpoint.keep must be at least 2'):
        culmen.Checkpoint(keep=1)


def test_a_named_environment_is_a_value():
    a = culmen.environment('atari/pong', frame_stack=4)
    assert a == culmen.environment('atari/pong', frame_stack=4)
    assert a != culmen.environment('atari/pong', frame_stack=3)
    assert hash(a) == hash(pickle.loads(pickle.dumps(a)))
    with pytest.raises(TypeError):
        a.arguments['frame_stack'] = 3


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('batch_size', 0, 'batch_size must be at least 1, got 0'),
        ('epsilon', 2.0, r'epsilon must be in \[0, 1\], got 2.0'),
        ('learning_rate', 0.0, 'learning_rate must be above 0'),
        ('min_replay_size', 200_000, r'min_replay_size must be in \[0, 100000\], got 200000'),
        ('hidden_sizes', (64, 0), 'hidden_sizes must be at least 1, got 0'),
    ],
)
def test_settings_of_dqn_are_refused_by_name(field, value, words):
    with pytest.raises(ValueError, match=words):
        dqn.DQN(**{field: value})


def test_presets_are_settings():
    for preset in dqn.DQN.presets.values():
        dqn.DQN(**preset)
