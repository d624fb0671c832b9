"""The protocol of Machado et al. (2018), and what its options do."""

import itertools
import pickle

import numpy as np
import pytest

from culmen.components import environments

pytest.importorskip('ale_py')
pytest.importorskip('cv2')


def make(game='breakout', seed=0, **arguments):
    return environments.make(f'atari/{game}', seed, **{'frame_stack': 1, **arguments})


def test_the_defaults():
    environment = environments.make('atari/breakout', 0)
    assert environment.observation_spec().shape == (84, 84, 4)
    assert environment.observation_spec().num_frames == 4
    assert environment.observation_spec().dtype == np.uint8
    assert environment.action_spec().num_values == 4
    first = environment.reset().observation
    assert (first == first[..., :1]).all()
    assert first.max() > 100


def test_the_action_sets_and_the_shapes():
    assert make(full_action_set=True).action_spec().num_values == 18
    assert make('pong').action_spec().num_values == 6
    assert make(grayscale=False).observation_spec().shape == (84, 84, 3)
    assert make(screen_size=None).observation_spec().shape == (210, 160)
    assert make(screen_size=42, frame_stack=2).reset().observation.shape == (42, 42, 2)


def play(environment, num_steps, seed=0):
    generator = np.random.default_rng(seed)
    count = environment.action_spec().num_values
    return [environment.step(generator.integers(count)) for _ in range(num_steps)]


def test_an_action_lasts_frame_skip_frames_and_the_last_two_are_pooled():
    kwargs = {'sticky_actions': 0.0, 'screen_size': None}
    single = make('pong', frame_skip=1, **kwargs)
    skipped = make('pong', frame_skip=4, **kwargs)
    single.reset()
    skipped.reset()
    differs = False
    for action in np.random.default_rng(0).integers(6, size=60):
        frames = [single.step(action) for _ in range(4)]
        timestep = skipped.step(action)
        pooled = np.maximum(frames[2].observation, frames[3].observation)
        np.testing.assert_array_equal(timestep.observation, pooled)
        assert timestep.reward == sum(frame.reward for frame in frames)
        differs |= bool((pooled != frames[3].observation).any())
    assert differs  # otherwise nothing was pooled


@pytest.mark.slow
def test_sticky_actions_stick_as_often_as_they_say():
    # What the emulator was last given is part of the state.
    taken = {}
    for probability in (0.25, 0.0):
        environment = make(sticky_actions=probability, frame_skip=1)
        environment.reset()
        taken[probability] = []
        for step in range(2000):
            if environment.step(2 + step % 2).last():
                environment.step(0)
            taken[probability].append(environment.get_state()['last_action'])
    wanted = {2: 3, 3: 4}  # the minimal actions of Breakout: nothing, fire, right, left
    given = [wanted[2 + step % 2] for step in range(2000)]
    assert np.mean(np.array(taken[0.0]) == given) > 0.99  # but where a game is over
    changes = np.mean([a != b for a, b in itertools.pairwise(taken[0.25]) if {a, b} <= {3, 4}])
    # Two actions in turn. The one taken is the one given with probability p = 0.75 p + (1 - p), for
    # after one that stuck it is so anyway; it changes after those, where it does not stick.
    assert changes == pytest.approx(0.8 * 0.75, abs=0.05)


def test_a_lost_life_ends_an_episode_and_the_game_goes_on():
    kwargs = {'terminal_on_life_loss': True, 'sticky_actions': 0.0}
    environment, game = make(**kwargs), make(sticky_actions=0.0)
    environment.reset()
    game.reset()
    generator = np.random.default_rng(0)
    lost = 0
    for _ in range(300):
        action = generator.integers(4)
        whole, timestep = game.step(action), environment.step(action)
        np.testing.assert_array_equal(whole.observation, timestep.observation)
        if timestep.last():
            assert timestep.discount == 0.0
            lost += 1
            if not whole.last():
                first = environment.step(0)
                assert first.first()
                np.testing.assert_array_equal(first.observation, timestep.observation)
            else:
                assert lost == 5
                break
    assert lost == 5


def test_episodes_are_truncated_by_frames():
    environment = make('space_invaders', max_episode_frames=40)
    environment.reset()
    timesteps = play(environment, 11)
    ends = [index for index, timestep in enumerate(timesteps) if timestep.last()]
    assert ends == [9]  # ten steps of four frames
    assert timesteps[9].discount == 1.0
    assert timesteps[10].first()


@pytest.mark.slow
def test_noop_starts_begin_elsewhere():
    starts = {make('pong', noop_starts=30, seed=s).reset().observation.tobytes() for s in range(6)}
    same = {make('pong', seed=seed).reset().observation.tobytes() for seed in range(6)}
    assert len(starts) > len(same)


def test_the_console_s_switches():
    with pytest.raises(ValueError, match='difficulty must be one of'):
        make('breakout', difficulty=7)
    assert make('pong', mode=1).reset().first()


def test_a_state_is_small():
    """A checkpoint has one of every lane: the console's memory and four small frames, no screen."""
    environment = environments.make('atari/breakout', 0)
    environment.reset()
    assert len(pickle.dumps(environment.get_state())) < 50_000
