"""Atari 2600 games through the Arcade Learning Environment, as Machado et al. (2018) advise.

Actions are sticky with probability 0.25, episodes last up to 108,000 frames, and the loss of a life ends
no episode (https://arxiv.org/abs/1709.06009). A step lasts four frames and shows the maximum of the last
two, shrunk to 84x84 in grey, as in Mnih et al. (2015).
"""

import functools
from typing import Annotated
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from culmen.components.environments import arguments
from culmen.core import checks
from culmen.core.checks import Range
from culmen.core.ranges import as_float32
from culmen.core.specs import DISCOUNT
from culmen.core.specs import REWARD

_MID, _LAST = dm_env.StepType.MID, dm_env.StepType.LAST
_ENDED, _GOES_ON = np.float32(0), np.float32(1)  # discounts
# Their ROMs are in the wheel, and ALE ends the process when it is to load one.
_LEFT_OUT = dict.fromkeys(
    ('combat', 'joust', 'maze_craze', 'warlords'), 'it is a game for two, which ALE does not play'
)


def names() -> list[str]:
    """Every game that ALE plays and whose ROM is in the wheel, as 'space_invaders'."""
    return _games('atari')


def check(identity: str) -> None:
    """Raises ValueError: with the nearest games for an unknown one, or with why one is left out."""
    known = _games(f'atari/{identity}')
    if identity in _LEFT_OUT:
        arguments.check_name('atari', identity, known, _LEFT_OUT)
    if identity not in known:
        # 'SpaceInvaders' is how gymnasium writes it.
        near = identity.lower().replace('-', '_')
        known = [f'atari/{name}' for name in known]
        message = checks.unknown_name('environment', f'atari/{near}', known)
        raise ValueError(message.replace(f'atari/{near}', f'atari/{identity}', 1))


def make(
    identity: str,
    seed: int,
    *,
    sticky_actions: Annotated[float, Range(0, 1)] = 0.25,
    full_action_set: bool = False,
    terminal_on_life_loss: bool = False,
    frame_skip: Annotated[int, Range(1)] = 4,
    screen_size: Annotated[int | None, Range(1)] = 84,
    grayscale: bool = True,
    noop_starts: Annotated[int, Range(0)] = 0,
    max_episode_frames: Annotated[int, Range(1)] = 108_000,
    mode: Annotated[int | None, Range(0)] = None,
    difficulty: Annotated[int | None, Range(0)] = None,
) -> dm_env.Environment:
    """Builds a game.

    Args:
        sticky_actions: probability, each frame, that the emulator takes its last action again.
        full_action_set: all 18 actions instead of those that do something in this game.
        terminal_on_life_loss: whether a lost life ends the episode (discount 0). The next FIRST
            then goes on in the same game.
        frame_skip: frames an action lasts; the observation is the maximum of the last two.
        screen_size: side of the square that a frame is shrunk to; None: the screen's 210x160.
        grayscale: [H, W] in grey, otherwise [H, W, 3].
        noop_starts: a game begins with 1 to so many frames of no-ops; 0: none.
        max_episode_frames: frames (not steps) after which an episode is truncated.
        mode, difficulty: the switches of the console; None: the game's default.
    """
    check(identity)
    name = f'atari/{identity}'
    ale_py = arguments.load('ale_py', name, 'ale-py')
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    words = np.random.SeedSequence(seed).generate_state(1)
    ale.setInt('random_seed', int(words[0] % (2**31 - 1)) + 1)
    # Actions stick in AtariEnvironment: the emulator's saved state lacks the action it repeats.
    ale.setFloat('repeat_action_probability', 0.0)
    ale.setInt('max_num_frames_per_episode', max_episode_frames)
    ale.loadROM(_roms(name).get_rom_path(identity))
    for label, value, accepted, use in (
        ('mode', mode, ale.getAvailableModes(), ale.setMode),
        ('difficulty', difficulty, ale.getAvailableDifficulties(), ale.setDifficulty),
    ):
        if value is not None:
            if value not in accepted:
                raise ValueError(f'{name}: {label} must be one of {list(accepted)}, got {value}.')
            use(value)
    resize = None
    if screen_size is not None:
        cv2 = arguments.load('cv2', name, 'opencv-python-headless')
        resize = functools.partial(
            cv2.resize, dsize=(screen_size, screen_size), interpolation=cv2.INTER_AREA
        )
    return AtariEnvironment(
        ale,
        generator=np.random.default_rng(words),
        sticky_actions=float(sticky_actions),
        resize=resize,
        screen_size=screen_size,
        full_action_set=full_action_set,
        terminal_on_life_loss=terminal_on_life_loss,
        frame_skip=frame_skip,
        grayscale=grayscale,
        noop_starts=noop_starts,
    )


