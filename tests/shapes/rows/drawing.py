"""A network that draws: Q-learning that explores by the noise of its last layer, and is evaluated without."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from culmen.components import losses
from culmen.components import policies
from culmen.components.networks import Keyed
from culmen.components.networks import NoisyLinear
from culmen.components.networks import make_network
from culmen.components.replay import fold
from culmen.core import EnvironmentSpec
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Replay
from culmen.core import Window
from tests.shapes import worlds
from tests.shapes.shape import Shape


@dataclass(frozen=True)
class Drawing:
    """One noisy layer; in the loss it draws once for a batch."""

    learning_rate: float = 0.5

    def build(self, spec: EnvironmentSpec) -> Parts:
        layer = lambda observation: NoisyLinear(spec.action.num_values, sigma_0=1.0)(observation)
        network = make_network(layer, spec)

        def loss(params, steps, key):
            o_tm1, a_tm1, r_t, discount_t, o_t = fold(steps, 0.0)
            q_tm1 = network.apply(Keyed(params, key), o_tm1)
            q_t = jnp.zeros_like(q_tm1)
            errors = jax.vmap(losses.q_learning)(q_tm1, a_tm1, r_t, discount_t, q_t)
            return jnp.mean(losses.l2_loss(errors))

        def update(params, sample, context):
            value, gradient = jax.value_and_grad(loss)(params, sample.steps, context.key)
            step = lambda p, g: p - self.learning_rate * g
            return jax.tree_util.tree_map(step, params, gradient), {'loss': value}, None

        return Parts(
            actor=policies.keyed(policies.greedy(network.apply)),
            evaluator=policies.greedy(network.apply),
            learner=LearnerCore(network.init, update, lambda params: params),
            experience=Replay(
                Window(), capacity=200, min_size=20, batch_size=8, samples_per_insert=8.0
            ),
        )


ROWS = [
    Shape(
        'drawing', Drawing(), worlds.signs, learns=3.5,
        refused={'offline': 'experience must be of Datasets alone offline'},
    ),
]  # fmt: skip
