"""The loss and the update of R2D2.

Kapturowski et al. 2019, section 2.3. Departures from it:
1. A sequence that begins an episode starts with the exact state, so it has no burn-in: otherwise
   the first steps of an episode would never be learned from.
2. Near the end of a sequence targets bootstrap from its last observation, after fewer than `n_step` rewards.
3. A truncated episode bootstraps from its own last observation.
4. The loss is a mean over the learned steps of a batch.
5. A new sequence's priority comes from the errors of the network that acted. The value of its last
   observation is not known when it is stored; the value of the observation before stands for it.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from culmen.agents.r2d2.config import R2D2Config
from culmen.components import losses
from culmen.components import updates
from culmen.components.networks import RecurrentInputs
from culmen.components.networks import RecurrentNetwork
from culmen.components.policies import entering_state
from culmen.components.policies import mask_illegal
from culmen.components.replay.stream.importance import importance_weights
from culmen.components.updates import TargetTrainingState as TrainingState
from culmen.core.types import FIRST
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Params
from culmen.core.types import Sample
from culmen.core.types import Steps


def unroll(
    params: Params, steps: Steps, network: RecurrentNetwork, burn_in_length: int
) -> jax.Array:
    """Action values of sequences, from the states stored with them (section 3.1).

    Burn-in brings the state up to date with the parameters; no gradient reaches it.

    Args:
        params: of the network.
        steps: B sequences of T transitions.
    Returns: float32[B, T + 1, num_actions].
    """
    actions = jnp.concatenate([steps.extras['previous_action'], steps.action], axis=1)
    inputs = RecurrentInputs(steps.step_type, steps.observation, actions, steps.reward)
    state = entering_state(steps)
    if not burn_in_length:
        return network.unroll(params, inputs, state)[0]

    burn_in = jax.tree_util.tree_map(lambda leaf: leaf[:, :burn_in_length], inputs)
    rest = jax.tree_util.tree_map(lambda leaf: leaf[:, burn_in_length:], inputs)
    q_of_burn_in, state = network.unroll(params, burn_in, state)
    begins_episode = steps.step_type[:, :1] == FIRST
    state = jax.tree_util.tree_map(
        lambda leaf: jnp.where(begins_episode, leaf, jax.lax.stop_gradient(leaf)), state
    )
    q_of_rest, _ = network.unroll(params, rest, state)
    return jnp.concatenate([q_of_burn_in, q_of_rest], axis=1)


def learned_steps(steps: Steps, burn_in_length: int) -> jax.Array:
    """Which transitions are learned from: bool[B, T]; neither padding nor burn-in."""
    mask = jnp.asarray(steps.mask)
    begins_episode = steps.step_type[:, :1] == FIRST
    return mask & (begins_episode | (jnp.arange(mask.shape[1])[None] >= burn_in_length))


def mixed_priorities(errors: Array, learned: Array, eta: Array | float) -> Array:
    """eta max |error| + (1 - eta) mean |error| over the learned steps: float32[B]; 0 where there are none."""
    absolute = jnp.where(learned, jnp.abs(errors), 0.0)
    mean = jnp.sum(absolute, axis=1) / jnp.maximum(jnp.sum(learned, axis=1), 1)
    return eta * jnp.max(absolute, axis=1) + (1 - eta) * mean


def loss(
    params: Params,
    target_params: Params,
    sample: Sample,
    network: RecurrentNetwork,
    config: R2D2Config,
) -> tuple[jax.Array, tuple[Metrics, Array]]:
    """The loss of a batch of sequences.

    Args:
        params, target_params: of the online and of the target network.
        sample: B windows of `burn_in_length + sequence_length` transitions.
    Returns: (loss [], (metrics, priorities float32[B])).
    """
    steps = sample.steps
    q = unroll(params, steps, network, config.burn_in_length)
    target_q = unroll(target_params, steps, network, config.burn_in_length)
    # Double Q-learning: the online network selects, the target network values.
    best = jnp.argmax(mask_illegal(q, steps.observation), axis=-1)
    v_t = losses.batched_index(target_q[:, 1:], best[:, 1:])
    # Equation 1; h is the identity without `rescale`.
    targets = updates.n_step_targets(v_t, steps, config.discount, config.n_step, config.rescale)
    errors = targets - losses.batched_index(q[:, :-1], steps.action)

    learned = learned_steps(steps, config.burn_in_length)
    # Schaul et al. 2016, section 3.4: all 1 where replay is uniform.
    weights = importance_weights(sample.probability, sample.size, config.importance_exponent)
    mean_loss = updates.masked_mean(weights[:, None] * losses.l2_loss(errors), learned)
    values = losses.signed_parabolic(q) if config.rescale else q
    metrics = {
        'loss': mean_loss,
        'q': updates.masked_mean(jnp.mean(values[:, :-1], axis=-1), learned),
        'absolute_error': updates.masked_mean(jnp.abs(errors), learned),
    }
    return mean_loss, (metrics, mixed_priorities(errors, learned, config.priority_eta))


@dataclass(frozen=True)
class InitialPriority:
    """Priorities of new sequences, from the action values at acting time (Horgan et al. 2018, section 3)."""

    config: R2D2Config

    def __call__(self, steps: Steps) -> Array:
        """Sequences [N] -> float32[N]."""
        config, seen = self.config, steps._replace(observation=(), action=())
        static = config.n_step, config.rescale, config.burn_in_length
        return _initial_priorities(seen, config.discount, config.priority_eta, *static)


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _initial_priorities(
    steps: Steps, discount: Array, eta: Array, n_step: int, rescale: bool, burn_in_length: int
) -> Array:
    errors = updates.errors_that_acted(steps, discount, n_step, rescale)
    return mixed_priorities(errors, learned_steps(steps, burn_in_length), eta)


def make_learner(network: RecurrentNetwork, config: R2D2Config) -> LearnerCore:
    """Builds the update of R2D2."""
    rule = optax.adam(config.learning_rate, eps=config.optimizer_epsilon)
    optimizer = updates.make_optimizer(rule, config.max_gradient_norm)

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, Array | None]:
        state, (_, (metrics, priorities)) = updates.train(
            state, loss, optimizer, state.target_params, sample, network, config, has_aux=True
        )
        state = updates.copy_every(state, context.rule_steps + 1, config.target_update_period)
        return state, metrics, priorities if config.priority_exponent else None

    return LearnerCore(
        updates.begin_with_target(network, optimizer), update, variables=lambda state: state.params
    )
