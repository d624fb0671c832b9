"""The losses and the update of D4PG.

Barth-Maron et al. 2018 (1804.08617), algorithm 1. Departures from it:
1. A window's priority is the absolute error of the mean return; the paper does not say what it took.
2. Noise is in units of canonical actions, in [-1, 1].
3. Images pass an encoder, which only the critic's loss trains and which the policy shares
   (Yarats et al. 2019, 1910.01741).
"""

import jax
import jax.numpy as jnp
import optax

from culmen.agents.d4pg.config import D4PGConfig
from culmen.components import losses
from culmen.components import updates
from culmen.components.networks import ContinuousNetworks
from culmen.components.networks import CriticParams
from culmen.components.replay.stream.importance import importance_weights
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
    weights: Array,
    atoms: jax.Array,
    networks: ContinuousNetworks,
) -> tuple[jax.Array, tuple[Array, Array, Array, Array]]:
    """The cross-entropy of the critic's distribution to the projected n-step target.

    Args:
        transitions: B of them, a_tm1 canonical [B, D].
        weights: [B] of each loss.
        atoms: [num_atoms] returns, increasing.
    Returns: (loss [], (features of o_tm1 [B, F], mean returns [B], absolute errors [B], how much of the
        targets lies outside of the support [])).
    """
    features_tm1, outputs_tm1, outputs_t = updates.critic_outputs(
        networks, critic_params, target_critic_params, target_policy_params, transitions
    )
    logits_tm1, logits_t = outputs_tm1[0], outputs_t[0]  # of the one critic
    r_t, discount_t = transitions.r_t, transitions.discount_t
    # Equation 4 and the projection of Bellemare et al. 2017, equation 7.
    of_batch = jax.vmap(losses.categorical_td_learning, in_axes=(None, 0, 0, 0, None, 0))
    element_losses = of_batch(atoms, logits_tm1, r_t, discount_t, atoms, logits_t)
    q_tm1, q_t = mean_return(logits_tm1, atoms), mean_return(logits_t, atoms)
    errors = jnp.abs(jax.vmap(losses.td_learning)(q_tm1, r_t, discount_t, q_t))
    outside = updates.mass_outside(atoms, jax.nn.softmax(logits_t), r_t, discount_t)
    features_tm1, errors = jax.lax.stop_gradient((features_tm1, errors))
    return jnp.mean(weights * element_losses), (features_tm1, q_tm1, errors, outside)


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


def make_learner(networks: ContinuousNetworks, config: D4PGConfig) -> LearnerCore:
    """Builds the update of D4PG."""
    policy_optimizer = updates.make_optimizer(
        optax.adam(config.policy_learning_rate), config.max_gradient_norm
    )
    critic_optimizer = updates.make_optimizer(
        optax.adam(config.critic_learning_rate), config.max_gradient_norm
    )

    def init(key: jax.Array) -> TrainingState:
        return updates.initial_state(key, networks, policy_optimizer, critic_optimizer)

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, Array | None]:
        transitions = updates.canonical_transitions(sample.steps, config.discount, networks.box)
        atoms = jnp.linspace(config.v_min, config.v_max, config.num_atoms, dtype=jnp.float32)
        weights = jnp.ones_like(sample.probability)
        if config.priority_exponent:
            weights = importance_weights(
                sample.probability, sample.size, config.importance_exponent
            )

        # Both gradients are those of the parameters before this update.
        ensemble = state.critic_params.ensemble
        state, (value, (features, q, errors, outside)) = updates.train(
            state, critic_loss, critic_optimizer,
            state.target_critic_params, state.target_policy_params, transitions, weights, atoms,
            networks, name='critic', has_aux=True,
        )  # fmt: skip
        state, _ = updates.train(
            state, policy_loss, policy_optimizer, ensemble, features, atoms, networks,
            name='policy',
        )  # fmt: skip
        state = updates.copy_every(
            state, context.rule_steps + 1, config.target_update_period, 'policy', 'critic'
        )
        metrics = {
            'loss': value,
            'q': jnp.mean(q),
            'absolute_error': jnp.mean(errors),
            updates.OUTSIDE: outside,
        }
        return state, metrics, errors if config.priority_exponent else None

    return LearnerCore(init, update, updates.acting_params, updates.support_warning)