class AtariEnvironment(dm_env.Environment):
    """An Atari game. Observations are uint8[84, 84] (or [84, 84, 3] in colour)."""

    def __init__(
        self,
        ale: Any,
        generator: np.random.Generator,
        sticky_actions: float,
        resize: Any,
        screen_size: int | None,
        full_action_set: bool,
        terminal_on_life_loss: bool,
        frame_skip: int,
        grayscale: bool,
        noop_starts: int,
    ) -> None:
        self._ale = ale
        self._generator = generator
        self._sticky_actions = sticky_actions
        self._resize = resize
        self._terminal_on_life_loss = terminal_on_life_loss
        self._frame_skip = frame_skip
        self._noop_starts = noop_starts
        self._actions = list(
            ale.getLegalActionSet() if full_action_set else ale.getMinimalActionSet()
        )
        self._get_screen = ale.getScreenGrayscale if grayscale else ale.getScreenRGB
        shape = tuple(ale.getScreenDims()) + (() if grayscale else (3,))
        self._screens = [np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)]
        if screen_size is not None:
            shape = (screen_size, screen_size) + shape[2:]
        self._observation_spec = specs.BoundedArray(shape, np.uint8, 0, 255, name='observation')
        self._action_spec = specs.DiscreteArray(len(self._actions), dtype=np.int32, name='action')
        self._reset_next_step = True
        self._lives = 0
        self._last_action: Any = self._actions[0]
        # The last observation of a game that goes on after a lost life; FIRST shows it again.
        self._unfinished: np.ndarray[Any, Any] | None = None

    def reset(self) -> dm_env.TimeStep:
        self._reset_next_step = False
        self._lives = self._ale.lives()
        if self._unfinished is not None:
            observation, self._unfinished = self._unfinished, None
            return dm_env.restart(observation.copy())
        self._ale.reset_game()
        self._last_action = self._actions[0]
        if self._noop_starts:
            for _ in range(int(self._generator.integers(1, self._noop_starts + 1))):
                self._ale.act(0)
                if self._ale.game_over():
                    self._ale.reset_game()
        self._lives = self._ale.lives()
        self._get_screen(self._screens[0])
        return dm_env.restart(self._observation(self._screens[0]))

    def step(self, action: Any) -> dm_env.TimeStep:
        if self._reset_next_step:
            return self.reset()
        ale, emulated = self._ale, self._actions[int(action)]
        reward = 0.0
        pooled = False
        sticks: Any = ()
        if self._sticky_actions:
            sticks = self._generator.random(self._frame_skip) < self._sticky_actions
        for frame in range(1, self._frame_skip + 1):
            # An action that sticks does so frame by frame, as in the emulator.
            if not self._sticky_actions or not sticks[frame - 1]:
                self._last_action = emulated
            reward += ale.act(self._last_action)
            if ale.game_over():
                break
            if frame == self._frame_skip - 1:
                self._get_screen(self._screens[1])
                pooled = True
        screen = self._screens[0]
        self._get_screen(screen)
        if pooled:
            # The console draws some sprites in every other frame only.
            np.maximum(screen, self._screens[1], out=screen)
        observation = self._observation(screen)
        paid = as_float32('reward', reward)
        if ale.game_over():
            self._reset_next_step = True
            if ale.game_over(with_truncation=False):
                return dm_env.TimeStep(_LAST, paid, _ENDED, observation)
            return dm_env.TimeStep(_LAST, paid, _GOES_ON, observation)
        if self._terminal_on_life_loss:
            lives = ale.lives()
            # Some games show 0 lives for some frames before they are over.
            if 0 < lives < self._lives:
                self._reset_next_step = True
                self._unfinished = observation.copy()
                return dm_env.TimeStep(_LAST, paid, _ENDED, observation)
            self._lives = max(lives, self._lives)
        return dm_env.TimeStep(_MID, paid, _GOES_ON, observation)

    def _observation(self, screen: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return screen.copy() if self._resize is None else self._resize(screen)

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
        return np.array(self._ale.getScreenRGB())

    def metrics(self) -> dict[str, int]:
        """The lives that are left."""
        return {'lives': self._ale.lives()}

    def get_state(self) -> object:
        return {
            'ale': bytes(self._ale.cloneState(include_rng=True).serialize()),
            'generator': self._generator.bit_generator.state,
            'reset_next_step': self._reset_next_step,
            'lives': self._lives,
            'last_action': self._last_action.value,
            'unfinished': None if self._unfinished is None else self._unfinished.copy(),
        }

    def set_state(self, state: Any) -> None:
        import ale_py

        self._ale.restoreState(ale_py.ALEState(state['ale']))
        self._generator.bit_generator.state = state['generator']
        self._reset_next_step = state['reset_next_step']
        self._lives = state['lives']
        self._last_action = ale_py.Action(state['last_action'])
        self._unfinished = None if state['unfinished'] is None else state['unfinished'].copy()


def _games(environment: str) -> list[str]:
    known = _roms(environment).get_all_rom_ids()
    return sorted(game for game in known if game not in _LEFT_OUT)


def _roms(environment: str) -> Any:
    return arguments.load('ale_py.roms', environment, 'ale-py')
