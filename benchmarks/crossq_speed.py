"""Environment steps per second of CrossQ in one process, beside that of sbx (Stable Baselines Jax).

    python benchmarks/crossq_speed.py --write

As agent_speed.py: the same updates with the same settings, each run a process of its own on one core, timed
after a warm-up, in turns; the best of the repeats counts. `--write` writes docs/results/crossq_speed.md.
"""

import argparse
import datetime
import shlex
import sys
from typing import Any

import agent_speed
from agent_speed import Task
from dqn_speed import CALLS
from dqn_speed import ROOT
from dqn_speed import SPEED
from dqn_speed import prepare
from dqn_speed import processor
from dqn_speed import write_page

SBX = ROOT / '.venv-sbx'
CROSSQ: dict[str, Any] = {
    'agent': 'crossq',
    'environment': 'gymnasium/Pendulum-v1',
    'num_environments': 1,
    'learning_rate': 1e-3,
    'discount': 0.99,
    'replay_capacity': 50_000,
    'min_replay_size': 500,
    'batch_size': 256,
    'policy_period': 3,
    'hidden_sizes': [256, 256],
    'critic_hidden_sizes': [2048, 2048],
}
NARROW = {'hidden_sizes': [64, 64], 'critic_hidden_sizes': [64, 64]}
TASKS = {
    "sbx's widths: policy 256-256, critics 2048-2048, batch 256": Task(CROSSQ, 700, 200, 1, 1.0),
    'width 64, batch 256': Task({**CROSSQ, **NARROW}, 1_500, 2_000, 1, 1.5),
}


def main() -> int:
    """Measures, prints, and writes the page where it is asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--python', default=sys.executable, help='that both run on')
    parser.add_argument('--write', action='store_true')
    arguments = parser.parse_args()
    prepare(SBX, arguments.python, ['sbx-rl', 'gymnasium'])
    prepare(SPEED, arguments.python, ['-e', '.', 'jax==0.4.38', 'gymnasium', 'bsuite'])
    agent_speed.PYTHONS['sbx'] = SBX / 'bin' / 'python'

    versions: dict[str, dict[str, str]] = {}
    lines = []
    for name, task in TASKS.items():
        found: dict[str, list[float]] = {'sbx': [], 'culmen': []}
        for repeat in range(1, arguments.repeats + 1):
            for worker, speeds in found.items():
                result = agent_speed.run(worker, task, repeat, 1)
                versions[worker] = result['versions']
                speeds.append(result['steps_per_second'])
                print(f'{name}, {worker}: {speeds[-1]:,.0f} steps/s', file=sys.stderr)
        lines += ['', f'## {name}', '', '| | steps/s, best | all repeats |', '|---|---|---|']
        for worker, speeds in found.items():
            repeats = ', '.join(f'{speed:,.0f}' for speed in speeds)
            lines.append(f'| {worker} | {max(speeds):,.0f} | {repeats} |')
        times = max(found['culmen']) / max(found['sbx'])
        lines += ['', f'culmen is {times:.2f} times as fast; the bar is {task.bar:g}.']
    page = [
        '# Speed of CrossQ',
        '',
        'Environment steps per second beside sbx, with the same updates and without evaluation, logs and',
        'checkpoints; `benchmarks/crossq_speed.py` says how it is measured.',
        '',
        f'- command: `{shlex.join(["python", "benchmarks/crossq_speed.py", *sys.argv[1:]])}`',
        f'- date: {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}; {processor()}',
        CALLS,
        *(
            f'- {worker}: ' + ', '.join(f'{k} {v}' for k, v in held.items())
            for worker, held in versions.items()
        ),
        *lines,
    ]
    print('\n'.join(page))
    if arguments.write:
        write_page('crossq_speed.md', '\n'.join(page) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
