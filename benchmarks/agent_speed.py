"""Environment steps per second of SAC, PPO and QR-DQN in one process, beside stable-baselines3's.

    python benchmarks/agent_speed.py --write

Both make the same updates with the same settings (below), without evaluation, logs or checkpoints; each run
is a process of its own, timed after a warm-up that holds all compilation and random exploration. On one core
both are held to it; with two each has the faster of one and two threads (torch's own setting; NPROC, which
XLA reads). They take turns, and the best of the repeats counts. QR-DQN is sb3-contrib's. The first run makes
their environments, .venv-sb3-contrib and that of dqn_speed.py. `--write` writes docs/results/agent_speed.md.
"""

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
from typing import Any
from typing import NamedTuple

from dqn_speed import CALLS
from dqn_speed import ROOT
from dqn_speed import SPEED
from dqn_speed import prepare
from dqn_speed import processor
from dqn_speed import write_page

SAC = {
    'agent': 'sac',
    'environment': 'gymnasium/Pendulum-v1',
    'num_environments': 1,
    'learning_rate': 3e-4,
    'discount': 0.99,
    'target_rate': 0.005,
    'replay_capacity': 50_000,
    'min_replay_size': 500,
    'batch_size': 256,
    'hidden_sizes': [256, 256],
}
PPO = {
    'agent': 'ppo',
    'environment': 'gymnasium/CartPole-v1',
    'num_environments': 8,
    'learning_rate': 3e-4,
    'discount': 0.99,
    'lambda_': 0.95,
    'clip_epsilon': 0.2,
    'value_cost': 0.5,
    'entropy_cost': 0.0,
    'max_gradient_norm': 0.5,
    'unroll_length': 128,
    'num_epochs': 10,
    'num_minibatches': 4,
    'hidden_sizes': [64, 64],
}
QR_DQN = {
    'agent': 'qr_dqn',
    'environment': 'gymnasium/CartPole-v1',
    'num_environments': 1,
    'num_quantiles': 200,
    'learning_rate': 5e-4,
    'discount': 0.99,
    'replay_capacity': 50_000,
    'min_replay_size': 1_000,
    'batch_size': 64,
    'target_update_period': 100,
    'epsilon_initial': 1.0,
    'epsilon': 0.05,
    'epsilon_decay_steps': 1_500,
    'hidden_sizes': [64, 64],
}


class Task(NamedTuple):
    """What is timed, and what is asked of it."""

    settings: dict[str, Any]
    warm_up: int
    steps: int
    cores: int
    bar: float | None


TASKS = {
    'SAC on Pendulum-v1, batch 256, MLP 256-256, one core': Task(SAC, 1_500, 2_000, 1, 2.0),
    'SAC on Pendulum-v1, batch 256, MLP 256-256, two cores': Task(SAC, 1_500, 2_000, 2, 3.0),
    'SAC on Pendulum-v1, batch 64, MLP 64-64, one core': Task(
        {**SAC, 'batch_size': 64, 'hidden_sizes': [64, 64]}, 1_500, 2_000, 1, None
    ),
    'PPO on CartPole-v1, 8 environments, two cores': Task(PPO, 4_096, 40_960, 2, 3.0),
    'QR-DQN on CartPole-v1, 200 quantiles, batch 64, MLP 64-64, one core': Task(
        QR_DQN, 2_000, 4_000, 1, 4.0
    ),
}
SB3 = ROOT / '.venv-sb3-contrib'
PYTHONS = {'sb3': SB3 / 'bin' / 'python', 'culmen': SPEED / 'bin' / 'python'}


def run(worker: str, task: Task, seed: int, threads: int) -> dict[str, Any]:
    """One run in a process of its own."""
    told = {'settings': task.settings, 'warm_up': task.warm_up, 'steps': task.steps}
    told |= {'seed': seed, 'threads': threads}
    script = ROOT / 'benchmarks' / f'agent_speed_{worker}.py'
    cores = sorted(os.sched_getaffinity(0))[: task.cores]
    done = subprocess.run(
        [str(PYTHONS[worker]), str(script), json.dumps(told)],
        env={
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'OMP_NUM_THREADS': str(threads),
            'NPROC': str(threads),
        },
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> int:
    """Measures, prints, and writes the page where it is asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--task', action='append', choices=TASKS, help='default: all')
    parser.add_argument('--python', default=sys.executable, help='that both run on')
    parser.add_argument('--torch', default='torch', help='what pip installs, as torch==2.13.0')
    parser.add_argument('--write', action='store_true')
    arguments = parser.parse_args()
    prepare(SB3, arguments.python, [arguments.torch], ['sb3-contrib', 'stable-baselines3'])
    prepare(SPEED, arguments.python, ['-e', '.', 'jax==0.4.38', 'gymnasium', 'bsuite'])

    versions: dict[str, dict[str, str]] = {}
    lines = []
    for name in arguments.task or TASKS:
        task = TASKS[name]
        ways = [(worker, threads) for worker in PYTHONS for threads in range(1, task.cores + 1)]
        speeds: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
        updates: dict[tuple[str, int], int] = {}
        for repeat in range(1, arguments.repeats + 1):
            for (worker, threads), found in speeds.items():
                result = run(worker, task, repeat, threads)
                versions[worker] = result['versions']
                updates[worker, threads] = result['updates']
                found.append(result['steps_per_second'])
                print(f'{name}, {worker}: {found[-1]:,.0f} steps/s', file=sys.stderr)
        lines += [
            '',
            f'## {name}',
            '',
            '| | updates | steps/s, best | all repeats |',
            '|---|---|---|---|',
        ]
        for (worker, threads), found in speeds.items():
            label = f'{worker}, {threads} thread{"s" * (threads > 1)}'
            repeats = ', '.join(f'{speed:,.0f}' for speed in found)
            lines.append(
                f'| {label} | {updates[worker, threads]:,} | {max(found):,.0f} | {repeats} |'
            )
        best = {
            worker: max(max(f) for way, f in speeds.items() if way[0] == worker)
            for worker in PYTHONS
        }
        bar = '' if task.bar is None else f'; the bar is {task.bar:g}'
        lines += ['', f'culmen is {best["culmen"] / best["sb3"]:.2f} times as fast{bar}.']
    head = [
        '# Speed of SAC, PPO and QR-DQN',
        '',
        'Environment steps per second beside stable-baselines3 (sb3), with the same updates and without',
        'evaluation, logs and checkpoints; `benchmarks/agent_speed.py` says how it is measured.',
        '',
        f'- command: `{shlex.join(["python", "benchmarks/agent_speed.py", *sys.argv[1:]])}`',
        f'- date: {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}; {processor()}',
        CALLS,
        *(
            f'- {worker}: ' + ', '.join(f'{k} {v}' for k, v in found.items())
            for worker, found in versions.items()
        ),
    ]
    page = '\n'.join([*head, *lines]) + '\n'
    print(page)
    if arguments.write:
        write_page('agent_speed.md', page)
    return 0


if __name__ == '__main__':
    sys.exit(main())
