"""Batch renormalisation, and a policy and critics with it: networks of running moments beside parameters.

A call in training takes the moments of the batch and gives new running moments; any other call takes the
running ones, so a row of a batch does not depend on the others.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from culmen.components.networks.action_box import ActionBox
from culmen.components.networks.continuous import CriticParams
from culmen.components.networks.continuous import make_encoder
from culmen.components.networks.linear import Linear
from culmen.components.networks.tanh_gaussian import TanhGaussianHead
from culmen.components.networks.torsos import MLPTorso
from culmen.core.specs import EnvironmentSpec
from culmen.core.specs import zeros_like
from culmen.core.types import Array
from culmen.core.types import Nest
from culmen.core.types import Params

MAX_SCALE, MAX_SHIFT = 3.0, 5.0  # r_max and d_max
_EPSILON = 1e-3


class BatchRenorm(hk.Module):
    """Features of mean 0 and deviation 1 over the batch, corrected towards the running moments.

    Ioffe 2017 (1702.03275), algorithm 1. In its first `warmup` calls it is batch normalisation.
    """

    def __init__(self, momentum: float, warmup: int, name: str | None = None) -> None:
        """Makes a norm.

        Args:
            momentum: share of the running moments that stays at a call in training.
            warmup: calls in training that take the moments of the batch alone.
        """
        super().__init__(name=name)
        self._momentum = momentum
        self._warmup = warmup

    def __call__(self, features: jax.Array, is_training: bool) -> jax.Array:
        """float32[B, D] -> float32[B, D]. In training the running moments move."""
        shape = features.shape[-1:]
        scale = hk.get_parameter('scale', shape, features.dtype, jnp.ones)
        offset = hk.get_parameter('offset', shape, features.dtype, jnp.zeros)
        mean = hk.get_state('mean', shape, features.dtype, jnp.zeros)
        variance = hk.get_state('variance', shape, features.dtype, jnp.ones)
        calls = hk.get_state('calls', (), jnp.int32, jnp.zeros)
        deviation = jnp.sqrt(variance + _EPSILON)
        if not is_training:
            return _along(scale, (features - _row(mean)) / _row(deviation), offset)
        mean_of_batch, variance_of_batch = jnp.mean(features, 0), jnp.var(features, 0)
        deviation_of_batch = jnp.sqrt(variance_of_batch + _EPSILON)
        ratio = jnp.clip(deviation_of_batch / deviation, 1 / MAX_SCALE, MAX_SCALE)
        shift = jnp.clip((mean_of_batch - mean) / deviation, -MAX_SHIFT, MAX_SHIFT)
        is_warm = calls >= self._warmup
        ratio = jax.lax.stop_gradient(jnp.where(is_warm, ratio, 1.0))
        shift = jax.lax.stop_gradient(jnp.where(is_warm, shift, 0.0))
        hk.set_state('mean', self._moved(mean, mean_of_batch))
        hk.set_state('variance', self._moved(variance, variance_of_batch))
        hk.set_state('calls', calls + 1)
        normed = (features - _row(mean_of_batch)) / _row(deviation_of_batch)
        return _along(scale, _along(ratio, normed, shift), offset)

    def _moved(self, running: jax.Array, of_batch: jax.Array) -> jax.Array:
        of_batch = jax.lax.stop_gradient(of_batch)
        return self._momentum * running + (1 - self._momentum) * of_batch


def _row(values: jax.Array) -> jax.Array:
    return values[None]


def _along(scale: jax.Array, features: jax.Array, offset: jax.Array) -> jax.Array:
    return _row(scale) * features + _row(offset)


class RenormedNetworks(NamedTuple):
    """Pure functions of a policy and its critics, and the box of their actions. Moments are Haiku states."""

    # key -> (policy, its moments, critics, their moments [num_critics, ...]).
    init: Callable[[jax.Array], tuple[Params, Nest, CriticParams, Nest]]
    # (encoder, observation [B, ...]) -> [B, F], or Features where critics see more.
    encode: Callable[[Params, Nest], Any]
    # (policy, moments, features [B, F], is_training) -> (TanhGaussian, moments).
    policy: Callable[[Params, Nest, Nest, bool], tuple[Any, Nest]]
    # (ensemble, moments, features, canonical action [B, D], is_training) -> ([num_critics, B], moments).
    critics: Callable[[Params, Nest, Nest, Array, bool], tuple[jax.Array, Nest]]
    box: ActionBox

    def act(self, params: tuple[Params, tuple[Params, Nest]], observation: Nest) -> Any:
        """The policy's distribution. Args: params: (encoder, (policy, its moments)), which actors read."""
        encoder, (policy, moments) = params
        return self.policy(policy, moments, self.encode(encoder, observation), False)[0]


