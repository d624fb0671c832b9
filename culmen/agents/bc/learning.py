"""The losses and the update of behaviour cloning.

A step of a recording is an example: the observation is the input, the action is the label.
"""

import jax
import jax.numpy as jnp
import optax

from culmen.agents.bc.config import BCConfig
from culmen.components import losses
from culmen.components import updates
from culmen.components.networks import ActionBox
from culmen.components.networks import Network
from culmen.components.networks import TanhGaussian
from culmen.components.policies import mask_illegal
from culmen.components.updates import TrainingState
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Sample

Value = tuple[jax.Array, Metrics]  # of a loss []


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


def make_learner(network: Network, config: BCConfig, box: ActionBox | None = None) -> LearnerCore:
    """Builds the update of behaviour cloning.

    Args:
        network: gives logits of discrete actions, or a TanhGaussian over canonical ones.
        config: the settings.
        box: of continuous actions; None: actions are discrete.
    """
    optimizer = updates.make_optimizer(optax.adam(config.learning_rate), config.max_gradient_norm)

    def loss(params: Params, observation: Nest, action: jax.Array) -> Value:
        outputs = network.apply(params, observation)
        if box is None:
            return cross_entropy(outputs, observation, action)
        error = squared_error if config.loss == 'mse' else negative_log_likelihood
        return error(outputs, box.to_canonical(action))

    def init(key: jax.Array) -> TrainingState:
        params = network.init(key)
        return TrainingState(params, optimizer.init(params))

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        examples = (sample.steps.observation, sample.steps.action)
        observation, action = jax.tree_util.tree_map(lambda leaf: leaf[:, 0], examples)
        params, optimizer_state, (value, metrics) = updates.gradient_step(
            loss, optimizer, state.params, state.optimizer_state, observation, action, has_aux=True
        )
        return TrainingState(params, optimizer_state), {'loss': value, **metrics}, None

    return LearnerCore(init, update, variables=lambda state: state.params)
