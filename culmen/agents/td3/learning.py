"""The losses and the update of TD3 and DDPG.

Fujimoto et al. 2018 (1802.09477), algorithm 1; with one critic, no delay and no noise on the target's
action it is Lillicrap et al. 2015 (1509.02971), algorithm 1. Departures from them:
1. Windows reach `n_step` rewards ahead; 1 is the papers'.
2. Noise is in units of canonical actions, in [-1, 1].
3. An encoder, if there is one, is taught by the critics' loss alone and shared with the policy
   (Yarats et al. 2019, 1910.01741); images may be shifted at random (Yarats et al. 2021, 2004.13649).
   For vectors there is none.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from culmen.agents.td3.config import TD3Config
from culmen.components import losses
from culmen.components.networks.action_box import ActionBox
from culmen.components.networks.continuous import ContinuousNetworks
from culmen.components.networks.continuous import CriticParams
from culmen.components.networks.optimizers import adam
from culmen.components.networks.pixels import random_shift
from culmen.components.replay.stream.windows import Transitions
from culmen.components.replay.stream.windows import fold
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Params
from culmen.core.types import Sample


class TrainingState(NamedTuple):
    """What an update reads and writes."""

    policy_params: Params
    critic_params: CriticParams
    target_policy_params: Params
    target_critic_params: CriticParams
    policy_optimizer_state: optax.OptState
    critic_optimizer_state: optax.OptState


def critic_loss(
    critic_params: CriticParams,
    target_critic_params: CriticParams,
    target_policy_params: Params,
    transitions: Transitions,
    key: jax.Array,
    networks: ContinuousNetworks,
    config: TD3Config,
) -> tuple[jax.Array, tuple[Array, Array]]:
    """The squared errors of the critics, summed over them.

    Args:
        transitions: B of them, a_tm1 canonical [B, D].
    Returns: (loss [], (features of o_tm1 [B, F], action values [num_critics, B])).
    """
    o_tm1, a_tm1, r_t, discount_t, o_t = transitions
    features_tm1 = networks.encode(critic_params.encoder, o_tm1)
    q_tm1 = networks.critics(critic_params.ensemble, features_tm1, a_tm1)

    features_t = networks.encode(target_critic_params.encoder, o_t)
    a_t = networks.policy(target_policy_params, features_t)
    # Equation 14: target policy smoothing.
    noise = config.target_noise * jax.random.normal(key, a_t.shape, jnp.float32)
    noise = jnp.clip(noise, -config.target_noise_clip, config.target_noise_clip)
    a_t = jnp.clip(a_t + noise, -1.0, 1.0)
    # Equation 10: the least of the target critics.
    v_t = jnp.min(networks.critics(target_critic_params.ensemble, features_t, a_t), axis=0)
    of_batch = jax.vmap(losses.td_learning)
    errors = jax.vmap(of_batch, in_axes=(0, None, None, None))(q_tm1, r_t, discount_t, v_t)
    loss = jnp.sum(jnp.mean(losses.l2_loss(errors), axis=1))
    return loss, (jax.lax.stop_gradient(features_tm1), q_tm1)


def policy_loss(
    policy_params: Params, ensemble: Params, features: Array, networks: ContinuousNetworks
) -> jax.Array:
    """Lillicrap et al. 2015, equation 6, by the first critic: minus its value of the policy's action.

    Args:
        features: of B observations [B, F].
    """
    first = jax.tree_util.tree_map(lambda leaf: leaf[:1], ensemble)
    return -jnp.mean(networks.critics(first, features, networks.policy(policy_params, features)))


def make_learner(networks: ContinuousNetworks, box: ActionBox, config: TD3Config) -> LearnerCore:
    """Builds the update of TD3."""
    policy_optimizer = adam(config.policy_learning_rate, config.max_gradient_norm)
    critic_optimizer = adam(config.critic_learning_rate, config.max_gradient_norm)

    def init(key: jax.Array) -> TrainingState:
        policy_params, critic_params = networks.init(key)
        return TrainingState(
            policy_params,
            critic_params,
            policy_params,
            critic_params,
            policy_optimizer.init(policy_params),
            critic_optimizer.init(critic_params),
        )

    def update_critics(
        state: TrainingState, sample: Sample, key: jax.Array
    ) -> tuple[TrainingState, Array, Metrics]:
        transitions = fold(sample.steps, config.discount)
        transitions = transitions._replace(a_tm1=box.to_canonical(transitions.a_tm1))
        key, *shift_keys = jax.random.split(key, 3)
        if config.augmentation_pad:
            transitions = transitions._replace(
                o_tm1=random_shift(shift_keys[0], transitions.o_tm1, config.augmentation_pad),
                o_t=random_shift(shift_keys[1], transitions.o_t, config.augmentation_pad),
            )
        gradient = jax.value_and_grad(critic_loss, has_aux=True)
        (value, (features, q)), grads = gradient(
            state.critic_params,
            state.target_critic_params,
            state.target_policy_params,
            transitions,
            key,
            networks,
            config,
        )
        updates, optimizer_state = critic_optimizer.update(grads, state.critic_optimizer_state)
        state = state._replace(
            critic_params=optax.apply_updates(state.critic_params, updates),
            critic_optimizer_state=optimizer_state,
        )
        return state, features, {'loss': value, 'q': jnp.mean(q)}

    def update_policy_and_targets(state: TrainingState, features: Array) -> TrainingState:
        grads = jax.grad(policy_loss)(
            state.policy_params, state.critic_params.ensemble, features, networks
        )
        updates, optimizer_state = policy_optimizer.update(grads, state.policy_optimizer_state)
        policy_params = optax.apply_updates(state.policy_params, updates)
        target_policy_params, target_critic_params = optax.incremental_update(
            (policy_params, state.critic_params),
            (state.target_policy_params, state.target_critic_params),
            config.target_rate,
        )
        return state._replace(
            policy_params=policy_params,
            target_policy_params=target_policy_params,
            target_critic_params=target_critic_params,
            policy_optimizer_state=optimizer_state,
        )

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        state, features, metrics = update_critics(state, sample, context.key)
        # Section 5.2: the policy and the targets follow every policy_period updates.
        state = jax.lax.cond(
            (context.learner_steps + 1) % config.policy_period == 0,
            update_policy_and_targets,
            lambda state, features: state,
            state,
            features,
        )
        return state, metrics, None

    return LearnerCore(
        init, update, variables=lambda state: (state.critic_params.encoder, state.policy_params)
    )
