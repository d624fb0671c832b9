"""Environments of several players: their specs, actions and rewards are dicts by player.

    observation = {'player_0': {'observation': ..., 'to_move': ..., 'legal_actions': ...}, 'player_1': ...}
    action = {'player_0': ..., 'player_1': ...}
    reward = discount = {'player_0': ..., 'player_1': ...}

All players act at every time step. Where they take turns, the action of a player who is not to move is
ignored, and the field `to_move` of its observation, a bool, is False. A player who leaves while others go on
has a False `present` from its last time step on. There its discount is 0 if it was terminated and 1 if it
was truncated; its later rewards and discounts are 0. Without these fields all players move at once and stay
to the end of the episode.
"""

from collections.abc import Mapping
from typing import Any

from culmen.core.errors import SettingError
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import Nest

TO_MOVE = 'to_move'
PRESENT = 'present'


def players(spec: EnvironmentSpec) -> tuple[str, ...]:
    """The players of an environment, in the order of its action spec; () for an environment of one.

    An environment has players where action, observation and reward are dicts of the same names, two at least.
    """
    nests = (spec.action, spec.observation, spec.reward)
    if not all(isinstance(nest, Mapping) for nest in nests):
        return ()
    names = tuple(spec.action)
    alike = all(set(nest) == set(names) for nest in nests)
    return names if alike and len(names) > 1 else ()


def player_spec(spec: EnvironmentSpec, player: str) -> EnvironmentSpec:
    """The spec of one player.

    Raises: SettingError that names the player and the known ones.
    """
    if player not in players(spec):
        raise SettingError(f'player must be one of {list(players(spec))}, got {player!r}.')
    discount = spec.discount
    return EnvironmentSpec(
        spec.observation[player],
        spec.action[player],
        spec.reward[player],
        discount[player] if isinstance(discount, Mapping) else discount,
    )


def may_move(observation: Nest) -> Any:
    """bool[...]: whether the action of a player counts, from its observation; True without the fields."""
    if not isinstance(observation, Mapping):
        return True
    return observation.get(TO_MOVE, True) & observation.get(PRESENT, True)


def check_players(spec: EnvironmentSpec) -> None:
    """Refuses players that a loop can't step.

    Raises: SettingError that names a field and what is accepted.
    """
    for player in players(spec):
        observation = spec.observation[player]
        if not isinstance(observation, Mapping):
            continue
        for name in (TO_MOVE, PRESENT):
            leaf = observation.get(name)
            if leaf is not None and (leaf.shape != () or leaf.dtype != bool):
                raise SettingError(
                    f'observation/{player}/{name} must be a bool[], got {leaf.dtype}{list(leaf.shape)}.'
                )
