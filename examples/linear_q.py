"""Linear Q-learning: a whole agent in one file. `python examples/linear_q.py` trains it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import culmen
from culmen.components import losses
from culmen.components import policies
from culmen.components.replay import fold
from culmen.core import EnvironmentSpec
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Replay
from culmen.core import Window


@dataclass(frozen=True)
class LinearQ:
    """Action values that are linear in the products of all pairs of the observation's entries."""

    learning_rate: float = 0.5
    discount: float = 0.99  # a step, in [0, 1]
    epsilon: float = 0.1  # probability of a random action

    def build(self, spec: EnvironmentSpec) -> Parts:
        num_entries = int(np.prod(spec.observation.shape))

        def action_values(weights, observation):  # [B, ...] -> [B, num_actions]
            flat = jnp.reshape(observation, (len(observation), num_entries))
            pairs = flat[:, :, None] * flat[:, None, :]
            return jnp.reshape(pairs, (len(flat), -1)) @ weights

        def loss(weights, steps):
            o_tm1, a_tm1, r_t, discount_t, o_t = fold(steps, self.discount)
            q_tm1, q_t = action_values(weights, o_tm1), action_values(weights, o_t)
            errors = jax.vmap(losses.q_learning)(q_tm1, a_tm1, r_t, discount_t, q_t)
            return jnp.mean(losses.l2_loss(errors))

        def update(weights, sample, context):  # -> weights, metrics, priorities
            value, gradient = jax.value_and_grad(loss)(weights, sample.steps)
            return weights - self.learning_rate * gradient, {'loss': value}, None

        zeros = lambda key: jnp.zeros((num_entries**2, spec.action.num_values))
        return Parts(
            actor=policies.epsilon_greedy(action_values, self.epsilon),
            evaluator=policies.greedy(action_values),
            learner=LearnerCore(init=zeros, update=update, variables=lambda weights: weights),
            experience=Replay(Window(length=1), capacity=10_000, min_size=100, batch_size=32,
                              samples_per_insert=32.0),
        )  # fmt: skip


if __name__ == '__main__':
    print(culmen.run(culmen.Experiment(LinearQ(), 'bsuite/catch/0', max_actor_steps=5_000)))
