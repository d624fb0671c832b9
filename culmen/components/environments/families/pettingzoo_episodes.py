"""PettingZoo's two kinds of environments as dm_env: players at once (`AtOnce`), or in turn (`InTurn`).

They are environments of players (culmen/core/players.py) with PettingZoo's names of agents. PettingZoo ends
each player by itself: who ends before the others is not `present` from then on, and the episode ends when
nobody is left. Every episode is played in a new environment with a seed of its own, since some keep things
from one episode to the next. So it can be played again from its seed and its moves: in this way it is saved,
and drawn. `families/pettingzoo.py` makes them by name.
"""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import dm_env
import numpy as np
from dm_env import specs

from culmen.components.environments import arguments
from culmen.components.environments.families.gymnasium_spaces import action_writer
from culmen.components.environments.families.gymnasium_spaces import observation_reader
from culmen.core.ranges import as_float32
from culmen.core.specs import DISCOUNT
from culmen.core.specs import REWARD

_MASK = 'action_mask'
_ENDED, _GOES_ON, _NO_REWARD = np.float32(0), np.float32(1), np.float32(0)


class Event(NamedTuple):
    """What happened to the players who are still there, by player."""

    rewards: Mapping[str, Any]
    terminations: Mapping[str, bool]
    truncations: Mapping[str, bool]
    observations: Mapping[str, Any]
    infos: Mapping[str, Any]


