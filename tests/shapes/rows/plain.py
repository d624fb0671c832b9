"""An agent with nothing special: a table of action values, and one Replay. It shows what a row is."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from culmen.components import losses
from culmen.components import policies
from culmen.components.replay import fold
from culmen.core import EnvironmentSpec
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Replay
from culmen.core import Window
from tests.shapes import worlds
from tests.shapes.shape import Shape


@dataclass(frozen=True)
class Plain:
    """Q-learning with action values that are linear in the observation."""

    learning_rate: float = 1.0

    def build(self, spec: EnvironmentSpec) -> Parts:
        def action_values(weights, observation):
            return observation @ weights

        def loss(weights, steps):
            o_tm1, a_tm1, r_t, discount_t, o_t = fold(steps, 0.0)
            q_tm1, q_t = action_values(weights, o_tm1), action_values(weights, o_t)
            errors = jax.vmap(losses.q_learning)(q_tm1, a_tm1, r_t, discount_t, q_t)
            return jnp.mean(losses.l2_loss(errors))

        def update(weights, sample, context):
            value, gradient = jax.value_and_grad(loss)(weights, sample.steps)
            return weights - self.learning_rate * gradient, {'loss': value}, None

        shape = spec.observation.shape[0], spec.action.num_values
        return Parts(
            actor=policies.epsilon_greedy(action_values, 0.3),
            evaluator=policies.greedy(action_values),
            learner=LearnerCore(lambda key: jnp.zeros(shape), update, lambda weights: weights),
            experience=Replay(
                Window(), capacity=200, min_size=20, batch_size=8, samples_per_insert=8.0
            ),
        )


def check(result, launcher):
    """An update an item: of 400 steps those after the first 20."""
    assert result.summary['learner_steps'] == result.summary['actor_steps'] - 20


ROWS = [
    Shape(
        'plain', Plain(), worlds.signs, learns=3.5, check=check,
        refused={'offline': 'experience must be of Datasets alone offline'},
    ),
]  # fmt: skip
