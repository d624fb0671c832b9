"""Turns an environment of players (culmen/core/players.py) into one of a single player, for any agent.

The others act at random, over their legal actions. Where players take turns, a step goes on to the player's
next turn: its rewards until then are added up, each weighted by the discounts before it, and its discounts
are multiplied. What it gets before its first turn is paid with the first step, and an episode in which it has
no turn is passed over. The episode ends for a player that leaves.

An environment written in JAX stays one, so it compiles; any other is stepped in Python.
"""

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.environments.around import around_once
from culmen.components.environments.functional import DmEnvironment
from culmen.components.environments.random_actions import random_action
from culmen.components.environments.wrappers.base import Wrapper
from culmen.core import checks
from culmen.core.environments import JaxEnvironment
from culmen.core.metrics import metrics_of
from culmen.core.players import PRESENT
from culmen.core.players import TO_MOVE
from culmen.core.players import may_move
from culmen.core.players import player_spec
from culmen.core.players import players
from culmen.core.ranges import as_float32
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import make_environment_spec
from culmen.core.specs import zeros_like
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import Nest
from culmen.core.types import TimeStep

_FIRST, _MID, _LAST = dm_env.StepType


def one_player(environment: dm_env.Environment, player: str, seed: int) -> dm_env.Environment:
    """An environment of players as one of `player`, against opponents that act at random.

    Args: seed: of what opponents draw, where it is not written in JAX.
    Raises: ValueError that names the player and the known ones.
    """
    if isinstance(environment, DmEnvironment):
        return environment.around(around_once(environment.functions, OnePlayerInJax, player))
    return OnePlayer(environment, player, seed)


def _own_spec(spec: EnvironmentSpec, player: str) -> EnvironmentSpec:
    """The spec of a player who is always there, and to move."""
    known = players(spec)
    if not known:
        raise ValueError(
            f'player must be left out in an environment without players, got {player!r}.'
        )
    if player not in known:
        raise ValueError(checks.unknown_name('player', player, known))
    own = player_spec(spec, player)
    return own._replace(observation=_own_observation(own.observation))


def _own_observation(observation: Nest) -> Nest:
    """What a player sees, without the fields of turns; if one field remains, that field itself."""
    if not isinstance(observation, Mapping):
        return observation
    fields = {name: each for name, each in observation.items() if name not in (TO_MOVE, PRESENT)}
    return next(iter(fields.values())) if len(fields) == 1 else fields


def _is_present(observation: Nest) -> Any:
    return observation.get(PRESENT, True) if isinstance(observation, Mapping) else True


