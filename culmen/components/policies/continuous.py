"""Acting in a box, by a policy of canonical actions, or by one choice: after uniformly random actions.

Each lane draws with a key of its own, folded from the call's key and its index, so its actions do not depend
on how lanes are batched.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from culmen.components.networks.action_box import ActionBox
from culmen.components.policies.lanes import lane_index
from culmen.components.policies.lanes import lane_keys
from culmen.components.policies.lanes import without_state
from culmen.components.policies.uniform import uniform_actions
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import ActorCore
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import TimeStep

# (params, observation [B, ...], a key of each lane [B]) -> canonical actions float32[B, D], or choices.
Behaviour = Callable[[Params, Nest, jax.Array], jax.Array]
# (params, observation [B, ...]) -> canonical actions float32[B, D], or choices int32[B].
Policy = Callable[[Params, Nest], jax.Array]


def exploring(behaviour: Behaviour, box: ActionBox, random_steps: int | Array = 0) -> ActorCore:
    """Acts by a stochastic policy, after uniformly random actions. No extras.

    Args:
        behaviour: draws canonical actions, each with the key of its lane.
        box: of the environment's action.
        random_steps: actions are random until all actors together have taken so many steps.
    """

    def uniform(observation: Nest, keys: jax.Array) -> jax.Array:
        del observation
        draw = lambda key: jax.random.uniform(key, (box.size,), jnp.float32, -1.0)
        return jax.vmap(draw)(keys)

    return _after_random_steps(behaviour, uniform, box.from_canonical, random_steps)


def exploring_choices(
    behaviour: Behaviour, agent: str, spec: EnvironmentSpec, random_steps: int | Array = 0
) -> ActorCore:
    """`exploring` where an action is one choice: random actions are uniform among legal ones.

    Args:
        behaviour: draws int32[B], each with the key of its lane.
        agent: its name, for errors.
        spec: of the environment.
    """

    def uniform(observation: Nest, keys: jax.Array) -> Nest:
        return uniform_actions(agent, spec, observation, keys)

    return _after_random_steps(behaviour, uniform, lambda action: action, random_steps)


def choosing(policy: Policy) -> ActorCore:
    """Takes a policy's choices, int32[B]. No extras."""
    return without_state(lambda params, timestep: policy(params, timestep.observation))


def _after_random_steps(
    behaviour: Behaviour,
    uniform: Callable[[Nest, jax.Array], Nest],
    to_action: Callable[[jax.Array], Nest],
    random_steps: int | Array,
) -> ActorCore:
    """Args: uniform: (observation [B, ...], keys [B]) -> what `behaviour` gives. to_action: of either."""

    def init(key: jax.Array, lanes: Lanes) -> Array:
        del key
        return lane_index(lanes)

    def select_action(
        params: Params, timestep: TimeStep, lane: Array, context: Context
    ) -> tuple[Nest, Array, Nest]:
        keys = lane_keys(context.key, lane)
        keys = jax.vmap(lambda key: jax.random.split(key))(keys)
        drawn = behaviour(params, timestep.observation, keys[:, 0])
        random = uniform(timestep.observation, keys[:, 1])
        is_random = jnp.asarray(context.actor_steps) < random_steps
        return to_action(jnp.where(is_random, random, drawn)), lane, ()

    return ActorCore(init, select_action)


def deterministic(policy: Policy, box: ActionBox) -> ActorCore:
    """Takes a policy's actions without noise. No extras."""
    return without_state(
        lambda params, timestep: box.from_canonical(policy(params, timestep.observation))
    )


def with_gaussian_noise(policy: Policy, scale: float | Array) -> Behaviour:
    """Adds noise to a policy (`add_gaussian_noise`). Args: scale: of the noise."""
    return lambda params, observation, keys: add_gaussian_noise(
        policy(params, observation), scale, keys
    )


def add_gaussian_noise(action: jax.Array, scale: float | Array, keys: jax.Array) -> jax.Array:
    """Adds independent normal noise to canonical actions, and clips to the canonical box.

    Args:
        action: float32[B, ...].
        scale: standard deviation of the noise, in canonical units: the box is 2 wide.
        keys: one a lane [B].
    """
    noise = jax.vmap(lambda key: jax.random.normal(key, action.shape[1:], jnp.float32))(keys)
    return jnp.clip(action + scale * noise, -1.0, 1.0)
