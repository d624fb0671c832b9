"""An agent that searches with the true model from the state that its observations hold."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import culmen
from culmen.components import policies
from culmen.components.replay import fold
from culmen.core import EnvironmentSpec
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Replay
from culmen.core import Window
from culmen.core import environment_state
from culmen.core import without_environment_state
from tests.shapes import worlds
from tests.shapes.shape import Shape

# Without actions, and without the environment's state.
SEEN = ('observation/observation', 'reward', 'discount')


@dataclass(frozen=True)
class Search:
    """All actions to a depth of two, then the value of the cell, which it learns from random moves."""

    depth: int = 2
    discount: float = 0.9
    learning_rate: float = 0.3

    def build(self, spec: EnvironmentSpec) -> Parts:
        model = spec.model
        if model is None or environment_state(spec.observation) is None:
            raise ValueError(
                'Search needs an environment written in JAX with observe_state=True, got one without.'
            )
        key = jax.random.key(0)  # the line draws nothing in mid-episode

        def value(weights, observation):
            return without_environment_state(observation) @ weights

        def look(weights, state, depth):
            """The value of each action in a state: [num_actions]."""
            values = []
            for action in range(spec.action.num_values):
                after, timestep = model.step(key, state, jnp.int32(action))
                rest = value(weights, timestep.observation)
                if depth > 1:
                    further = jnp.max(look(weights, after, depth - 1))
                    rest = jnp.where(timestep.last(), rest, further)
                values.append(timestep.reward + self.discount * timestep.discount * rest)
            return jnp.stack(values)

        def action_values(weights, observation):
            states = environment_state(observation)
            return jax.vmap(lambda state: look(weights, state, self.depth))(states)

        def update(weights, sample, context):
            o_tm1, _, r_t, discount_t, o_t = fold(sample.steps, self.discount)
            assert environment_state(o_t) is None
            before, after = (each['observation'] for each in (o_tm1, o_t))

            def loss(weights):
                target = r_t + discount_t * jax.lax.stop_gradient(after @ weights)
                return jnp.mean((target - before @ weights) ** 2)

            error, gradient = jax.value_and_grad(loss)(weights)
            return weights - self.learning_rate * gradient, {'loss': error}, None

        zeros = lambda key: jnp.zeros(worlds.NUM_CELLS)
        return Parts(
            actor=policies.epsilon_greedy(action_values, 0.8),
            evaluator=policies.greedy(action_values),
            learner=LearnerCore(zeros, update, lambda weights: weights),
            experience=Replay(  # the environment's state is for acting alone
                Window(fields=SEEN),
                capacity=400,
                min_size=20,
                batch_size=16,
                samples_per_insert=16.0,
            ),
        )


ROWS = [
    Shape(
        'search',
        Search(),
        culmen.environment('tests.shapes.worlds:line', observe_state=True),
        learns=0.9,
        steps=600,
        # Its policy finds the goal while it learns: actors stay close to the learner.
        program={'lead': 40.0, 'variables_every': 1},
        refused={'offline': 'experience must be of Datasets alone offline'},
    ),
    Shape(
        'search-without-a-model',
        Search(),
        culmen.environment('tests.shapes.worlds:line', observe_state=True, step_limit=8),
        learns=0.9,
        launchers=(),
        refused=dict.fromkeys(
            ('local', 'compiled', 'threads', 'offline'),
            'Search needs an environment written in JAX',
        ),
    ),
]
