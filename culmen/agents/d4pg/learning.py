"""The losses and the update of D4PG.

Barth-Maron et al. 2018 (1804.08617), algorithm 1. Departures from it:
1. A window's priority is the absolute error of the mean return; the paper does not say which it took.
2. Noise is in units of canonical actions, in [-1, 1].
3. An encoder, if there is one, is taught by the critic's loss alone and shared with the policy
   (Yarats et al. 2019, 1910.01741). For vectors there is none.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from culmen.agents.d4pg.config import D4PGConfig
from culmen.components import losses
from culmen.components.networks.action_box import ActionBox
from culmen.components.networks.continuous import ContinuousNetworks
from culmen.components.networks.continuous import CriticParams
from culmen.components.networks.optimizers import adam
from culmen.components.replay.stream.importance import importance_weights
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
    weights: Array,
    atoms: jax.Array,
    networks: ContinuousNetworks,
) -> tuple[jax.Array, tuple[Array, Array, Array]]:
    """The cross-entropy of the critic's distribution to the projected target of n steps.

    Args:
        transitions: B of them, a_tm1 canonical [B, D].
        weights: [B] of each loss.
        atoms: [num_atoms] returns, increasing.
    Returns: (loss [], (features of o_tm1 [B, F], mean returns [B], absolute errors [B])).
    """
    o_tm1, a_tm1, r_t, discount_t, o_t = transitions
    features_tm1 = networks.encode(critic_params.encoder, o_tm1)
    logits_tm1 = networks.critics(critic_params.ensemble, features_tm1, a_tm1)[0]

    features_t = networks.encode(target_critic_params.encoder, o_t)
    a_t = networks.policy(target_policy_params, features_t)
    logits_t = networks.critics(target_critic_params.ensemble, features_t, a_t)[0]
    # Equation 4 and the projection of Bellemare et al. 2017, equation 7.
    of_batch = jax.vmap(losses.categorical_td_learning, in_axes=(None, 0, 0, 0, None, 0))
    element_losses = of_batch(atoms, logits_tm1, r_t, discount_t, atoms, logits_t)
    q_tm1, q_t = mean_return(logits_tm1, atoms), mean_return(logits_t, atoms)
    errors = jnp.abs(jax.vmap(losses.td_learning)(q_tm1, r_t, discount_t, q_t))
    features_tm1, errors = jax.lax.stop_gradient((features_tm1, errors))
    return jnp.mean(weights * element_losses), (features_tm1, q_tm1, errors)


def policy_loss(
    policy_params: Params,
    ensemble: Params,
    features: Array,
    atoms: jax.Array,
    networks: ContinuousNetworks,
) -> jax.Array:
    """Equation 5: minus the mean return of the policy's action.

    Args:
        features: of B observations [B, F].
    """
    logits = networks.critics(ensemble, features, networks.policy(policy_params, features))[0]
    return -jnp.mean(mean_return(logits, atoms))


def mean_return(logits: Array, atoms: Array) -> jax.Array:
    """The mean of a categorical distribution: logits [B, num_atoms], atoms [num_atoms] -> [B]."""
    return jax.nn.softmax(logits) @ atoms


def make_learner(networks: ContinuousNetworks, box: ActionBox, config: D4PGConfig) -> LearnerCore:
    """Builds the update of D4PG."""
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

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, Array | None]:
        transitions = fold(sample.steps, config.discount)
        transitions = transitions._replace(a_tm1=box.to_canonical(transitions.a_tm1))
        atoms = jnp.linspace(config.v_min, config.v_max, config.num_atoms, dtype=jnp.float32)
        weights = jnp.ones_like(sample.probability)
        if config.priority_exponent:
            weights = importance_weights(
                sample.probability, sample.size, config.importance_exponent
            )

        # Both gradients are those of the parameters before this update.
        gradient = jax.value_and_grad(critic_loss, has_aux=True)
        (value, (features, q, errors)), critic_grads = gradient(
            state.critic_params,
            state.target_critic_params,
            state.target_policy_params,
            transitions,
            weights,
            atoms,
            networks,
        )
        policy_grads = jax.grad(policy_loss)(
            state.policy_params, state.critic_params.ensemble, features, atoms, networks
        )
        updates, critic_optimizer_state = critic_optimizer.update(
            critic_grads, state.critic_optimizer_state
        )
        critic_params = optax.apply_updates(state.critic_params, updates)
        updates, policy_optimizer_state = policy_optimizer.update(
            policy_grads, state.policy_optimizer_state
        )
        policy_params = optax.apply_updates(state.policy_params, updates)
        learner_steps, period = context.learner_steps + 1, config.target_update_period
        target_policy_params = optax.periodic_update(
            policy_params, state.target_policy_params, learner_steps, period
        )
        target_critic_params = optax.periodic_update(
            critic_params, state.target_critic_params, learner_steps, period
        )
        after = TrainingState(
            policy_params,
            critic_params,
            target_policy_params,
            target_critic_params,
            policy_optimizer_state,
            critic_optimizer_state,
        )
        metrics = {'loss': value, 'q': jnp.mean(q), 'absolute_error': jnp.mean(errors)}
        return after, metrics, errors if config.priority_exponent else None

    return LearnerCore(
        init, update, variables=lambda state: (state.critic_params.encoder, state.policy_params)
    )
