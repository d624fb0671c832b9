"""The losses and the update of CrossQ.

Bhatt et al. 2024 (1902.05605), section 3 and figure 2: SAC without the lines of the target networks.
Departures from it:
1. The entropy is that of canonical actions, in [-1, 1].
2. Images pass an encoder without norms, which only the critics' loss trains and which the policy shares; they
   may be shifted at random, as in SAC here.
3. The temperature T is learned as log T, as in SAC here.
4. Every gradient is taken at the parameters and the moments before the update.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from culmen.agents.crossq.config import CrossQConfig
from culmen.agents.sac.learning import LEAST
from culmen.agents.sac.learning import update_temperature
from culmen.components import updates
from culmen.components.networks import CriticParams
from culmen.components.networks import RenormedNetworks
from culmen.components.replay.stream.windows import Transitions
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Sample


class TrainingState(NamedTuple):
    """What an update reads and writes. Moments are the running ones of the norms."""

    policy_params: Params
    policy_moments: Nest
    critic_params: CriticParams
    critic_moments: Nest
    log_temperature: Array  # float32[]
    policy_optimizer_state: optax.OptState
    critic_optimizer_state: optax.OptState
    temperature_optimizer_state: optax.OptState


def critic_loss(
    critic_params: CriticParams,
    critic_moments: Nest,
    policy: tuple[Params, Nest],
    temperature: Array,
    transitions: Transitions,
    key: jax.Array,
    networks: RenormedNetworks,
) -> tuple[jax.Array, tuple[Array, Array, Nest]]:
    """The soft Bellman residual, summed over the critics, with both ends of a transition in one batch.

    Args:
        policy: parameters and moments.
        transitions: B of them, a_tm1 canonical [B, D].
    Returns: (loss [], (features of o_tm1 [B, F], action values [num_critics, B], moments of the critics)).
    """
    o_tm1, a_tm1, r_t, discount_t, o_t = transitions
    features_tm1, features_t = (
        networks.encode(critic_params.encoder, observation) for observation in (o_tm1, o_t)
    )
    policy_t, _ = networks.policy(*policy, jax.lax.stop_gradient(features_t), False)
    a_t, log_prob_t = policy_t.sample_and_log_prob(key)
    # Figure 2: the norms see (o_tm1, a_tm1) and (o_t, a_t) at once, as one mixture.
    features, actions = jax.tree_util.tree_map(
        lambda tm1, t: jnp.concatenate([tm1, t]), (features_tm1, a_tm1), (features_t, a_t)
    )
    q, moments = networks.critics(critic_params.ensemble, critic_moments, features, actions, True)
    q_tm1, q_t = jnp.split(q, 2, axis=1)
    v_t = jnp.min(q_t, axis=0) - temperature * log_prob_t
    loss = updates.ensemble_td_loss(q_tm1, r_t, discount_t, v_t)
    return loss, (jax.lax.stop_gradient(features_tm1), q_tm1, moments)


def policy_loss(
    policy_params: Params,
    policy_moments: Nest,
    critics: tuple[Params, Nest],
    temperature: Array,
    features: Array,
    key: jax.Array,
    networks: RenormedNetworks,
) -> tuple[jax.Array, tuple[Array, Nest]]:
    """SAC's, with the running moments of the critics and those of the batch of the policy.

    Args:
        critics: the ensemble's parameters and moments.
        features: of B observations [B, F].
    Returns: (loss [], (log-densities of the drawn actions [B], moments of the policy)).
    """
    policy, moments = networks.policy(policy_params, policy_moments, features, True)
    action, log_prob = policy.sample_and_log_prob(key)
    q, _ = networks.critics(*critics, features, action, False)
    return jnp.mean(temperature * log_prob - LEAST.value(q)), (log_prob, moments)


def make_learner(networks: RenormedNetworks, config: CrossQConfig) -> LearnerCore:
    """Builds the update of CrossQ."""
    adam = optax.adam(config.learning_rate, b1=config.adam_b1)
    optimizer = updates.make_optimizer(adam, config.max_gradient_norm)
    temperature_optimizer = updates.make_optimizer(optax.adam(config.learning_rate))
    target_entropy = -networks.box.size if config.target_entropy is None else config.target_entropy

    def init(key: jax.Array) -> TrainingState:
        policy_params, policy_moments, critic_params, critic_moments = networks.init(key)
        log_temperature = jnp.log(jnp.asarray(config.initial_temperature, jnp.float32))
        return TrainingState(
            policy_params,
            policy_moments,
            critic_params,
            critic_moments,
            log_temperature,
            optimizer.init(policy_params),
            optimizer.init(critic_params),
            temperature_optimizer.init(log_temperature),
        )

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        transitions = updates.canonical_transitions(sample.steps, config.discount, networks.box)
        critic_key, policy_key, *shift_keys = jax.random.split(context.key, 4)
        transitions = updates.shift_images(transitions, shift_keys, config.augmentation_pad)
        temperature = jnp.exp(state.log_temperature)
        before = state.critic_params.ensemble, state.critic_moments  # departure 4
        state, (value, (features, q, moments)) = updates.train(
            state, critic_loss, optimizer,
            state.critic_moments, (state.policy_params, state.policy_moments), temperature,
            transitions, critic_key, networks, name='critic', has_aux=True,
        )  # fmt: skip
        state = state._replace(critic_moments=moments)

        def update_policy(state: TrainingState) -> TrainingState:
            state, (_, (log_prob, moments)) = updates.train(
                state, policy_loss, optimizer,
                state.policy_moments, before, temperature, features, policy_key, networks,
                name='policy', has_aux=True,
            )  # fmt: skip
            state = state._replace(policy_moments=moments)
            return update_temperature(state, log_prob, target_entropy, temperature_optimizer)

        state = jax.lax.cond(
            (context.rule_steps + 1) % config.policy_period == 0,
            update_policy,
            lambda state: state,
            state,
        )
        return state, {'loss': value, 'q': jnp.mean(q), 'temperature': temperature}, None

    def variables(state: TrainingState) -> tuple[Params, tuple[Params, Nest]]:
        return state.critic_params.encoder, (state.policy_params, state.policy_moments)

    return LearnerCore(init, update, variables)
