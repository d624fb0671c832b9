"""Networks of agents with a policy over choices and critics that value each of them.

They are those of `continuous`, with action values in place of an action among the critics' inputs.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import haiku as hk
import jax

from culmen.components.networks.continuous import CriticParams
from culmen.components.networks.continuous import make_encoder
from culmen.components.networks.distributions import Categorical
from culmen.components.networks.initializers import FAN_IN_UNIFORM
from culmen.components.networks.keyed import split_keyed
from culmen.components.networks.linear import Linear
from culmen.components.networks.torsos import LayerNormMLPTorso
from culmen.components.networks.torsos import MLPTorso
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import allowed_actions
from culmen.core.specs import zeros_like
from culmen.core.types import Array
from culmen.core.types import Nest
from culmen.core.types import Params


class Seen(NamedTuple):
    """An observation as the policy and the critics see it."""

    features: Nest  # float32[B, F], or Features where critics see more
    allowed: Array | None  # bool[B, num_actions]; None: all actions


class ChoiceNetworks(NamedTuple):
    """Pure functions of a policy and its critics."""

    init: Callable[[jax.Array], tuple[Params, CriticParams]]  # of the policy, of the critics
    encode: Callable[[Params, Nest], Seen]  # (encoder, observation [B, ...])
    policy: Callable[[Params, Seen], Categorical]  # over allowed actions alone
    critics: Callable[[Params, Seen], jax.Array]  # (ensemble, ...) -> [num_critics, B, num_actions]
    num_actions: int

    def act(self, params: tuple[Params, Params], observation: Nest) -> Categorical:
        """The policy. Args: params: (encoder, policy), which actors read."""
        encoder, policy = split_keyed(params, 2)
        return self.policy(policy, self.encode(encoder, observation))


def make_choice_networks(
    spec: EnvironmentSpec,
    num_actions: int,
    hidden_sizes: Sequence[int] = (128, 128),
    *,
    num_critics: int = 2,
    layer_norm: bool = False,
    encoder_channels: Sequence[int] = (32, 32, 32, 32),
    critic_observation: Sequence[str] = (),
) -> ChoiceNetworks:
    """A policy and critics with an encoder that fits the observation.

    Args:
        num_actions: of the discrete action.
        spec, hidden_sizes, num_critics, layer_norm, encoder_channels, critic_observation: as for
            `make_continuous_networks`.
    """
    see, of_policy = make_encoder(spec.observation, encoder_channels, critic_observation)

    def outputs(features: Nest) -> jax.Array:
        torso: Any = (
            LayerNormMLPTorso(hidden_sizes)
            if layer_norm
            else MLPTorso(hidden_sizes, w_init=FAN_IN_UNIFORM)
        )
        return Linear(num_actions, w_init=FAN_IN_UNIFORM)(torso(features))

    encoder = hk.without_apply_rng(hk.transform(see))
    one = hk.without_apply_rng(hk.transform(outputs))

    def init(key: jax.Array) -> tuple[Params, CriticParams]:
        keys = jax.random.split(key, 3)
        observation = zeros_like(spec.observation, (1,))
        encoder_params = encoder.init(keys[0], observation)
        features = encoder.apply(encoder_params, observation)
        of_critics = jax.random.split(keys[1], num_critics)
        ensemble = jax.vmap(one.init, in_axes=(0, None))(of_critics, features)
        policy_params = one.init(keys[2], of_policy(features))
        return policy_params, CriticParams(encoder_params, ensemble)

    def encode(params: Params, observation: Nest) -> Seen:
        return Seen(encoder.apply(params, observation), allowed_actions(observation))

    def policy(params: Params, seen: Seen) -> Categorical:
        given = Categorical(one.apply(params, of_policy(seen.features)))
        return given if seen.allowed is None else given.only(seen.allowed)

    of_ensemble = jax.vmap(one.apply, in_axes=(0, None))

    def critics(params: Params, seen: Seen) -> jax.Array:
        return of_ensemble(params, seen.features)

    return ChoiceNetworks(init, encode, policy, critics, num_actions)
