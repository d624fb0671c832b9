"""Environments of MiniGrid and BabyAI (Chevalier-Boisvert et al. 2023, 2306.13831).

`minigrid/MiniGrid-Empty-8x8-v0` is adapted as gymnasium's are. The text of missions becomes numbers.
"""

import contextlib
import functools
import io
from typing import Annotated
from typing import Any
from typing import Literal

import dm_env
import numpy as np

from culmen.components.environments import arguments
from culmen.components.environments.arguments import Argument
from culmen.components.environments.families.gymnasium import GymnasiumEnvironment
from culmen.core import checks
from culmen.core.checks import Range

View = Literal['partial', 'full', 'rgb_partial', 'rgb']

# Of the missions. A word is its place in this tuple, from 1; 0 is the end.
WORDS = (
    ',', 'a', 'after', 'agent', 'and', 'at', 'avoid', 'ball', 'behind', 'blue', 'box', 'door', 'empty',
    'end', 'fetch', 'find', 'floor', 'from', 'front', 'get', 'go', 'goal', 'green', 'grey', 'hallway',
    'in', 'it', 'key', 'lava', 'left', 'matching', 'maze', 'must', 'near', 'next', 'object', 'of', 'on',
    'open', 'opening', 'pick', 'purple', 'put', 'reach', 'red', 'right', 'room', 'rooms', 'square',
    'that', 'the', 'then', 'to', 'traverse', 'unlock', 'unseen', 'up', 'use', 'wall', 'with', 'yellow',
    'you', 'your',
)  # fmt: skip
_NUMBERS = {word: index + 1 for index, word in enumerate(WORDS)}

# Words of the longest missions. BabyAI's grammar joins four clauses of 17 words with two 'and's and a
# ', then' or 'after you'.
_LONGEST, _LONGEST_OF_BABYAI = 16, 72
_LONGER = {'MiniGrid-LockedRoom-v0': 18}

# Not for users: objects, windows, and what the registered ids fix.
_SKIPPED = ('render_mode', 'mission_space', 'screen_size', 'highlight', 'tile_size', 'agent_pov')


def names() -> list[str]:
    """The ids of MiniGrid and BabyAI that can be built here."""
    registry = _gymnasium('minigrid').registry
    known = (name for name, spec in registry.items() if _is_of_minigrid(spec))
    return sorted(name for name in known if not _needs_networkx(registry[name]))


def check(identity: str) -> None:
    """Raises ValueError with the nearest ids where there is no such environment."""
    name = f'minigrid/{identity}'
    registry = _gymnasium(name).registry
    if identity not in registry or not _is_of_minigrid(registry[identity]):
        raise ValueError(
            checks.unknown_name('environment', name, [f'minigrid/{each}' for each in names()])
        )
    if _needs_networkx(registry[identity]):
        raise ValueError(
            f'{name} makes its rooms by wave function collapse, which is not supported here: it takes '
            f'seconds an episode, and packages that culmen does not install.'
        )


def options(identity: str) -> tuple[dict[str, Argument], bool]:
    """The arguments of the environment's own constructor, and False: it takes no others."""
    check(identity)
    spec = _gymnasium(f'minigrid/{identity}').registry[identity]
    return arguments.foreign_arguments(_creator(spec), skip=_SKIPPED)[0], False


def make(
    identity: str,
    seed: int,
    *,
    view: View = 'partial',
    tile_size: Annotated[int, Range(1)] = 8,
    mission: bool | None = None,
    **options: Any,
) -> dm_env.Environment:
    """Builds an environment. Its time limit is the argument max_steps.

    An observation is {'image': ..., 'direction': int32[], 'mission': int8[words]}. An image of tiles is
    int8[width, height, 3]: the numbers of object, colour and state.

    Args:
        view: what `image` is: the tiles before the agent (partial) or the whole board (full), or a picture of
            them, uint8[H, W, 3] (rgb_partial, rgb).
        tile_size: pixels of a tile's side in a picture.
        mission: whether the numbers of the mission's words are observed; None: where it varies.
        **options: arguments of the environment's constructor.
    """
    check(identity)
    name = f'minigrid/{identity}'
    gymnasium, wrappers = _gymnasium(name), arguments.load('minigrid.wrappers', name)
    spec = gymnasium.registry[identity]
    options = {'max_episode_steps': -1, 'disable_env_checker': True, **options}

    def build() -> Any:
        try:
            environment = gymnasium.make(spec, render_mode='rgb_array', **options)
        except (AssertionError, TypeError, ValueError) as error:
            raise ValueError(f'{name} is refused by minigrid: {error or type(error)}') from error
        while type(environment) is gymnasium.wrappers.OrderEnforcing:
            environment = environment.env
        if view == 'full':
            environment = wrappers.FullyObsWrapper(environment)
        elif view == 'rgb':
            environment = wrappers.RGBImgObsWrapper(environment, tile_size)
        elif view == 'rgb_partial':
            environment = wrappers.RGBImgPartialObsWrapper(environment, tile_size)
        words = _words(identity, environment, mission)
        return _numbered(name)(environment, words, is_picture=view.startswith('rgb'))

    return GymnasiumEnvironment(build, seed, name=name)


