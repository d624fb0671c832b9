"""MinAtar (Young and Tian, 2019, https://arxiv.org/abs/1903.03176): five games on a 10x10 board.

`minatar/breakout` is the game with the options below; `minatar/breakout-v0` (all six actions) and
`minatar/breakout-v1` (the minimal set) are the names under which results are published.
"""

import pickle
from typing import Annotated
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from culmen.components.environments import arguments
from culmen.components.environments import rendering
from culmen.core.checks import Range
from culmen.core.ranges import as_float32
from culmen.core.specs import DISCOUNT
from culmen.core.specs import REWARD

GAMES = ('asterix', 'breakout', 'freeway', 'seaquest', 'space_invaders')
_VERSIONS = {'': None, 'v0': False, 'v1': True}

_MID, _LAST = dm_env.StepType.MID, dm_env.StepType.LAST
_ENDED, _GOES_ON = np.float32(0), np.float32(1)  # discounts


def names() -> list[str]:
    """The games, with and without their versions."""
    return [game + version for game in GAMES for version in ('', '-v0', '-v1')]


def check(identity: str) -> None:
    """Raises ValueError with the nearest games where there is no such game."""
    arguments.check_name('minatar', identity, names())


def make(
    identity: str,
    seed: int,
    *,
    sticky_actions: Annotated[float, Range(0, 1)] = 0.1,
    difficulty_ramping: bool = True,
    minimal_actions: bool | None = None,
) -> dm_env.Environment:
    """Builds a game.

    Args:
        sticky_actions: probability that the last action is taken again.
        difficulty_ramping: whether the game gets harder with time.
        minimal_actions: only the actions that do something in this game; None: as the version says,
            all six without one.
    """
    check(identity)
    game, _, version = identity.partition('-')
    in_version = _VERSIONS[version]
    if minimal_actions is not None and in_version is not None and minimal_actions != in_version:
        raise ValueError(
            f'minatar/{identity}: minimal_actions must be {in_version} in {version}, '
            f'got {minimal_actions}.'
        )
    minatar = arguments.load('minatar', f'minatar/{identity}')
    environment = minatar.Environment(game, sticky_actions, difficulty_ramping)
    environment.seed(seed)
    return MinAtarEnvironment(environment, bool(minimal_actions or in_version))


class MinAtarEnvironment(dm_env.Environment):
    """A game of MinAtar. Observations are float32[10, 10, channels] of 0 and 1."""

    def __init__(self, environment: Any, minimal_actions: bool) -> None:
        self._environment = environment
        self._actions = (
            [int(action) for action in environment.minimal_action_set()]
            if minimal_actions
            else list(range(environment.num_actions()))
        )
        self._reset_next_step = True
        self._action_spec = specs.DiscreteArray(len(self._actions), dtype=np.int32, name='action')
        self._observation_spec = specs.BoundedArray(
            tuple(environment.state_shape()), np.float32, 0.0, 1.0, name='observation'
        )

    def reset(self) -> dm_env.TimeStep:
        self._reset_next_step = False
        self._environment.reset()
        return dm_env.restart(self._observation())

    def step(self, action: Any) -> dm_env.TimeStep:
        if self._reset_next_step:
            return self.reset()
        reward, terminal = self._environment.act(self._actions[int(action)])
        reward = as_float32('reward', reward)
        if terminal:
            self._reset_next_step = True
            return dm_env.TimeStep(_LAST, reward, _ENDED, self._observation())
        return dm_env.TimeStep(_MID, reward, _GOES_ON, self._observation())

    def _observation(self) -> np.ndarray[Any, Any]:
        return np.asarray(self._environment.state(), np.float32)

    def observation_spec(self) -> specs.BoundedArray:
        return self._observation_spec

    def action_spec(self) -> specs.DiscreteArray:
        return self._action_spec

    def reward_spec(self) -> Any:
        return REWARD

    def discount_spec(self) -> Any:
        return DISCOUNT

    def render(self) -> np.ndarray[Any, Any]:
        """Each square in the colour of its last channel."""
        return rendering.draw_planes(self._environment.state())

    def get_state(self) -> object:
        # One pickle, since the game and its sticky actions share one generator.
        return pickle.dumps(self._environment), self._reset_next_step

    def set_state(self, state: Any) -> None:
        environment, self._reset_next_step = state
        self._environment = pickle.loads(environment)
