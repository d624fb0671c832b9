"""Games of Pgx, written in JAX (https://github.com/sotetsuk/pgx): `pgx/tic_tac_toe`.

A game of several players is an environment of players (culmen/core/players.py), `player_0` and so on, one of
a single player a plain one. Who begins is drawn by Pgx. An illegal move ends the game, and its player loses.
"""

from typing import Any

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.environments import arguments
from culmen.components.environments import functional
from culmen.components.environments import rendering
from culmen.components.environments.arguments import Argument
from culmen.core.specs import EnvironmentSpec

# Arguments of a constructor that belong to the id.
_OF_THE_ID = {'go_9x9': {'size': 9}, 'go_19x19': {'size': 19}}


def names() -> list[str]:
    """Pgx's ids. Bridge is left out: it downloads its data."""
    return sorted(_pgx('pgx').available_envs())


def check(identity: str) -> None:
    """Raises ValueError with the nearest ids where there is no such environment."""
    _pgx(f'pgx/{identity}')  # named where it is missing
    arguments.check_name('pgx', identity, names())


def options(identity: str) -> tuple[dict[str, Argument], bool]:
    """The arguments of an environment's constructor, and False: it takes no others."""
    check(identity)
    constructor = type(_pgx(f'pgx/{identity}').make(identity))
    return arguments.foreign_arguments(constructor, skip=_OF_THE_ID.get(identity, {}))[0], False


_BUILT: dict[Any, functional.Functional] = {}


def make(identity: str, seed: int, **options: Any) -> dm_env.Environment:
    """Builds an environment. Args: options: of its constructor."""
    check(identity)
    key = (identity, *sorted(options.items()))
    if key not in _BUILT:
        _BUILT[key] = _build(identity, options)
    return functional.DmEnvironment(_BUILT[key], seed)


def _build(identity: str, options: dict[str, Any]) -> functional.Functional:
    environment = _pgx(f'pgx/{identity}').make(identity)
    if options:
        environment = type(environment)(**_OF_THE_ID.get(identity, {}), **options)
    init = functional.foreign(environment.init)
    step = functional.foreign(environment.step)
    observe = functional.foreign(environment.observe)
    names = tuple(f'player_{index}' for index in range(environment.num_players))

    def by_player(values: Any) -> Any:
        """Values [players] as a dict; of a single player the value itself."""
        return {name: values[i] for i, name in enumerate(names)} if len(names) > 1 else values[0]

    def seen(state: Any) -> Any:
        over = state.terminated | state.truncated

        def of(player: int) -> dict[str, Any]:
            moves = (state.current_player == player) & ~over
            turn = {'to_move': moves} if len(names) > 1 else {}
            legal = state.legal_action_mask & moves
            return {'observation': observe(state, player), **turn, 'legal_actions': legal}

        return by_player([of(player) for player in range(len(names))])

    def begin(key: jax.Array) -> tuple[Any, Any]:
        state = init(jax.random.key_data(key))
        return _without_observation(state), seen(state)

    def advance(key: jax.Array, state: Any, action: Any) -> tuple[Any, functional.Outcome]:
        if len(names) > 1:
            action = jnp.stack([action[name] for name in names])[state.current_player]
        state = step(state, action, jax.random.key_data(key))
        reward = by_player(jnp.asarray(state.rewards, jnp.float32))
        outcome = functional.Outcome(seen(state), reward, state.terminated, state.truncated)
        return _without_observation(state), outcome

    def render(state: Any) -> np.ndarray[Any, Any]:
        return rendering.draw_planes(observe(state, 0))

    state = jax.eval_shape(init, jax.eval_shape(lambda: jax.random.PRNGKey(0)))
    observation = jax.eval_shape(lambda: begin(jax.random.key(0))[1])
    return functional.Functional(
        EnvironmentSpec(
            observation=jax.tree_util.tree_map(
                lambda leaf: specs.Array(leaf.shape, leaf.dtype), observation
            ),
            action=by_player([_action(state)] * len(names)),
            reward=by_player([functional.REWARD] * len(names)),
            discount=by_player([functional.DISCOUNT] * len(names)),
        ),
        begin,
        advance,
        render,
    )


def _without_observation(state: Any) -> Any:
    """A state without what its mover sees, which is computed here for each player."""
    return state.replace(observation=jnp.zeros((), state.observation.dtype))


def _action(state: Any) -> specs.DiscreteArray:
    return specs.DiscreteArray(state.legal_action_mask.shape[0], np.int32, 'action')


def _pgx(environment: str) -> Any:
    return functional.foreign(arguments.load)('pgx', environment)
