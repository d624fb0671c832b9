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

REDQ, DroQ and TQC differ in what the losses take of the critics, `updates.Critics`, and in `policy_period`.
Where an action is one choice, `discrete` has the losses.
"""

import functools
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from culmen.agents.sac.config import SACConfig
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


LEAST = (
    updates.value_critics()
)  # the least of all critics is the target, and what the policy climbs


def critic_loss(
    critic_params: CriticParams,
    target_critic_params: CriticParams,
    policy_params: Params,
    temperature: Array,
    transitions: Transitions,
    key: jax.Array,
    networks: ContinuousNetworks,
    critics: updates.Critics = LEAST,
) -> tuple[jax.Array, tuple[Array, Array]]:
    """Equation 5: the soft Bellman residual, summed over the critics.

    Args:
        transitions: B of them, a_tm1 canonical [B, D].
        critics: what the target and the residual are of the ensemble's outputs.
    Returns: (loss [], (features of o_tm1 [B, F], action values or quantiles [num_critics, B, ...])).
    """
    chosen_key, online_key, target_key = jax.random.split(jax.random.fold_in(key, 1), 3)
    o_tm1, a_tm1, r_t, discount_t, o_t = transitions
    features_tm1 = networks.encode(critic_params.encoder, o_tm1)
    online = critics.drawing(critic_params.ensemble, online_key)
    q_tm1 = networks.critics(online, features_tm1, a_tm1)

    policy_t = networks.policy(policy_params, networks.encode(critic_params.encoder, o_t))
    a_t, log_prob_t = policy_t.sample_and_log_prob(key)
    target_features_t = networks.encode(target_critic_params.encoder, o_t)
    chosen = critics.chosen(target_critic_params.ensemble, chosen_key)
    q_t = networks.critics(critics.drawing(chosen, target_key), target_features_t, a_t)
    # Equation 3, with the least of the target critics, or what `critics` takes in its place.
    v_t = critics.target(q_t)
    v_t -= jnp.reshape(temperature * log_prob_t, (-1, *(1,) * (v_t.ndim - 1)))
    loss = critics.loss(q_tm1, r_t, discount_t, v_t)
    return loss, (jax.lax.stop_gradient(features_tm1), q_tm1)


def policy_loss(
    policy_params: Params,
    ensemble: Params,
    temperature: Array,
    features: Array,
    key: jax.Array,
    networks: ContinuousNetworks,
    critics: updates.Critics = LEAST,
) -> tuple[jax.Array, Array]:
    """Equation 9, by the reparameterised action.

    Args:
        features: of B observations [B, F].
        critics: says which value of the ensemble the policy climbs.
    Returns: (loss [], log-densities of the drawn actions [B]).
    """
    action, log_prob = networks.policy(policy_params, features).sample_and_log_prob(key)
    ensemble = critics.drawing(ensemble, jax.random.fold_in(key, 1))
    value = critics.value(networks.critics(ensemble, features, action))
    return jnp.mean(temperature * log_prob - value), log_prob


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
    state: Any,
    log_prob: Array,
    target_entropy: Array | float,
    optimizer: optax.GradientTransformation,
) -> Any:
    """The temperature's step, of any state with its fields."""
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


def of_box(critics: updates.Critics = LEAST) -> Kind:
    """The kind of continuous actions. Args: critics: what the losses take of the ensemble."""
    return Kind(
        transitions,
        functools.partial(critic_loss, critics=critics),
        functools.partial(policy_loss, critics=critics),
        target_entropy,
    )


def make_learner(networks: Any, config: SACConfig, kind: Kind | None = None) -> LearnerCore:
    """Builds the update of SAC.

    Args: kind: of the actions; None: continuous ones, with the least of the critics.
    """
    kind = kind or of_box()
    adam = optax.adam(config.learning_rate)
    if config.weight_decay is not None:
        adam = optax.adamw(config.learning_rate, weight_decay=config.weight_decay)
    optimizer = updates.make_optimizer(adam, config.max_gradient_norm)
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
        metrics = {'loss': critic_value, 'q': jnp.mean(q), 'temperature': temperature}

        def update_actor(state: TrainingState) -> tuple[TrainingState, Metrics]:
            state, (value, log_prob) = update_policy(
                state, ensemble, temperature, features, policy_key, networks, optimizer,
                kind.policy_loss,
            )  # fmt: skip
            if config.temperature is None:
                wanted: Array | float | None = config.target_entropy
                if wanted is None:
                    wanted = kind.target_entropy(networks, features, config)
                state = update_temperature(state, log_prob, wanted, temperature_optimizer)
            return state, {'policy_loss': value, 'entropy': -jnp.mean(log_prob)}

        if isinstance(config.policy_period, int) and config.policy_period == 1:
            state, of_actor = update_actor(state)
            metrics.update(of_actor)
        else:  # Chen et al. 2021, algorithm 1: the policy's step follows those of the critics.
            state = jax.lax.cond(
                (context.rule_steps + 1) % config.policy_period == 0,
                lambda state: update_actor(state)[0],
                lambda state: state,
                state,
            )
        state = updates.follow(state, config.target_rate, 'critic')
        return state, metrics, None

    return LearnerCore(init, update, variables=updates.acting_params)
