"""Networks of a policy and a state value, with memory or without, made for an environment's spec."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from culmen.components.networks import recurrent
from culmen.components.networks.action_kinds import check_actions
from culmen.components.networks.action_kinds import check_reward
from culmen.components.networks.action_kinds import warn_of_huge_bounds
from culmen.components.networks.distributions import Distribution
from culmen.components.networks.heads import GaussianHead
from culmen.components.networks.initializers import Orthogonal
from culmen.components.networks.keyed import drawing
from culmen.components.networks.linear import Linear
from culmen.components.networks.policy_heads import make_policy_head
from culmen.components.networks.policy_heads import only_legal
from culmen.components.networks.residual import ResNetTorso
from culmen.components.networks.torsos import make_torso
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import without_legal_actions
from culmen.core.specs import zeros_like
from culmen.core.types import Array
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import State

ACTIVATIONS = {'relu': jax.nn.relu, 'tanh': jnp.tanh}


class PolicyAndValue(NamedTuple):
    """An actor-critic's outputs for observations [...]."""

    policy: Distribution  # leaves [..., D]; of an action of several leaves, a Product
    value: Array  # float32[...]


class ActorCriticNetwork(NamedTuple):
    """Pure functions. The state of a network without memory is ()."""

    init: Callable[[jax.Array], Params]
    initial_state: Callable[[int], State]  # batch size -> state of a new episode
    step: Callable[[Params, Nest, State], tuple[PolicyAndValue, State]]  # observation [B, ...]
    # (params, observation [B, T, ...], step_type [B, T], state that entered) -> [B, T]
    unroll: Callable[[Params, Nest, Array, State], PolicyAndValue]


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
) -> ActorCriticNetwork:
    """A network of a policy and a value.

    Args:
        agent: its name, for errors.
        spec: of the environment. Choices get a Categorical, Categoricals or Bernoulli policy, in which
            illegal values have no probability, boxes a DiagonalGaussian one, and a nest the Product of its
            leaves'.
        hidden_sizes, activation: of the MLP, where the observation is no image.
        torso: 'auto': by the observation's shape; 'resnet': IMPALA's, for images.
        shared_torso: whether policy and value share one torso; with a core they always do.
        core: the memory between torso and heads.
        core_size: units of the core.
        initial_log_scale: of the policy's standard deviation, in units of the action's box.
    Raises: ValueError that names the agent, for other actions and rewards, and for a 'resnet' without images.
    """
    check_actions(agent, spec)
    check_reward(agent, spec)
    warn_of_huge_bounds(agent, spec.action)
    observation_spec = without_legal_actions(spec.observation)
    if torso == 'resnet' and len(getattr(observation_spec, 'shape', ())) != 3:
        raise ValueError(
            f"torso must be 'auto' where {agent} observes no image, got 'resnet' for "
            f'{observation_spec!r}.'
        )

    def new_torso() -> Callable[[Nest], jax.Array]:
        if torso == 'resnet':
            return ResNetTorso()
        options: dict[str, Any] = {
            'activation': ACTIVATIONS[activation],
            'w_init': Orthogonal(2**0.5),
        }
        return make_torso(observation_spec, hidden_sizes, **options)

    def make() -> Any:
        memory = None if core == 'none' else recurrent.make_core(core, core_size)
        policy_torso = new_torso()
        value_torso = policy_torso if shared_torso or memory is not None else new_torso()
        head = make_policy_head(spec.action, lambda size: GaussianHead(size, initial_log_scale))
        value_head = Linear(1, w_init=Orthogonal(1.0), name='value_head')
        modules = _Modules(policy_torso, value_torso, memory, head, value_head)
        return _functions(modules, spec.action)

    transformed = hk.multi_transform(make)
    step, unroll = map(drawing, transformed.apply)

    def initial_state(batch_size: int) -> State:
        return () if core == 'none' else recurrent.initial_state(core, core_size, batch_size)

    def init(key: jax.Array) -> Params:
        return transformed.init(key, zeros_like(spec.observation, (1,)), initial_state(1))

    return ActorCriticNetwork(init, initial_state, step, unroll)


class _Modules(NamedTuple):
    """The modules of an actor-critic."""

    policy_torso: Callable[[Nest], jax.Array]
    value_torso: Callable[[Nest], jax.Array]  # the same as the policy's, if shared
    memory: Any  # a core; None: there is none
    head: Any  # of the policy
    value_head: Callable[[jax.Array], jax.Array]


def _functions(modules: _Modules, action_spec: Any) -> Any:
    """The functions of an `ActorCriticNetwork`, as `hk.multi_transform` takes them: step, (step, unroll)."""

    def torsos(observation: Nest) -> tuple[jax.Array, jax.Array]:
        observation = without_legal_actions(observation)
        of_policy = modules.policy_torso(observation)
        shared = modules.value_torso is modules.policy_torso
        return of_policy, of_policy if shared else modules.value_torso(observation)

    def heads(observation: Nest, features: tuple[jax.Array, jax.Array]) -> PolicyAndValue:
        policy = only_legal(modules.head(features[0]), action_spec, observation)
        return PolicyAndValue(policy, modules.value_head(features[1])[..., 0])

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
