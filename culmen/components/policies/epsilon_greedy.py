"""Acting by action values: greedily, or at random with a small probability.

Each lane draws from a key of its own, folded from the call's key and its index, so that what a lane
does depends on that lane alone, however lanes are batched.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.policies.legal import mask_illegal
from culmen.components.policies.schedules import Schedule
from culmen.core.specs import legal_actions
from culmen.core.types import ActorCore
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import TimeStep

ActionValues = Callable[
    [Params, Nest], jax.Array
]  # (params, observation [B, ...]) -> float32[B, num_actions]
LaneExponents = Callable[[Lanes], jax.Array]  # lanes -> float32[B]


class EpsilonGreedyState(NamedTuple):
    """What a lane keeps across episodes."""

    lane: Array  # int32[B]
    exponent: Array  # float32[B]: the lane's epsilon is the schedule's to this power


def greedy(action_values: ActionValues) -> ActorCore:
    """The best legal action, the first of equals. No extras."""

    def init(key: jax.Array, lanes: Lanes) -> tuple[()]:
        del key, lanes
        return ()

    def select_action(
        params: Params, timestep: TimeStep, state: Any, context: Context
    ) -> tuple[Nest, Any, Nest]:
        del context
        return _best_action(action_values, params, timestep), state, ()

    return ActorCore(init, select_action)


def epsilon_greedy(
    action_values: ActionValues,
    epsilon: float | Array | Schedule,
    lane_exponents: LaneExponents | None = None,
) -> ActorCore:
    """The best legal action, or with probability epsilon a uniformly random legal one. No extras.

    Args:
        action_values: (params, observation) -> float32[B, num_actions].
        epsilon: in [0, 1]: a number, or a schedule over the actors' steps.
        lane_exponents: gives each lane's epsilon as epsilon ** exponent, exponents [B] of its lanes;
            None: the same for all.
    """

    def init(key: jax.Array, lanes: Lanes) -> EpsilonGreedyState:
        del key
        index = jnp.asarray(lanes.index, jnp.int32)
        exponent = (
            jnp.ones(index.shape, jnp.float32) if lane_exponents is None else lane_exponents(lanes)
        )
        return EpsilonGreedyState(index, exponent)

    def select_action(
        params: Params, timestep: TimeStep, state: EpsilonGreedyState, context: Context
    ) -> tuple[Nest, EpsilonGreedyState, Nest]:
        best = _best_action(action_values, params, timestep)
        num_actions = jax.eval_shape(action_values, params, timestep.observation).shape[-1]
        scheduled = epsilon(context) if callable(epsilon) else jnp.asarray(epsilon, jnp.float32)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(context.key, state.lane)
        draws = jax.vmap(lambda key: jax.random.uniform(key, (num_actions + 1,)))(keys)
        # The largest of independent uniforms is each legal action with the same probability.
        legal = legal_actions(timestep.observation)
        chances = (
            draws[:, 1:]
            if legal is None
            else jnp.where(jnp.asarray(legal, bool), draws[:, 1:], -1.0)
        )
        explore = draws[:, 0] < scheduled**state.exponent
        return jnp.where(explore, jnp.argmax(chances, axis=-1).astype(jnp.int32), best), state, ()

    return ActorCore(init, select_action)


def ape_x_exponents(alpha: float = 7.0) -> LaneExponents:
    """epsilon_i = epsilon ** (1 + alpha * i / (N - 1)), Horgan et al. 2018 (1803.00933), section 4.1."""

    def exponents(lanes: Lanes) -> jax.Array:
        fraction = jnp.asarray(lanes.index, jnp.float32) / max(lanes.total - 1, 1)
        return 1.0 + alpha * fraction

    return exponents


def _best_action(action_values: ActionValues, params: Params, timestep: TimeStep) -> jax.Array:
    values = mask_illegal(action_values(params, timestep.observation), timestep.observation)
    return jnp.argmax(values, axis=-1).astype(jnp.int32)
