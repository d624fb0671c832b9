"""Rooms on one board: four rooms, a key and a door, two rooms with a tile of noise.

All share one specification, so that one agent can be trained in all of them (`TASKS`): a board of 13 x 13
tiles with walls around it, seen from above in six planes, and four moves. The reward is 1 at the goal, which
ends the episode, and 0 elsewhere; a move into a wall stays. An episode is truncated after `max_steps`.
"""

from collections.abc import Callable
from typing import Annotated
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs
from numpy.typing import NDArray

from culmen.components.environments import functional
from culmen.components.environments import rendering
from culmen.core.checks import Range
from culmen.core.specs import EnvironmentSpec

SIZE = 13
PLANES = ('wall', 'agent', 'goal', 'key', 'door', 'noise')
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left, in rows and columns
_COLOURS = np.array(
    [(90, 90, 90), (220, 50, 50), (60, 180, 75), (230, 200, 40), (150, 90, 40), (120, 120, 255)]
)


class GridState(NamedTuple):
    """Places are int32[2], row and column; (-1, -1) is nowhere."""

    agent: jax.Array
    goal: jax.Array
    key: jax.Array  # where the key lies; where the agent is while it carries it
    door: jax.Array  # in a wall; only who has the key passes
    has_key: jax.Array  # bool[]
    noise: jax.Array  # float32[]: what the tile of noise shows
    steps: jax.Array  # int32[]


def _spec() -> EnvironmentSpec:
    return EnvironmentSpec(
        observation=specs.BoundedArray((SIZE, SIZE, len(PLANES)), np.float32, 0, 1, 'board'),
        action=specs.DiscreteArray(len(MOVES), np.int32, 'move'),
        reward=functional.REWARD,
        discount=functional.DISCOUNT,
    )


def _empty() -> NDArray[np.bool_]:
    """Walls bool[SIZE, SIZE] around a board without others."""
    walls = np.ones((SIZE, SIZE), bool)
    walls[1:-1, 1:-1] = False
    return walls


def _nowhere() -> jax.Array:
    return jnp.full(2, -1, jnp.int32)


def _draw(key: jax.Array, tiles: NDArray[np.bool_]) -> jax.Array:
    """One of the tiles bool[SIZE, SIZE], each as likely: int32[2]."""
    places = jnp.asarray(np.argwhere(tiles), jnp.int32)
    return places[jax.random.randint(key, (), 0, len(places))]


def _rooms(
    walls: NDArray[np.bool_],
    start: Callable[[jax.Array], GridState],
    max_steps: int,
    slip: float = 0.0,
    noisy: NDArray[np.bool_] | None = None,
) -> functional.Functional:
    """An environment of this family.

    Args:
        walls: bool[SIZE, SIZE].
        start: key -> the state at the start of an episode.
        max_steps: steps after which an episode is truncated.
        slip: probability that a move goes one of the other three ways.
        noisy: bool[SIZE, SIZE]: tiles whose plane of noise shows one number, drawn anew each step.
    """
    moves = jnp.asarray(MOVES, jnp.int32)

    def plane(place: jax.Array) -> jax.Array:
        rows, columns = jnp.arange(SIZE)[:, None], jnp.arange(SIZE)[None]
        return ((rows == place[0]) & (columns == place[1])).astype(jnp.float32)

    def observe(state: GridState) -> jax.Array:
        noise = jnp.zeros((SIZE, SIZE), jnp.float32)
        if noisy is not None:
            noise = jnp.where(noisy, state.noise, noise)
        planes = [plane(place) for place in (state.agent, state.goal, state.key, state.door)]
        return jnp.stack([jnp.asarray(walls, jnp.float32), *planes, noise], axis=-1)

    def begin(key: jax.Array) -> tuple[GridState, jax.Array]:
        state = start(key)
        return state, observe(state)

    def advance(
        key: jax.Array, state: GridState, action: jax.Array
    ) -> tuple[GridState, functional.Outcome]:
        of_slip, of_way, of_noise = jax.random.split(key, 3)
        if slip:
            other = (action + jax.random.randint(of_way, (), 1, len(MOVES))) % len(MOVES)
            action = jnp.where(jax.random.uniform(of_slip, (), jnp.float32) < slip, other, action)
        wanted = state.agent + moves[action]
        # A door stands in a wall.
        passes = state.has_key & jnp.all(wanted == state.door)
        blocked = jnp.asarray(walls)[wanted[0], wanted[1]] & ~passes
        agent = jnp.where(blocked, state.agent, wanted)
        has_key = state.has_key | jnp.all(agent == state.key)
        state = GridState(
            agent,
            state.goal,
            jnp.where(has_key, agent, state.key),
            state.door,
            has_key,
            jax.random.uniform(of_noise, (), jnp.float32),
            state.steps + 1,
        )
        reached = jnp.all(agent == state.goal)
        reward = reached.astype(jnp.float32)
        return state, functional.Outcome(observe(state), reward, reached, state.steps >= max_steps)

    def render(state: GridState) -> np.ndarray[Any, Any]:
        board = np.asarray(observe(state))
        picture = np.full((SIZE, SIZE, 3), 255, np.uint8)
        # The agent is drawn last, on top of what it carries and stands on.
        for index in (0, 5, 4, 2, 3, 1):
            shown = board[..., index] > 0
            picture[shown] = _COLOURS[index]
        return rendering.enlarge(picture)

    return functional.Functional(_spec(), begin, advance, render)


