"""Super Mario Bros. on an emulated NES (gym-super-mario-bros): `mario/SuperMarioBros-1-1-v0`.

`SuperMarioBros-<world>-<stage>-v0` is one life in one stage, `SuperMarioBros-v0` the whole game with three
lives; so are the ids of the second and third game. Running to the right pays, the clock and death cost. The
clock ends a life, so no episode is truncated. A step lasts four frames and shows the maximum of the last two,
shrunk to 84x84 in grey, as in Mnih et al. (2015). Nothing is drawn: an episode is its actions.
"""

from typing import Annotated
from typing import Any
from typing import Literal

import dm_env
import numpy as np
from dm_env import specs

from culmen.components.environments import arguments
from culmen.core.checks import Range
from culmen.core.metrics import is_number
from culmen.core.ranges import as_float32
from culmen.core.specs import DISCOUNT
from culmen.core.specs import REWARD

Movement = Literal['right', 'simple', 'complex']

_MID, _LAST = dm_env.StepType.MID, dm_env.StepType.LAST
_ENDED, _GOES_ON = np.float32(0), np.float32(1)  # discounts

# Buttons of the controller: a bit each.
_RIGHT, _LEFT, _DOWN, _UP, _B, _A = 128, 64, 32, 16, 2, 1
_TO_THE_RIGHT = (0, _RIGHT, _RIGHT | _A, _RIGHT | _B, _RIGHT | _A | _B)
_SIMPLE = (*_TO_THE_RIGHT, _A, _LEFT)
# What is pressed by each action, by the argument `movement`.
PRESSED: dict[Movement, tuple[int, ...]] = {
    'right': _TO_THE_RIGHT,
    'simple': _SIMPLE,
    'complex': (*_SIMPLE, _LEFT | _A, _LEFT | _B, _LEFT | _A | _B, _DOWN, _UP),
}


def names() -> list[str]:
    """The ids of gym-super-mario-bros."""
    registry = _gymnasium('mario').registry
    return sorted(
        name
        for name, spec in registry.items()
        if str(spec.entry_point).startswith('gym_super_mario_bros')
    )


def check(identity: str) -> None:
    """Raises ValueError with the nearest ids where there is no such environment."""
    _gymnasium(f'mario/{identity}')  # named where it is missing
    arguments.check_name('mario', identity, names())


def make(
    identity: str,
    seed: int,
    *,
    movement: Movement = 'simple',
    frame_skip: Annotated[int, Range(1)] = 4,
    screen_size: Annotated[int | None, Range(1)] = 84,
    grayscale: bool = True,
) -> dm_env.Environment:
    """Builds a stage or a game.

    Args:
        movement: which actions there are: to the right, running and jumping or not (right, 5), also left and
            a jump on the spot (simple, 7), also running and jumping to the left, up and down (complex, 12).
        frame_skip: frames an action lasts; the observation is the maximum of the last two.
        screen_size: side of the square that a frame is shrunk to; None: the screen's 240x256.
        grayscale: [H, W] in grey, otherwise [H, W, 3].
    """
    check(identity)
    name = f'mario/{identity}'
    # Its wrappers check, and limit an episode to ten million steps.
    console = _gymnasium(name).make(identity, render_mode='rgb_array').unwrapped
    cv2 = arguments.load('cv2', name, 'opencv-python-headless')
    return MarioEnvironment(console, PRESSED[movement], frame_skip, screen_size, grayscale, cv2)


class MarioEnvironment(dm_env.Environment):
    """A stage or a game. Observations are uint8[84, 84] (or [84, 84, 3] in colour)."""

    def __init__(
        self,
        console: Any,
        pressed: tuple[int, ...],
        frame_skip: int,
        screen_size: int | None,
        grayscale: bool,
        cv2: Any,
    ) -> None:
        self._console = console
        self._pressed = pressed
        self._frame_skip = frame_skip
        self._screen_size = screen_size
        self._grayscale = grayscale
        self._cv2 = cv2
        shape = console.observation_space.shape
        height, width = (screen_size, screen_size) if screen_size else shape[:2]
        shape = (height, width) if grayscale else (height, width, 3)
        self._observation_spec = specs.BoundedArray(shape, np.uint8, 0, 255, name='observation')
        self._action_spec = specs.DiscreteArray(len(pressed), dtype=np.int32, name='action')
        self._reset_next_step = True
        self._actions: list[int] | None = None  # of the episode; None: there was none yet
        self._info: dict[str, Any] = {}

    def reset(self) -> dm_env.TimeStep:
        self._reset_next_step = False
        self._actions = []
        screen, self._info = self._console.reset()
        return dm_env.restart(self._observation(screen))

    def step(self, action: Any) -> dm_env.TimeStep:
        if self._reset_next_step or self._actions is None:
            return self.reset()
        self._actions.append(int(action))
        screen, reward, ended = self._play(int(action))
        observation, paid = self._observation(screen), as_float32('reward', reward)
        if ended:
            self._reset_next_step = True
            return dm_env.TimeStep(_LAST, paid, _ENDED, observation)
        return dm_env.TimeStep(_MID, paid, _GOES_ON, observation)

    def _play(self, action: int) -> tuple[np.ndarray[Any, Any], float, bool]:
        """Holds the buttons of an action down. Returns: (screen [240, 256, 3], reward, whether it ended)."""
        total, before = 0.0, None
        for frame in range(self._frame_skip):
            screen, reward, ended, _, self._info = self._console.step(self._pressed[action])
            total += reward
            if ended:
                return screen, total, True
            if frame == self._frame_skip - 2:
                before = screen.copy()  # the console goes on in the same memory
        # The console draws some sprites in every other frame only.
        return (screen if before is None else np.maximum(screen, before)), total, False

    def _observation(self, screen: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        cv2, size = self._cv2, self._screen_size
        screen = np.ascontiguousarray(screen)
        if self._grayscale:
            screen = cv2.cvtColor(screen, cv2.COLOR_RGB2GRAY)
        if size is None:
            return screen.copy()
        return cv2.resize(screen, (size, size), interpolation=cv2.INTER_AREA)

    def observation_spec(self) -> specs.BoundedArray:
        return self._observation_spec

    def action_spec(self) -> specs.DiscreteArray:
        return self._action_spec

    def reward_spec(self) -> Any:
        return REWARD

    def discount_spec(self) -> Any:
        return DISCOUNT

    def render(self) -> np.ndarray[Any, Any]:
        """The console's screen in colour."""
        return np.array(self._console.screen)

    def metrics(self) -> dict[str, Any]:
        """The numbers that the game gives with a step: x_pos, coins, score, flag_get, ..."""
        return {name: value for name, value in self._info.items() if is_number(value)}

    def close(self) -> None:
        self._console.close()

    def get_state(self) -> object:
        """The actions of the episode, by which it is played again."""
        actions = None if self._actions is None else list(self._actions)
        return self._reset_next_step, actions

    def set_state(self, state: Any) -> None:
        reset_next_step, actions = state
        if actions is not None:
            self.reset()
            for action in actions:
                self._play(action)
        self._reset_next_step = reset_next_step
        self._actions = None if actions is None else list(actions)


def _gymnasium(environment: str) -> Any:
    """gymnasium, with the ids of gym-super-mario-bros registered."""
    arguments.load('gym_super_mario_bros', environment, 'gym-super-mario-bros')
    return arguments.load('gymnasium', environment)
