"""The loss and the update of PQN.

Gallici et al. 2024, algorithm 1. Departures from it:
1. A truncated episode bootstraps from the value of its own last observation.
2. Targets are computed once for each batch, with the parameters that acted.
3. With a core, minibatches consist of whole windows. Each starts from the state that entered it at acting
   time, in later epochs too.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from culmen.agents.pqn.config import PQNConfig
from culmen.components import losses
from culmen.components import policies
from culmen.components import updates
from culmen.components.networks import NO_ACTION
from culmen.components.networks import RecurrentInputs
from culmen.components.networks import RecurrentNetwork
from culmen.components.updates import TrainingState
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Params
from culmen.core.types import Sample
from culmen.core.types import State


class Batch(NamedTuple):
    """N pieces of the stream of T steps, with the targets of the parameters that acted."""

    inputs: RecurrentInputs  # leaves [N, T, ...]
    core_state: State  # [N, ...]: that entered the first step
    action: Array  # int32[N, T]
    target: Array  # float32[N, T]
    mask: Array  # bool[N, T]: a real step


def evaluate(params: Params, sample: Sample, network: RecurrentNetwork, config: PQNConfig) -> Batch:
    """The lambda-returns of a sample, by the parameters that acted."""
    steps = sample.steps._replace(reward=config.reward_scale * sample.steps.reward)
    core_state, before = (), jnp.full_like(steps.action[:, :1], NO_ACTION)
    if config.core != 'none':
        core_state, before = policies.entering_state(steps), steps.extras['previous_action']
    actions = jnp.concatenate([before, steps.action], axis=1)
    inputs = RecurrentInputs(steps.step_type, steps.observation, actions, sample.steps.reward)
    q = network.unroll(params, inputs, core_state)[0]
    best = jnp.max(policies.mask_illegal(q, steps.observation), axis=-1)
    # Equation 4: from each step's end backwards, without gradient.
    target = updates.lambda_returns(steps, best, config.discount, config.lambda_)
    of_steps = jax.tree_util.tree_map(lambda leaf: leaf[:, :-1], inputs)
    batch = Batch(of_steps, core_state, steps.action, target, jnp.asarray(steps.mask))
    if config.core == 'none':  # Each step is a piece of length 1.
        return jax.tree_util.tree_map(lambda leaf: leaf.reshape((-1, 1, *leaf.shape[2:])), batch)
    return batch


def loss(params: Params, batch: Batch, network: RecurrentNetwork) -> tuple[jax.Array, Metrics]:
    """The loss of a minibatch. Returns: (loss [], metrics)."""
    q = network.unroll(params, batch.inputs, batch.core_state)[0]
    errors = jnp.asarray(batch.target) - losses.batched_index(q, jnp.asarray(batch.action))
    mean_loss = updates.masked_mean(losses.l2_loss(errors), batch.mask)
    metrics = {
        'loss': mean_loss,
        'q': updates.masked_mean(jnp.mean(q, axis=-1), batch.mask),
        'absolute_error': updates.masked_mean(jnp.abs(errors), batch.mask),
    }
    return mean_loss, metrics


def make_learner(network: RecurrentNetwork, config: PQNConfig) -> LearnerCore:
    """Builds the update of PQN."""
    rule = optax.scale_by_radam(eps=config.optimizer_epsilon)
    optimizer = updates.make_optimizer(rule, config.max_gradient_norm)
    learning_rate = updates.learning_rate_schedule(
        config.learning_rate, config.learning_rate_decay_steps
    )

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        batch = evaluate(state.params, sample, network, config)
        rate = learning_rate(context)

        def descend(state: TrainingState, minibatch: Batch) -> tuple[TrainingState, Metrics]:
            state, (_, metrics) = updates.train(
                state, loss, optimizer, minibatch, network, has_aux=True, learning_rate=rate
            )
            return state, metrics

        state, each = updates.epochs_of_minibatches(
            descend, state, batch, context.key, config.num_epochs, config.num_minibatches,
            rows='steps' if config.core == 'none' else 'windows',
        )  # fmt: skip
        return state, jax.tree_util.tree_map(jnp.mean, each), None

    return LearnerCore(
        updates.begin(network, optimizer), update, variables=lambda state: state.params
    )
