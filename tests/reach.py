"""Reach: a point moves in a square towards a target; seen as an image of 32x32, drawn in NumPy."""

from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from tests.probes import Probe

SIDE = 32
HALF = 2  # pixels from the middle of a block to its edge


class Reach(Probe):
    """Episodes of 12 steps; the action moves the point by up to 0.3 of the square [-1, 1]^2.

    The reward of a step is 1 less the distance that it leads to. The image shows the point in its first
    channel and the target in its second; episodes are cut off, not terminated.
    """

    length = 12
    speed = 0.3

    def action_spec(self) -> specs.Array:
        return specs.BoundedArray((2,), np.float32, -1.0, 1.0, name='action')

    def observation_spec(self) -> Any:
        return specs.BoundedArray((SIDE, SIDE, 2), np.uint8, 0, 255, name='image')

    def _begin(self) -> None:
        self.point, self.target = self._generator.uniform(-0.8, 0.8, (2, 2))

    def _observe(self) -> Any:
        image = np.zeros((SIDE, SIDE, 2), np.uint8)
        for channel, place in enumerate((self.point, self.target)):
            row, column = np.rint((place + 1) / 2 * (SIDE - 1 - 2 * HALF)).astype(int) + HALF
            image[row - HALF : row + HALF + 1, column - HALF : column + HALF + 1, channel] = 255
        return image

    def _reward(self, action: Any) -> float:
        move = self.speed * np.clip(np.asarray(action, np.float64), -1, 1)
        self.point = np.clip(self.point + move, -1, 1)
        return 1.0 - float(np.linalg.norm(self.point - self.target))

    def _end(self, reward: float) -> dm_env.TimeStep:
        return dm_env.truncation(reward, self._observe())
