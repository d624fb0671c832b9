"""A meta-controller that chooses goals, and a controller that reaches them: options whose length varies.

As h-DQN (Kulkarni et al. 2016, 1604.06057), with tables of values. The meta-controller's windows are options:
its rewards, its length's discount, and the value of the cell in which the next one begins (Sutton, Precup and
Singh 1999, section 3). The controller learns from single steps, and is paid where the goal is reached.
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

GOALS = jnp.array([2, worlds.NUM_CELLS - 1])  # cells
LONGEST = 4  # steps of an option; it ends before, where its goal is reached


class Learned(NamedTuple):
    """What both learn, and the lengths of the options that were drawn."""

    meta: jax.Array  # float32[cells, goals]: values of goals
    controller: jax.Array  # float32[goals, cells, actions]: values of actions
    shortest: jax.Array  # int32[]
    longest: jax.Array  # int32[]


@dataclass(frozen=True)
class Options:
    """Two rules over one stream: a window of the first is an option, one of the second is a step."""

    learning_rate: float = 0.1
    discount: float = 0.9  # a step
    epsilon: float = 0.3

    def build(self, spec: EnvironmentSpec) -> Parts:
        num_cells, num_actions = spec.observation.shape[0], spec.action.num_values

        def init_actor(key, lanes):
            nothing = jnp.zeros(len(lanes.index), jnp.int32)
            return {'lane': lanes.index, 'goal': nothing, 'time': nothing}

        def explore(key, lanes, values, epsilon):
            def one(lane, values):
                own = jax.random.split(jax.random.fold_in(key, lane))
                drawn = jax.random.randint(own[0], (), 0, len(values))
                random = jax.random.bernoulli(own[1], epsilon)
                return jnp.where(random, drawn, jnp.argmax(values))

            return jax.vmap(one)(lanes, values)

        def acting(epsilon):
            def act(learned, timestep, state, context):
                of_goal, of_action = jax.random.split(context.key)
                cell = jnp.argmax(timestep.observation, axis=-1)
                is_over = (cell == GOALS[state['goal']]) | (state['time'] == LONGEST)
                begins = (timestep.step_type == FIRST) | is_over
                chosen = explore(of_goal, state['lane'], learned.meta[cell], epsilon)
                goal = jnp.where(begins, chosen, state['goal'])
                values = learned.controller[goal, cell]
                action = explore(of_action, state['lane'], values, epsilon)
                time = jnp.where(begins, 1, state['time'] + 1)
                extras = {'begins': begins, 'goal': goal} if epsilon else ()
                after = {**state, 'goal': goal, 'time': time}
                return action.astype(spec.action.dtype), after, extras

            return act

        def meta_loss(meta, steps):
            o_tm1, _, r_t, discount_t, o_t = fold(steps, self.discount)
            goal = steps.extras['goal'][:, 0]
            errors = jax.vmap(losses.q_learning)(o_tm1 @ meta, goal, r_t, discount_t, o_t @ meta)
            # An option that a truncation cuts ends where none begins, and so where no value is known.
            is_cut = (steps.step_type[:, -1] == LAST) & (discount_t > 0)
            return jnp.sum(jnp.where(is_cut, 0.0, losses.l2_loss(errors)))

        def controller_loss(controller, steps):
            cells, goal = jnp.argmax(steps.observation, axis=-1), steps.extras['goal'][:, 0]
            is_there = cells[:, 1] == GOALS[goal]
            errors = jax.vmap(losses.q_learning)(
                controller[goal, cells[:, 0]],
                steps.action[:, 0],
                is_there.astype(jnp.float32),
                jnp.where(is_there, 0.0, self.discount * steps.discount[:, 1]),
                controller[goal, cells[:, 1]],
            )
            return jnp.sum(losses.l2_loss(errors))

        def update_meta(state, sample, context):
            value, gradient = jax.value_and_grad(meta_loss)(state.meta, sample.steps)
            lengths = jnp.sum(sample.steps.mask, axis=1, dtype=jnp.int32)
            state = state._replace(
                meta=state.meta - self.learning_rate * gradient,
                shortest=jnp.minimum(state.shortest, jnp.min(lengths)),
                longest=jnp.maximum(state.longest, jnp.max(lengths)),
            )
            metrics = {'loss': value, 'shortest': state.shortest, 'longest': state.longest}
            return state, metrics, None

        def update_controller(state, sample, context):
            value, gradient = jax.value_and_grad(controller_loss)(state.controller, sample.steps)
            controller = state.controller - self.learning_rate * gradient
            return state._replace(controller=controller), {'loss': value}, None

        def init(key):
            meta = jnp.zeros((num_cells, len(GOALS)))
            controller = jnp.ones((len(GOALS), num_cells, num_actions))  # each action is tried
            return Learned(meta, controller, jnp.int32(LONGEST), jnp.int32(0))

        options = Window(
            LONGEST,
            start='extras/begins',
            fields=('observation', 'reward', 'discount', 'extras/goal'),
            ends=('observation',),
            first=('extras/goal',),
        )
        single_steps = Window(fields=('observation', 'discount', 'action', 'extras/goal'))
        return Parts(
            actor=ActorCore(init_actor, acting(self.epsilon)),
            evaluator=ActorCore(init_actor, acting(0.0)),
            learner=LearnerCore(
                init, {'meta': update_meta, 'controller': update_controller}, lambda state: state
            ),
            experience={
                'meta': Replay(options, 60, min_size=10, batch_size=8, samples_per_insert=32.0),
                'controller': Replay(single_steps, 200, 20, batch_size=8, samples_per_insert=16.0),
            },
        )


def check(result, launcher):
    """Options of all lengths are learned from, and each rule follows its own items."""
    last, steps = result.logs['learner'].iloc[-1], result.summary['actor_steps']
    assert (last['meta/shortest'], last['meta/longest']) == (1, LONGEST)
    assert abs(last['controller/rule_steps'] - 2 * (steps - 20)) <= 8
    # Four updates an option, from the tenth on; an option has one to four steps, and a few are open.
    assert steps - 80 < last['meta/rule_steps'] < 4 * steps - 40


ROWS = [
    Shape(
        'options', Options(), worlds.line, learns=1.0, steps=480, check=check,
        # Its goals are found by a policy that learns on the way: actors stay close to the learner.
        program={'lead': 40.0, 'variables_every': 1},
        refused={'offline': 'experience must be of Datasets alone offline'},
    ),
]  # fmt: skip
