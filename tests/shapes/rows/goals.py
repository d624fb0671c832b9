"""An agent that learns from goals that it did not seek, by the reward function of its environment's goals."""

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
from culmen.core.goals import relabel
from tests.shapes.shape import Shape


@dataclass(frozen=True)
class Hindsight:
    """Q-learning, linear in the bits that differ from the goal; each transition has a goal of another."""

    discount: float = 0.9
    learning_rate: float = 0.3

    def build(self, spec: EnvironmentSpec) -> Parts:
        goals = spec.goals
        if goals is None:
            raise ValueError('Hindsight needs an environment with goals, got one without.')
        num_actions = spec.action.num_values

        def action_values(weights, observation):
            differ = jnp.abs(observation['achieved_goal'] - observation['desired_goal'])
            return jnp.concatenate([differ, jnp.ones_like(differ[:, :1])], axis=1) @ weights

        def update(weights, sample, context):
            o_tm1, a_tm1, _, discount_t, o_t = fold(sample.steps, 1.0)
            # Half the goals are those that the transition reached.
            achieved = o_t['achieved_goal']
            half = jnp.arange(len(a_tm1)) % 2 == 0
            goal = jnp.where(half[:, None], achieved, jnp.roll(achieved, 1, axis=0))
            o_tm1 = {**o_tm1, 'desired_goal': goal}
            o_t, r_t, discount_t = relabel(goals, o_t, discount_t, goal)

            def loss(weights):
                q_t = jnp.max(action_values(weights, o_t), axis=-1)
                target = r_t + self.discount * discount_t * jax.lax.stop_gradient(q_t)
                q_tm1 = action_values(weights, o_tm1)[jnp.arange(len(a_tm1)), a_tm1]
                return jnp.mean((target - q_tm1) ** 2)

            error, gradient = jax.value_and_grad(loss)(weights)
            return weights - self.learning_rate * gradient, {'loss': error}, None

        zeros = lambda key: jnp.zeros((num_actions + 1, num_actions))
        return Parts(
            actor=policies.epsilon_greedy(action_values, 0.5),
            evaluator=policies.greedy(action_values),
            learner=LearnerCore(zeros, update, lambda weights: weights),
            experience=Replay(
                Window(),
                capacity=800,
                min_size=50,
                batch_size=32,
                samples_per_insert=32.0,
            ),
        )


ROWS = [
    Shape(
        'goals',
        Hindsight(),
        culmen.environment('jax/bit_flip', bits=3),
        learns=-0.95,  # the best is -5/7
        steps=600,
        refused={'offline': 'experience must be of Datasets alone offline'},
    ),
    Shape(
        'goals-of-an-environment-without',
        Hindsight(),
        culmen.environment('jax/bit_flip', bits=3, clip_reward=0.5),
        learns=0.0,
        launchers=(),
        refused=dict.fromkeys(
            ('local', 'compiled', 'threads', 'offline'),
            'Hindsight needs an environment with goals',
        ),
    ),
]
