"""What the options of Super Mario Bros. do. Needs Python 3.13."""

import numpy as np
import pytest

from culmen.components import environments

pytest.importorskip('gym_super_mario_bros')
pytest.importorskip('cv2')


def make(game='SuperMarioBros-1-1-v0', **arguments):
    return environments.make(f'mario/{game}', 0, **{'frame_stack': 1, **arguments})


def test_the_defaults():
    environment = environments.make('mario/SuperMarioBros-1-1-v0', 0)
    assert environment.observation_spec().shape == (84, 84, 4)
    assert environment.observation_spec().dtype == np.uint8
    assert environment.action_spec().num_values == 7
    assert environment.reset().observation.max() > 100


def test_the_action_sets_and_the_shapes():
    assert make(movement='right').action_spec().num_values == 5
    assert make(movement='complex').action_spec().num_values == 12
    assert make(grayscale=False).observation_spec().shape == (84, 84, 3)
    assert make(screen_size=None).reset().observation.shape == (240, 256)
    assert make(screen_size=42, grayscale=False).reset().observation.shape == (42, 42, 3)


def test_an_action_lasts_frame_skip_frames_and_the_last_two_are_pooled():
    kwargs = {'screen_size': None, 'grayscale': False, 'movement': 'complex'}
    single, skipped = make(frame_skip=1, **kwargs), make(frame_skip=4, **kwargs)
    single.reset()
    skipped.reset()
    differs = False
    for action in np.random.default_rng(0).integers(12, size=30):
        frames = [single.step(action) for _ in range(4)]
        timestep = skipped.step(action)
        pooled = np.maximum(frames[2].observation, frames[3].observation)
        np.testing.assert_array_equal(timestep.observation, pooled)
        assert timestep.reward == sum(frame.reward for frame in frames)
        differs |= bool((pooled != frames[3].observation).any())
    assert differs  # otherwise nothing was pooled


@pytest.mark.parametrize(
    ('movement', 'action', 'moves'),
    [('right', 1, 1), ('right', 0, 0), ('simple', 6, -1), ('complex', 6, -1), ('complex', 3, 1)],
)
def test_an_action_goes_where_it_says(movement, action, moves):
    environment = make(movement=movement)
    environment.reset()
    for _ in range(8):  # away from the left edge, over which nobody goes
        environment.step(1)
    before = environment.metrics()['x_pos']
    for _ in range(10):
        timestep = environment.step(action)
        assert not timestep.last()
    distance = environment.metrics()['x_pos'] - before
    assert (distance < 0, 0 <= distance < 40, distance > 40)[moves + 1]  # it slides for a while


def test_running_to_the_right_pays_and_a_death_ends_a_stage_but_no_game():
    stage, game = make(), make('SuperMarioBros-v0')
    stage.reset()
    game.reset()
    rewards = []
    for _ in range(60):  # into the first enemy, running
        timestep = stage.step(3)
        game.step(3)
        rewards.append(timestep.reward)
        if timestep.last():
            break
    assert timestep.last()
    assert timestep.discount == 0
    assert max(rewards) > 5 and rewards[-1] < -10
    lives = [game.metrics()['lives']]
    for _ in range(40):
        assert not game.step(3).last()
        lives.append(game.metrics()['lives'])
    assert lives[-1] < 2
