"""An agent whose parameters tell what it was given: equal parameters, equal streams, samples and counts."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from culmen.core import Parts
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from culmen.core.specs import leaf_paths
from culmen.core.types import ActorCore
from culmen.core.types import LearnerCore
from culmen.core.types import where_first


@dataclasses.dataclass(frozen=True)
class Telling:
    """Draws nothing, so that every loop gives the same. Its state counts within episodes and across."""

    experience: Any
    fail_at: int = 10**9  # the update whose loss is not finite

    def build(self, spec):
        def init(key, lanes):
            del key
            zeros = jnp.zeros(len(lanes.index), jnp.int32)
            return {'lane': jnp.asarray(lanes.index), 'in_episode': zeros, 'ever': zeros}

        def select_action(params, timestep, state, context):
            state = {
                **state,
                'in_episode': where_first(timestep, state['in_episode'] * 0, state['in_episode'])
                + 1,
                'ever': state['ever'] + 1,
            }
            action = (
                state['ever'] * 7 + state['in_episode'] * 3 + state['lane']
                + context.learner_steps + context.actor_steps + params['updates']
            ) % 3  # fmt: skip
            extras = {'ever': state['ever'], 'params': params['updates'] + 0 * state['ever']}
            return action.astype(jnp.int32), state, extras

        def evaluate(params, timestep, state, context):
            del context
            return (params['updates'] + state['lane']).astype(jnp.int32) % 3, state, ()

        def start(key):
            del key
            return {'updates': jnp.int32(0), 'told': jnp.float32(0)}

        def update(state, sample, context):
            told = state['told'] * 0.9 + context.actor_steps + 10 * context.learner_steps
            samples = sample if isinstance(sample, dict) else {'': sample}
            for name, each in samples.items():
                for i, (_, leaf) in enumerate(leaf_paths(each._replace(probability=()), name)):
                    place = jnp.arange(leaf.size).reshape(leaf.shape) % 13 + i
                    told += jnp.mean(leaf.astype(jnp.float32) * place)
            loss = jnp.where(state['updates'] + 1 == self.fail_at, jnp.nan, told)
            after = {'updates': state['updates'] + 1, 'told': told}
            return after, {'loss': loss, 'told': told}, None

        return Parts(
            ActorCore(init, select_action),
            ActorCore(init, evaluate),
            LearnerCore(start, update, lambda state: state),
            self.experience,
        )


def unroll(batch_size=None):
    return Queue(Window(4, 4, cross_episodes=True), batch_size, max_staleness=0)


# What takes each of the tables' ways. Replays draw all that there is: nothing is left to chance.
EXPERIENCES = {
    'unrolls': unroll(),
    'unrolls of two rounds': unroll(6),
    'queue': Queue(Window(length=3), 4, max_size=20),
    'queue with overlap': Queue(Window(5, 2, cross_episodes=True), 5),
    'transitions': Replay(Window(), 20, 5, 1, 0.3, draw='all'),
    'n-step': Replay(Window(3, ends=('observation',)), 30, 10, 1, 0.4, draw='all'),
    'sequences': Replay(Window(6, 3, first=('extras/ever',)), 9, 2, 1, 0.5, draw='all'),
    'several': {
        'a': Replay(Window(), 20, 5, 1, 0.3, draw='all'),
        'b': Replay(Window(2), 40, 20, 1, 1.0, draw='all'),
    },
}


def train(run, experience, steps, **settings):
    """Runs it in Catch with three lanes: (told, summary)."""
    import culmen

    experiment = culmen.Experiment(
        agent=Telling(experience),
        environment=culmen.environment('jax/catch', rows=4, columns=3),
        num_environments=3,
        lag=0,
        evaluation=culmen.Evaluation(every=60, episodes=5),
        **{'max_actor_steps': steps, **settings},
    )
    result = run(experiment, progress=False)
    return jax.tree_util.tree_map(float, result.params), result
