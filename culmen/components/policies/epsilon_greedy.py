"""Acting by action values: greedily, or at random with a small probability; with memory or without.

Each lane draws with a key of its own, folded from the call's key and its index, so its actions do not depend
on how lanes are batched.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components import losses
from culmen.components.counts.schedules import Schedule
from culmen.components.networks import NO_ACTION
from culmen.components.networks import Branches
from culmen.components.networks import RecurrentInputs
from culmen.components.networks import RecurrentNetwork
from culmen.components.policies.lanes import lane_index
from culmen.components.policies.lanes import lane_keys
from culmen.components.policies.lanes import without_state
from culmen.components.policies.legal import mask_illegal
from culmen.core.specs import allowed_actions
from culmen.core.types import ActorCore
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import State
from culmen.core.types import TimeStep
from culmen.core.types import where_first

ActionValues = Callable[
    [Params, Nest], jax.Array
]  # (params, observation [B, ...]) -> float32[B, num_actions]
LaneExponents = Callable[[Lanes], jax.Array]  # lanes -> float32[B]
# (action values float32[B, num_actions], the best legal action, the action taken) -> extras to keep, by name
ValueExtras = Callable[[jax.Array, jax.Array, jax.Array], dict[str, Nest]]


class EpsilonGreedyState(NamedTuple):
    """The actor's state, which outlives episodes."""

    lane: Array  # int32[B]
    exponent: Array  # float32[B]: the lane's epsilon is the schedule's to this power


class RecurrentState(NamedTuple):
    """The actor's state with a network with memory."""

    exploration: EpsilonGreedyState
    core_state: State  # within an episode
    previous_action: Array  # int32[B], within an episode


def greedy(action_values: ActionValues) -> ActorCore:
    """Takes the best legal action, the first of equals. No extras."""

    def act(params: Params, timestep: TimeStep) -> jax.Array:
        return _best_action(action_values(params, timestep.observation), timestep)

    return without_state(act)


def epsilon_greedy(
    action_values: ActionValues,
    epsilon: float | Array | Schedule,
    lane_exponents: LaneExponents | None = None,
    branches: Branches | None = None,
    extras: ValueExtras | None = None,
) -> ActorCore:
    """Takes the best legal action, or with probability epsilon a uniformly random legal one.

    Args:
        action_values: (params, observation) -> float32[B, num_actions].
        epsilon: in [0, 1]: a number, or a schedule over the actors' steps.
        lane_exponents: gives an exponent for each lane, [B]; the lane explores with epsilon ** exponent.
            None: all lanes explore alike.
        branches: of an action of several choices, whose values are float32[B, D, V]. The best action is the
            best of each branch, a random one is random in all. None: the action is one choice.
        extras: gives what a learner needs of the values at acting time; None: there are no extras.
    """

    def init(key: jax.Array, lanes: Lanes) -> EpsilonGreedyState:
        del key
        return _exploration(lanes, lane_exponents)

    def select_action(
        params: Params, timestep: TimeStep, state: EpsilonGreedyState, context: Context
    ) -> tuple[Nest, EpsilonGreedyState, Nest]:
        values = action_values(params, timestep.observation)
        if branches is not None:
            seen = timestep.observation
            best = jnp.argmax(branches.mask_illegal(values, seen), axis=-1).astype(jnp.int32)
            shape, legal = values.shape[1:], branches.allowed(seen)
            taken = _explore(best, shape, legal, epsilon, state, context)
            return branches.to_action(taken), state, _kept(extras, values, best, taken)
        best = _best_action(values, timestep)
        allowed = allowed_actions(timestep.observation)
        action = _explore(best, values.shape[1:], allowed, epsilon, state, context)
        return action, state, _kept(extras, values, best, action)

    return ActorCore(init, select_action)


