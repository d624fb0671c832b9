"""The update of agents of action values around a loss of their own."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax

from culmen.components import updates
from culmen.components.counts.schedules import linear_schedule
from culmen.components.networks import Network
from culmen.components.networks import with_keys
from culmen.components.replay.stream.importance import importance_weights
from culmen.components.replay.stream.windows import Transitions
from culmen.components.replay.stream.windows import fold
from culmen.components.updates import TargetTrainingState
from culmen.components.values.settings import ValueSettings
from culmen.core.types import Array
from culmen.core.types import Context
from culmen.core.types import LearnerCore
from culmen.core.types import Metrics
from culmen.core.types import Params
from culmen.core.types import Sample

# (params, target params, sample, context) -> (a loss [], (metrics, priorities float32[B]))
Loss: TypeAlias = Callable[
    [Params, Params, Sample, Context], tuple[jax.Array, tuple[Metrics, Array]]
]


def transitions(sample: Sample, context: Context, settings: ValueSettings) -> Transitions:
    """The windows of a sample with clipped rewards, folded: R + D v(o_t) is their n-step target.

    Images are shifted at random where the settings say so, independently before and after: DrQ with one
    shift of each, Yarats et al. 2021 (2004.13649).
    """
    steps, clip = sample.steps, settings.reward_clip
    if clip is not None:
        steps = steps._replace(reward=jnp.clip(steps.reward, -clip, clip))
    folded = fold(steps, settings.discount)
    if not settings.augmentation_pad:
        return folded
    keys = list(jax.random.split(jax.random.fold_in(context.key, 2)))
    return updates.shift_images(folded, keys, settings.augmentation_pad)


def with_noise(context: Context, settings: ValueSettings, *params: Params) -> list[Params]:
    """Parameters for several calls of networks in one update, each with noise of its own, if any."""
    if settings.noise == 'none':
        return list(params)
    return with_keys(jax.random.fold_in(context.key, 1), *params)


def mean_loss(
    losses: Array, sample: Sample, context: Context, settings: ValueSettings
) -> jax.Array:
    """The mean loss of a batch, corrected for prioritised draws.

    Args: losses: float32[B], of each window.
    Returns: float32[].
    Reference: Schaul et al. 2016 (1511.05952), section 3.4.
    """
    if settings.priority_exponent:
        exponent = linear_schedule(
            settings.importance_exponent, 1.0, settings.importance_anneal_steps
        )(context)
        losses *= importance_weights(sample.probability, sample.size, exponent)
    return jnp.mean(losses)


def make_learner(network: Network, loss: Loss, settings: ValueSettings) -> LearnerCore:
    """Builds an update: a gradient step on the loss, and a copy to the target network every so many."""
    if settings.optimizer == 'adam':
        rule = optax.adam(settings.learning_rate, eps=settings.optimizer_epsilon)
    else:
        rule = optax.rmsprop(
            settings.learning_rate, decay=0.95, eps=settings.optimizer_epsilon, centered=True
        )
    optimizer = updates.make_optimizer(rule, settings.max_gradient_norm)

    def update(
        state: TargetTrainingState, sample: Sample, context: Context
    ) -> tuple[TargetTrainingState, Metrics, Array | None]:
        state, (_, (metrics, priorities)) = updates.train(
            state, loss, optimizer, state.target_params, sample, context, has_aux=True
        )
        state = updates.copy_every(state, context.rule_steps + 1, settings.target_update_period)
        return state, metrics, priorities if settings.priority_exponent else None

    return LearnerCore(
        updates.begin_with_target(network, optimizer), update, variables=lambda state: state.params
    )
