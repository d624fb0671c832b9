"""Networks of agents with a policy of bounded actions and critics of (observation, action).

An encoder, shared by both, turns an observation into features: an image passes a PixelTorso, other leaves
are flattened and joined. Critics may see fields that the policy does not (`observed`). They are an ensemble:
their parameters are stacked, and each layer is one batched product of matrices for all of them.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from culmen.components.networks.action_box import ActionBox
from culmen.components.networks.initializers import FAN_IN_UNIFORM
from culmen.components.networks.keyed import Keyed
from culmen.components.networks.keyed import drawing
from culmen.components.networks.keyed import split_keyed
from culmen.components.networks.linear import Linear
from culmen.components.networks.observed import observed
from culmen.components.networks.pixels import PixelTorso
from culmen.components.networks.pixels import is_image
from culmen.components.networks.torsos import LayerNormMLPTorso
from culmen.components.networks.torsos import MLPTorso
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import zeros_like
from culmen.core.types import Array
from culmen.core.types import Nest
from culmen.core.types import Params


class DeterministicHead(hk.Module):
    """One linear layer with small initial weights, and a tanh: features [B, D] -> canonical actions."""

    def __init__(self, size: int, name: str | None = None) -> None:
        """Args: size: dimensions of an action."""
        super().__init__(name=name)
        self._size = size

    def __call__(self, features: jax.Array) -> jax.Array:
        """float32[B, D] -> float32[B, size] in (-1, 1)."""
        # Lillicrap et al. 2015 (1509.02971), section 7: first actions are near the middle.
        small = hk.initializers.RandomUniform(-3e-3, 3e-3)
        return jnp.tanh(Linear(self._size, w_init=small, b_init=small)(features))


class CriticParams(NamedTuple):
    """The parameters that the critics' loss trains."""

    encoder: Params
    ensemble: Params  # leaves [num_critics, ...]


class Features(NamedTuple):
    """The features of an observation of which critics see more than the policy."""

    of_policy: Array  # float32[B, F]
    of_critics: Array  # float32[B, G]: of what only they see


class ContinuousNetworks(NamedTuple):
    """Pure functions of a policy and its critics, and the box of their actions."""

    init: Callable[[jax.Array], tuple[Params, CriticParams]]  # of the policy, of the critics
    # (encoder, observation [B, ...]) -> [B, F], or Features where critics see more
    encode: Callable[[Params, Nest], Any]
    policy: Callable[[Params, Nest], Any]  # (policy, features) -> what the head gives
    # (ensemble, features, canonical action float32[B, D]) -> [num_critics, B, (num_atoms)]
    critics: Callable[[Params, Nest, Array], jax.Array]
    box: ActionBox

    def act(self, params: tuple[Params, Params], observation: Nest) -> Any:
        """The output of the policy's head. Args: params: (encoder, policy), which actors read."""
        encoder, policy = split_keyed(params, 2)
        return self.policy(policy, self.encode(encoder, observation))


def make_continuous_networks(
    spec: EnvironmentSpec,
    policy_head: Callable[[], Callable[[jax.Array], Any]],
    box: ActionBox,
    hidden_sizes: Sequence[int] = (128, 128),
    *,
    num_critics: int = 2,
    num_atoms: int | None = None,
    layer_norm: bool = False,
    policy_torso: Callable[[], Callable[[Nest], jax.Array]] | None = None,
    critic_torso: Callable[[], Callable[[Nest], jax.Array]] | None = None,
    encoder_channels: Sequence[int] = (32, 32, 32, 32),
    critic_observation: Sequence[str] = (),
) -> ContinuousNetworks:
    """A policy and critics with an encoder that fits the observation.

    Args:
        spec: of the environment.
        policy_head: makes the head of the policy; called inside a Haiku transform.
        box: of the environment's action.
        hidden_sizes: units of each layer of the policy and of each critic.
        num_critics: size of the ensemble.
        num_atoms: number of logits that a critic gives; None: it gives one value.
        layer_norm: whether the first layer of the policy and of each critic is normalised.
        policy_torso, critic_torso: make what is before the head of the policy and of each critic, inside a
            Haiku transform, in place of layers of `hidden_sizes`.
        encoder_channels: of each convolution of the encoder, where an image is observed.
        critic_observation: names of fields of the observation that only the critics see.
    Raises: ValueError for fields that are not observed or leave the policy nothing to see.
    """
    encode, of_policy = make_encoder(spec.observation, encoder_channels, critic_observation)

    def torso() -> Any:
        if layer_norm:
            return LayerNormMLPTorso(hidden_sizes)
        return MLPTorso(hidden_sizes, w_init=FAN_IN_UNIFORM)

    def policy(features: Nest) -> Any:
        return policy_head()((policy_torso or torso)()(of_policy(features)))

    def critic(features: Nest, action: jax.Array) -> jax.Array:
        hidden = (critic_torso or torso)()({'action': action, 'features': features})
        if num_atoms is None:
            return Linear(1, w_init=FAN_IN_UNIFORM)(hidden)[..., 0]
        return Linear(num_atoms)(hidden)

    encoder, actor, one = map(hk.transform, (encode, policy, critic))

    def init(key: jax.Array) -> tuple[Params, CriticParams]:
        keys = jax.random.split(key, 3)
        observation = zeros_like(spec.observation, (1,))
        encoder_params = encoder.init(keys[0], observation)
        features = encoder.apply(encoder_params, None, observation)
        ensemble = jax.vmap(one.init, in_axes=(0, None, None))(
            jax.random.split(keys[1], num_critics), features, jnp.zeros((1, box.size))
        )
        return actor.init(keys[2], features), CriticParams(encoder_params, ensemble)

    of_ensemble = jax.vmap(drawing(one.apply), in_axes=(0, None, None))

    def critics(params: Params, features: Nest, action: Array) -> jax.Array:
        if isinstance(params, Keyed):  # Each critic draws for itself.
            num = jax.tree_util.tree_leaves(params.params)[0].shape[0]
            params = params._replace(key=jax.random.split(params.key, num))
        return of_ensemble(params, features, action)

    return ContinuousNetworks(init, drawing(encoder.apply), drawing(actor.apply), critics, box)


def make_encoder(
    observation_spec: Any, channels: Sequence[int], critic_observation: Sequence[str] = ()
) -> tuple[Callable[[Nest], Any], Callable[[Any], jax.Array]]:
    """The encoder of a policy and its critics.

    Args: channels, critic_observation: as for `make_continuous_networks`.
    Returns: (observation [B, ...] -> features [B, F], or Features where critics see more, called inside a
        Haiku transform; features -> those that the policy sees).
    Raises: as `make_continuous_networks`.
    """
    parts = observed(observation_spec, critic_observation)

    def encode(observation: Nest) -> Any:
        seen = (parts.by_actor, parts.by_critic_alone) if parts.of_critic else (parts.by_actor,)
        encoders = [encoding_torso(part(observation_spec), channels) for part in seen]
        features = [encoder(part(observation)) for encoder, part in zip(encoders, seen)]
        return Features(*features) if parts.of_critic else features[0]

    return encode, lambda features: features.of_policy if parts.of_critic else features


def encoding_torso(
    observation_spec: Any, channels: Sequence[int], hidden_sizes: Sequence[int] = ()
) -> Callable[[Nest], jax.Array]:
    """The torso that encodes an observation; called inside a Haiku transform.

    Args: channels: of the convolutions of an image; hidden_sizes: of the layers on anything else.
    """
    if hasattr(observation_spec, 'shape') and is_image(observation_spec):
        return PixelTorso(channels)
    return MLPTorso(hidden_sizes)
