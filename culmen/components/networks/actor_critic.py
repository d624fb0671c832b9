"""Networks of a policy and a state value, with memory or without, made for an environment's spec.

The value may be of fields of the observation that the policy does not see (`observed`). Where lanes have
different environments, the network may be told which, and give each a value of its own (`Tasked`).
"""

import functools
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from culmen.components import losses
from culmen.components.networks import recurrent
from culmen.components.networks.action_kinds import check_actions
from culmen.components.networks.action_kinds import check_reward
from culmen.components.networks.action_kinds import warn_of_huge_bounds
from culmen.components.networks.distributions import Distribution
from culmen.components.networks.heads import GaussianHead
from culmen.components.networks.initializers import Orthogonal
from culmen.components.networks.keyed import drawing
from culmen.components.networks.linear import Linear
from culmen.components.networks.observed import Observed
from culmen.components.networks.observed import observed
from culmen.components.networks.policy_heads import make_policy_head
from culmen.components.networks.policy_heads import only_legal
from culmen.components.networks.residual import ResNetTorso
from culmen.components.networks.torsos import make_torso
from culmen.core.errors import SettingError
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import zeros_like
from culmen.core.types import Array
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import State

VALUE_HEAD = 'value_head'  # the name of the layer of values in the parameters
Values = Literal['one', 'by_task', 'none']  # of a network
ACTIVATIONS = {'relu': jax.nn.relu, 'tanh': jnp.tanh}


class PolicyAndValue(NamedTuple):
    """An actor-critic's outputs for observations [...]."""

    policy: Distribution  # leaves [..., D]; of an action of several leaves, a Product
    value: Array  # float32[...]


class Tasked(NamedTuple):
    """An observation, and of which environment it is where lanes have different ones."""

    observation: Nest  # [...]
    task: Array  # int32[...]: from 0


class ActorCriticNetwork(NamedTuple):
    """Pure functions. The state of a network without memory is ().

    Where `num_tasks` is more than 1, observations are `Tasked`.
    """

    init: Callable[[jax.Array], Params]
    initial_state: Callable[[int], State]  # batch size -> state of a new episode
    step: Callable[[Params, Nest, State], tuple[PolicyAndValue, State]]  # observation [B, ...]
    # (params, observation [B, T, ...], step_type [B, T], state that entered) -> [B, T]
    unroll: Callable[[Params, Nest, Array, State], PolicyAndValue]
    num_tasks: int = 1  # that it is told of


def make_actor_critic_network(
    agent: str,
    spec: EnvironmentSpec,
    hidden_sizes: Sequence[int] = (64, 64),
    *,
    activation: Literal['relu', 'tanh'] = 'tanh',
    torso: Literal['auto', 'resnet'] = 'auto',
    shared_torso: bool = False,
    core: Literal['none', 'lstm', 'gru'] = 'none',
    core_size: int = 128,
    initial_log_scale: float = 0.0,
    critic_observation: Sequence[str] = (),
    task_input: bool = False,
    values: Values = 'one',
) -> ActorCriticNetwork:
    """A network of a policy and a value.

    Args:
        agent: its name, for errors.
        spec: of the environment. Choices get a Categorical, Categoricals or Bernoulli policy without illegal
            values, boxes a DiagonalGaussian one, and a nest the Product of its leaves'.
        hidden_sizes, activation: of the MLP, where the observation is no image.
        torso: 'auto': by the observation's shape; 'resnet': IMPALA's, for images.
        shared_torso: whether policy and value share one torso; with a core they always do.
        core, core_size: the memory between torso and heads, and its units.
        initial_log_scale: of the policy's standard deviation, in units of the action's box.
        critic_observation: names of fields of the observation that only the value is made from. A dense layer
            joins their features to those of the rest, of which the policy is made.
        task_input: whether a dense layer joins which of the `spec.num_tasks` environments it is, too.
        values: by_task: each of them has one, an output of the layer `VALUE_HEAD`; none: they are 0.
    Raises: ValueError that names the actions, rewards, torso, fields or task_input that it can not have.
    """
    parts = observed(spec.observation, critic_observation)
    _check(agent, spec, parts, torso, task_input)
    num_tasks = spec.num_tasks if task_input or values == 'by_task' else 1
    num_values = {'none': 0, 'one': 1, 'by_task': num_tasks}[values]
    options: dict[str, Any] = {'activation': ACTIVATIONS[activation], 'w_init': Orthogonal(2**0.5)}

    def new_torso(part: Callable[[Nest], Nest]) -> Callable[[Nest], jax.Array]:
        return make_torso(part(spec.observation), hidden_sizes, **options)

    def make() -> Any:
        memory = None if core == 'none' else recurrent.make_core(core, core_size)
        torsos: list[Any] = [
            ResNetTorso() if torso == 'resnet' else new_torso(parts.by_actor)
            for _ in range(1 if shared_torso or memory is not None or not num_values else 2)
        ]
        modules = _Modules(
            torsos,
            memory,
            make_policy_head(spec.action, lambda size: GaussianHead(size, initial_log_scale)),
            Linear(num_values, w_init=Orthogonal(1.0), name=VALUE_HEAD) if num_values else None,
            new_torso(parts.by_critic_alone) if parts.of_critic and num_values else None,
            functools.partial(_join, **options),
        )
        return _functions(modules, spec.action, _Told(parts, num_tasks, task_input))

    transformed = hk.multi_transform(make)
    step, unroll = map(drawing, transformed.apply)

    def initial_state(batch_size: int) -> State:
        return () if core == 'none' else recurrent.initial_state(core, core_size, batch_size)

    def init(key: jax.Array) -> Params:
        observation = zeros_like(spec.observation, (1,))
        if num_tasks > 1:
            observation = Tasked(observation, jnp.zeros(1, jnp.int32))
        return transformed.init(key, observation, initial_state(1))

    return ActorCriticNetwork(init, initial_state, step, unroll, num_tasks)


