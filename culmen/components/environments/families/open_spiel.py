"""Games of OpenSpiel (https://github.com/google-deepmind/open_spiel): `open_spiel/kuhn_poker`.

A game of several players is an environment of players (culmen/core/players.py), `player_0` and so on, one of
a single player a plain one. Chance is drawn from the seed, between time steps. An illegal action is refused.
"""

from typing import Any
from typing import Literal

import dm_env
import numpy as np
from dm_env import specs

from culmen.components.environments import arguments
from culmen.components.environments import rendering
from culmen.components.environments.arguments import Argument
from culmen.core.errors import SettingError
from culmen.core.ranges import SpecError
from culmen.core.ranges import as_float32
from culmen.core.specs import DISCOUNT
from culmen.core.specs import REWARD

Tensor = Literal['observation', 'information_state']

_, _MID, _LAST = dm_env.StepType
_ENDED, _GOES_ON = np.float32(0), np.float32(1)  # discounts
# Games that draw outside of their chance nodes take the seed of these draws as a parameter.
_SEED = 'rng_seed'


def names() -> list[str]:
    """The games that can be played without further arguments and have an observation in numbers."""
    return sorted(
        name
        for name, kind in _games('open_spiel').items()
        if kind.default_loadable and _tensors(kind) and not _is_mean_field(kind)
    )


def check(identity: str) -> None:
    """Raises ValueError with the nearest names where there is no such game, or it can't be played here."""
    name = f'open_spiel/{identity}'
    games = _games(name)
    arguments.check_name('open_spiel', identity, games)
    if _is_mean_field(games[identity]):
        raise ValueError(f'{name} is a mean-field game, whose players are too many to be stepped.')
    if not _tensors(games[identity]):
        raise ValueError(f'{name} has no observation in numbers, only one in words.')


def options(identity: str) -> tuple[dict[str, Argument], bool]:
    """The parameters of a game, and False: it takes no others."""
    check(identity)
    parameters = _games(f'open_spiel/{identity}')[identity].parameter_specification
    return {name: Argument(name, _type(value)) for name, value in parameters.items()}, False


def make(
    identity: str, seed: int, *, tensor: Tensor | None = None, **parameters: Any
) -> dm_env.Environment:
    """Builds a game.

    Args:
        tensor: what a player sees: the 'observation' of the present, or its 'information_state', which tells
            all that it has seen; None: the latter where the game has it.
        **parameters: of the game. One that is a game itself is written as OpenSpiel does it:
            'goofspiel(num_cards=4)'.
    """
    check(identity)
    name = f'open_spiel/{identity}'
    pyspiel, kind = _pyspiel(name), _games(name)[identity]
    known = _tensors(kind)
    if tensor is not None and tensor not in known:
        raise ValueError(
            f'{name}: tensor must be one of {known}, which the game has, got {tensor!r}.'
        )
    given: dict[str, Any] = {}
    for key, value in parameters.items():
        is_game = isinstance(kind.parameter_specification[key], dict)
        given[key] = pyspiel.game_parameters_from_string(value) if is_game else value
    return OpenSpielEnvironment(pyspiel, identity, given, seed, tensor or known[-1])


