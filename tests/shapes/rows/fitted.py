"""A model of the rewards that is fitted anew after each episode, and acts in the next one."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.core import ActorCore
from culmen.core import EnvironmentSpec
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Replay
from tests.shapes import worlds
from tests.shapes.shape import Shape

NUM_FITS = 30  # gradient steps of an update


class Fit(NamedTuple):
    """The model, and what the updates so far saw."""

    rewards: jax.Array  # float32[signs, actions]
    updates: jax.Array  # int32[]
    most_stale: (
        jax.Array
    )  # int32[]: updates before an update that the newest episode's first action lacked


@dataclass(frozen=True)
class FittedModel:
    """Fits the reward of each sign and action by gradient descent, and takes the largest.

    The model begins with 1 everywhere, so that each action is tried.
    """

    def build(self, spec: EnvironmentSpec) -> Parts:
        num_actions = spec.action.num_values

        def act(params, timestep, state, context):
            rewards, version = params
            action = jnp.argmax(timestep.observation @ rewards, axis=-1)
            return action.astype(spec.action.dtype), state, jnp.full(action.shape, version)

        def error(rewards, steps):
            signs = steps.observation[:, :-1]
            values = jnp.einsum('bts,sa->bta', signs, rewards)
            value = jnp.take_along_axis(values, steps.action[..., None], -1)[..., 0]
            squares = jnp.where(steps.mask, (steps.reward[:, 1:] - value) ** 2, 0.0)
            return jnp.sum(squares) / jnp.sum(steps.mask)

        def update(state, sample, context):
            def fit(rewards, _):
                loss, gradient = jax.value_and_grad(error)(rewards, sample.steps)
                return rewards - 2.0 * gradient, loss

            rewards, losses = jax.lax.scan(fit, state.rewards, None, NUM_FITS)
            version = sample.steps.extras[sample.size - 1, 0]
            stale = jnp.maximum(state.most_stale, context.learner_steps - version)
            metrics = {'loss': losses[-1], 'most_stale': stale, 'episodes': sample.size}
            return Fit(rewards, state.updates + 1, stale), metrics, None

        def init(key):
            rewards = jnp.ones((worlds.NUM_SIGNS, num_actions))
            return Fit(rewards, jnp.int32(0), jnp.int32(0))

        actor = ActorCore(lambda key, lanes: jnp.zeros(len(lanes.index)), act)
        return Parts(
            actor=actor,
            evaluator=actor,
            learner=LearnerCore(init, update, lambda state: (state.rewards, state.updates)),
            experience=Replay.once_an_episode(worlds.LENGTH, capacity=60),
        )


def check(result, launcher):
    """Both lanes end in one tick, which makes one update; it acts in the first step of the next episodes."""
    row = result.logs['learner'].iloc[-1]
    assert row['most_stale'] == 0
    assert row['episodes'] == 2 * row['learner_steps']


ROWS = [
    Shape(
        'fitted-once-an-episode', FittedModel(), worlds.signs, learns=4.0, steps=202,
        num_actors=1, changes={'lag': 1}, check=check,
    )
]  # fmt: skip
