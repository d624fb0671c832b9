"""The losses and the update of SAC.

Haarnoja et al. 2018 (1812.05905), algorithm 1. Departures from it:
1. The entropy is that of canonical actions, in [-1, 1], so it does not depend on the environment's bounds.
2. Images pass an encoder, which only the critics' loss trains and which the policy shares
   (Yarats et al. 2019, 1910.01741); they may be shifted at random (DrQ, Yarats et al. 2021,
   2004.13649, with one shift of each).
3. The temperature T is learned as log T, which also stands for T in equation 18, as in the authors'
   first code.
4. Every gradient is taken at the parameters before the update, so the policy's does not wait for the critics'
   step. The authors' first code does the same where it runs all its training steps at once.

Where an action is one choice, `discrete` has the losses.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from culmen.agents.sac.config import SACConfig
from culmen.components import losses
from culmen.components import updates
from culmen.components.networks import ContinuousNetworks
from culmen.components.networks import CriticParams
from culmen.components.replay.stream.windows import Transitions
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Params
from culmen.core.types import Sample
from culmen.core.types import Steps


class Kind(NamedTuple):
    """What an update does in its own way for actions of a kind. The functions are those of this module."""

    transitions: Callable[[Steps, float | Array, Any], Transitions]
    critic_loss: Callable[..., tuple[jax.Array, tuple[Any, Array]]]
    policy_loss: Callable[..., tuple[jax.Array, Array]]
    target_entropy: Callable[[Any, Any, SACConfig], Array | float]  # where none is given


class TrainingState(NamedTuple):
    """What an update reads and writes."""

    policy_params: Params
    critic_params: CriticParams
    target_critic_params: CriticParams
    log_temperature: Array  # float32[]
    policy_optimizer_state: optax.OptState
    critic_optimizer_state: optax.OptState
    temperature_optimizer_state: optax.OptState


def critic_loss(
    critic_params: CriticParams,
    target_critic_params: CriticParams,
    policy_params: Params,
    temperature: Array,
    transitions: Transitions,
    key: jax.Array,
    networks: ContinuousNetworks,
) -> tuple[jax.Array, tuple[Array, Array]]:
    """Equation 5: the soft Bellman residual, summed over the critics.

    Args:
        transitions: B of them, a_tm1 canonical [B, D].
    Returns: (loss [], (features of o_tm1 [B, F], action values [num_critics, B])).
    """
    o_tm1, a_tm1, r_t, discount_t, o_t = transitions
    features_tm1 = networks.encode(critic_params.encoder, o_tm1)
    q_tm1 = networks.critics(critic_params.ensemble, features_tm1, a_tm1)

    policy_t = networks.policy(policy_params, networks.encode(critic_params.encoder, o_t))
    a_t, log_prob_t = policy_t.sample_and_log_prob(key)
    target_features_t = networks.encode(target_critic_params.encoder, o_t)
    q_t = networks.critics(target_critic_params.ensemble, target_features_t, a_t)
    # Equation 3, with the least of the target critics.
    v_t = jnp.min(q_t, axis=0) - temperature * log_prob_t
    loss = updates.ensemble_td_loss(q_tm1, r_t, discount_t, v_t)
    return loss, (jax.lax.stop_gradient(features_tm1), q_tm1)


def policy_loss(
    policy_params: Params,
    ensemble: Params,
    temperature: Array,
    features: Array,
    key: jax.Array,
    networks: ContinuousNetworks,
) -> tuple[jax.Array, Array]:
    """Equation 9, by the reparameterised action.

    Args:
        features: of B observations [B, F].
    Returns: (loss [], log-densities of the drawn actions [B]).
    """
    action, log_prob = networks.policy(policy_params, features).sample_and_log_prob(key)
    q = networks.critics(ensemble, features, action)
    # The least by its index: the gradient of `min` compares numbers for equality, and finds no equal one if
    # the compiler rounds q in two ways.
    least = losses.batched_index(q.T, jnp.argmin(q, axis=0))
    return jnp.mean(temperature * log_prob - least), log_prob


def temperature_loss(log_temperature: Array, log_prob: Array, target_entropy: Array) -> jax.Array:
    """Equation 18, of log T: the temperature rises where the policy's entropy is below its target.

    Args:
        log_prob: of B drawn actions [B].
    """
    return jnp.mean(jax.lax.stop_gradient(-log_prob - target_entropy)) * log_temperature


def update_critics(
    state: TrainingState,
    temperature: Array,
    transitions: Transitions,
    key: jax.Array,
    networks: Any,
    optimizer: optax.GradientTransformation,
    loss: Callable[..., Any] = critic_loss,
) -> tuple[TrainingState, tuple[Array, tuple[Array, Array]]]:
    """The critics' step. Returns: (the state after it, what the loss returned)."""
    return updates.train(
        state, loss, optimizer,
        state.target_critic_params, state.policy_params, temperature, transitions, key, networks,
        name='critic', has_aux=True,
    )  # fmt: skip


