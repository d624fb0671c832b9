"""The losses and the update of behaviour cloning.

A step of a recording is an example: the observation is the input, the action is the label.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from culmen.agents.bc.config import BCConfig
from culmen.components import losses
from culmen.components.networks import Network
from culmen.components.networks.tanh_gaussian import TanhGaussian
from culmen.components.policies import mask_illegal
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Sample

Value = tuple[jax.Array, Metrics]  # of a loss []
Loss = Callable[..., Value]  # of (outputs of the network, observation, action), each [B, ...]


class TrainingState(NamedTuple):
    """What an update reads and writes."""

    params: Params
    optimizer_state: optax.OptState


def cross_entropy(logits: jax.Array, observation: Nest, action: jax.Array) -> Value:
    """Mean of -log pi(a | o) over discrete actions.

    Args:
        logits: float32[B, num_actions].
        observation: [B, ...], whose `legal_actions` mask the logits.
        action: int32[B].
    """
    logits = mask_illegal(logits, observation)
    accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == action)
    return -jnp.mean(losses.softmax().logprob(action, logits)), {'accuracy': accuracy}


def negative_log_likelihood(policy: TanhGaussian, action: jax.Array) -> Value:
    """Mean of -log pi(a | o) over canonical actions float32[B, D]."""
    return -jnp.mean(policy.log_prob(action)), {'scale': jnp.mean(jnp.exp(policy.log_scale))}


def squared_error(policy: TanhGaussian, action: jax.Array) -> Value:
    """Mean of |mode - a|^2 over canonical actions float32[B, D]; scales are not learned."""
    return jnp.mean(jnp.sum(jnp.square(policy.mode() - action), axis=-1)), {}


def make_learner(network: Network, loss: Loss, config: BCConfig) -> LearnerCore:
    """Builds the update of behaviour cloning."""
    optimizer = optax.adam(config.learning_rate)
    if config.max_gradient_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), optimizer)
    optimizer = optax.flatten(optimizer)  # one vector: fewer, larger kernels

    def init(key: jax.Array) -> TrainingState:
        params = network.init(key)
        return TrainingState(params, optimizer.init(params))

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        examples = (sample.steps.observation, sample.steps.action)
        observation, action = jax.tree_util.tree_map(lambda leaf: leaf[:, 0], examples)

        def objective(params: Params) -> Value:
            return loss(network.apply(params, observation), observation, action)

        (value, metrics), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, optimizer_state = optimizer.update(grads, state.optimizer_state)
        params = optax.apply_updates(state.params, updates)
        return TrainingState(params, optimizer_state), {'loss': value, **metrics}, None

    return LearnerCore(init, update, variables=lambda state: state.params)
