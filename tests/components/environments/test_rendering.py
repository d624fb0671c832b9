"""Pictures and videos, without a display."""

import sys

import numpy as np
import pytest

from culmen.components import environments
from culmen.components.environments import wrappers
from tests.components.environments.fakes import Counter


@pytest.mark.parametrize(
    'name',
    [
        'gymnasium/CartPole-v1',
        'gymnasium/LunarLander-v3',
        'minatar/breakout',
        'atari/pong',
        'bsuite/catch/0',
        'bsuite/cartpole/0',
        'gymnax/Breakout-MinAtar',
        'jax/bandit',
        'jax/bit_flip',
        'jax/cartpole_swingup',
        'jax/catch',
        'jax/six_states',
        'jumanji/Game2048-v1',
        'minigrid/MiniGrid-Empty-5x5-v0',
        pytest.param('navix/Navix-Empty-Random-5x5-v0', marks=pytest.mark.deep),
        pytest.param('xminigrid/MiniGrid-EmptyRandom-5x5', marks=pytest.mark.deep),
    ],
)
def test_a_picture_shows_what_is_there(name):
    family = name.split('/')[0]
    pytest.importorskip({'atari': 'ale_py'}.get(family, family))
    environment = environments.make(name, 0, frame_stack=2)
    environment.reset()
    pictures = []
    for step in range(8):
        pictures.append(environments.render(environment))
        environment.step(np.full(environment.action_spec().shape, step % 2))
    assert all(p.dtype == np.uint8 and p.ndim == 3 and p.shape[-1] == 3 for p in pictures)
    assert len({p.tobytes() for p in pictures}) > 1  # it moves, and no picture is drawn over


def test_mujoco_is_drawn_or_says_what_it_needs():
    pytest.importorskip('dm_control')
    environment = environments.make('dm_control/cartpole/swingup', 0)
    environment.reset()
    try:
        picture = environments.render(environment)
    except ValueError as error:
        assert 'MUJOCO_GL=egl' in str(error)
    else:
        assert picture.shape == (240, 320, 3)


def test_a_family_without_pictures_says_why():
    pytest.importorskip('brax')
    with pytest.raises(ValueError, match='brax/fast has no picture here: brax draws with OpenGL'):
        environments.render(environments.make('brax/fast', 0))


def test_what_can_not_be_drawn_says_so():
    with pytest.raises(ValueError, match='Counter has no method render'):
        environments.render(Counter())

    class Wrong(Counter):
        def render(self):
            return np.zeros((2, 2))

    with pytest.raises(ValueError, match=r'uint8\[H, W, 3\], got float64\[2, 2\]'):
        environments.render(Wrong())

    class Broken(Counter):
        def render(self):
            raise RuntimeError('no context')

    with pytest.raises(
        ValueError, match=r'Broken could not be drawn: RuntimeError: no context.*EGL|egl'
    ):
        environments.render(environments.Wrapper(Broken()))


class Drawn(Counter):
    """Pictures of odd sides whose brightness is the step."""

    def render(self):
        return np.full((31, 45, 3), 20 * self.at, np.uint8)


def read(path):
    capture = pytest.importorskip('cv2').VideoCapture(str(path))
    frames = []
    while (frame := capture.read())[0]:
        frames.append(frame[1])
    capture.release()
    return frames


def test_a_video_has_a_frame_for_each_step_of_its_episodes(tmp_path):
    pytest.importorskip('imageio_ffmpeg')
    path = tmp_path / 'folder' / 'two.mp4'
    environment = environments.VideoRecorder(Drawn(5), str(path), num_episodes=2)
    for _ in range(20):
        environment.step(0)
    environment.close()
    frames = read(path)
    assert len(frames) == 2 * (5 + 1)
    assert frames[0].shape == (32, 46, 3)
    brightness = [frame.mean() for frame in frames[:6]]
    np.testing.assert_allclose(brightness, 20.0 * np.arange(6), atol=6)


def test_a_recording_that_is_closed_early_is_complete(tmp_path):
    pytest.importorskip('imageio_ffmpeg')
    path = tmp_path / 'short.mp4'
    with environments.VideoRecorder(Drawn(50), str(path)) as environment:
        for _ in range(4):
            environment.step(0)
    assert len(read(path)) == 4


def test_an_episode_that_somebody_cuts_is_recorded_up_to_there(tmp_path):
    pytest.importorskip('imageio_ffmpeg')
    path = tmp_path / 'cut.mp4'
    environment = wrappers.StepLimit(environments.VideoRecorder(Drawn(50), str(path)), 3)
    for _ in range(9):
        environment.step(0)
    environment.close()
    assert len(read(path)) == 4


def test_a_video_that_can_not_be_written_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r'must end with \.mp4'):
        environments.VideoRecorder(Drawn(), str(tmp_path / 'a.gif'))
    monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
    with pytest.raises(environments.MissingPackage, match=r'imageio\[ffmpeg\]'):
        environments.VideoRecorder(Drawn(), str(tmp_path / 'a.mp4'))
