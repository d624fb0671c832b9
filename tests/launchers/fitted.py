"""An agent that fits nothing but says which parameters began its episodes: for tests of `Replay.max_lag`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from culmen.core import ActorCore
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Replay
from culmen.core import Window


def every_episode(length: int = 20, **changes: Any) -> Replay:
    """A Replay of whole episodes, all in every batch, with an update for each by the rate alone."""
    settings = {
        'window': Window(length=length, period=length),
        'capacity': 200,
        'min_size': 0,
        'batch_size': 1,
        'samples_per_insert': 1.0,
        'draw': 'all',
        'max_lag': 0,
    }
    return Replay(**{**settings, **changes})


def transitions(**changes: Any) -> Replay:
    """A Replay of transitions, all in every batch, an update a transition."""
    return every_episode(window=Window(), **{'capacity': 2_000, **changes})


def once_an_episode() -> Replay:
    """A Replay of whole episodes, with an update for each tick in which some end."""
    return Replay.once_an_episode(20, capacity=200)


@dataclass(frozen=True)
class Fitted:
    """Its parameters are the number of updates that made them, and every step says which ones acted.

    Metrics, over all updates so far: `most_stale`, the largest number of updates made before an update less
    the version of its newest window; `repeated`, whether a window ever had the version of the window before
    it in its lane, so that an update between the two came too late; `windows`, how many the last batch had.
    """

    experience: Callable[[], Replay] = every_episode
    seconds: float = 0.0  # that an update takes
    lanes: int = 1

    def build(self, spec):
        def select_action(params, timestep, state, context):
            lanes = timestep.step_type.shape
            action = jax.random.randint(context.key, lanes, 0, spec.action.num_values)
            extras = {'version': jnp.full(lanes, params), 'lane': state}
            return action.astype(spec.action.dtype), state, extras

        def update(state, sample, context):
            size = sample.size
            version = sample.steps.extras['version'][:, 0]
            lane = sample.steps.extras['lane'][:, 0]
            index = jnp.arange(len(version))
            real = index < size
            repeated = state['repeated']
            for each in range(self.lanes):
                own = real & (lane == each)
                before = jax.lax.cummax(jnp.where(own, version, -1))
                before = jnp.concatenate([jnp.full(1, -1), before[:-1]])
                repeated |= jnp.any(own & (version <= before))
            stale = context.learner_steps - version[size - 1]
            state = {
                'updates': state['updates'] + 1,
                'most_stale': jnp.maximum(state['most_stale'], stale),
                'repeated': repeated,
            }
            metrics = {name: state[name] for name in ('most_stale', 'repeated')}
            loss = jnp.zeros(())
            if self.seconds:
                loss = jax.pure_callback(self._wait, jax.ShapeDtypeStruct((), np.float32), stale)
            return state, {'loss': loss, 'windows': size, **metrics}, None

        def init(key):
            zero = jnp.zeros((), jnp.int32)
            return {'updates': zero, 'most_stale': zero, 'repeated': jnp.zeros((), bool)}

        actor = ActorCore(lambda key, lanes: jnp.asarray(lanes.index), select_action)
        return Parts(
            actor=actor,
            evaluator=actor,
            learner=LearnerCore(init, update, lambda state: state['updates']),
            experience=self.experience(),
        )

    def _wait(self, _):
        time.sleep(self.seconds)
        return np.float32(0)
