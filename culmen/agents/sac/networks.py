"""The networks of SAC, and how its losses use the critics, by its settings."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax

from culmen.agents.sac.config import SACConfig
from culmen.components import updates
from culmen.components.networks import FAN_IN_UNIFORM
from culmen.components.networks import ActionBox
from culmen.components.networks import ContinuousNetworks
from culmen.components.networks import LayerNormMLPTorso
from culmen.components.networks import Linear
from culmen.components.networks import MLPTorso
from culmen.components.networks import SimBaTorso
from culmen.components.networks import TanhGaussianHead
from culmen.components.networks import dropout
from culmen.components.networks import make_continuous_networks
from culmen.core.specs import EnvironmentSpec


def make_networks(spec: EnvironmentSpec, box: ActionBox, config: SACConfig) -> ContinuousNetworks:
    """A policy and an ensemble of critics."""
    critic_sizes = config.critic_hidden_sizes or config.hidden_sizes
    is_dense = config.dropout_rate is None and not config.critic_layer_norm

    def torso(sizes: tuple[int, ...]) -> Any:
        if config.network == 'simba':
            return SimBaTorso(sizes)
        if config.layer_norm:
            return LayerNormMLPTorso(sizes)
        return MLPTorso(sizes, w_init=FAN_IN_UNIFORM)

    def critic_torso() -> Any:
        return torso(critic_sizes) if is_dense else MLPTorso(critic_sizes, dense=_dense(config))

    return make_continuous_networks(
        spec,
        lambda: TanhGaussianHead(box.size),
        box,
        num_critics=config.num_critics,
        num_atoms=config.num_quantiles,
        policy_torso=lambda: torso(config.hidden_sizes),
        critic_torso=critic_torso,
        encoder_channels=config.encoder_channels,
        critic_observation=config.critic_observation,
    )


def make_critics(config: SACConfig) -> updates.Critics:
    """Values or quantiles, and what the target and the policy take of them."""
    drops = config.dropout_rate is not None
    if config.num_quantiles is None:
        return updates.value_critics(config.num_target_critics, config.policy_value, drops)
    return updates.quantile_critics(config.dropped_quantiles, config.policy_value, drops)


def _dense(config: SACConfig) -> Callable[[int], Callable[[jax.Array], jax.Array]]:
    """A critic's layer up to its activation: Hiraoka et al. 2022 (2110.02034), figure 1 and algorithm 2."""

    def layer(size: int) -> Callable[[jax.Array], jax.Array]:
        parts: list[Callable[[jax.Array], jax.Array]] = [Linear(size, w_init=FAN_IN_UNIFORM)]
        if config.dropout_rate is not None:
            rate = config.dropout_rate
            parts.append(lambda values: dropout(rate, values))
        if config.critic_layer_norm:
            parts.append(hk.LayerNorm(axis=-1, create_scale=True, create_offset=True))
        return hk.Sequential(parts)

    return layer
