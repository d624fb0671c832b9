"""Networks of a policy and a critic that values several actions of each observation, with memory or without.

The action is one choice or one bounded box. An encoder, which the critic's loss trains, turns observations
into features for both; it holds the memory, if there is one. Where critics see more, the features begin with
what they alone see, which the policy cuts off. What the policy draws (`distributions`) is not
what the critic takes: a choice is one-hot there, and the numbers of a box are clipped to it, since no taken
action says anything about what lies beyond.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
from dm_env import specs

from culmen.components.networks import recurrent
from culmen.components.networks.action_box import leaf_box
from culmen.components.networks.action_kinds import is_bounded_box
from culmen.components.networks.action_kinds import refusal
from culmen.components.networks.actor_critic import ActorCriticNetwork
from culmen.components.networks.actor_critic import PolicyAndValue
from culmen.components.networks.continuous import encoding_torso
from culmen.components.networks.distributions import Categorical
from culmen.components.networks.distributions import DiagonalGaussian
from culmen.components.networks.heads import CategoricalHead
from culmen.components.networks.heads import SoftplusGaussianHead
from culmen.components.networks.keyed import drawing
from culmen.components.networks.leaf_actions import LeafActions
from culmen.components.networks.linear import Linear
from culmen.components.networks.observed import Observed
from culmen.components.networks.observed import observed
from culmen.components.networks.policy_heads import only_legal
from culmen.components.networks.torsos import LayerNormMLPTorso
from culmen.components.networks.torsos import MLPTorso
from culmen.core.actions import check_legal_actions
from culmen.core.actions import choices
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import zeros_like
from culmen.core.types import Array
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import State


class EncodedCriticParams(NamedTuple):
    """The parameters that the critic's loss trains."""

    encoder: Params
    head: Params


class PolicyAndCritic(NamedTuple):
    """Pure functions. `[...]` are any leading axes, such as [B, T]; the state without memory is ()."""

    init: Callable[[jax.Array], tuple[Params, EncodedCriticParams]]  # of the policy, of the critic
    initial_state: Callable[[int], State]  # batch size -> state of a new episode
    # (encoder, observation [B, ...], state) -> (features [B, F], state)
    step: Callable[[Params, Nest, State], tuple[jax.Array, State]]
    # (encoder, observation [B, T, ...], step_type [B, T], state that entered) -> features [B, T, F]
    unroll: Callable[[Params, Nest, Array, State], jax.Array]
    # (policy, features [..., F], observation [..., ...], for what is legal) -> a distribution over draws
    # [...]
    policy: Callable[[Params, jax.Array, Nest], Categorical | DiagonalGaussian]
    # (head, features [..., F], what `to_input` gives [..., A]) -> float32[..., num_outputs]
    critic: Callable[[Params, jax.Array, jax.Array], jax.Array]
    actions: LeafActions  # between actions of the environment and draws

    @property
    def num_choices(self) -> int | None:
        """Of a choice; None of a box."""
        found = self.actions.choices
        return None if found is None else found.largest

    def to_input(self, drawn: Array) -> jax.Array:
        """What the critic takes for draws: int32[...] -> one-hot [..., A]; float32[..., A] -> clipped."""
        if self.num_choices is not None:
            return jax.nn.one_hot(drawn, self.num_choices, dtype=jnp.float32)
        return jnp.clip(drawn, -1.0, 1.0)

    def acting(self) -> ActorCriticNetwork:
        """The policy for `culmen.components.policies`, of parameters (encoder, policy); its value is 0."""

        def step(params: Params, observation: Nest, state: State) -> tuple[PolicyAndValue, State]:
            encoder, policy = params
            features, state = self.step(encoder, observation, state)
            value = jnp.zeros(features.shape[0], jnp.float32)
            return PolicyAndValue(self.policy(policy, features, observation), value), state

        def unroll(
            params: Params, observation: Nest, step_type: Array, state: State
        ) -> PolicyAndValue:
            encoder, policy = params
            features = self.unroll(encoder, observation, step_type, state)
            value = jnp.zeros(features.shape[:2], jnp.float32)
            return PolicyAndValue(self.policy(policy, features, observation), value)

        def init(key: jax.Array) -> Params:
            policy, critic = self.init(key)
            return critic.encoder, policy

        return ActorCriticNetwork(init, self.initial_state, step, unroll)


