"""The losses and the update of behaviour cloning.

A step of a recording is an example: the observation is the input, the action is the label.
"""

import jax
import jax.numpy as jnp
import optax

from culmen.agents.bc.config import BCConfig
from culmen.components import updates
from culmen.components.networks import BoundedPolicy
from culmen.components.networks import Distribution
from culmen.components.networks import TanhGaussian
from culmen.components.networks import leaf_distributions
from culmen.components.updates import TrainingState
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Nest
from culmen.core.types import Params
from culmen.core.types import Sample

Value = tuple[jax.Array, Metrics]  # of a loss []


def negative_log_likelihood(policy: Distribution, drawn: Nest) -> Value:
    """Mean of -log pi(a | o) over draws, leaves [B, ...]: the cross-entropy of discrete actions."""
    right, scales = [], []
    for part, label in zip(leaf_distributions(policy), jax.tree_util.tree_leaves(drawn)):
        if isinstance(part, TanhGaussian):
            scales.append(jnp.exp(part.log_scale).ravel())
        else:
            right.append((part.mode() == label).ravel())
    metrics = {'accuracy': right, 'scale': scales}
    means = {name: jnp.mean(jnp.concatenate(each)) for name, each in metrics.items() if each}
    return -jnp.mean(policy.log_prob(drawn)), means


def squared_error(policy: Distribution, drawn: Nest) -> Value:
    """Mean of |mode - a|^2 over canonical actions, leaves float32[B, D]; scales are not learned."""
    errors = jax.tree_util.tree_map(
        lambda mode, label: jnp.sum(jnp.square(mode - label), axis=-1), policy.mode(), drawn
    )
    return jnp.mean(sum(jax.tree_util.tree_leaves(errors))), {}


def make_learner(policy: BoundedPolicy, config: BCConfig) -> LearnerCore:
    """Builds the update of behaviour cloning."""
    optimizer = updates.make_optimizer(optax.adam(config.learning_rate), config.max_gradient_norm)
    error = squared_error if config.loss == 'mse' else negative_log_likelihood

    def loss(params: Params, observation: Nest, action: Nest) -> Value:
        return error(policy.network.apply(params, observation), policy.to_draw(action))

    def update(
        state: TrainingState, sample: Sample, context: Context
    ) -> tuple[TrainingState, Metrics, None]:
        examples = (sample.steps.observation, sample.steps.action)
        observation, action = jax.tree_util.tree_map(lambda leaf: leaf[:, 0], examples)
        state, (value, metrics) = updates.train(
            state, loss, optimizer, observation, action, has_aux=True
        )
        return state, {'loss': value, **metrics}, None

    return LearnerCore(
        updates.begin(policy.network, optimizer), update, variables=lambda state: state.params
    )
