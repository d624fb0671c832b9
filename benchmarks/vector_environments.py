"""Steps per second of the batched loop with 8 lanes of EnvPool beside 8 single environments.

    python benchmarks/vector_environments.py            # --repeats and --seconds say how long
    python benchmarks/vector_environments.py --report   # the same, and docs/results/vector_environments.md

The lanes are those of `num_environments`: checked, joined and summed up by episode, with no agent. The kinds
of lanes of a task take turns, in one process. Actions are drawn before the clock runs.
"""

import argparse
import datetime
import os
import statistics
import time
from typing import Any

import numpy as np
from dqn_speed import processor
from dqn_speed import versions_of
from dqn_speed import write_page

from culmen.components import environments
from culmen.components.environments.random_actions import random_action
from culmen.core.specs import make_environment_spec
from culmen.environment_loops.batching import batch

# The same task in each family.
TASKS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    'CartPole-v1': {
        'gymnasium': ('gymnasium/CartPole-v1', {}),
        'gymnasium_vector, sync': ('gymnasium_vector/CartPole-v1', {}),
        'envpool': ('envpool/CartPole-v1', {}),
    },
    'Pendulum-v1': {
        'gymnasium': ('gymnasium/Pendulum-v1', {}),
        'gymnasium_vector, sync': ('gymnasium_vector/Pendulum-v1', {}),
        'envpool': ('envpool/Pendulum-v1', {}),
    },
    'HalfCheetah-v4': {
        'gymnasium': ('gymnasium/HalfCheetah-v5', {}),
        'gymnasium_vector, sync': ('gymnasium_vector/HalfCheetah-v5', {}),
        'envpool': ('envpool/HalfCheetah-v4', {}),
    },
    'Pong, 84x84 in grey, 4 frames a step': {
        'ale-py': ('atari/pong', {}),
        'envpool': (
            'envpool/Pong-v5',
            {'stack_num': 1, 'repeat_action_probability': 0.25, 'noop_max': 1},
        ),
    },
}
ACTIONS = 64


def measure(lanes: Any, actions: list[Any], seconds: float) -> float:
    """Steps of all lanes a second."""
    steps, begin = 0, time.perf_counter()
    while (taken := time.perf_counter() - begin) < seconds:
        for action in actions:
            lanes.step(action)
            steps += lanes.new_steps
    return steps / taken


def main() -> int:
    """Measures, prints, and writes the page where it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--seconds', type=float, default=1.0, help='of each measurement')
    parser.add_argument('--lanes', type=int, default=8)
    parser.add_argument('--report', action='store_true')
    arguments = parser.parse_args()
    rows = []
    for task, kinds in TASKS.items():
        together, actions, rates = {}, {}, {kind: [] for kind in kinds}
        for kind, (name, options) in kinds.items():
            lanes = [environments.make(name, seed, **options) for seed in range(arguments.lanes)]
            spec = make_environment_spec(lanes[0])
            generator = np.random.default_rng(0)
            actions[kind] = [
                np.stack(
                    [random_action(spec.action, None, generator) for _ in range(arguments.lanes)]
                )
                for _ in range(ACTIONS)
            ]
            together[kind] = batch(lanes, spec)
            together[kind].reset()
            measure(together[kind], actions[kind], 0.1)
        for _ in range(arguments.repeats):
            for kind, lanes in together.items():
                rates[kind].append(measure(lanes, actions[kind], arguments.seconds))
        first = statistics.median(rates[next(iter(kinds))])
        for kind, taken in rates.items():
            together[kind].close()
            median = statistics.median(taken)
            rows.append(
                f'| `{task}` | {kind} | {median:,.0f} ({min(taken):,.0f} to {max(taken):,.0f}) | '
                f'{median / first:.2f} |'
            )
            print(rows[-1], flush=True)
    if arguments.report:
        write_page('vector_environments.md', page(arguments, rows))
    return 0


def page(arguments: Any, rows: list[str]) -> str:
    """The page of results."""
    versions = versions_of(['envpool', 'gymnasium', 'mujoco', 'numpy'])
    return '\n'.join(
        [
            '# Vector environments',
            '',
            f'`python benchmarks/vector_environments.py --report --repeats {arguments.repeats} '
            f'--seconds {arguments.seconds:g}` on {datetime.date.today()}, '
            f'{len(os.sched_getaffinity(0))} core(s) of {processor()}, '
            + ', '.join(f'{name} {version}' for name, version in versions.items())
            + f'; load {os.getloadavg()[0]:.0f}.',
            '',
            f'Steps a second of {arguments.lanes} lanes together in the batched loop, checked and summed up '
            f'by episode, with random actions and no agent: the median of {arguments.repeats} pieces of '
            f'{arguments.seconds:g} s, with the least and the most of them. The kinds of a task take turns. '
            "HalfCheetah is gymnasium's v5, whose physics and rewards are those of v4; "
            'Pong has sticky actions of 0.25 in both.',
            '',
            '| task | lanes | steps/s | times the first |',
            '| --- | --- | --- | --- |',
            *rows,
            '',
        ]
    )


if __name__ == '__main__':
    raise SystemExit(main())