class OpenSpielEnvironment(dm_env.Environment):
    """A game of OpenSpiel as dm_env. It is saved as the moves of its episode, chance's among them."""

    def __init__(
        self, pyspiel: Any, identity: str, parameters: dict[str, Any], seed: int, tensor: Tensor
    ) -> None:
        """Loads a game.

        Args:
            pyspiel: the module.
            identity: the name of the game.
            parameters: of the game.
            seed: of what chance draws.
            tensor: which observation players get; the game has it.
        Raises: ValueError that says which parameter the game refuses.
        """
        self._pyspiel, self._name = pyspiel, f'open_spiel/{identity}'
        self._identity, self._parameters = identity, parameters
        self._generator = np.random.default_rng(seed)
        self._tensor = tensor
        game = self._load({})
        kind = game.get_type()
        self._draws_inside = _SEED in kind.parameter_specification and _SEED not in parameters
        self._pays_at_the_end = kind.reward_model == pyspiel.GameType.RewardModel.TERMINAL
        if tensor not in _tensors(kind):  # a game made of another has what that one has
            raise ValueError(f'{self._name}: the game has no tensor {tensor!r}, got {parameters}.')
        self._num_players = game.num_players()
        self.players = tuple(f'player_{index}' for index in range(self._num_players))
        self._num_actions = game.num_distinct_actions()
        self._shape = tuple(getattr(game, f'{tensor}_tensor_shape')())
        self._game = game
        self._state: Any = None  # None: no episode has begun
        self._inner_seed: int | None = None
        self._moves: list[Any] = []  # of the episode: an action, or those of all players
        self._returns = np.zeros(self._num_players)

    def _load(self, own: dict[str, Any]) -> Any:
        try:
            return self._pyspiel.load_game(self._identity, {**self._parameters, **own})
        except self._pyspiel.SpielError as error:
            raise SettingError(f'{self._name}: {error}') from error

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode."""
        seed = int(self._generator.integers(2**31)) if self._draws_inside else None
        self._begin(seed)
        self._draw()
        if self._state.is_terminal():
            raise ValueError(f'{self._name}: the game is over before anybody moves.')
        return dm_env.restart(self._observation())

    def _begin(self, inner_seed: int | None) -> None:
        if inner_seed is not None:
            self._game = self._load({_SEED: inner_seed})
        self._inner_seed, self._moves = inner_seed, []
        self._state = self._game.new_initial_state()
        self._returns = np.zeros(self._num_players)

    def step(self, action: Any) -> dm_env.TimeStep:
        """Takes a step: of who is to move, or of all. Raises: SpecError that names an illegal action."""
        if self._state is None or self._state.is_terminal():
            return self.reset()
        self._move(self._read(action))
        self._draw()
        rewards = self._rewards()
        if self._state.is_terminal():
            return dm_env.TimeStep(_LAST, rewards, self._each(_ENDED), self._observation())
        return dm_env.TimeStep(_MID, rewards, self._each(_GOES_ON), self._observation())

    def _read(self, action: Any) -> Any:
        """The move of who is to move, or a list of all players' moves, checked."""
        given = [action[player] for player in self.players] if self._num_players > 1 else [action]
        moves = [int(each) for each in given]
        if not self._state.is_simultaneous_node():
            mover = self._state.current_player()
            self._check_legal(mover, moves[mover])
            return moves[mover]
        for player, move in enumerate(moves):
            legal = self._state.legal_actions(player)
            if legal:  # who has no choice may give any action
                self._check_legal(player, move)
            else:
                moves[player] = 0
        return moves

    def _check_legal(self, player: int, move: int) -> None:
        legal = self._state.legal_actions(player)
        if move not in legal:
            path = 'action' + (f'/{self.players[player]}' if self._num_players > 1 else '')
            raise SpecError(f'{self._name}: {path} must be legal, one of {legal}, got {move}.')

    def _move(self, move: Any) -> None:
        self._moves.append(move)
        if isinstance(move, list):
            self._state.apply_actions(move)
        else:
            self._state.apply_action(move)

    def _draw(self) -> None:
        """Draws for chance, until a player moves or the game is over."""
        while self._state.is_chance_node():
            outcomes, probabilities = zip(*self._state.chance_outcomes(), strict=True)
            share = np.cumsum(probabilities)
            drawn = np.searchsorted(share, self._generator.random() * share[-1], side='right')
            self._move(int(outcomes[min(int(drawn), len(outcomes) - 1)]))

    def _rewards(self) -> Any:
        """What each player got since the last time step. Chance may pay too, so returns are subtracted."""
        if self._pays_at_the_end and not self._state.is_terminal():
            return self._each(np.float32(0))
        returns = np.asarray(self._state.returns(), np.float64)
        rewards = as_float32('reward', returns - self._returns)
        self._returns = returns
        return self._by_player(list(rewards))

    def _observation(self) -> Any:
        state, over = self._state, self._state.is_terminal()
        everybody = not over and state.is_simultaneous_node()
        mover = None if over or everybody else state.current_player()
        tensor = getattr(state, f'{self._tensor}_tensor')

        def of(player: int) -> dict[str, Any]:
            moves = everybody or player == mover
            legal = np.zeros(self._num_actions, bool)
            if moves:
                legal[state.legal_actions(player)] = True
            seen = np.asarray(tensor(player), np.float32).reshape(self._shape)
            turn = {'to_move': np.bool_(moves)} if self._num_players > 1 else {}
            return {'observation': seen, **turn, 'legal_actions': legal}

        return self._by_player([of(player) for player in range(self._num_players)])

    def _by_player(self, values: list[Any]) -> Any:
        """Values of the players as a dict; of a single player the value itself."""
        return dict(zip(self.players, values, strict=True)) if len(values) > 1 else values[0]

    def _each(self, value: Any) -> Any:
        return self._by_player([value] * self._num_players)

    def observation_spec(self) -> Any:
        seen = specs.Array(self._shape, np.float32, 'observation')
        turn = {'to_move': specs.Array((), bool, 'to_move')} if self._num_players > 1 else {}
        legal = specs.Array((self._num_actions,), bool, 'legal_actions')
        return self._each({'observation': seen, **turn, 'legal_actions': legal})

    def action_spec(self) -> Any:
        return self._each(specs.DiscreteArray(self._num_actions, np.int32, 'action'))

    def reward_spec(self) -> Any:
        return self._each(REWARD)

    def discount_spec(self) -> Any:
        return self._each(DISCOUNT)

    def render(self) -> np.ndarray[Any, Any]:
        """The game in OpenSpiel's own words, uint8[height, width, 3]."""
        if self._state is None:
            self.reset()
        return rendering.write(str(self._state), self._name)

    def get_state(self) -> object:
        """What chance will draw, and the moves of the episode."""
        moves = None if self._state is None else list(self._moves)
        return self._generator.bit_generator.state, self._inner_seed, moves

    def set_state(self, state: Any) -> None:
        """Plays the episode of `get_state` again."""
        generator, inner_seed, moves = state
        self._generator.bit_generator.state = generator
        if moves is None:
            self._state = None
            return
        self._begin(inner_seed)
        for move in moves:
            self._move(move)
        if not self._pays_at_the_end:
            self._returns = np.asarray(self._state.returns(), np.float64)


def _type(value: Any) -> Any:
    """The type of a parameter, from its default."""
    return str if isinstance(value, dict) else type(value)


def _tensors(kind: Any) -> tuple[Tensor, ...]:
    """Which tensors a game has."""
    tensors: dict[Tensor, bool] = {
        'observation': kind.provides_observation_tensor,
        'information_state': kind.provides_information_state_tensor,
    }
    return tuple(name for name, has in tensors.items() if has)


def _is_mean_field(kind: Any) -> bool:
    return bool(kind.dynamics == type(kind).Dynamics.MEAN_FIELD)


def _games(environment: str) -> dict[str, Any]:
    return {kind.short_name: kind for kind in _pyspiel(environment).registered_games()}


def _pyspiel(environment: str) -> Any:
    return arguments.load('pyspiel', environment, 'open-spiel')