def _state(agent: jax.Array, goal: jax.Array, **places: jax.Array) -> GridState:
    begun = GridState(
        agent, goal, _nowhere(), _nowhere(), jnp.bool_(False), jnp.float32(0), jnp.int32(0)
    )
    return begun._replace(**places)


def four_rooms_walls() -> NDArray[np.bool_]:
    """The walls of `four_rooms`, bool[13, 13]."""
    walls = _empty()
    walls[:, 6] = True
    walls[6, :6] = True
    walls[7, 7:] = True
    for place in ((3, 6), (6, 2), (7, 9), (10, 6)):  # the hallways
        walls[place] = False
    return walls


def four_rooms(
    *,
    slip: Annotated[float, Range(0, 1)] = 0.0,
    fixed_goal: bool = True,
    max_steps: Annotated[int, Range(1)] = 200,
) -> functional.Functional:
    """Four rooms joined by hallways (Sutton, Precup and Singh 1999, Artificial Intelligence 112, section 3).

    An episode begins on any free tile.

    Args:
        slip: probability that a move goes one of the other three ways; the paper has 1/3.
        fixed_goal: whether the goal is the hallway on the right; False: any free tile, drawn each episode.
        max_steps: steps after which an episode is truncated.
    """
    walls = four_rooms_walls()

    def start(key: jax.Array) -> GridState:
        of_goal, of_agent = jax.random.split(key)
        goal = jnp.array([7, 9], jnp.int32) if fixed_goal else _draw(of_goal, ~walls)
        # The tile that follows in order stands in for the goal, which no episode begins on.
        places = jnp.asarray(np.argwhere(~walls), jnp.int32)
        index = jax.random.randint(of_agent, (), 0, len(places) - 1)
        taken = jnp.argmax(jnp.all(places == goal[None], axis=1))
        return _state(places[index + (index >= taken)], goal)

    return _rooms(walls, start, max_steps, slip)


def _two_halves() -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Walls with one between two rooms, and the tiles of the left and of the right room."""
    walls = _empty()
    walls[:, 6] = True
    free = ~walls
    left, right = free.copy(), free.copy()
    left[:, 6:] = False
    right[:, :7] = False
    return walls, left, right


def key_door(*, max_steps: Annotated[int, Range(1)] = 200) -> functional.Functional:
    """A key lies in the left room, where the agent begins; it opens the door to the right room with the goal.

    Places are drawn each episode. The plane of keys shows a carried key at the agent, who passes the door
    with it.

    Args:
        max_steps: steps after which an episode is truncated.
    """
    walls, left, right = _two_halves()

    def start(key: jax.Array) -> GridState:
        of_agent, of_key, of_door, of_goal = jax.random.split(key, 4)
        places = jnp.asarray(np.argwhere(left), jnp.int32)
        first = jax.random.randint(of_agent, (), 0, len(places))
        second = (first + jax.random.randint(of_key, (), 1, len(places))) % len(places)
        door = jnp.stack([jax.random.randint(of_door, (), 1, SIZE - 1), jnp.int32(6)])
        return _state(places[first], _draw(of_goal, right), key=places[second], door=door)

    return _rooms(walls, start, max_steps)


def two_rooms(
    *, noise: bool = True, max_steps: Annotated[int, Range(1)] = 200
) -> functional.Functional:
    """Two rooms with a gap between them, and a tile of noise in the left one (a "noisy TV").

    An episode begins in the left room, the goal is in the far corner of the right one. The tile of noise
    shows a number drawn anew each step, which no model can predict (Burda et al. 2018, 1808.04355,
    section 5).

    Args:
        noise: whether the tile shows noise; False: it shows nothing.
        max_steps: steps after which an episode is truncated.
    """
    walls, left, _ = _two_halves()
    walls[6, 6] = False
    noisy = np.zeros_like(walls)
    noisy[1, 1] = noise

    def start(key: jax.Array) -> GridState:
        return _state(_draw(key, left), jnp.array([11, 11], jnp.int32))

    return _rooms(walls, start, max_steps, noisy=noisy)
