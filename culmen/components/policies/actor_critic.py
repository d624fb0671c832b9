"""Acting by a distribution over actions: drawing from it, or taking its mode; with memory or without.

Each lane draws with a key of its own, folded from the call's key and its index, so its actions do not depend
on how lanes are batched.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components.networks import ActorCriticNetwork
from culmen.components.networks import Distribution
from culmen.components.networks import PolicyAndValue
from culmen.components.networks import Tasked
from culmen.components.networks import draws_are_actions
from culmen.components.networks import to_action
from culmen.components.policies.lanes import lane_index
from culmen.components.policies.lanes import lane_keys
from culmen.core.experience import Window
from culmen.core.specs import EnvironmentSpec
from culmen.core.types import ActorCore
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import Lanes
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Sample
from culmen.core.types import State
from culmen.core.types import Steps
from culmen.core.types import TimeStep
from culmen.core.types import where_first

# (policy, the draw from it) -> extras to keep, by name.
Extras = Callable[[Distribution, Nest], dict[str, Nest]]


class ActorCriticState(NamedTuple):
    """The actor's state."""

    lane: Array  # int32[B]
    core_state: State  # of the network, within an episode


def sampling(
    network: ActorCriticNetwork, spec: EnvironmentSpec, extras: Extras, *, keeps_draws: bool = True
) -> ActorCore:
    """Draws actions.

    The extras are those that `extras` gives; `core_state`, the state that entered the step, if the network
    has memory; and `drawn`, if the draw is not the action itself (`to_action`).

    Args:
        network: of policy and value.
        spec: of the environment.
        extras: gives what a learner needs of the policy that acted.
        keeps_draws: whether draws that are not the actions are kept.
    """
    keeps_draws = keeps_draws and not draws_are_actions(spec.action)

    def select_action(
        params: Params, timestep: TimeStep, state: ActorCriticState, context: Context
    ) -> tuple[Nest, ActorCriticState, Nest]:
        entered, policy, after = _act(network, params, timestep, state)
        keys = lane_keys(context.key, state.lane)
        drawn = jax.vmap(lambda policy, key: policy.sample(key))(policy, keys)
        kept = extras(policy, drawn)
        if keeps_draws:
            kept['drawn'] = drawn
        if jax.tree_util.tree_leaves(entered):
            kept['core_state'] = entered
        return to_action(spec.action, drawn), after, kept

    return ActorCore(_make_init(network), select_action)


def likeliest(network: ActorCriticNetwork, spec: EnvironmentSpec) -> ActorCore:
    """Takes the mode of the policy. No extras."""

    def select_action(
        params: Params, timestep: TimeStep, state: ActorCriticState, context: Context
    ) -> tuple[Nest, ActorCriticState, Nest]:
        del context
        _, policy, after = _act(network, params, timestep, state)
        return to_action(spec.action, policy.mode()), after, ()

    return ActorCore(_make_init(network), select_action)


def unroll_window(length: int, has_core: bool, cross_episodes: bool = True) -> Window:
    """The window of adjacent unrolls of `sampling`.

    Args:
        length: steps of an unroll.
        has_core: whether the network has memory; then the state that entered the unroll is kept.
        cross_episodes: whether unrolls go on past the ends of episodes.
    """
    first = ('extras/core_state',) if has_core else ()
    return Window(length=length, period=length, cross_episodes=cross_episodes, first=first)


def unrolled(network: ActorCriticNetwork, params: Params, sample: Sample) -> PolicyAndValue:
    """Policies and values of all time steps of B windows of `unroll_window`: leaves [B, length + 1, ...]."""
    steps = sample.steps
    return network.unroll(
        params, network_inputs(network, sample), steps.step_type, entering_state(steps)
    )


def network_inputs(network: ActorCriticNetwork, sample: Sample) -> Nest:
    """What a network takes of the time steps of B windows: observations, `Tasked` if it is told of tasks."""
    steps = sample.steps
    if network.num_tasks == 1:
        return steps.observation
    return Tasked(steps.observation, tasks_of(network, sample))


def tasks_of(network: ActorCriticNetwork, sample: Sample) -> jax.Array:
    """int32[B, length + 1]: of which task each time step is, as far as a network is told."""
    task = jnp.asarray(sample.lane, jnp.int32) % network.num_tasks
    return jnp.broadcast_to(task[:, None], jnp.shape(sample.steps.step_type))


def drawn_actions(steps: Steps) -> Nest:
    """The draws of `sampling`: leaves [B, length, ...]. A policy's log-probabilities are of these."""
    return steps.extras.get('drawn', steps.action)


def entering_state(steps: Steps) -> State:
    """The network's state that entered the first step of each window: leaves [B, ...]; () without memory."""
    return jax.tree_util.tree_map(lambda leaf: leaf[:, 0], steps.extras.get('core_state', ()))


def _make_init(network: ActorCriticNetwork) -> Callable[[jax.Array, Lanes], ActorCriticState]:
    def init(key: jax.Array, lanes: Lanes) -> ActorCriticState:
        del key
        index = lane_index(lanes)
        return ActorCriticState(index, network.initial_state(index.shape[0]))

    return init


def _act(
    network: ActorCriticNetwork, params: Params, timestep: TimeStep, state: ActorCriticState
) -> tuple[State, Any, ActorCriticState]:
    """Runs the network. Returns: (the core state that entered, the policy, the next core state)."""
    fresh = network.initial_state(state.lane.shape[0])
    entered = where_first(timestep, fresh, state.core_state)
    observation = timestep.observation
    if network.num_tasks > 1:
        observation = Tasked(observation, state.lane % network.num_tasks)
    output, core_state = network.step(params, observation, entered)
    return entered, output.policy, state._replace(core_state=core_state)
