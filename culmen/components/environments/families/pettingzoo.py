"""Environments of PettingZoo, whose players move at once or in turn: `pettingzoo/classic/tictactoe_v3`.

`pettingzoo_episodes.py` beside it says how their players come, move and leave.
"""

import contextlib
import importlib.util
import io
import pkgutil
import re
import warnings
from collections.abc import Iterator
from typing import Any

import dm_env

from culmen.components.environments import arguments
from culmen.components.environments.arguments import Argument
from culmen.components.environments.families.pettingzoo_episodes import AtOnce
from culmen.components.environments.families.pettingzoo_episodes import InTurn

_MODULES = ('atari', 'butterfly', 'classic', 'sisl')
# What some of them need besides, as (module to import, what pip calls it).
_NEEDS = {
    'atari/': ('multi_agent_ale_py', 'multi-agent-ale-py'),
    'butterfly/pistonball': ('pymunk', 'pymunk'),
    'classic/chess': ('chess', 'chess'),
    'classic/hanabi': ('pyspiel', 'open-spiel'),
    'classic/leduc_holdem': ('rlcard', 'rlcard'),
    'classic/texas_holdem': ('rlcard', 'rlcard'),
    'sisl/multiwalker': ('Box2D', 'box2d'),
    'sisl/pursuit': ('pygame', 'pygame-ce'),
}
# These draw a picture to observe it.
_SEEN_AS_DRAWN = ('butterfly/cooperative_pong',)


def names() -> list[str]:
    """The environments whose packages are installed, as 'classic/tictactoe_v3'."""
    return [name for name in _all_names('pettingzoo') if not _missing(name)]


def check(identity: str) -> None:
    """Raises ValueError with the nearest names where there is no such environment; MissingPackage."""
    name = f'pettingzoo/{identity}'
    known = _all_names(name)
    arguments.check_name('pettingzoo', identity, known)
    _load(identity)


def options(identity: str) -> tuple[dict[str, Argument], bool]:
    """The arguments of the environment's own constructor, and whether it takes others besides."""
    check(identity)
    return arguments.foreign_arguments(_load(identity).raw_env, skip=('render_mode',))


def make(
    identity: str, seed: int, *, turns: bool | None = None, **options: Any
) -> dm_env.Environment:
    """Builds an environment.

    Args:
        turns: whether players move in turn (PettingZoo's AEC), or all at once (its parallel environments);
            by default at once where the environment can.
        **options: arguments of the environment's constructor.
    """
    check(identity)
    name, module = f'pettingzoo/{identity}', _load(identity)
    at_once = getattr(module, 'parallel_env', None)
    if turns is False and at_once is None:
        raise ValueError(f'{name}: turns must be True, since its players move in turn, got False.')
    if turns is None:
        turns = at_once is None
    constructor = module.env if turns else at_once

    def build(render_mode: str | None) -> Any:
        if render_mode is None and identity.startswith(_SEEN_AS_DRAWN):
            render_mode = 'rgb_array'
        mode = {} if render_mode is None else {'render_mode': render_mode}
        with _quietly():
            return constructor(**options, **mode)

    return (InTurn if turns else AtOnce)(build, seed, name)


def _all_names(environment: str) -> list[str]:
    package = arguments.load('pettingzoo', environment)
    return sorted(
        f'{module}/{found.name}'
        for module in _MODULES
        for path in package.__path__
        for found in pkgutil.iter_modules([f'{path}/{module}'])
        if re.fullmatch(r'.*_v\d+', found.name)
    )


def _needed(identity: str) -> tuple[str, str] | None:
    """What an environment needs besides PettingZoo."""
    return next((needed for part, needed in _NEEDS.items() if identity.startswith(part)), None)


def _missing(identity: str) -> bool:
    needed = _needed(identity)
    return needed is not None and importlib.util.find_spec(needed[0]) is None


def _load(identity: str) -> Any:
    name, module = f'pettingzoo/{identity}', identity.partition('/')[0]
    extra = f'pettingzoo[{module}]'
    needed = _needed(identity)
    if needed is not None:
        arguments.load(needed[0], name, needed[1], extra)
    with _quietly():
        return arguments.load(f'pettingzoo.{identity.replace("/", ".")}', name, extra=extra)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the banners of pygame and gym, and the warnings of spaces."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
