"""The Culmen side of dqn_speed.py: one run of `culmen.run`, one JSON line.

With --parts the time of a step is told by part; reading the clock some 20 times a step takes a few
microseconds, so the speed of such a run is no figure.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from dqn_speed import OF_CULMEN
from dqn_speed import tell


class Parts:
    """Seconds spent in functions since the warm-up, each called once a step at most."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        seconds, clock = self.seconds, time.perf_counter
        seconds[name] = 0.0

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = clock()
            result = function(*args, **kwargs)
            seconds[name] += clock() - begin
            return result

        return timed

    def watch(self) -> None:
        """Times the workers that are made from now on."""
        from culmen.components.actors import actor
        from culmen.components.dispatch import threads
        from culmen.components.learners import learner
        from culmen.components.replay import in_process
        from culmen.components.replay.in_process import table
        from culmen.environment_loops import host

        for cls, method, name in (
            (in_process.InProcessTable, 'observe', 'table, observe'),
            (table._OneTable, 'draw', 'table, draw'),
            (in_process.InProcessTable, 'act', 'table, act'),
            (host.BatchedEnvironment, 'step', 'environment'),
            (learner.Learner, 'run_due', 'learner'),
            (threads.DirectCall, '__call__', 'update, compiled'),
            (actor.Actor, 'select_action', 'actor'),
        ):
            setattr(cls, method, self.wrap(name, getattr(cls, method)))
        self._watch_instances(actor.Actor, '_select_action', 'policy, compiled')
        actor._fetch = self.wrap('policy, fetched', actor._fetch)

    def _watch_instances(self, cls: Any, attribute: str, name: str) -> None:
        make = cls.__init__

        def init(worker: Any, *args: Any, **kwargs: Any) -> None:
            make(worker, *args, **kwargs)
            setattr(worker, attribute, self.wrap(name, getattr(worker, attribute)))

        cls.__init__ = init

    def rows(
        self, begin: Mapping[str, float], end: Mapping[str, float], seconds: float, steps: int
    ) -> dict[str, float]:
        """Microseconds a step, which add up to the step."""
        of = {name: 1e6 * (end[name] - begin[name]) / steps for name in end}
        rows = {
            'environment: step, check, put in arrays': of['environment'],
            'table: open the rows, make items': of['table, observe'],
            'table: draw a batch': of['table, draw'],
            'learner: compiled update': of['update, compiled'],
            'learner: hand-offs and counts': of['learner']
            - of['table, draw']
            - of['update, compiled'],
            'actor: compiled policy, and its action fetched': of['policy, compiled']
            + of['policy, fetched'],
            'table: close the rows': of['table, act'],
            'actor: variables and counts': of['actor']
            - of['policy, compiled']
            - of['policy, fetched']
            - of['table, act'],
        }
        rows['loop: counts, and looking for what is due'] = 1e6 * seconds / steps - sum(
            rows.values()
        )
        return rows


class Clock:
    """An observer that reads the clock when the warm-up is over and at each step from then on."""

    def __init__(self, warm_up: int, parts: Parts) -> None:
        self._warm_up = warm_up
        self._parts = parts.seconds
        self.parts: tuple[dict[str, float], dict[str, float]] = ({}, {})  # at the begin and the end
        self.steps = 0
        self.begin = self.end = 0.0

    def observe(self, timestep: Any, action: Any) -> None:
        self.steps += int((timestep.step_type != 0).sum())
        if self.steps <= self._warm_up:
            self.begin = time.perf_counter()
            self.parts = (dict(self._parts), {})
        elif self._parts:
            self.parts = (self.parts[0], dict(self._parts))
        self.end = time.perf_counter()

    def get_metrics(self, lane: int) -> Mapping[str, float]:
        return {}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--environment', required=True)
    parser.add_argument('--settings', type=json.loads, required=True)
    parser.add_argument('--warm-up', type=int, required=True)
    parser.add_argument('--steps', type=int, required=True)
    parser.add_argument('--seed', type=int, required=True)
    parser.add_argument('--updates-per-call', type=int, required=True)
    parser.add_argument('--cores', type=int)
    parser.add_argument('--parts', action='store_true')
    arguments = parser.parse_args()
    if arguments.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])

    import culmen  # JAX counts the cores when it starts.
    from culmen.agents import dqn

    settings = dict(arguments.settings)
    settings['hidden_sizes'] = tuple(settings['hidden_sizes'])
    experiment = culmen.Experiment(
        # Plain DQN, as stable-baselines3's: the bootstrap from one step and the target network alone.
        agent=dqn.DQN(
            **settings,
            double=False,
            dueling=False,
            n_step=1,
            priority_exponent=0.0,
            huber_delta=1.0,
            samples_per_insert=float(settings['batch_size']),
        ),
        environment=arguments.environment,
        seed=arguments.seed,
        max_actor_steps=arguments.warm_up + arguments.steps + 1,
        evaluation=culmen.Evaluation(every=None, episodes=1),
        updates_per_call=arguments.updates_per_call,
    )
    parts = Parts()
    if arguments.parts:
        parts.watch()
    clock = Clock(arguments.warm_up, parts)
    result = culmen.run(experiment, observers=[clock], progress=False)
    steps = clock.steps - arguments.warm_up
    seconds = clock.end - clock.begin
    # One update a step, from the one that filled the replay on.
    updates = result.summary['learner_steps']
    due = arguments.warm_up + arguments.steps + 1 - settings['min_replay_size']
    assert abs(updates - due) <= 1, (updates, due)
    told = parts.rows(*clock.parts, seconds, steps) if arguments.parts else {}
    tell(steps, steps, seconds, OF_CULMEN, parts=told)


if __name__ == '__main__':
    main()
