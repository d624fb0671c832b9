"""Games of two players, `player_0` and `player_1`, whose rewards add up to 0 (culmen/core/players.py)."""

import functools
from collections.abc import Callable
from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import functional
from culmen.components.environments import rendering
from culmen.core.checks import Range
from culmen.core.specs import EnvironmentSpec

PLAYERS = ('player_0', 'player_1')
_LOST = -1.0
_one_hot = functools.partial(jax.nn.one_hot, dtype=jnp.float32)  # also where JAX has 64 bits


class BoardState(NamedTuple):
    """A board, and who moves."""

    board: jax.Array  # int32[rows, columns]: 0 empty, 1 and 2 of the players
    mover: jax.Array  # int32[]: 0 or 1


def _zero_sum(of_first: jax.Array) -> dict[str, jax.Array]:
    return {PLAYERS[0]: of_first, PLAYERS[1]: -of_first}


def _spec(observation: dict[str, Any], num_actions: int) -> EnvironmentSpec:
    """The spec of two players who see and do the same kinds of things."""
    return EnvironmentSpec(
        observation={player: dict(observation) for player in PLAYERS},
        action={player: specs.DiscreteArray(num_actions, np.int32) for player in PLAYERS},
        reward=dict.fromkeys(PLAYERS, functional.REWARD),
        discount=dict.fromkeys(PLAYERS, functional.DISCOUNT),
    )


def _legal(num_actions: int) -> specs.Array:
    return specs.Array((num_actions,), bool, 'legal_actions')


def _board_game(
    rows: int,
    columns: int,
    num_actions: int,
    legal: Callable[[jax.Array], jax.Array],
    place: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
    in_line: int,
) -> functional.Functional:
    """A game in which players take turns to put stones on a board, and a line of them wins.

    Each player sees its own stones and the other's, float32[rows, columns, 2]. An illegal move loses.

    Args:
        rows, columns: of the board.
        num_actions: from 0.
        legal: board -> bool[num_actions].
        place: (board, action) -> (row, column) of the new stone.
        in_line: stones in a row, a column or a diagonal that win.
    """
    lines = jnp.asarray(_lines(rows, columns, in_line))

    def observe(state: BoardState) -> dict[str, dict[str, jax.Array]]:
        moves = legal(state.board)

        def of_player(player: int) -> dict[str, jax.Array]:
            planes = [state.board == player + 1, state.board == 2 - player]
            mine = state.mover == player
            return {
                'observation': jnp.stack(planes, axis=-1).astype(jnp.float32),
                'to_move': mine,
                'legal_actions': moves & mine,
            }

        return {name: of_player(player) for player, name in enumerate(PLAYERS)}

    def begin(key: jax.Array) -> tuple[BoardState, Any]:
        del key
        state = BoardState(jnp.zeros((rows, columns), jnp.int32), jnp.int32(0))
        return state, observe(state)

    def advance(
        key: jax.Array, state: BoardState, actions: dict[str, jax.Array]
    ) -> tuple[BoardState, functional.Outcome]:
        del key
        action = jnp.where(state.mover == 0, actions[PLAYERS[0]], actions[PLAYERS[1]])
        allowed = legal(state.board)[action]
        row, column = place(state.board, action)
        stone = jnp.where(allowed, state.mover + 1, state.board[row, column])
        board = state.board.at[row, column].set(stone)
        won = jnp.any(jnp.all(board.ravel()[lines] == state.mover + 1, axis=-1))
        over = ~allowed | won | jnp.all(board > 0)
        of_mover = jnp.where(allowed, won.astype(jnp.float32), _LOST)
        reward = _zero_sum(jnp.where(state.mover == 0, of_mover, -of_mover))
        state = BoardState(board, 1 - state.mover)
        return state, functional.Outcome(observe(state), reward, over)

    def render(state: BoardState) -> np.ndarray[Any, Any]:
        colours = np.array([(235, 235, 235), (220, 50, 50), (50, 90, 220)], np.uint8)
        return rendering.enlarge(colours[np.asarray(state.board)])

    observation = {
        'observation': specs.BoundedArray((rows, columns, 2), np.float32, 0, 1, 'board'),
        'to_move': specs.Array((), bool, 'to_move'),
        'legal_actions': _legal(num_actions),
    }
    return functional.Functional(_spec(observation, num_actions), begin, advance, render)