def make_policy_and_critic(
    agent: str,
    spec: EnvironmentSpec,
    hidden_sizes: Sequence[int] = (128, 128),
    *,
    num_outputs: int = 1,
    takes_choices: bool = True,
    layer_norm: bool = True,
    core: Literal['none', 'lstm', 'gru'] = 'none',
    core_size: int = 128,
    encoder_channels: Sequence[int] = (32, 32, 32, 32),
    initial_scale: float | Array = 0.5,
    critic_observation: Sequence[str] = (),
) -> PolicyAndCritic:
    """Networks that fit an environment.

    Args:
        agent: its name, for errors; spec: of the environment.
        hidden_sizes: units of each layer of policy and critic; with a core the first also of one before it.
        num_outputs: numbers that the critic gives for each action; takes_choices: whether it may be a choice.
        layer_norm: whether each first layer is normalised.
        core, core_size: the memory of the encoder and its units; encoder_channels: of its convolutions.
        initial_scale: the policy's first standard deviation, in units of the box.
        critic_observation: names of fields of the observation that only the critic sees, without memory.
    Raises: ValueError that names the agent, for other actions, or `critic_observation` (`observed`).
    """
    actions = _actions(agent, spec, takes_choices)
    num_choices = None if actions.choices is None else actions.choices.largest
    of_box = 0 if actions.box is None else actions.box.size
    parts = observed(spec.observation, critic_observation)

    def hidden(inputs: Nest) -> jax.Array:
        if layer_norm:
            return LayerNormMLPTorso(hidden_sizes)(inputs)
        return MLPTorso(hidden_sizes)(inputs)

    def policy(features: jax.Array) -> Any:
        if num_choices is not None:
            return CategoricalHead(num_choices)(hidden(features))
        return SoftplusGaussianHead(of_box, initial_scale)(hidden(features))

    def critic(features: jax.Array, action: jax.Array) -> jax.Array:
        small = hk.initializers.TruncatedNormal(0.01)
        return Linear(num_outputs, w_init=small)(hidden({'action': action, 'features': features}))

    see, see_alone = _torsos(
        parts, spec, encoder_channels, () if core == 'none' else hidden_sizes[:1]
    )
    encoder = _make_encoder(see, see_alone if parts.of_critic else None, core, core_size)
    seen_alone = _num_features(see_alone, spec) if parts.of_critic else 0
    actor, head = hk.transform(policy), hk.transform(critic)

    def initial_state(batch_size: int) -> State:
        return () if core == 'none' else recurrent.initial_state(core, core_size, batch_size)

    def init(key: jax.Array) -> tuple[Params, EncodedCriticParams]:
        keys = jax.random.split(key, 3)
        seen = zeros_like(spec.observation, (1,)), initial_state(1)
        encoder_params = encoder.init(keys[0], *seen)
        features, _ = encoder.apply[0](encoder_params, None, *seen)
        action = jnp.zeros((1, num_choices or of_box))
        of_critic = head.init(keys[1], features, action)
        return actor.init(keys[2], features[:, seen_alone:]), EncodedCriticParams(
            encoder_params, of_critic
        )

    step, unroll = map(drawing, encoder.apply)
    of_rows = _policy_of_rows(drawing(actor.apply), spec, seen_alone)
    values = _values_of_rows(drawing(head.apply))
    return PolicyAndCritic(init, initial_state, step, unroll, of_rows, values, actions)


def _torsos(
    parts: Observed, spec: EnvironmentSpec, channels: Sequence[int], hidden_sizes: Sequence[int]
) -> tuple[Callable[[Nest], jax.Array], Callable[[Nest], jax.Array]]:
    """Observation [B, ...] -> features: of what all see, and of what the critic alone sees."""

    def torso(part: Callable[[Nest], Nest], sizes: Sequence[int]) -> Callable[[Nest], jax.Array]:
        def see(observation: Nest) -> jax.Array:
            return encoding_torso(part(spec.observation), channels, sizes)(part(observation))

        return see

    return torso(parts.by_actor, hidden_sizes), torso(parts.by_critic_alone, ())


