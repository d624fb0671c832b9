"""Options whose length varies: each goes on in one direction to the next door, and the agent learns which.

A window is one option (Sutton, Precup and Singh 1999, section 3: its rewards, its length's discount, and the
value of the cell in which the next option begins).
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from culmen.components import losses
from culmen.components.replay import fold
from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import ActorCore
from culmen.core import EnvironmentSpec
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Replay
from culmen.core import Window
from tests.shapes import worlds
from tests.shapes.shape import Shape

DOORS = (0, 2)  # cells in which an option ends and the next one begins
LONGEST = 3  # steps of an option: from the second door to the right end


class Learned(NamedTuple):
    """The values of options, and the lengths of those that were drawn."""

    values: jax.Array  # float32[cells, options]
    shortest: jax.Array  # int32[]
    longest: jax.Array  # int32[]


@dataclass(frozen=True)
class Options:
    """Q-learning over options, with a table of their values; option i takes action i until it ends."""

    learning_rate: float = 0.1
    discount: float = 0.9  # a step
    epsilon: float = 0.5

    def build(self, spec: EnvironmentSpec) -> Parts:
        num_cells, num_options = spec.observation.shape[0], spec.action.num_values

        def init(key, lanes):
            return {'lane': lanes.index, 'option': jnp.zeros(len(lanes.index), jnp.int32)}

        def acting(epsilon):
            def act(values, timestep, state, context):
                cell = jnp.argmax(timestep.observation, axis=-1)
                begins = timestep.step_type == FIRST
                for door in DOORS:
                    begins |= cell == door
                keys = jax.vmap(lambda lane: jax.random.fold_in(context.key, lane))(state['lane'])
                random = jax.vmap(lambda key: jax.random.randint(key, (), 0, num_options))(keys)
                explores = jax.vmap(lambda key: jax.random.bernoulli(key, epsilon))(keys)
                chosen = jnp.where(explores, random, jnp.argmax(values[cell], axis=-1))
                option = jnp.where(begins, chosen, state['option'])
                extras = {'begins': begins, 'option': option} if epsilon else ()
                return option.astype(spec.action.dtype), {**state, 'option': option}, extras

            return act

        def loss(values, steps):
            o_tm1, _, r_t, discount_t, o_t = fold(steps, self.discount)
            option = steps.extras['option'][:, 0]
            errors = jax.vmap(losses.q_learning)(
                o_tm1 @ values, option, r_t, discount_t, o_t @ values
            )
            # An option that a truncation cuts ends where none begins, and so where no value is known.
            is_cut = (steps.step_type[:, -1] == LAST) & (discount_t > 0)
            return jnp.sum(jnp.where(is_cut, 0.0, losses.l2_loss(errors)))

        def update(state, sample, context):
            value, gradient = jax.value_and_grad(loss)(state.values, sample.steps)
            lengths = jnp.sum(sample.steps.mask, axis=1, dtype=jnp.int32)
            state = Learned(
                state.values - self.learning_rate * gradient,
                jnp.minimum(state.shortest, jnp.min(lengths)),
                jnp.maximum(state.longest, jnp.max(lengths)),
            )
            return (
                state,
                {'loss': value, 'shortest': state.shortest, 'longest': state.longest},
                None,
            )

        zeros = jnp.zeros((num_cells, num_options))
        return Parts(
            actor=ActorCore(init, acting(self.epsilon)),
            evaluator=ActorCore(init, acting(0.0)),
            learner=LearnerCore(
                lambda key: Learned(zeros, jnp.int32(9), jnp.int32(0)), update, lambda s: s.values
            ),
            experience=Replay(
                Window(
                    LONGEST,
                    start='extras/begins',
                    fields=('observation', 'reward', 'discount', 'extras/option'),
                    ends=('observation',),
                    first=('extras/option',),
                ),
                capacity=60, min_size=10, batch_size=8, samples_per_insert=32.0,
            ),
        )  # fmt: skip


def check(result, launcher):
    """Options of one step and of three were learned from, and fewer of them than steps were made."""
    last = result.logs['learner'].iloc[-1]
    assert (last['shortest'], last['longest']) == (1, LONGEST)
    assert result.summary['learner_steps'] < 4 * result.summary['actor_steps'] - 40


ROWS = [
    Shape(
        'options', Options(), worlds.line, learns=1.0, steps=240, check=check,
        refused={'offline': 'experience must be of Datasets alone offline'},
    ),
]  # fmt: skip
