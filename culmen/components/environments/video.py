"""Videos of episodes."""

import os
from typing import Any

import dm_env
import numpy as np

from culmen.components.environments import arguments
from culmen.components.environments import rendering
from culmen.components.environments.wrappers.base import Wrapper
from culmen.components.files import expanded
from culmen.core import checks


class VideoRecorder(Wrapper):
    """Writes the first episodes of an environment to an mp4 file, a frame a step.

    The file is complete when the episodes have ended or the environment is closed. The recording does
    not belong to the environment's state.
    """

    _keeps_goals = True

    def __init__(
        self,
        environment: dm_env.Environment,
        path: str,
        num_episodes: int = 1,
        frames_per_second: int = 30,
    ) -> None:
        """Opens nothing before the first frame.

        Args:
            environment: drawn by `rendering.render`.
            path: of the mp4 file; its folder is made.
            num_episodes: how many episodes are recorded.
            frames_per_second: of the file.
        Raises: ValueError for a path that does not end in .mp4; MissingPackage without imageio[ffmpeg].
        """
        super().__init__(environment)
        if not str(path).endswith('.mp4'):
            raise ValueError(f'the path of a video must end with .mp4, got {path!r}.')
        checks.check_range('num_episodes', num_episodes, 1)
        checks.check_range('frames_per_second', frames_per_second, 1)
        arguments.load('imageio_ffmpeg', 'a video', 'imageio[ffmpeg]')
        self._imageio = arguments.load('imageio.v2', 'a video', 'imageio[ffmpeg]')
        self._path = str(expanded(path))
        self._episodes_left = num_episodes
        self._recording = False
        self._frames_per_second = frames_per_second
        self._writer: Any = None

    def reset(self) -> dm_env.TimeStep:
        if self._recording:  # the reset ends an episode
            self._end_episode()
        return self._record(self._environment.reset())

    def step(self, action: Any) -> dm_env.TimeStep:
        return self._record(self._environment.step(action))

    def close(self) -> None:
        self._finish()
        super().close()

    def _record(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        if self._episodes_left:
            frame = rendering.render(self._environment)
            if self._writer is None:
                os.makedirs(os.path.dirname(os.path.abspath(self._path)), exist_ok=True)
                # Otherwise the encoder is started by a fork, which is not safe beside JAX's threads.
                os.environ.setdefault('IMAGEIO_FFMPEG_NO_PREVENT_SIGINT', '1')
                self._writer = self._imageio.get_writer(
                    self._path, fps=self._frames_per_second, macro_block_size=1
                )
            # The codec needs even sides.
            height, width = frame.shape[:2]
            self._writer.append_data(
                np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')
            )
            self._recording = not timestep.last()
            if timestep.last():
                self._end_episode()
        return timestep

    def _end_episode(self) -> None:
        self._recording = False
        self._episodes_left -= 1
        if not self._episodes_left:
            self._finish()

    def _finish(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._episodes_left = 0