def _num_features(see: Callable[[Nest], jax.Array], spec: EnvironmentSpec) -> int:
    """How many features a torso makes of an observation."""
    torso = hk.transform(see)

    def apply(observation: Nest) -> jax.Array:
        key = jax.random.key(0)
        return torso.apply(torso.init(key, observation), key, observation)

    return jax.eval_shape(apply, zeros_like(spec.observation, (1,))).shape[-1]


def _make_encoder(
    see: Callable[[Nest], jax.Array],
    see_alone: Callable[[Nest], jax.Array] | None,
    core: Literal['none', 'lstm', 'gru'],
    core_size: int,
) -> hk.MultiTransformed:
    """The functions of an encoder, step and unroll, around a torso, and one for the critic alone."""

    def join(features: jax.Array, observation: Nest) -> jax.Array:
        if see_alone is None:
            return features
        return jnp.concatenate([see_alone(observation), features], axis=-1)

    def memory() -> hk.RNNCore:
        assert core != 'none'
        return recurrent.make_core(core, core_size)

    def make() -> Any:
        def step(observation: Nest, state: State) -> tuple[jax.Array, State]:
            features = see(observation)
            if core != 'none':
                features, state = memory()(features, state)
            return join(features, observation), state

        def unroll(observation: Nest, step_type: Array, state: State) -> jax.Array:
            rows = _flat(observation)
            features = see(rows)
            if core != 'none':
                features = jnp.reshape(features, (*step_type.shape, -1))
                features = recurrent.unroll(memory(), features, step_type, state)[0]
                features = jnp.reshape(features, (-1, features.shape[-1]))
            return jnp.reshape(join(features, rows), (*step_type.shape, -1))

        return step, (step, unroll)

    return hk.multi_transform(make)


def _policy_of_rows(
    apply: Callable[..., Any], spec: EnvironmentSpec, unseen: int
) -> Callable[..., Any]:
    """The policy of features and observations with any leading axes, from that of rows [B, F - unseen]."""

    def policy(params: Params, features: jax.Array, observation: Nest) -> Any:
        axes = features.shape[:-1]
        flat = apply(params, features.reshape((-1, features.shape[-1]))[:, unseen:])
        seen = jax.tree_util.tree_map(
            lambda leaf: jnp.reshape(leaf, (-1, *leaf.shape[len(axes) :])), observation
        )
        return jax.tree_util.tree_map(
            lambda leaf: leaf.reshape((*axes, *leaf.shape[1:])),
            only_legal(flat, spec.action, seen),
        )

    return policy


def _values_of_rows(apply: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The critic of features and actions with any leading axes, from that of rows."""

    def critic(params: Params, features: jax.Array, action: jax.Array) -> jax.Array:
        axes = features.shape[:-1]
        flat = (each.reshape((-1, each.shape[-1])) for each in (features, action))
        outputs = apply(params, *flat)
        return outputs.reshape((*axes, outputs.shape[-1]))

    return critic


def _actions(agent: str, spec: EnvironmentSpec, takes_choices: bool) -> LeafActions:
    """The one leaf of an action, checked."""
    leaf = spec.action
    if takes_choices and isinstance(leaf, specs.DiscreteArray):
        check_legal_actions(spec)
        return LeafActions(leaf, choices(leaf), None)
    if takes_choices and not (isinstance(leaf, specs.Array) and is_bounded_box(leaf)):
        wanted = (
            'one choice (a DiscreteArray) or a continuous action (a BoundedArray of floats with finite '
            'bounds, the minimum below the maximum)'
        )
        raise refusal(agent, wanted, leaf)
    return LeafActions(leaf, None, leaf_box(agent, leaf, leaf))


def _flat(windows: Nest) -> Nest:
    """Leaves [B, T, ...] -> [B * T, ...]."""
    return jax.tree_util.tree_map(lambda leaf: jnp.reshape(leaf, (-1, *leaf.shape[2:])), windows)
