"""The loss and the update of PPO.

Schulman et al. 2017, section 5 and algorithm 1. Departures from it:
1. Gradients are clipped by their global norm, advantages normalised in each minibatch.
2. A truncated episode bootstraps from the value of its own last observation.
3. Values and advantages are computed once for each batch, with the parameters that acted.
4. With a core, minibatches consist of whole windows. Each starts from the state that entered it at acting
   time, in later epochs too.
"""

import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from culmen.agents.ppo.config import PPOConfig
from culmen.components import losses
from culmen.components import policies
from culmen.components import updates
from culmen.components.networks import ActorCriticNetwork
from culmen.components.updates import TrainingState
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Sample
from culmen.core.types import State


class Batch(NamedTuple):
    """N pieces of the stream of T steps, with values and log-probabilities of the parameters that acted."""

    observation: Nest  # [N, T, ...], as the network takes it
    step_type: Array  # int32[N, T]
    core_state: State  # [N, ...]: that entered the first step
    drawn: Array  # [N, T, ...]: the actions
    log_prob: Array  # float32[N, T]: of the actions
    value: Array  # float32[N, T]
    advantage: Array  # float32[N, T]
    mask: Array  # bool[N, T]: a real step


def evaluate(
    params: Params, sample: Sample, network: ActorCriticNetwork, config: PPOConfig
) -> Batch:
    """Values and generalised advantages of a sample, by the parameters that acted."""
    steps = sample.steps
    value = policies.unrolled(network, params, sample).value
    # Equations 11 and 12. A step is cut where the next begins an episode.
    advantage = updates.generalised_advantages(steps, value, config.discount, config.lambda_)
    inputs = policies.network_inputs(network, sample)
    batch = Batch(
        jax.tree_util.tree_map(lambda leaf: leaf[:, :-1], inputs),
        steps.step_type[:, :-1],
        policies.entering_state(steps),
        policies.drawn_actions(steps),
        steps.extras['log_prob'],
        value[:, :-1],
        advantage,
        jnp.asarray(steps.mask),
    )
    if config.core == 'none':  # Each step is a piece of length 1.
        return jax.tree_util.tree_map(lambda leaf: leaf.reshape((-1, 1, *leaf.shape[2:])), batch)
    return batch


def loss(
    params: Params, batch: Batch, network: ActorCriticNetwork, config: PPOConfig
) -> tuple[jax.Array, Metrics]:
    """The loss of a minibatch. Returns: (loss [], metrics)."""
    output = network.unroll(params, batch.observation, batch.step_type, batch.core_state)
    mean = functools.partial(updates.masked_mean, mask=batch.mask)  # over real steps

    log_ratio = output.policy.log_prob(batch.drawn) - batch.log_prob
    log_ratio = jnp.where(batch.mask, log_ratio, 0)
    ratio = jnp.exp(log_ratio)
    advantage, mask = jnp.asarray(batch.advantage), jnp.asarray(batch.mask)
    if config.normalise_advantages:
        advantage = updates.masked_standardised(advantage, mask)
    # Equation 7.
    policy_loss = losses.clipped_surrogate_pg_loss(
        ratio.ravel(),
        advantage.ravel(),
        config.clip_epsilon,
        mask=mask.ravel(),
        normalise_by_weights=True,
    )

    target = batch.value + batch.advantage
    value_losses = losses.l2_loss(output.value - target)
    if config.value_clip_epsilon is not None:
        change = output.value - batch.value
        clipped = batch.value + jnp.clip(
            change, -config.value_clip_epsilon, config.value_clip_epsilon
        )
        value_losses = jnp.maximum(value_losses, losses.l2_loss(clipped - target))
    value_loss = mean(value_losses)
    entropy = mean(output.policy.entropy())
    # Equation 9.
    total = policy_loss + config.value_cost * value_loss - config.entropy_cost * entropy
    metrics = {
        'loss': total,
        'policy_loss': policy_loss,
        'value_loss': value_loss,
        'entropy': entropy,
        'kl': mean(ratio - 1 - log_ratio),  # of the new policy from the old one, never below 0
        'clip_fraction': mean((jnp.abs(ratio - 1) > config.clip_epsilon).astype(jnp.float32)),
        'log_ratio': jnp.max(jnp.abs(log_ratio)),
    }
    return total, metrics


def make_learner(network: ActorCriticNetwork, config: PPOConfig) -> LearnerCore:
    """Builds the update of PPO."""
    rule = optax.scale_by_adam(eps=config.optimizer_epsilon)
    optimizer = updates.make_optimizer(rule, config.max_gradient_norm)
    learning_rate = updates.learning_rate_schedule(
        config.learning_rate, config.learning_rate_decay_steps
    )

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        # Algorithm 1: the advantages of the actions taken.
        batch = evaluate(state.params, sample, network, config)
        rate = learning_rate(context)

        def descend(carry: Any, minibatch: Batch) -> tuple[Any, Metrics]:
            state, stopped = carry
            new, (_, metrics) = updates.train(
                state, loss, optimizer, minibatch, network, config,
                has_aux=True, learning_rate=rate,
            )  # fmt: skip
            if config.target_kl is not None:
                stopped |= metrics['kl'] > config.target_kl
                new = jax.tree_util.tree_map(lambda a, b: jnp.where(stopped, a, b), state, new)
            return (new, stopped), {**metrics, 'descents': ~stopped}

        # K epochs of minibatches; each epoch has its own order.
        (state, _), each = updates.epochs_of_minibatches(
            descend, (state, jnp.bool_(False)), batch, context.key,
            config.num_epochs, config.num_minibatches,
            rows='steps' if config.core == 'none' else 'windows',
        )  # fmt: skip
        return state, summary(each), None

    return LearnerCore(
        updates.begin(network, optimizer), update, variables=lambda state: state.params
    )


def summary(each: Metrics) -> Metrics:
    """The metrics of an update: means over the minibatches before the stop by `target_kl`."""
    descents = jnp.sum(each['descents'])
    # If none descended, the metrics of the first show why.
    seen = jnp.arange(len(each['descents'])) < jnp.maximum(descents, 1)
    num = jnp.sum(seen).astype(jnp.float32)
    metrics = {name: jnp.sum(jnp.where(seen, x, 0)) / num for name, x in each.items()}
    first = each['log_ratio'][0]  # before any descent, so it shows rounding only
    return {**metrics, 'log_ratio': first, 'descents': descents}
