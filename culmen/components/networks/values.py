"""Networks of action values, with memory or without."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from culmen.components.networks import recurrent
from culmen.components.networks.action_kinds import check_reward
from culmen.components.networks.action_kinds import refusal
from culmen.components.networks.base import Network
from culmen.components.networks.base import make_network
from culmen.components.networks.heads import DuelingHead
from culmen.components.networks.heads import ValueHead
from culmen.components.networks.keyed import drawing
from culmen.components.networks.linear import Linear
from culmen.components.networks.torsos import Dense
from culmen.components.networks.torsos import make_divided_torso
from culmen.components.networks.torsos import make_torso
from culmen.core.actions import check_legal_actions
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import without_legal_actions
from culmen.core.specs import zeros_like
from culmen.core.types import FIRST
from culmen.core.types import Array
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import State

NO_ACTION = -1  # the previous action at the start of an episode


class RecurrentInputs(NamedTuple):
    """Inputs of a network with memory at a time step: leaves [B, ...], or [B, T, ...] for windows."""

    step_type: Array  # int32
    observation: Nest
    previous_action: Array  # int32: NO_ACTION where an episode begins
    reward: Array  # float32: came with the observation


class RecurrentNetwork(NamedTuple):
    """Pure functions that give action values [..., num_actions] and the next state."""

    init: Callable[[jax.Array], Params]
    initial_state: Callable[[int], State]  # batch size -> state of a new episode
    step: Callable[[Params, RecurrentInputs, State], tuple[jax.Array, State]]
    # Runs over windows from the state that entered them; the state is reset where an episode begins.
    unroll: Callable[[Params, RecurrentInputs, State], tuple[jax.Array, State]]


def has_one_choice(spec: EnvironmentSpec) -> bool:
    """Whether an action is one choice, a DiscreteArray."""
    return isinstance(spec.action, specs.DiscreteArray)


def num_discrete_actions(agent: str, spec: EnvironmentSpec) -> int:
    """The number of actions of a discrete environment.

    Raises: ValueError that names the agent where the action is anything else, or where there is not one
        reward; or the mask of legal actions, where it does not fit.
    """
    if not has_one_choice(spec):
        raise refusal(agent, 'a discrete action (a DiscreteArray)', spec.action)
    check_reward(agent, spec)
    check_legal_actions(spec)
    return int(spec.action.num_values)


def make_action_value_network(
    spec: EnvironmentSpec,
    num_actions: int,
    hidden_sizes: Sequence[int] = (64, 64),
    dueling: bool = False,
    *,
    num_outputs: int | None = None,
    dense: Dense | None = None,
    layer_norm: bool = False,
) -> Network:
    """A network of action values with a torso that fits the observation.

    Args:
        spec: of the environment.
        num_actions: of the discrete action.
        hidden_sizes: of the MLP, where the observation is no image.
        dueling: whether the head splits state value and advantages.
        num_outputs: of each action, as the atoms of a distribution; None: one, its value.
        dense: makes the dense layers, such as noisy ones; None: linear ones.
        layer_norm: whether each layer of the torso is normalised.
    Returns: a network: observation [B, ...] -> float32[B, num_actions], or
        float32[B, num_actions, num_outputs].
    """

    def forward(observation: Nest) -> jax.Array:
        torso = make_torso(
            without_legal_actions(spec.observation),
            hidden_sizes,
            dense=dense,
            layer_norm=layer_norm,
        )
        features = torso(without_legal_actions(observation))
        head = _make_head(num_actions, features.shape[-1], dueling, num_outputs, dense)
        return head(features)

    return make_network(forward, spec)


def make_quantile_network(
    spec: EnvironmentSpec,
    num_actions: int,
    hidden_sizes: Sequence[int] = (64, 64),
    dueling: bool = False,
    *,
    embedding_size: int = 64,
    dense: Dense | None = None,
) -> Network:
    """A network of the quantiles of returns at any fractions, Dabney et al. 2018 (1806.06923), section 3.

    The features before the torso's last dense layer are multiplied by an embedding of each fraction.

    Args:
        spec, num_actions, hidden_sizes, dueling, dense: as for `make_action_value_network`.
        embedding_size: n, the number of cosines of a fraction.
    Returns: a network: observation [B, ...], fractions float32[B, N] in [0, 1] -> float32[B, N, num_actions].
    """

    def forward(observation: Nest, tau: jax.Array) -> jax.Array:
        torso, size = make_divided_torso(
            without_legal_actions(spec.observation), hidden_sizes, dense
        )
        features = torso(without_legal_actions(observation))
        make = dense or Linear
        # Equation 4: phi_j(tau) = ReLU(sum_i cos(pi i tau) w_ij + b_j), i = 0, ..., n - 1.
        multiples = jnp.pi * jnp.arange(embedding_size)[None]
        cosines = jnp.cos(multiples * jnp.reshape(tau, (-1, 1)))
        embedded = jax.nn.relu(make(features.shape[-1])(cosines))
        num = tau.shape[1]
        joined = jnp.repeat(features, num, axis=0) * embedded
        hidden = jax.nn.relu(make(size)(joined))
        values = _make_head(num_actions, size, dueling, None, dense)(hidden)
        return jnp.reshape(values, (-1, num, num_actions))

    return make_network(forward, spec, np.zeros((1, 1), np.float32))


def make_recurrent_action_value_network(
    spec: EnvironmentSpec,
    num_actions: int,
    hidden_sizes: Sequence[int] = (64,),
    dueling: bool = False,
    *,
    core: recurrent.Kind = 'lstm',
    core_size: int = 64,
    previous_action: bool = True,
    previous_reward: bool = True,
    layer_norm: bool = False,
) -> RecurrentNetwork:
    """A network of action values with memory between the torso and the head.

    Args:
        spec: of the environment.
        num_actions: of the discrete action.
        hidden_sizes: of the MLP, where the observation is no image.
        dueling: whether the head splits state value and advantages.
        core, core_size: the memory and its units.
        previous_action: whether the core sees the previous action, one-hot; zeros where an
            episode begins.
        previous_reward: whether it sees the reward that came with the observation, through a tanh.
        layer_norm: whether each layer of the torso is normalised.
    """

    def make() -> Any:
        torso = make_torso(
            without_legal_actions(spec.observation), hidden_sizes, layer_norm=layer_norm
        )
        memory = recurrent.make_core(core, core_size)
        head = _make_head(num_actions, core_size, dueling)

        def see(inputs: RecurrentInputs) -> jax.Array:
            features = torso(without_legal_actions(inputs.observation))
            shown = num_actions if previous_action else None
            return _with_previous(features, inputs, shown, previous_reward)

        def step(inputs: RecurrentInputs, state: State) -> tuple[jax.Array, State]:
            output, state = memory(see(inputs), state)
            return head(output), state

        def unroll(inputs: RecurrentInputs, state: State) -> tuple[jax.Array, State]:
            windows = jnp.shape(inputs.step_type)  # [B, T]
            begins = jnp.asarray(inputs.step_type) == FIRST
            inputs = inputs._replace(
                previous_action=jnp.where(begins, NO_ACTION, inputs.previous_action),
                reward=jnp.where(begins, 0.0, inputs.reward),
            )
            seen = jnp.reshape(see(_flat(inputs)), (*windows, -1))
            output, state = recurrent.unroll(memory, seen, inputs.step_type, state)
            values = head(jnp.reshape(output, (-1, core_size)))
            return jnp.reshape(values, (*windows, num_actions)), state

        return step, (step, unroll)

    transformed = hk.multi_transform(make)
    step, unroll = map(drawing, transformed.apply)

    def initial_state(batch_size: int) -> State:
        return recurrent.initial_state(core, core_size, batch_size)

    def init(key: jax.Array) -> Params:
        return transformed.init(key, _first_inputs(spec), initial_state(1))

    return RecurrentNetwork(init, initial_state, step, unroll)


def without_memory(network: Network) -> RecurrentNetwork:
    """A network of action values as one with memory, which keeps nothing and sees the observation alone."""

    def step(params: Params, inputs: RecurrentInputs, state: State) -> tuple[jax.Array, State]:
        return network.apply(params, inputs.observation), state

    def unroll(params: Params, inputs: RecurrentInputs, state: State) -> tuple[jax.Array, State]:
        windows = jnp.shape(inputs.step_type)
        values = network.apply(params, _flat(inputs.observation))
        return jnp.reshape(values, (*windows, -1)), state

    return RecurrentNetwork(network.init, lambda batch_size: (), step, unroll)


def _first_inputs(spec: EnvironmentSpec) -> RecurrentInputs:
    """Inputs of one lane, [1, ...], for initialisation."""
    return RecurrentInputs(
        jnp.full(1, FIRST),
        zeros_like(spec.observation, (1,)),
        jnp.full(1, NO_ACTION),
        jnp.zeros(1),
    )


def _flat(windows: Nest) -> Nest:
    """Leaves [B, T, ...] -> [B * T, ...]."""
    return jax.tree_util.tree_map(lambda leaf: jnp.reshape(leaf, (-1, *leaf.shape[2:])), windows)


def _with_previous(
    features: jax.Array, inputs: RecurrentInputs, num_actions: int | None, reward: bool
) -> jax.Array:
    """Features [B, D] joined with the previous action (one-hot, if `num_actions` is given) and the reward."""
    seen = [features]
    if num_actions is not None:
        seen.append(jax.nn.one_hot(inputs.previous_action, num_actions, dtype=jnp.float32))
    if reward:
        seen.append(jnp.tanh(jnp.asarray(inputs.reward, jnp.float32))[:, None])
    return jnp.concatenate(seen, axis=-1)


def _make_head(
    num_actions: int,
    hidden_size: int,
    dueling: bool,
    num_outputs: int | None = None,
    dense: Dense | None = None,
) -> hk.Module:
    if dueling:
        return DuelingHead(num_actions, hidden_size, num_outputs=num_outputs, dense=dense)
    return ValueHead(num_actions, num_outputs=num_outputs, dense=dense or Linear)
