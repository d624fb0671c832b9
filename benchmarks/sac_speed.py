"""Environment steps per second of SAC in one process, beside stable-baselines3's SAC, on one core.

    python benchmarks/sac_speed.py --write

Both make one update a step with the same settings (below), without evaluation, logs or checkpoints; each run
is a process of its own, held to one core, timed after a warm-up that holds all compilation and random
exploration. They take turns, and the best of the repeats counts. The environments are those of
dqn_speed.py, made by the first run. `--write` writes docs/results/sac_speed.md.
"""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import subprocess
import sys
from typing import Any

from dqn_speed import ROOT
from dqn_speed import SB3
from dqn_speed import SPEED
from dqn_speed import prepare
from dqn_speed import processor

BAR = 2.0
WARM_UP = 1_500
COMMON = {
    'environment': 'gymnasium/Pendulum-v1',
    'learning_rate': 3e-4,
    'discount': 0.99,
    'target_rate': 0.005,
    'replay_capacity': 50_000,
    'min_replay_size': 500,
}
TASKS = {
    'batch 256, MLP 256-256': {**COMMON, 'batch_size': 256, 'hidden_sizes': [256, 256]},
    'batch 64, MLP 64-64': {**COMMON, 'batch_size': 64, 'hidden_sizes': [64, 64]},
}
PYTHONS = {'sb3': SB3 / 'bin' / 'python', 'culmen': SPEED / 'bin' / 'python'}


def run(worker: str, task: str, steps: int, seed: int, core: int) -> dict[str, Any]:
    """One run in a process of its own."""
    command = [PYTHONS[worker], ROOT / 'benchmarks' / f'sac_speed_{worker}.py']
    command += ['--settings', json.dumps(TASKS[task]), '--warm-up', WARM_UP]
    command += ['--steps', steps, '--seed', seed]
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result['updates'] == result['steps'] == steps, result
    return result


def main() -> int:
    """Measures, prints, and writes the page where it is asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--steps', type=int, default=2_000, help='timed steps of a run')
    parser.add_argument('--core', type=int, default=min(os.sched_getaffinity(0)))
    parser.add_argument('--task', action='append', choices=TASKS, help='default: all')
    parser.add_argument('--python', default=sys.executable, help='that both run on')
    parser.add_argument('--torch', default='torch', help='what pip installs, as torch==2.13.0')
    parser.add_argument('--write', action='store_true')
    arguments = parser.parse_args()
    prepare(SB3, arguments.python, [arguments.torch], ['stable-baselines3', 'bsuite'])
    prepare(SPEED, arguments.python, ['-e', '.', 'jax==0.4.38', 'gymnasium', 'bsuite'])

    versions: dict[str, dict[str, str]] = {}
    lines = []
    for task in arguments.task or TASKS:
        speeds: dict[str, list[float]] = {worker: [] for worker in PYTHONS}
        for repeat in range(1, arguments.repeats + 1):
            for worker, found in speeds.items():
                result = run(worker, task, arguments.steps, repeat, arguments.core)
                versions[worker] = result['versions']
                found.append(result['steps_per_second'])
                print(f'{task}, {worker}: {found[-1]:,.0f} steps/s', file=sys.stderr)
        lines += ['', f'## Pendulum-v1, {task}', '', '| | steps/s, best | all repeats |']
        lines += ['|---|---|---|']
        for worker, found in speeds.items():
            repeats = ', '.join(f'{speed:,.0f}' for speed in found)
            lines.append(f'| {worker} | {max(found):,.0f} | {repeats} |')
        ratio = max(speeds['culmen']) / max(speeds['sb3'])
        lines += ['', f'culmen is {ratio:.2f} times as fast; the bar is {BAR:g}.']
    head = [
        '# Speed of SAC on one core',
        '',
        'Environment steps per second with one update a step, beside stable-baselines3 (sb3), without',
        'evaluation, logs and checkpoints; `benchmarks/sac_speed.py` says how it is measured.',
        '',
        f'- command: `{shlex.join(["python", "benchmarks/sac_speed.py", *sys.argv[1:]])}`',
        f'- date: {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}; one core of {processor()}',
        *(
            f'- {worker}: ' + ', '.join(f'{k} {v}' for k, v in found.items())
            for worker, found in versions.items()
        ),
    ]
    page = '\n'.join([*head, *lines]) + '\n'
    print(page)
    if arguments.write:
        (pathlib.Path(ROOT) / 'docs' / 'results' / 'sac_speed.md').write_text(page)
    return 0


if __name__ == '__main__':
    sys.exit(main())
