"""Culmen's own small environments, written in JAX: `jax/<name>`.

A maker takes keyword arguments, each with its type and range, and gives a `Functional`. The best return of
each environment, or a bound of it, is in docs/environments.md, and a test computes it.
"""

from collections.abc import Callable

from culmen.components.environments.functional import Functional
from culmen.components.environments.own.bandits import bandit
from culmen.components.environments.own.catch import catch
from culmen.components.environments.own.chains import six_states
from culmen.components.environments.own.control import cartpole_swingup
from culmen.components.environments.own.games import biased_game
from culmen.components.environments.own.games import connect_four
from culmen.components.environments.own.games import matching_pennies
from culmen.components.environments.own.games import nim
from culmen.components.environments.own.games import tic_tac_toe
from culmen.components.environments.own.goals import bit_flip
from culmen.components.environments.own.grids import four_rooms
from culmen.components.environments.own.grids import key_door
from culmen.components.environments.own.grids import two_rooms
from culmen.components.environments.own.mazes import u_maze
from culmen.components.environments.own.pixels import pixel_reach

MAKERS: dict[str, Callable[..., Functional]] = {
    'bandit': bandit,
    'biased_game': biased_game,
    'bit_flip': bit_flip,
    'cartpole_swingup': cartpole_swingup,
    'catch': catch,
    'connect_four': connect_four,
    'four_rooms': four_rooms,
    'key_door': key_door,
    'matching_pennies': matching_pennies,
    'nim': nim,
    'pixel_reach': pixel_reach,
    'six_states': six_states,
    'tic_tac_toe': tic_tac_toe,
    'two_rooms': two_rooms,
    'u_maze': u_maze,
}

__all__ = ['MAKERS', *sorted(MAKERS)]
