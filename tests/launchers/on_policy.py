"""A small on-policy agent that learns nothing but who acted: for tests of the order of windows."""

import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from culmen.core import ActorCore
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Queue
from culmen.core import Replay
from culmen.core import Window
from tests import probes


@dataclass(frozen=True)
class Witness:
    """Its parameters are the number of updates that made them, and every step says which ones acted.

    The metrics are over all updates so far: `most_stale` and `least_stale`, the number of an update
    less the parameters that acted in its windows; `wrong_version`, whether a sample ever named another
    version than the parameters that acted first.
    """

    length: int = 8
    max_staleness: int | None = 0
    max_size: int = 2
    episodes: bool = False  # whether windows are whole episodes, of up to `length` steps
    batch_size: int | None = None
    period: int | None = None  # None: the length
    seconds: float = 0.0  # that an update takes

    def build(self, spec):
        def select_action(params, timestep, state, context):
            lanes = timestep.step_type.shape
            action = jax.random.randint(context.key, lanes, 0, spec.action.num_values)
            return action.astype(spec.action.dtype), state, jnp.full(lanes, params)

        def update(state, sample, context):
            acted = sample.version if self.episodes else sample.steps.extras
            stale = context.rule_steps - acted
            state = {
                'updates': state['updates'] + 1,
                'most_stale': jnp.maximum(state['most_stale'], jnp.max(stale)),
                'least_stale': jnp.minimum(state['least_stale'], jnp.min(stale)),
                'wrong_version': state['wrong_version']
                | jnp.any(sample.version != sample.steps.extras[:, 0]),
            }
            metrics = {name: state[name] for name in ('most_stale', 'least_stale', 'wrong_version')}
            loss = jnp.mean(stale.astype(jnp.float32))
            if self.seconds:
                loss += jax.pure_callback(self._wait, jax.ShapeDtypeStruct((), np.float32), loss)
            return state, {'loss': loss, **metrics}, None

        def init(key):
            zero = jnp.zeros((), jnp.int32)
            return {
                'updates': zero,
                'most_stale': zero,
                'least_stale': zero,
                'wrong_version': jnp.zeros((), bool),
            }

        actor = ActorCore(lambda key, lanes: jnp.zeros(len(lanes.index)), select_action)
        window = Window(
            length=self.length,
            period=self.length if self.period is None else self.period,
            cross_episodes=not self.episodes,
        )
        return Parts(
            actor=actor,
            evaluator=actor,
            learner=LearnerCore(init, update, lambda state: state['updates']),
            experience=Queue(
                window,
                self.batch_size,
                max_staleness=self.max_staleness,
                max_size=self.max_size,
            ),
        )

    def _wait(self, _):
        time.sleep(self.seconds)
        return np.float32(0)


@dataclass(frozen=True)
class Besides(Witness):
    """A Witness as one rule beside another, which is due at each step and learns nothing."""

    def build(self, spec):
        parts = super().build(spec)

        def idle(state, sample, context):
            return state, {'loss': jnp.zeros(())}, None

        steps = Replay(Window(), 100, min_size=0, batch_size=1, samples_per_insert=1.0)
        return parts._replace(
            learner=parts.learner._replace(update={'idle': idle, 'own': parts.learner.update}),
            experience={'idle': steps, 'own': parts.experience},
        )


class Uneven(probes.Probe):
    """Episodes of 1 to 12 steps, at random."""

    def _begin(self):
        self.length = int(self._generator.integers(1, 13))

    def _reward(self, action):
        return 1.0