def update_policy(
    state: TrainingState,
    ensemble: Params,
    temperature: Array,
    features: Array,
    key: jax.Array,
    networks: Any,
    optimizer: optax.GradientTransformation,
    loss: Callable[..., Any] = policy_loss,
) -> tuple[TrainingState, tuple[Array, Array]]:
    """The policy's step. Returns: (the state after it, what the loss returned)."""
    return updates.train(
        state, loss, optimizer, ensemble, temperature, features, key, networks,
        name='policy', has_aux=True,
    )  # fmt: skip


def update_temperature(
    state: TrainingState,
    log_prob: Array,
    target_entropy: Array | float,
    optimizer: optax.GradientTransformation,
) -> TrainingState:
    """The temperature's step."""
    log_temperature, optimizer_state, _ = updates.gradient_step(
        temperature_loss, optimizer, state.log_temperature, state.temperature_optimizer_state,
        log_prob, target_entropy,
    )  # fmt: skip
    return state._replace(
        log_temperature=log_temperature, temperature_optimizer_state=optimizer_state
    )


def target_entropy(networks: ContinuousNetworks, features: Array, config: SACConfig) -> int:
    """Minus the number of dimensions of an action: appendix D."""
    del features, config
    return -networks.box.size


def transitions(steps: Steps, discount: float | Array, networks: ContinuousNetworks) -> Transitions:
    """B windows, folded, whose actions are canonical."""
    return updates.canonical_transitions(steps, discount, networks.box)


BOX = Kind(transitions, critic_loss, policy_loss, target_entropy)


def make_learner(networks: Any, config: SACConfig, kind: Kind = BOX) -> LearnerCore:
    """Builds the update of SAC, with networks of a kind of actions."""
    optimizer = updates.make_optimizer(optax.adam(config.learning_rate), config.max_gradient_norm)
    temperature_optimizer = updates.make_optimizer(optax.adam(config.learning_rate))

    def init(key: jax.Array) -> TrainingState:
        policy_params, critic_params = networks.init(key)
        log_temperature = jnp.log(jnp.asarray(config.initial_temperature, jnp.float32))
        return TrainingState(
            policy_params,
            critic_params,
            critic_params,
            log_temperature,
            optimizer.init(policy_params),
            optimizer.init(critic_params),
            temperature_optimizer.init(log_temperature),
        )

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        batch = kind.transitions(sample.steps, config.discount, networks)
        critic_key, policy_key, *shift_keys = jax.random.split(context.key, 4)
        batch = updates.shift_images(batch, shift_keys, config.augmentation_pad)
        temperature = jnp.exp(state.log_temperature)
        if config.temperature is not None:
            temperature = jnp.asarray(config.temperature, jnp.float32)

        # Algorithm 1: the critics, the policy, the temperature, the target critics.
        ensemble = state.critic_params.ensemble  # before their step: departure 4
        state, (critic_value, (features, q)) = update_critics(
            state, temperature, batch, critic_key, networks, optimizer, kind.critic_loss
        )
        state, (policy_value, log_prob) = update_policy(
            state,
            ensemble,
            temperature,
            features,
            policy_key,
            networks,
            optimizer,
            kind.policy_loss,
        )
        if config.temperature is None:
            wanted: Array | float | None = config.target_entropy
            if wanted is None:
                wanted = kind.target_entropy(networks, features, config)
            state = update_temperature(state, log_prob, wanted, temperature_optimizer)
        state = updates.follow(state, config.target_rate, 'critic')
        metrics = {
            'loss': critic_value,
            'policy_loss': policy_value,
            'q': jnp.mean(q),
            'entropy': -jnp.mean(log_prob),
            'temperature': temperature,
        }
        return state, metrics, None

    return LearnerCore(init, update, variables=updates.acting_params)
