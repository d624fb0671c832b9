"""An agent whose updates take their time: for tests of who waits for whom."""

import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from culmen.core import ActorCore
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Replay
from culmen.core import Window


@dataclass(frozen=True)
class Slow:
    """Learns nothing, an update for each step, and sleeps in each."""

    seconds: float = 0.01
    min_size: int = 10
    batch_size: int = 4

    def build(self, spec):
        def sleep(number):
            time.sleep(self.seconds)
            return np.asarray(number)

        def update(state, sample, context):
            slept = jax.pure_callback(sleep, jax.ShapeDtypeStruct((), jnp.int32), state)
            return slept + 1, {'loss': jnp.zeros(())}, None

        def select_action(params, timestep, state, context):
            action = jnp.zeros(timestep.step_type.shape, spec.action.dtype)
            return action, state, ()

        actor = ActorCore(lambda key, lanes: jnp.zeros(len(lanes.index)), select_action)
        return Parts(
            actor=actor,
            evaluator=actor,
            learner=LearnerCore(
                lambda key: jnp.zeros((), jnp.int32), update, lambda state: state
            ),
            experience=Replay(
                Window(), capacity=2_000, min_size=self.min_size, batch_size=self.batch_size,
                samples_per_insert=float(self.batch_size),
            ),
        )  # fmt: skip