class OnePlayer(Wrapper):
    """One player's view of an environment of players that is stepped in Python."""

    _state = ('_generator', '_seen', '_held', '_over')

    def __init__(self, environment: dm_env.Environment, player: str, seed: int) -> None:
        """Args: as for `one_player`."""
        super().__init__(environment)
        self._spec = make_environment_spec(environment)
        self._own = _own_spec(self._spec, player)
        self._player = player
        self._generator = np.random.default_rng([seed, 0x706C6179])
        self._seen: Any = None  # what all players see
        self._held = np.float64(0)  # rewards before the first turn
        self._over = True

    def observation_spec(self) -> Any:
        return self._own.observation

    def action_spec(self) -> Any:
        return self._own.action

    def reward_spec(self) -> Any:
        return self._own.reward

    def discount_spec(self) -> Any:
        return self._own.discount

    def reset(self) -> dm_env.TimeStep:
        timestep = self._environment.reset()
        while True:
            timestep, reward, _ = self._until_turn(timestep)
            if not self._has_ended(timestep):
                break
            timestep = self._environment.reset()  # an episode without a turn
        self._over, self._held = False, reward
        return dm_env.restart(self._observation(timestep))

    def step(self, action: Any) -> dm_env.TimeStep:
        if self._over:
            return self.reset()
        timestep = self._move(action)
        reward, discount = self._paid(timestep)
        timestep, later, kept = self._until_turn(timestep)
        reward = as_float32('reward', self._held + reward + discount * later)
        self._held = np.float64(0)
        self._over = self._has_ended(timestep)
        return dm_env.TimeStep(
            _LAST if self._over else _MID,
            reward,
            as_float32('discount', discount * kept),
            self._observation(timestep),
        )

    def _until_turn(self, timestep: dm_env.TimeStep) -> tuple[dm_env.TimeStep, Any, Any]:
        """Lets the others play: (the player's next turn or its end, rewards until then, discounts)."""
        total, kept = np.float64(0), np.float64(1)
        self._seen = timestep.observation
        while not self._has_ended(timestep) and not may_move(self._seen[self._player]):
            timestep = self._move(None)
            reward, discount = self._paid(timestep)
            total, kept = total + kept * reward, kept * discount
        return timestep, total, kept

    def _move(self, action: Any) -> dm_env.TimeStep:
        """Steps the environment. Args: action: of the player; None: it is not to move."""
        actions = {
            name: action
            if name == self._player and action is not None
            else random_action(spec, self._seen[name], self._generator)
            for name, spec in self._spec.action.items()
        }
        timestep = self._environment.step(actions)
        self._seen = timestep.observation
        return timestep

    def _paid(self, timestep: dm_env.TimeStep) -> tuple[Any, Any]:
        discount = timestep.discount
        if isinstance(discount, Mapping):
            discount = discount[self._player]
        return np.float64(timestep.reward[self._player]), np.float64(discount)

    def _has_ended(self, timestep: dm_env.TimeStep) -> bool:
        return bool(timestep.last() or not _is_present(timestep.observation[self._player]))

    def _observation(self, timestep: dm_env.TimeStep) -> Any:
        return _own_observation(timestep.observation[self._player])


class PlayerState(NamedTuple):
    """The state of `OnePlayerInJax`."""

    inner: Any  # of the environment of players
    seen: Any  # what all players see
    held: jax.Array  # float32[]: rewards before the first turn
    over: jax.Array  # bool[]: the time step was LAST


class _Played(NamedTuple):
    """What others have played until a player's turn."""

    inner: Any
    timestep: TimeStep
    reward: jax.Array  # float32[]: of the player, since then
    discount: jax.Array  # float32[]: the product of its discounts
    key: jax.Array  # uint32[2]


