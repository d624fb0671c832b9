"""The losses and the update of TD3 and DDPG.

Fujimoto et al. 2018 (1802.09477), algorithm 1; with one critic, no delay and no noise on the target's
action it is Lillicrap et al. 2015 (1509.02971), algorithm 1. Departures from them:
1. Windows reach `n_step` rewards ahead; 1 is the papers'.
2. Noise is in units of canonical actions, in [-1, 1].
3. Images pass an encoder, which only the critics' loss trains and which the policy shares
   (Yarats et al. 2019, 1910.01741); they may be shifted at random (Yarats et al. 2021, 2004.13649).
"""

import jax
import jax.numpy as jnp
import optax

from culmen.agents.td3.config import TD3Config
from culmen.components import updates
from culmen.components.networks import ContinuousNetworks
from culmen.components.networks import CriticParams
from culmen.components.replay.stream.windows import Transitions
from culmen.components.updates import PolicyAndCriticState as TrainingState
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Params
from culmen.core.types import Sample


def critic_loss(
    critic_params: CriticParams,
    target_critic_params: CriticParams,
    target_policy_params: Params,
    transitions: Transitions,
    key: jax.Array,
    networks: ContinuousNetworks,
    config: TD3Config,
) -> tuple[jax.Array, tuple[Array, Array]]:
    """The mean squared error of each critic, summed over the critics.

    Args:
        transitions: B of them, a_tm1 canonical [B, D].
    Returns: (loss [], (features of o_tm1 [B, F], action values [num_critics, B])).
    """

    def smooth(a_t: jax.Array) -> jax.Array:  # Equation 14: target policy smoothing.
        noise = config.target_noise * jax.random.normal(key, a_t.shape, jnp.float32)
        noise = jnp.clip(noise, -config.target_noise_clip, config.target_noise_clip)
        return jnp.clip(a_t + noise, -1.0, 1.0)

    features_tm1, q_tm1, q_t = updates.critic_outputs(
        networks, critic_params, target_critic_params, target_policy_params, transitions, smooth
    )
    # Equation 10: the least of the target critics.
    v_t = jnp.min(q_t, axis=0)
    loss = updates.ensemble_td_loss(q_tm1, transitions.r_t, transitions.discount_t, v_t)
    return loss, (jax.lax.stop_gradient(features_tm1), q_tm1)


def policy_loss(
    policy_params: Params, ensemble: Params, features: Array, networks: ContinuousNetworks
) -> jax.Array:
    """Lillicrap et al. 2015, equation 6: minus the first critic's value of the policy's action.

    Args:
        features: of B observations [B, F].
    """
    first = jax.tree_util.tree_map(lambda leaf: leaf[:1], ensemble)
    return -jnp.mean(networks.critics(first, features, networks.policy(policy_params, features)))


def make_learner(networks: ContinuousNetworks, config: TD3Config) -> LearnerCore:
    """Builds the update of TD3."""
    policy_optimizer = updates.make_optimizer(
        optax.adam(config.policy_learning_rate), config.max_gradient_norm
    )
    critic_optimizer = updates.make_optimizer(
        optax.adam(config.critic_learning_rate), config.max_gradient_norm
    )

    def init(key: jax.Array) -> TrainingState:
        return updates.initial_state(key, networks, policy_optimizer, critic_optimizer)

    def update_critics(
        state: TrainingState, sample: Sample, key: jax.Array
    ) -> tuple[TrainingState, Array, Metrics]:
        transitions = updates.canonical_transitions(sample.steps, config.discount, networks.box)
        key, *shift_keys = jax.random.split(key, 3)
        transitions = updates.shift_images(transitions, shift_keys, config.augmentation_pad)
        state, (value, (features, q)) = updates.train(
            state, critic_loss, critic_optimizer,
            state.target_critic_params, state.target_policy_params, transitions, key,
            networks, config, name='critic', has_aux=True,
        )  # fmt: skip
        return state, features, {'loss': value, 'q': jnp.mean(q)}

    def update_policy_and_targets(state: TrainingState, features: Array) -> TrainingState:
        state, _ = updates.train(
            state, policy_loss, policy_optimizer,
            state.critic_params.ensemble, features, networks, name='policy',
        )  # fmt: skip
        return updates.follow(state, config.target_rate, 'policy', 'critic')

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        state, features, metrics = update_critics(state, sample, context.key)
        # Section 5.2: the policy and the targets follow every policy_period updates.
        state = jax.lax.cond(
            (context.rule_steps + 1) % config.policy_period == 0,
            update_policy_and_targets,
            lambda state, features: state,
            state,
            features,
        )
        return state, metrics, None

    return LearnerCore(init, update, variables=updates.acting_params)