def _check(
    agent: str, spec: EnvironmentSpec, parts: Observed, torso: str, task_input: bool
) -> None:
    """Refuses what `make_actor_critic_network` can't make. Raises: ValueError."""
    check_actions(agent, spec)
    check_reward(agent, spec)
    warn_of_huge_bounds(agent, spec.action)
    seen = parts.by_actor(spec.observation)
    if torso == 'resnet' and len(getattr(seen, 'shape', ())) != 3:
        raise SettingError(
            f"torso must be 'auto' where {agent} observes no image, got 'resnet' for {seen!r}."
        )
    if task_input and spec.num_tasks == 1:
        raise SettingError(
            f'task_input must be False where {agent} has one environment; lanes of several have tasks.'
        )


class _Modules(NamedTuple):
    """The modules of an actor-critic."""

    torsos: list[Callable[[Nest], jax.Array]]  # the policy's and the value's, or one for both
    memory: Any  # a core; None: there is none
    head: Any  # of the policy
    value_head: Callable[[jax.Array], jax.Array] | None  # None: values are 0
    critic_torso: Callable[[Nest], jax.Array] | None  # of what only the value is made from
    join: Callable[[jax.Array, jax.Array], jax.Array]  # two features [B, F], [B, G] -> [B, F]


class _Told(NamedTuple):
    """What the modules are told of an observation."""

    parts: Observed
    num_tasks: int  # 1: observations come without tasks
    task_input: bool

    def split(self, observation: Nest) -> tuple[Nest, Any]:
        """(the observation itself, its task int32[B], or None where there is only one)."""
        return observation if self.num_tasks > 1 else (observation, None)


def _join(
    features: jax.Array,
    more: jax.Array,
    activation: Callable[[jax.Array], jax.Array],
    w_init: hk.initializers.Initializer,
) -> jax.Array:
    """A dense layer of both with as many units as the first has: [B, F], [B, G] -> [B, F]."""
    both = jnp.concatenate([features, more], axis=-1)
    return activation(Linear(features.shape[-1], w_init=w_init, name='join')(both))


def _functions(modules: _Modules, action_spec: Any, told: _Told) -> Any:
    """The functions of an `ActorCriticNetwork`, as `hk.multi_transform` takes them: step, (step, unroll)."""

    def torsos(observation: Nest) -> tuple[jax.Array, jax.Array]:
        observation, task = told.split(observation)
        features = [torso(told.parts.by_actor(observation)) for torso in modules.torsos]
        if told.task_input:
            known = jax.nn.one_hot(task, told.num_tasks, dtype=jnp.float32)
            features = [modules.join(each, known) for each in features]
        return features[0], features[-1]

    def heads(observation: Nest, features: tuple[jax.Array, jax.Array]) -> PolicyAndValue:
        observation, task = told.split(observation)
        policy = only_legal(modules.head(features[0]), action_spec, observation)
        if modules.value_head is None:
            return PolicyAndValue(policy, jnp.zeros(features[0].shape[:-1], jnp.float32))
        of_value = features[1]
        if modules.critic_torso is not None:
            more = modules.critic_torso(told.parts.by_critic_alone(observation))
            of_value = modules.join(of_value, more)
        values = modules.value_head(of_value)
        if values.shape[-1] == 1:
            return PolicyAndValue(policy, values[..., 0])
        return PolicyAndValue(policy, losses.batched_index(values, task))

    def step(observation: Nest, state: State) -> tuple[PolicyAndValue, State]:
        features = torsos(observation)
        if modules.memory is not None:
            output, state = modules.memory(features[0], state)
            features = output, output
        return heads(observation, features), state

    def unroll(observation: Nest, step_type: Array, state: State) -> PolicyAndValue:
        batch = step_type.shape  # [B, T]
        flat = jax.tree_util.tree_map(
            lambda leaf: jnp.reshape(leaf, (-1, *leaf.shape[2:])), observation
        )
        features = torsos(flat)
        if modules.memory is not None:
            inputs = features[0].reshape((*batch, -1))
            output, _ = recurrent.unroll(modules.memory, inputs, step_type, state)
            features = (output.reshape((-1, output.shape[-1])),) * 2
        return jax.tree_util.tree_map(
            lambda leaf: leaf.reshape((*batch, *leaf.shape[1:])), heads(flat, features)
        )

    return step, (step, unroll)
