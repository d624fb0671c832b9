"""What policies keep and draw by lane, so that a lane does not depend on how lanes are batched."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.networks.keyed import Keyed
from culmen.core.types import ActorCore
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import State
from culmen.core.types import TimeStep
from culmen.core.types import where_first


def lane_index(lanes: Lanes) -> jax.Array:
    """int32[B]: the lanes' numbers, to keep in a state and to draw with (`lane_keys`)."""
    return jnp.asarray(lanes.index, jnp.int32)


def lane_keys(key: jax.Array, lane: Array) -> jax.Array:
    """A key of each lane [B], folded from the key of a call. Args: lane: int32[B], of `lane_index`."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, lane)


def without_state(act: Callable[[Params, TimeStep], Nest]) -> ActorCore:
    """An actor that keeps nothing and draws nothing. No extras. Args: act: (params, timestep) -> action."""

    def init(key: jax.Array, lanes: Lanes) -> tuple[()]:
        del key, lanes
        return ()

    def select_action(
        params: Params, timestep: TimeStep, state: tuple[()], context: Context
    ) -> tuple[Nest, tuple[()], tuple[()]]:
        del context
        return act(params, timestep), state, ()

    return ActorCore(init, select_action)


def in_each_lane(state: State, num_lanes: int) -> State:
    """One lane's state, leaves [...], in all lanes: leaves [num_lanes, ...]."""

    def repeat(leaf: Array) -> jax.Array:
        return jnp.broadcast_to(jnp.asarray(leaf)[None], (num_lanes, *jnp.shape(leaf)))

    return jax.tree_util.tree_map(repeat, state)


def episode_return(timestep: TimeStep, before: Nest, discount: float | Array = 1.0) -> Nest:
    """Sums of the rewards of each lane's episode so far, this time step's included; it begins anew at FIRST.

    Args:
        timestep: of B lanes.
        before: what this gave at the time step before, float32[B, ...] of the reward's structure; 0 at first.
        discount: by which what was earned counts less at each step.
    Returns: float32[B, ...].
    """
    zeros = jax.tree_util.tree_map(jnp.zeros_like, before)
    return jax.tree_util.tree_map(
        lambda reward, total: jnp.asarray(reward, jnp.float32) + discount * total,
        timestep.reward,
        where_first(timestep, zeros, before),
    )


class KeyedState(NamedTuple):
    """The state of a `keyed` policy."""

    base: State
    lane: Array  # int32[B]


def keyed(core: ActorCore) -> ActorCore:
    """Gives a policy's networks a key of each lane, fresh at each call, so that they draw (`Keyed`).

    Args: core: a policy of networks made by culmen.components.networks, with any state and extras.
    """

    def init(key: jax.Array, lanes: Lanes) -> KeyedState:
        return KeyedState(core.init(key, lanes), lane_index(lanes))

    def select_action(
        params: Params, timestep: TimeStep, state: KeyedState, context: Context
    ) -> tuple[Nest, KeyedState, Nest]:
        own, other = jax.random.split(context.key)
        action, base, extras = core.select_action(
            Keyed(params, lane_keys(other, state.lane)),
            timestep,
            state.base,
            context._replace(key=own),
        )
        return action, state._replace(base=base), extras

    return ActorCore(init, select_action)
