"""Evolution strategies: each episode is of a perturbed policy, and an update takes a population of them."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.core import ActorCore
from culmen.core import EnvironmentSpec
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Queue
from culmen.core import Window
from culmen.core import where_first
from tests.shapes import worlds
from tests.shapes.shape import Shape


class Evolving(NamedTuple):
    """The mean of the population, and what the updates so far saw."""

    mean: jax.Array  # float32[signs, actions]
    most_stale: jax.Array  # int32[]: the largest number of updates behind an episode of a batch


@dataclass(frozen=True)
class Evolved:
    """An update moves the mean by the returns of a batch of episodes that all began with it."""

    population: int = 6  # episodes of an update
    scale: float = 1.0  # of the perturbations
    learning_rate: float = 1.0

    def build(self, spec: EnvironmentSpec) -> Parts:
        shape = spec.observation.shape[0], spec.action.num_values

        def init(key, lanes):
            nothing = jnp.zeros((len(lanes.index), *shape))
            return {'lane': lanes.index, 'weights': nothing, 'noise': nothing}

        def act(mean, timestep, state, context):
            keys = jax.vmap(lambda lane: jax.random.fold_in(context.key, lane))(state['lane'])
            noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
            begun = {**state, 'weights': mean[None] + self.scale * noise, 'noise': noise}
            state = where_first(timestep, begun, state)
            values = jnp.einsum('bs,bsa->ba', timestep.observation, state['weights'])
            action = jnp.argmax(values, axis=-1).astype(spec.action.dtype)
            return action, state, {'noise': state['noise']}

        def evaluate(mean, timestep, state, context):
            action = jnp.argmax(timestep.observation @ mean, axis=-1)
            return action.astype(spec.action.dtype), state, ()

        def update(state, sample, context):
            steps = sample.steps
            means = jnp.sum(steps.reward[:, 1:] * steps.mask, axis=1) / jnp.sum(steps.mask, axis=1)
            fitness = (means - jnp.mean(means)) / (jnp.std(means) + 1e-6)
            noise = steps.extras['noise'][:, 0]
            mean = state.mean + self.learning_rate * jnp.mean(
                fitness[:, None, None] * noise, axis=0
            )
            stale = jnp.max(context.learner_steps - sample.version)
            stale = jnp.maximum(state.most_stale, stale)
            metrics = {'loss': -jnp.mean(means), 'most_stale': stale}
            return Evolving(mean, stale), metrics, None

        nothing = Evolving(jnp.zeros(shape), jnp.int32(0))
        return Parts(
            actor=ActorCore(init, act),
            evaluator=ActorCore(lambda key, lanes: jnp.zeros(len(lanes.index)), evaluate),
            learner=LearnerCore(lambda key: nothing, update, lambda state: state.mean),
            experience=Queue(
                Window(worlds.LONGEST, worlds.LONGEST, first=('extras/noise',)),
                self.population,
                max_staleness=0,
            ),
        )


def check(result, launcher):
    """All episodes of a batch began with the parameters that it moves, though their lengths differ."""
    assert result.logs['learner'].iloc[-1]['most_stale'] == 0
    assert result.summary['learner_steps'] >= 12


ROWS = [
    Shape(
        'evolution-strategies', Evolved(), worlds.uneven_signs, learns=3.0, steps=600,
        num_environments=4, check=check,
    )
]  # fmt: skip