def make_renormed_networks(
    spec: EnvironmentSpec,
    box: ActionBox,
    hidden_sizes: Sequence[int],
    critic_hidden_sizes: Sequence[int],
    *,
    momentum: float,
    warmup: int,
    num_critics: int = 2,
    policy_norm: bool = True,
    encoder_channels: Sequence[int] = (32, 32, 32, 32),
    critic_observation: Sequence[str] = (),
) -> RenormedNetworks:
    """Layers with a norm before the first and after each activation: Bhatt et al. 2024 (1902.05605).

    Args:
        spec: of the environment.
        box: of its action.
        hidden_sizes, critic_hidden_sizes: units of each layer of the policy and of each critic.
        momentum, warmup: as for `BatchRenorm`.
        num_critics: size of the ensemble.
        policy_norm: whether the policy has norms too.
        encoder_channels: of each convolution of the encoder, where an image is observed.
        critic_observation: names of fields of the observation that only the critics see.
    Raises: ValueError for fields that are not observed or leave the policy nothing to see.
    """
    encode, of_policy = make_encoder(spec.observation, encoder_channels, critic_observation)

    def torso(inputs: Nest, sizes: Sequence[int], is_training: bool, has_norm: bool) -> jax.Array:
        def norm(features: jax.Array) -> jax.Array:
            return BatchRenorm(momentum, warmup)(features, is_training) if has_norm else features

        features = norm(MLPTorso(())(inputs))
        for size in sizes:
            features = norm(jax.nn.relu(Linear(size)(features)))
        return features

    def policy(features: Nest, is_training: bool) -> Any:
        hidden = torso(of_policy(features), hidden_sizes, is_training, policy_norm)
        return TanhGaussianHead(box.size)(hidden)

    def critic(features: Nest, action: jax.Array, is_training: bool) -> jax.Array:
        inputs = {'action': action, 'features': features}
        hidden = torso(inputs, critic_hidden_sizes, is_training, True)
        return Linear(1)(hidden)[..., 0]

    encoder = hk.without_apply_rng(hk.transform(encode))
    actor, one = map(hk.transform_with_state, (policy, critic))

    def init(key: jax.Array) -> tuple[Params, Nest, CriticParams, Nest]:
        keys = jax.random.split(key, 3)
        observation = zeros_like(spec.observation, (1,))
        encoder_params = encoder.init(keys[0], observation)
        features, action = encoder.apply(encoder_params, observation), jnp.zeros((1, box.size))
        ensemble, moments = jax.vmap(lambda key: one.init(key, features, action, True))(
            jax.random.split(keys[1], num_critics)
        )
        of_policy = actor.init(keys[2], features, True)
        return *of_policy, CriticParams(encoder_params, ensemble), moments

    def critics(
        params: Params, moments: Nest, features: Nest, action: Array, is_training: bool
    ) -> tuple[jax.Array, Nest]:
        apply = lambda held, state: one.apply(held, state, None, features, action, is_training)
        return jax.vmap(apply)(params, moments)

    def act(params: Params, moments: Nest, features: Nest, is_training: bool) -> tuple[Any, Nest]:
        return actor.apply(params, moments, None, features, is_training)

    return RenormedNetworks(init, encoder.apply, act, critics, box)