class OnePlayerInJax:
    """One player's view of an environment of players, as a JaxEnvironment."""

    def __init__(self, environment: JaxEnvironment, player: str) -> None:
        """Args: as for `one_player`."""
        self._environment, self._player = environment, player
        self._inner = environment.spec()
        self._own = _own_spec(self._inner, player)
        draw = getattr(environment, 'render', None)
        self.render = None if draw is None else lambda state: draw(state.inner)

    def metric_names(self) -> tuple[str, ...]:
        """The numbers that are logged: those of the environment inside."""
        return tuple(metric.column for metric in metrics_of(self._environment))

    def measure(self, state: PlayerState) -> Mapping[str, Any]:
        """The numbers of the environment inside."""
        measure = getattr(self._environment, 'measure', None)
        return {} if measure is None else measure(state.inner)

    def spec(self) -> EnvironmentSpec:
        """The specs of the player."""
        return self._own

    def reset(self, key: jax.Array) -> tuple[PlayerState, TimeStep]:
        """Begins an episode, at the player's first turn: (state, FIRST)."""
        of_reset, of_others = jax.random.split(key)
        inner, timestep = self._environment.reset(of_reset)
        one = jnp.float32(1)
        begun = _Played(inner, timestep, jnp.float32(0), one, jax.random.key_data(of_others))

        def others_move(played: _Played) -> _Played:
            # After an episode without a turn a step begins another; one whose player has left is begun anew.
            key, of_reset = jax.random.split(jax.random.wrap_key_data(played.key))
            begun_anew = self._environment.reset(of_reset)
            after = self._others_move(played._replace(key=jax.random.key_data(key)))
            has_left = ~_as_bool(_is_present(self._seen_of(played.timestep)))
            inner, timestep = _select(has_left, begun_anew, (after.inner, after.timestep))
            first = timestep.step_type == FIRST
            reward, discount = self._paid(timestep)
            return _Played(
                inner,
                timestep,
                jnp.where(first, 0.0, played.reward + played.discount * reward),
                jnp.where(first, 1.0, played.discount * discount),
                after.key,
            )

        played = jax.lax.while_loop(lambda played: ~self._is_turn(played), others_move, begun)
        timestep = TimeStep(jnp.int32(FIRST), jnp.float32(0), one, self._observation(played))
        seen = played.timestep.observation
        return PlayerState(played.inner, seen, played.reward, jnp.bool_(False)), timestep

    def step(
        self, key: jax.Array, state: PlayerState, action: Nest
    ) -> tuple[PlayerState, TimeStep]:
        """Takes a step, to the player's next turn. From a state at LAST it begins a new episode."""
        of_begin, of_step, of_others = jax.random.split(key, 3)
        inner, timestep = self._move(of_step, state.inner, state.seen, action)
        reward, discount = self._paid(timestep)
        moved = _Played(inner, timestep, reward, discount, jax.random.key_data(of_others))

        def others_move(played: _Played) -> _Played:
            after = self._others_move(played)
            reward, discount = self._paid(after.timestep)
            return after._replace(
                reward=played.reward + played.discount * reward, discount=played.discount * discount
            )

        waits = lambda played: ~self._is_turn(played) & ~self._has_ended(played) & ~state.over
        played = jax.lax.while_loop(waits, others_move, moved)
        over = self._has_ended(played)
        going_on = (
            PlayerState(played.inner, played.timestep.observation, jnp.float32(0), over),
            TimeStep(
                jnp.where(over, LAST, MID).astype(jnp.int32),
                state.held + played.reward,
                played.discount,
                self._observation(played),
            ),
        )
        return _select(state.over, self.reset(of_begin), going_on)

    def _others_move(self, played: _Played) -> _Played:
        key, of_move = jax.random.split(jax.random.wrap_key_data(played.key))
        seen = played.timestep.observation
        inner, timestep = self._move(of_move, played.inner, seen, None)
        return played._replace(inner=inner, timestep=timestep, key=jax.random.key_data(key))

    def _move(self, key: jax.Array, inner: Any, seen: Any, action: Nest) -> tuple[Any, TimeStep]:
        """Steps the environment. Args: action: of the player; None: it is not to move."""
        # Policies import Haiku, which those who only name an environment do not wait for.
        from culmen.components.policies.uniform import uniform_actions

        of_step, *keys = jax.random.split(key, 1 + len(self._inner.action))
        actions = {}
        for name, of_player in zip(self._inner.action, keys, strict=True):
            spec = player_spec(self._inner, name)
            if name != self._player:
                one_lane = jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf)[None], seen[name])
                drawn = uniform_actions('opponents', spec, one_lane, of_player[None])
                actions[name] = jax.tree_util.tree_map(
                    lambda leaf, value: value[0].astype(leaf.dtype), spec.action, drawn
                )
            else:
                actions[name] = zeros_like(spec.action) if action is None else action
        return self._environment.step(of_step, inner, actions)

    def _paid(self, timestep: TimeStep) -> tuple[jax.Array, jax.Array]:
        discount = timestep.discount
        if isinstance(discount, Mapping):
            discount = discount[self._player]
        reward = timestep.reward[self._player]
        return jnp.asarray(reward, jnp.float32), jnp.asarray(discount, jnp.float32)

    def _seen_of(self, timestep: TimeStep) -> Nest:
        return timestep.observation[self._player]

    def _has_ended(self, played: _Played) -> jax.Array:
        timestep = played.timestep
        left = ~_as_bool(_is_present(self._seen_of(timestep)))
        return (timestep.step_type == LAST) | left

    def _is_turn(self, played: _Played) -> jax.Array:
        return _as_bool(may_move(self._seen_of(played.timestep))) & ~self._has_ended(played)

    def _observation(self, played: _Played) -> Nest:
        return _own_observation(self._seen_of(played.timestep))


def _as_bool(value: Any) -> jax.Array:
    return jnp.asarray(value, bool)


def _select(condition: Any, chosen: Any, other: Any) -> Any:
    return jax.tree_util.tree_map(lambda a, b: jnp.where(condition, a, b), chosen, other)
