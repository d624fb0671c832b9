"""An agent, and environments, with one thing wrong with them: for tests of what a run says of it."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import MID
from culmen.core import ActorCore
from culmen.core import Dataset
from culmen.core import LearnerCore
from culmen.core import Parts
from culmen.core import Replay
from culmen.core import Stream
from culmen.core import TimeStep
from culmen.core import Window
from tests.launchers.toys import Corridor


def slips():
    """What goes wrong in code: each raises or exits in a way of its own."""
    return {
        'TypeError': lambda: len(3),
        'AttributeError': lambda: (3).real_part,
        'KeyError': lambda: {}['q'],
        'ValueError': lambda: int('three'),
        'ImportError': lambda: __import__('no_such_package'),
        'SystemExit': lambda: sys.exit(0),
    }


def stream():
    """A recording of one episode after another in Catch."""
    step_type = np.full(40, MID, np.int32)
    step_type[::10], step_type[9::10] = FIRST, LAST
    board = np.zeros((40, 10, 5), np.float32)
    timestep = TimeStep(step_type, np.zeros(40), np.ones(40), board)
    yield Stream(timestep, np.zeros(40, np.int32), (), np.zeros(40, np.int32))


@dataclass(frozen=True)
class Faulty:
    """Learns nothing and acts 0."""

    place: str = ''  # where the slip is: 'build', 'init', 'select_action', 'evaluator', 'update'
    slip: str = 'KeyError'
    typed_key: str = ''  # which nest holds one: 'actor_state', 'extras', 'training_state', 'params'
    metrics: Callable[[Any], Any] | None = None  # of the errors [B]
    # Whose action is of another spec, and what it is then made by: the right ones -> an action.
    misfit: tuple[str, Callable[[Any], Any]] | None = None
    recorded: bool = False  # whether it learns from a recording
    source: str | Callable[[], Any] = stream  # of it

    def build(self, spec):
        def at(place):
            if self.place == place:
                slips()[self.slip]()

        def holds(nest, value):
            return {'inner': jax.random.key(0), 'n': value} if self.typed_key == nest else value

        def make_actor(place):
            def init(key, lanes):
                state = jnp.zeros(len(lanes.index))
                if self.typed_key == 'actor_state':
                    return {'inner': jax.random.split(key, len(lanes.index)), 'n': state}
                return state

            def select_action(params, timestep, state, context):
                at(place)
                batch = timestep.step_type.shape
                keys = {'inner': jax.random.split(context.key, batch[0])}
                extras = keys if self.typed_key == 'extras' and place == 'select_action' else ()
                action = jnp.zeros(batch, spec.action.dtype)
                if self.misfit is not None and self.misfit[0] == place:
                    action = self.misfit[1](action)
                return action, state, extras

            return ActorCore(init, select_action)

        def init(key):
            at('init')
            return holds('training_state', jnp.zeros(()))

        def update(state, sample, context):
            at('update')
            errors = sample.steps.reward[:, -1]
            metrics = {} if self.metrics is None else self.metrics(errors)
            return state, {'loss': jnp.mean(errors), **metrics}, None

        at('build')
        return Parts(
            actor=make_actor('select_action'),
            evaluator=make_actor('evaluator'),
            learner=LearnerCore(init, update, lambda state: holds('params', jnp.zeros(()))),
            experience=Dataset(Window(), self.source, batch_size=4)
            if self.recorded
            else Replay(Window(), capacity=50, min_size=8, batch_size=4, samples_per_insert=1.0),
        )


class Exiting(Corridor):
    """Ends its process, or tries to, some steps after it was made."""

    def __init__(self, how: Callable[[], Any], after: int) -> None:
        super().__init__(0)
        self.how, self.left = how, after

    def step(self, action):
        self.left -= 1
        if self.left < 0:
            self.how()
        return super().step(action)


def exiting(seed: int, after: int = 30) -> Exiting:
    """Calls sys.exit(0)."""
    return Exiting(lambda: sys.exit(0), after)


def quiet(seed: int, after: int = 30) -> Exiting:
    """Ends its process at once, as C code does, and says nothing."""
    return Exiting(lambda: os._exit(0), after)
