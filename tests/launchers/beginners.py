"""An agent whose parameters say how often they were updated: for tests of how a run begins."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from culmen.core import FIRST
from culmen.core import MID
from culmen.core import ActorCore
from culmen.core import Dataset
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Queue
from culmen.core import Stream
from culmen.core import TimeStep
from culmen.core import Window
from culmen.core.specs import zeros_like

WINDOW = Window(length=4, period=4, cross_episodes=True)
UNUSED = 10**6


@dataclass(frozen=True)
class Beginner:
    """Counts its updates in its parameters, and learns which parameters were the first to act.

    Its training state:
        params/updates     int32[]: updates of all runs so far
        params/weights     float32[size]: drawn once, and never changed
        statistics/mean    float32[]: falls by one an update
        statistics/least   int32[]: the smallest count of updates that acted
    """

    size: int = 3
    offline: bool = False

    def build(self, spec):
        def select_action(params, timestep, state, context):
            lanes = timestep.step_type.shape
            action = jax.random.randint(context.key, lanes, 0, spec.action.num_values)
            return action.astype(spec.action.dtype), state, jnp.full(lanes, params['updates'])

        def init(key):
            zero = jnp.zeros((), jnp.int32)
            return {
                'params': {'updates': zero, 'weights': jax.random.normal(key, (self.size,))},
                'statistics': {'mean': jnp.float32(0), 'least': jnp.int32(UNUSED)},
            }

        def update(state, sample, context):
            params, statistics = state['params'], state['statistics']
            least = jnp.minimum(statistics['least'], jnp.min(sample.steps.extras))
            params = {**params, 'updates': params['updates'] + 1}
            statistics = {'mean': statistics['mean'] - 1, 'least': least}
            metrics = {'loss': statistics['mean'], 'least': least}
            return {'params': params, 'statistics': statistics}, metrics, None

        actor = ActorCore(lambda key, lanes: jnp.zeros(len(lanes.index)), select_action)
        learner = LearnerCore(init, update, lambda state: state['params'])
        experience = Queue(WINDOW)
        if self.offline:
            experience = Dataset(WINDOW, functools.partial(nothing, spec), 2, map=acted)
        return Parts(actor, actor, learner, experience)


def nothing(spec):
    """A stream of zeros, without extras."""
    rows = 20
    step_type = np.full(rows, MID, np.int32)
    step_type[0] = FIRST
    zeros = lambda leaf: zeros_like(leaf, (rows,))
    timestep = TimeStep(step_type, zeros(spec.reward), np.ones(rows), zeros(spec.observation))
    yield Stream(timestep, zeros(spec.action), (), np.zeros(rows, np.int32))


def acted(stream):
    """Fills in the count of updates that acted."""
    return stream._replace(extras=np.full(len(stream.version), 7, np.int32))