class PettingZooEnvironment(dm_env.Environment):
    """What environments of both kinds share: specs by player, ends, and episodes that are played again."""

    _in_turn = False

    def __init__(
        self, build: Callable[[str | None], Any], seed: int, name: str = 'environment'
    ) -> None:
        """Builds an environment.

        Args:
            build: makes it, from a render mode or None.
            seed: of the seeds of its episodes.
            name: what errors call it.
        Raises: ValueError where a space has no counterpart among specs.
        """
        self._build, self._name = build, name
        self._generator = np.random.default_rng(seed)
        self._environment = build(None)
        self._render_mode: str | None = None
        self.players: tuple[str, ...] = tuple(self._environment.possible_agents)
        self._episode: int | None = None  # its seed; None: none has begun
        self._moves: list[Any] = []
        self._seen: dict[str, Any] = {}  # the last observation of each player
        self._gone: set[str] = set()  # who has left before the episode is over
        self._over = True
        self._specs: dict[str, Any] = {}
        self._readers: dict[str, Callable[[Any], Any]] = {}
        self._actions: dict[str, Any] = {}
        self._writers: dict[str, Callable[[Any], Any]] = {}
        self._masks_in_info = self._has_masks_in_info()
        for player in self.players:
            self._read_spaces(player)

    def _has_masks_in_info(self) -> bool:
        """Whether legal actions are told in `info`, which no space shows."""
        infos = self._start(0).infos
        return any(_MASK in info for info in infos.values())

    def _read_spaces(self, player: str) -> None:
        gymnasium = arguments.load('gymnasium.spaces', self._name)
        path = f'observation/{player}'
        space = self._environment.observation_space(player)
        action = self._environment.action_space(player)
        self._actions[player], self._writers[player] = action_writer(
            action, f'action/{player}', self._name
        )
        is_dict = isinstance(space, gymnasium.Dict)
        masks = _MASK if is_dict and _MASK in space.spaces else None
        if masks:
            fields = {name: inner for name, inner in space.spaces.items() if name != _MASK}
            spec, read = observation_reader(gymnasium.Dict(fields), path, self._name)
        else:
            spec, read = observation_reader(space, path, self._name)
            if not is_dict:
                spec, read_one = {'observation': spec}, read
                read = lambda value: {'observation': read_one(value)}
        has_legal = bool(masks) or self._masks_in_info
        if has_legal:
            spec = {**spec, 'legal_actions': specs.Array((action.n,), bool, 'legal_actions')}
        turn = {'to_move': specs.Array((), bool, 'to_move')} if self._in_turn else {}
        self._specs[player] = {**spec, **turn, 'present': specs.Array((), bool, 'present')}
        self._readers[player] = read

    # How the two kinds differ.

    def _start(self, seed: int) -> Event:
        """Begins an episode, wholly determined by a seed."""
        raise NotImplementedError

    def _advance(self, move: Any) -> Event:
        """Makes a move."""
        raise NotImplementedError

    def _read_action(self, action: Any) -> Any:
        """The move in an action."""
        raise NotImplementedError

    def _movers(self) -> tuple[str, ...]:
        """Who is to move."""
        raise NotImplementedError

    # dm_env

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode."""
        return self._begin(int(self._generator.integers(2**31)))

    def _begin(self, seed: int) -> dm_env.TimeStep:
        self._environment = self._build(self._render_mode)
        self._episode, self._moves, self._gone = seed, [], set()
        event = self._start(seed)
        self._over = False
        self._seen = {}
        return dm_env.restart(self._observe(event, ended=set()))

    def step(self, action: Any) -> dm_env.TimeStep:
        """Takes a step: of who is to move, or of all who are there."""
        if self._over:
            return self.reset()
        move = self._read_action(action)
        self._moves.append(move)
        return self._tell(self._advance(move))

    def _tell(self, event: Event) -> dm_env.TimeStep:
        there = [player for player in self.players if player not in self._gone]
        terminated = {player for player in there if event.terminations.get(player, False)}
        ended = terminated | {player for player in there if event.truncations.get(player, False)}
        self._over = not self._environment.agents
        rewards = {
            player: _NO_REWARD
            if player in self._gone
            else as_float32(f'reward/{player}', event.rewards.get(player, 0))
            for player in self.players
        }
        discounts = {
            player: _ENDED if player in terminated or player in self._gone else _GOES_ON
            for player in self.players
        }
        # Who stays to the end is there at LAST, so a truncation is bootstrapped as any other state.
        observation = self._observe(event, ended=set() if self._over else ended)
        self._gone |= ended
        step_type = dm_env.StepType.LAST if self._over else dm_env.StepType.MID
        return dm_env.TimeStep(
            step_type, self._by_player(rewards), self._by_player(discounts), observation
        )

    def _observe(self, event: Event, ended: set[str]) -> Any:
        movers = () if self._over else self._movers()

        def of(player: str) -> dict[str, Any]:
            if player in event.observations:
                self._seen[player] = self._seen_by(player, event)
            elif player not in self._seen:  # it comes later
                self._seen[player] = {
                    name: np.zeros(spec.shape, spec.dtype)
                    for name, spec in self._specs[player].items()
                    if name not in ('to_move', 'present')
                }
            fields = dict(self._seen[player])
            is_there = player in event.observations and player not in self._gone | ended
            moves = is_there and player in movers
            if 'legal_actions' in fields:
                fields['legal_actions'] = fields['legal_actions'] & moves
            turn = {'to_move': np.bool_(moves)} if self._in_turn else {}
            return {**fields, **turn, 'present': np.bool_(is_there)}

        return self._by_player({player: of(player) for player in self.players})

    def _seen_by(self, player: str, event: Event) -> dict[str, Any]:
        value = event.observations[player]
        fields: dict[str, Any] = self._readers[player](value)
        if 'legal_actions' in self._specs[player]:
            info = event.infos.get(player, {})
            mask = info.get(_MASK) if self._masks_in_info else value[_MASK]
            size = self._specs[player]['legal_actions'].shape
            fields['legal_actions'] = np.zeros(size, bool) if mask is None else np.array(mask, bool)
        return fields

    def _by_player(self, values: dict[str, Any]) -> Any:
        """Values of the players; of a single player the value itself."""
        return values if len(self.players) > 1 else values[self.players[0]]

    def observation_spec(self) -> Any:
        return self._by_player(self._specs)

    def action_spec(self) -> Any:
        return self._by_player(self._actions)

    def reward_spec(self) -> Any:
        return self._by_player(dict.fromkeys(self.players, REWARD))

    def discount_spec(self) -> Any:
        return self._by_player(dict.fromkeys(self.players, DISCOUNT))

    def close(self) -> None:
        self._environment.close()

    # Saving and drawing play the episode again.

    def get_state(self) -> object:
        """What seeds will be drawn, and the seed and the moves of the episode."""
        return self._generator.bit_generator.state, self._episode, list(self._moves)

    def set_state(self, state: Any) -> None:
        """Plays the episode of `get_state` again."""
        generator, self._episode, moves = state
        self._generator.bit_generator.state = generator
        self._over = True
        if self._episode is not None:
            self._replay(self._episode, moves)

    def _replay(self, episode: int, moves: list[Any]) -> None:
        self._begin(episode)
        for move in moves:
            self._tell(self._advance(move))
        self._moves = list(moves)

    def render(self) -> np.ndarray[Any, Any]:
        """A frame, where the environment knows the render mode 'rgb_array'."""
        if 'rgb_array' not in self._environment.metadata.get('render_modes', ()):
            raise ValueError(f"{self._name} has no render mode 'rgb_array'.")
        if self._episode is None:
            self.reset()
        assert self._episode is not None
        if self._render_mode is None:
            self._render_mode = 'rgb_array'
            self._replay(self._episode, self._moves)
        return np.array(self._environment.render())


class AtOnce(PettingZooEnvironment):
    """A parallel environment of PettingZoo as dm_env: all players move at every time step."""

    def _start(self, seed: int) -> Event:
        observations, infos = self._environment.reset(seed=seed)
        return Event({}, {}, {}, observations, infos)

    def _advance(self, move: Any) -> Event:
        observations, rewards, terminations, truncations, infos = self._environment.step(move)
        return Event(rewards, terminations, truncations, observations, infos)

    def _read_action(self, action: Any) -> Any:
        there = self._environment.agents
        given = action if len(self.players) > 1 else {self.players[0]: action}
        return {player: self._writers[player](given[player]) for player in there}

    def _movers(self) -> tuple[str, ...]:
        return tuple(self._environment.agents)


class InTurn(PettingZooEnvironment):
    """An AEC environment of PettingZoo as dm_env: one player moves at a time step, all get their rewards."""

    _in_turn = True

    def _start(self, seed: int) -> Event:
        self._environment.reset(seed=seed)
        return self._event()

    def _event(self) -> Event:
        environment = self._environment
        observations = {player: environment.observe(player) for player in environment.agents}
        # Copies, since PettingZoo takes players out of its own.
        return Event(
            dict(environment.rewards),
            dict(environment.terminations),
            dict(environment.truncations),
            observations,
            dict(environment.infos),
        )

    def _advance(self, move: Any) -> Event:
        logger = arguments.load('pettingzoo.utils.env_logger', self._name).EnvLogger
        logger.suppress_output()  # what an illegal move costs is a reward here, not a message
        try:
            self._environment.step(move)
        finally:
            logger.unsuppress_output()
            logger.flush()
        event = self._event()
        while self._environment.agents and self._has_ended(self._environment.agent_selection):
            self._environment.step(None)  # who has ended leaves
        return event

    def _has_ended(self, player: str) -> bool:
        environment = self._environment
        return bool(environment.terminations[player] or environment.truncations[player])

    def _read_action(self, action: Any) -> Any:
        mover = self._environment.agent_selection
        return self._writers[mover](action[mover] if len(self.players) > 1 else action)

    def _movers(self) -> tuple[str, ...]:
        return (self._environment.agent_selection,)
