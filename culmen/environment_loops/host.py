"""The loop of one process: lanes of Python environments, an actor and, in training, a learner.

A tick has the same order for any number of environments (see culmen.core.types): observe, make the
updates that are due, act, step. Between updates and action the loop can be stopped, saved, evaluated and
continued, so a run that is interrupted at any tick gives the same results as one that is not.
"""

import math
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from culmen.components.actors import Actor
from culmen.components.counts import StepCounter
from culmen.components.learners import Learner
from culmen.core.types import TimeStep
from culmen.environment_loops.batched import BatchedEnvironment
from culmen.environment_loops.batched import Episode
from culmen.environment_loops.observers import Observer
from culmen.environment_loops.observers import hearing


class EnvironmentLoop:
    """Runs a batch of environments with an actor and, if there is one, a learner."""

    def __init__(
        self,
        environment: BatchedEnvironment,
        actor: Actor,
        counter: StepCounter | None = None,
        *,
        learner: Learner | None = None,
        observers: Sequence[Observer] = (),
        on_episode: Callable[[Episode, Mapping[str, float]], None] | None = None,
        on_tick: Callable[[], bool] | None = None,
    ) -> None:
        """Makes a loop that has not started.

        Args:
            environment: the lanes.
            actor: acts on all of them at once.
            counter: counts the steps; None: a new counter from 0.
            learner: makes the updates that are due at each tick.
            observers: hear of every tick and of the ends of episodes.
            on_episode: called with each episode that ended and the observers' metrics.
            on_tick: called each tick between the updates and the action; True ends the run there.
        """
        self._environment = environment
        self._actor = actor
        self._counter = counter or StepCounter()
        self._learner = learner
        self._watching = hearing(observers, 'observe')
        self._measuring = hearing(observers, 'get_metrics')
        self._on_episode = on_episode
        self._on_tick = on_tick
        self._timestep: TimeStep | None = None
        self._unobserved = True  # the time step has not been given to the table yet
        self.timings = {'environment': 0.0, 'observe': 0.0, 'learn': 0.0, 'act': 0.0}

    def run(self, num_episodes: int | None = None, num_steps: int | None = None) -> dict[str, int]:
        """Runs until this many episodes have ended or steps were taken, or until `on_tick` returns True.

        A later call continues from the same tick. The number of steps is exact for one lane, and at most
        `num_lanes - 1` too large for several.

        Returns: {'episodes': ..., 'steps': ...} of this call.
        """
        environment, actor, learner = self._environment, self._actor, self._learner
        counter, timings, clock = self._counter, self.timings, time.perf_counter
        begin = counter.actor_steps
        stop_steps = math.inf if num_steps is None else begin + num_steps
        stop_episodes = math.inf if num_episodes is None else num_episodes
        episodes = 0
        if self._timestep is None:
            self._timestep = environment.reset()
        while True:
            timestep = self._timestep
            if self._unobserved:
                start = clock()
                counter.add(environment.new_steps, len(environment.episodes))
                actor.observe(timestep)
                self._unobserved = False
                observed = clock()
                timings['observe'] += observed - start
                if learner is not None:
                    learner.run_due(counter.actor_steps)
                    timings['learn'] += clock() - observed
                if environment.episodes:
                    episodes += len(environment.episodes)
                    self._tell(environment.episodes)
            if self._on_tick is not None and self._on_tick():
                break
            if counter.actor_steps >= stop_steps or episodes >= stop_episodes:
                break
            start = clock()
            action = actor.select_action(timestep, counter.actor_steps)
            acted = clock()
            timings['act'] += acted - start
            for observe in self._watching:
                observe(timestep, action)
            environment.hold(actor.held, timestep)
            self._timestep = environment.step(action)
            self._unobserved = True
            timings['environment'] += clock() - acted
        return {'episodes': episodes, 'steps': self.actor_steps - begin}

    def _tell(self, episodes: Sequence[Episode]) -> None:
        if self._on_episode is None:
            return
        for episode in episodes:
            metrics: dict[str, float] = {}
            for get_metrics in self._measuring:
                metrics.update(get_metrics(episode.lane))
            self._on_episode(episode, metrics)

    @property
    def actor_steps(self) -> int:
        """Steps so far, from the loop's counter."""
        return self._counter.actor_steps

    def get_state(self) -> dict[str, Any]:
        """The state at the present tick, whose time step has been observed and not yet acted on."""
        return {'timestep': self._timestep, 'actor_steps': self.actor_steps}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the result of `get_state`: the action on its time step comes next.

        A new environment, whose state could not be restored, gives FIRST at its first step.
        """
        self._timestep = TimeStep(*state['timestep'])
        self._unobserved = False
        self._counter.actor_steps = int(state['actor_steps'])