def _words(identity: str, environment: Any, mission: bool | None) -> int:
    """The length of the missions that are observed; 0: none."""
    of_babyai = identity.startswith('BabyAI')
    space = environment.observation_space['mission']
    varies = of_babyai or space.ordered_placeholders is not None
    if not (varies if mission is None else mission):
        return 0
    return _LONGEST_OF_BABYAI if of_babyai else _LONGER.get(identity, _LONGEST)


def numbers_of_words(mission: str, length: int) -> np.ndarray[Any, Any]:
    """A mission as int8[length]: each word's number, then zeros.

    Raises: ValueError that names a word which is not in `WORDS`, or a mission of too many words.
    """
    words = mission.lower().replace(',', ' , ').split()
    if unknown := [word for word in words if word not in _NUMBERS]:
        raise ValueError(
            f'the mission {mission!r} has the word {unknown[0]!r}, which is not known.'
        )
    if len(words) > length:
        raise ValueError(f'the mission {mission!r} has {len(words)} words, at most {length} fit.')
    return np.array([_NUMBERS[word] for word in words] + [0] * (length - len(words)), np.int8)


@functools.cache
def _numbered(name: str) -> Any:
    """The wrapper that turns tiles and missions into numbers (its base is loaded on use)."""
    gymnasium = _gymnasium(name)
    constants = arguments.load('minigrid.core.constants', name)
    spaces = gymnasium.spaces

    class Numbered(gymnasium.Wrapper):  # type: ignore[misc, name-defined]
        def __init__(self, environment: Any, words: int, is_picture: bool) -> None:
            super().__init__(environment)
            self.words, self.is_picture = words, is_picture
            inner = environment.observation_space
            image = inner['image']
            if not is_picture:
                largest = (constants.OBJECT_TO_IDX, constants.COLOR_TO_IDX)
                # A state is that of a door, or the direction of the agent.
                most = [*(max(numbers.values()) for numbers in largest), 3]
                image = spaces.Box(0, np.broadcast_to(most, image.shape), image.shape, np.int8)
            fields = {'image': image, 'direction': spaces.Box(0, 3, (), np.int32)}
            if words:
                fields['mission'] = spaces.Box(0, len(WORDS), (words,), np.int8)
            self.observation_space = spaces.Dict(fields)

        def reset(self, **settings: Any) -> tuple[Any, Any]:
            # BabyAI prints the missions that it rejects.
            with contextlib.redirect_stdout(io.StringIO()):
                observation, info = self.env.reset(**settings)
            return self._read(observation), info

        def step(self, action: Any) -> tuple[Any, Any, bool, bool, Any]:
            observation, *others = self.env.step(action)
            return self._read(observation), *others  # type: ignore[return-value]

        def _read(self, observation: Any) -> dict[str, Any]:
            image = observation['image']
            # Tiles are not bytes, which networks would take for pixels.
            image = image if self.is_picture else np.asarray(image, np.int8)
            read = {'image': image, 'direction': np.asarray(observation['direction'], np.int32)}
            if self.words:
                read['mission'] = numbers_of_words(observation['mission'], self.words)
            return read

    return Numbered


def _is_of_minigrid(spec: Any) -> bool:
    return str(spec.entry_point).startswith('minigrid.')


def _needs_networkx(spec: Any) -> bool:
    return str(spec.entry_point).startswith('minigrid.envs.wfc')


def _creator(spec: Any) -> Any:
    module, _, attribute = spec.entry_point.partition(':')
    return getattr(arguments.load(module, f'minigrid/{spec.id}'), attribute)


def _gymnasium(environment: str) -> Any:
    """gymnasium, with the ids of minigrid registered."""
    gymnasium = arguments.load('gymnasium', environment)  # first: it silences pygame's greeting
    arguments.load('minigrid', environment)
    return gymnasium