def _lines(rows: int, columns: int, length: int) -> np.ndarray[Any, Any]:
    """Every line of a board, int[lines, length], as places in its flat array."""
    lines = []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        for row in range(rows):
            for column in range(columns):
                last = row + down * (length - 1), column + right * (length - 1)
                if last[0] < rows and 0 <= last[1] < columns:
                    steps = range(length)
                    lines.append([(row + down * i) * columns + column + right * i for i in steps])
    return np.asarray(lines)


def tic_tac_toe() -> functional.Functional:
    """Three in a line on a board of 3 x 3. An action is a place, counted row by row."""

    def legal(board: jax.Array) -> jax.Array:
        return board.ravel() == 0

    def place(board: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        return action // 3, action % 3

    return _board_game(3, 3, 9, legal, place, 3)


def connect_four(
    *,
    rows: Annotated[int, Range(2)] = 6,
    columns: Annotated[int, Range(2)] = 7,
    in_line: Annotated[int, Range(2, 'rows')] = 4,
) -> functional.Functional:
    """Stones fall down columns; four in a line win. An action is a column.

    Args:
        rows, columns: of the board.
        in_line: stones in a line that win.
    """

    def legal(board: jax.Array) -> jax.Array:
        return board[0] == 0

    def place(board: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.maximum(jnp.sum(board[:, action] == 0) - 1, 0), action

    return _board_game(rows, columns, columns, legal, place, in_line)


class NimState(NamedTuple):
    """The heaps, and who moves."""

    heaps: jax.Array  # int32[heaps]
    mover: jax.Array  # int32[]


def nim(*, heaps: Annotated[tuple[int, ...], Range(1)] = (3, 4, 5)) -> functional.Functional:
    """Players take turns to take any number from one heap; who takes the last wins (Bouton 1901).

    Action a takes a % m + 1 from heap a // m, where m is the largest heap. Observed is the number in each
    heap as a one-hot, float32[heaps, m + 1]. An illegal move loses the game.

    Args:
        heaps: how many each has at first.
    Raises: ValueError if there is no heap.
    """
    if not heaps:
        raise ValueError('heaps must have one heap at least, got ().')
    begun, largest = jnp.asarray(heaps, jnp.int32), max(heaps)
    num_actions = len(heaps) * largest

    def legal(heaps: jax.Array) -> jax.Array:
        return (jnp.arange(1, largest + 1)[None] <= heaps[:, None]).ravel()

    def observe(state: NimState) -> dict[str, dict[str, jax.Array]]:
        seen, moves = _one_hot(state.heaps, largest + 1), legal(state.heaps)

        def of_player(player: int) -> dict[str, jax.Array]:
            mine = state.mover == player
            return {'observation': seen, 'to_move': mine, 'legal_actions': moves & mine}

        return {name: of_player(player) for player, name in enumerate(PLAYERS)}

    def begin(key: jax.Array) -> tuple[NimState, Any]:
        del key
        state = NimState(begun, jnp.int32(0))
        return state, observe(state)

    def advance(
        key: jax.Array, state: NimState, actions: dict[str, jax.Array]
    ) -> tuple[NimState, functional.Outcome]:
        del key
        action = jnp.where(state.mover == 0, actions[PLAYERS[0]], actions[PLAYERS[1]])
        allowed = legal(state.heaps)[action]
        taken = jnp.where(allowed, action % largest + 1, 0)
        left = state.heaps - jnp.where(jnp.arange(len(heaps)) == action // largest, taken, 0)
        won = jnp.all(left == 0)
        of_mover = jnp.where(allowed, won.astype(jnp.float32), _LOST)
        reward = _zero_sum(jnp.where(state.mover == 0, of_mover, -of_mover))
        state = NimState(left, 1 - state.mover)
        return state, functional.Outcome(observe(state), reward, ~allowed | won)

    def render(state: NimState) -> np.ndarray[Any, Any]:
        """A row for each heap."""
        left = np.arange(largest) < np.asarray(state.heaps)[:, None]
        colours = np.array([(235, 235, 235), (150, 120, 90)], np.uint8)
        return rendering.enlarge(colours[left.astype(int)])

    observation = {
        'observation': specs.BoundedArray((len(heaps), largest + 1), np.float32, 0, 1, 'heaps'),
        'to_move': specs.Array((), bool, 'to_move'),
        'legal_actions': _legal(num_actions),
    }
    return functional.Functional(_spec(observation, num_actions), begin, advance, render)


def _matrix_game(payoff: Sequence[Sequence[float]], rounds: int) -> functional.Functional:
    """Both players choose at once, in each round; the payoff float[m, n] is the row player's, `player_0`."""
    matrix = jnp.asarray(payoff, jnp.float32)
    num_rows, num_columns = matrix.shape
    sizes = dict(zip(PLAYERS, (num_rows, num_columns), strict=True))

    def observe(last: jax.Array) -> dict[str, jax.Array]:
        own = _one_hot(last[0], num_rows), _one_hot(last[1], num_columns)
        return {
            PLAYERS[0]: jnp.concatenate(own),
            PLAYERS[1]: jnp.concatenate(own[::-1]),
        }

    def begin(key: jax.Array) -> tuple[jax.Array, Any]:
        del key
        return jnp.int32(0), observe(jnp.full(2, -1, jnp.int32))

    def advance(
        key: jax.Array, played: jax.Array, actions: dict[str, jax.Array]
    ) -> tuple[jax.Array, functional.Outcome]:
        del key
        chosen = jnp.stack([actions[player] for player in PLAYERS]).astype(jnp.int32)
        reward = _zero_sum(matrix[chosen[0], chosen[1]])
        return played + 1, functional.Outcome(observe(chosen), reward, played + 1 >= rounds)

    seen = specs.BoundedArray((num_rows + num_columns,), np.float32, 0, 1, 'last_choices')
    spec = EnvironmentSpec(
        observation=dict.fromkeys(PLAYERS, seen),
        action={player: specs.DiscreteArray(n, np.int32) for player, n in sizes.items()},
        reward=dict.fromkeys(PLAYERS, functional.REWARD),
        discount=dict.fromkeys(PLAYERS, functional.DISCOUNT),
    )
    return functional.Functional(spec, begin, advance)


def matching_pennies(*, rounds: Annotated[int, Range(1)] = 1) -> functional.Functional:
    """Both players show heads or tails at once: equal ones pay `player_0`, others `player_1`.

    Observed are the choices of the round before, one's own first, as one-hots; 0 at first.

    Args:
        rounds: of an episode.
    """
    return _matrix_game(((1.0, -1.0), (-1.0, 1.0)), rounds)


def biased_game(
    *,
    payoff: tuple[tuple[float, ...], ...] = ((2.0, -1.0), (-1.0, 1.0)),
    rounds: Annotated[int, Range(1)] = 1,
) -> functional.Functional:
    """A matrix game whose best mixtures are not even: with the default payoff both play (2/5, 3/5).

    Observed are the choices of the round before, one's own first, as one-hots; 0 at first.

    Args:
        payoff: to the row player, `player_0`, by its choice and that of `player_1`, who gets its negative.
        rounds: of an episode.
    Raises: ValueError if the rows of the payoff are empty or differ in length.
    """
    if len({len(row) for row in payoff}) != 1 or not payoff[0]:
        raise ValueError(f'payoff must have rows of one length, 1 at least, got {payoff}.')
    return _matrix_game(payoff, rounds)