def recurrent_epsilon_greedy(
    network: RecurrentNetwork,
    epsilon: float | Array | Schedule,
    lane_exponents: LaneExponents | None = None,
    extras: ValueExtras | None = None,
) -> ActorCore:
    """`epsilon_greedy` with memory, which is reset at FIRST.

    The extras are those that `extras` gives, and the `core_state` and `previous_action` before the step.

    Args:
        network: of action values.
        epsilon, lane_exponents, extras: as in `epsilon_greedy`; None: there are no extras at all.
    """

    def new_episode(num_lanes: int) -> tuple[State, jax.Array]:
        return network.initial_state(num_lanes), jnp.full(num_lanes, NO_ACTION, jnp.int32)

    def init(key: jax.Array, lanes: Lanes) -> RecurrentState:
        del key
        exploration = _exploration(lanes, lane_exponents)
        return RecurrentState(exploration, *new_episode(exploration.lane.shape[0]))

    def select_action(
        params: Params, timestep: TimeStep, state: RecurrentState, context: Context
    ) -> tuple[Nest, RecurrentState, Nest]:
        core_state, previous_action = where_first(
            timestep,
            new_episode(state.previous_action.shape[0]),
            (state.core_state, state.previous_action),
        )
        inputs = RecurrentInputs(
            timestep.step_type, timestep.observation, previous_action, timestep.reward
        )
        values, after = network.step(params, inputs, core_state)
        best = _best_action(values, timestep)
        allowed = allowed_actions(timestep.observation)
        action = _explore(best, values.shape[1:], allowed, epsilon, state.exploration, context)
        kept: Nest = ()
        if extras is not None:
            entered = {'core_state': core_state, 'previous_action': previous_action}
            kept = {**entered, **extras(values, best, action)}
        return action, RecurrentState(state.exploration, after, action), kept

    return ActorCore(init, select_action)


def values_that_acted(values: jax.Array, best: jax.Array, action: jax.Array) -> dict[str, Nest]:
    """Extras, float32[B]: the values of the best and of the taken action.

    `culmen.components.updates.ErrorThatActed` makes priorities of new items from them.
    """
    return {'best_q': losses.batched_index(values, best), 'q': losses.batched_index(values, action)}


def ape_x_exponents(alpha: float = 7.0) -> LaneExponents:
    """epsilon_i = epsilon ** (1 + alpha * i / (N - 1)), Horgan et al. 2018 (1803.00933), section 4.1."""

    def exponents(lanes: Lanes) -> jax.Array:
        fraction = jnp.asarray(lanes.index, jnp.float32) / max(lanes.total - 1, 1)
        return 1.0 + alpha * fraction

    return exponents


def _exploration(lanes: Lanes, lane_exponents: LaneExponents | None) -> EpsilonGreedyState:
    index = lane_index(lanes)
    exponent = (
        jnp.ones(index.shape, jnp.float32) if lane_exponents is None else lane_exponents(lanes)
    )
    return EpsilonGreedyState(index, exponent)


def _kept(
    extras: ValueExtras | None, values: jax.Array, best: jax.Array, action: jax.Array
) -> Nest:
    return () if extras is None else extras(values, best, action)


def _best_action(values: jax.Array, timestep: TimeStep) -> jax.Array:
    return jnp.argmax(mask_illegal(values, timestep.observation), axis=-1).astype(jnp.int32)


def _explore(
    best: jax.Array,
    shape: tuple[int, ...],
    allowed: Array | None,
    epsilon: float | Array | Schedule,
    state: EpsilonGreedyState,
    context: Context,
) -> jax.Array:
    """Takes the best action, or with the lane's probability any legal one.

    Args:
        best: int32[B], or int32[B, D].
        shape: of a lane's action values: [num_actions], or [D, V].
        allowed: bool[B, *shape]; None: all actions.
    """
    scheduled = epsilon(context) if callable(epsilon) else jnp.asarray(epsilon, jnp.float32)
    keys = lane_keys(context.key, state.lane)
    num_draws = math.prod(shape) + 1
    draws = jax.vmap(lambda key: jax.random.uniform(key, (num_draws,), jnp.float32))(keys)
    # The largest of independent uniforms is each legal action with the same probability.
    chances = jnp.reshape(draws[:, 1:], (-1, *shape))
    chances = chances if allowed is None else jnp.where(allowed, chances, -1.0)
    explore = draws[:, 0] < scheduled**state.exponent
    explore = jnp.reshape(explore, (-1,) + (1,) * (best.ndim - 1))
    return jnp.where(explore, jnp.argmax(chances, axis=-1).astype(jnp.int32), best)
