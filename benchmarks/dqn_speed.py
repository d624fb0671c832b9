"""Environment steps per second of DQN in one process, beside stable-baselines3's DQN.

    python benchmarks/dqn_speed.py --write

Both make one update a step with the same settings (below), without evaluation, logs or checkpoints.
Each run is a process of its own and is timed after a warm-up that holds all compilation and random
exploration; the competitors take turns, and the best of the repeats counts. Both run on one Python,
`--python`, each in an environment of its own that the first run makes: .venv-sb3 with torch (`--torch`
chooses it: the default for Linux is a build for GPUs, of several gigabytes; it runs on the CPU too) and
.venv-speed with Culmen's base packages and JAX 0.4.38, whose calls on a CPU take the least time. A last
row is Culmen in the environment that runs this script. `--write` writes docs/results/speed.md, with the
microseconds of a step by part, and speed.csv.
"""

import argparse
import csv
import datetime
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / 'docs' / 'results'
SB3, SPEED = ROOT / '.venv-sb3', ROOT / '.venv-speed'
# Whose versions the workers tell.
OF_SB3 = ('stable-baselines3', 'torch', 'gymnasium', 'numpy')
OF_CULMEN = ('culmen', 'jax', 'gymnasium', 'numpy')
BAR = 6.0
# Both pages of speeds say which way they were taken.
CALLS = (
    '- calls of culmen: the fast path, in the calling thread (`jax_cpu_enable_async_dispatch` off, as '
    '`culmen.run` sets it for small networks)'
)
TRIED = '## What was tried\n'  # written by hand: kept when the page is written anew

COMMON = {
    'learning_rate': 5e-4,
    'discount': 0.99,
    'replay_capacity': 50_000,
    'min_replay_size': 1_000,
    'target_update_period': 100,
    'epsilon_initial': 1.0,
    'epsilon': 0.05,
    'epsilon_decay_steps': 1_500,
    'max_gradient_norm': 10.0,
}
TASKS = {
    'gymnasium/CartPole-v1': {**COMMON, 'batch_size': 64, 'hidden_sizes': [64, 64]},
    'bsuite/catch/0': {**COMMON, 'batch_size': 32, 'hidden_sizes': [50, 50]},
}
WARM_UP = 2_000

# Name of the row, whose worker, and its options; the first three rows are those of the bar.
COMPETITORS = [
    ('stable-baselines3, 1 thread', 'sb3', ['--threads', '1']),
    ('stable-baselines3, 2 threads', 'sb3', ['--threads', '2']),
    ('culmen', 'culmen', ['--updates-per-call', '1']),
    ('culmen, updates_per_call=8', 'culmen', ['--updates-per-call', '8']),
    ('stable-baselines3, one core', 'sb3', ['--threads', '1', '--cores', '1']),
    ('culmen, one core', 'culmen', ['--updates-per-call', '1', '--cores', '1']),
    ('culmen, in this environment', 'culmen-here', ['--updates-per-call', '1']),
]


def prepare(folder: pathlib.Path, python: str, *installs: list[str]) -> None:
    """Makes an environment, unless it is there."""
    stamp, wanted = folder / '.complete', json.dumps([python, *installs])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f'making {folder.name} with {python}', file=sys.stderr)
    subprocess.run([python, '-m', 'venv', '--clear', folder], check=True)
    for install in installs:
        subprocess.run(
            [folder / 'bin' / 'python', '-m', 'pip', 'install', '--quiet', *install],
            check=True,
            cwd=ROOT,
        )
    stamp.write_text(wanted)


def run(worker: str, options: list[str], task: str, steps: int, seed: int) -> dict[str, Any]:
    """One run in a process of its own."""
    pythons = {'sb3': SB3 / 'bin' / 'python', 'culmen': SPEED / 'bin' / 'python'}
    script = f'dqn_speed_{worker.partition("-")[0]}.py'
    command = [pythons.get(worker, sys.executable), ROOT / 'benchmarks' / script]
    command += ['--environment', task]
    command += ['--settings', json.dumps(TASKS[task]), '--warm-up', WARM_UP, '--steps', steps]
    command += ['--seed', seed, *options]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    if '--threads' in options:
        environment['OMP_NUM_THREADS'] = options[options.index('--threads') + 1]
    done = subprocess.run(
        [str(part) for part in command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result['updates'] == result['steps'] == steps, result
    return result


def tell(steps: int, updates: int, seconds: float, packages: Sequence[str], **more: Any) -> None:
    """Prints what a worker timed, and the versions of packages, as a line of JSON."""
    result = {
        'steps': steps,
        'updates': updates,
        'seconds': seconds,
        'steps_per_second': steps / seconds,
        'versions': versions_of(packages),
        **more,
    }
    print(json.dumps(result))


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Of Python and of packages, here."""
    found = {name: metadata.version(name) for name in packages}
    return {'python': platform.python_version(), **found}


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
        return next(line.split(':')[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(rows: list[dict[str, Any]], task: str) -> list[str]:
    """The best of each competitor, and its ratio to the baseline on as many cores."""
    best = {
        name: max(row['steps_per_second'] for row in found)
        for name, _, _ in COMPETITORS
        if (found := [row for row in rows if row['task'] == task and row['competitor'] == name])
    }
    free = max(best[name] for name in best if name.startswith('stable') and 'core' not in name)
    lines = ['| | steps/s, best | all repeats | times stable-baselines3 |', '|---|---|---|---|']
    for name, value in best.items():
        speeds = [
            row['steps_per_second']
            for row in rows
            if row['task'] == task and row['competitor'] == name
        ]
        ratio = value / (best['stable-baselines3, one core'] if 'one core' in name else free)
        cells = [name, f'{value:,.0f}', ', '.join(f'{speed:,.0f}' for speed in speeds)]
        lines.append(f'| {" | ".join(cells)} | {ratio:.2f} |')
    return lines


def parts_table(parts: dict[str, float]) -> list[str]:
    """Microseconds of a step by part."""
    lines = ['| part of a step | microseconds |', '|---|---|']
    lines += [f'| {name} | {value:.1f} |' for name, value in parts.items()]
    return [*lines, f'| sum | {sum(parts.values()):.1f} |']


def report(
    rows: list[dict[str, Any]],
    command: str,
    versions: dict[str, dict[str, str]],
    parts: dict[str, dict[str, float]],
) -> str:
    """The page of results."""
    lines = [
        '# Speed of DQN in one process',
        '',
        'Environment steps per second with one update a step, without evaluation, logs and',
        'checkpoints, after a warm-up; `benchmarks/dqn_speed.py` says how it is measured. Both may',
        'use the whole machine, but in the rows of one core. The bar: on CartPole-v1, `culmen` at',
        f'least {BAR:g} times the faster of the two first rows. The tables of parts are of one more',
        'run each, in which reading the clock takes a few microseconds a step itself.',
        '',
        f'- command: `{command}`',
        f'- seeds: 1 to {max(row["seed"] for row in rows)}, a repeat each; date: '
        f'{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}',
        f'- machine: {processor()}, {len(os.sched_getaffinity(0))} cores, {platform.system()}',
        CALLS,
    ]
    for worker, found in versions.items():
        lines.append(f'- {worker}: ' + ', '.join(f'{k} {v}' for k, v in found.items()))
    for task in TASKS:
        if any(row['task'] == task for row in rows):
            settings = TASKS[task]
            network = '-'.join(str(size) for size in settings['hidden_sizes'])
            lines += ['', f'## {task}, batch {settings["batch_size"]}, MLP {network}', '']
            lines += [*table(rows, task), '', *parts_table(parts[task])]
    return '\n'.join(lines) + '\n'


def write_page(name: str, page: str) -> None:
    """Writes a page of results, and keeps what it says of what was tried."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / name
    tried = path.read_text().partition(TRIED)[2] if path.exists() else ''
    path.write_text(page + (f'\n{TRIED}{tried}' if tried else ''))


def main() -> int:
    """Measures, prints, and writes the page where it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--steps', type=int, default=10_000, help='timed steps of a run')
    parser.add_argument('--task', action='append', choices=TASKS, help='default: all')
    parser.add_argument('--python', default=sys.executable, help='that both run on')
    parser.add_argument('--torch', default='torch', help='what pip installs, as torch==2.13.0')
    parser.add_argument('--write', action='store_true')
    arguments = parser.parse_args()
    prepare(SB3, arguments.python, [arguments.torch], ['stable-baselines3', 'bsuite'])
    prepare(SPEED, arguments.python, ['-e', '.', 'jax==0.4.38', 'gymnasium', 'bsuite'])

    rows: list[dict[str, Any]] = []
    versions: dict[str, dict[str, str]] = {}
    parts: dict[str, dict[str, float]] = {}
    for task in arguments.task or TASKS:
        for repeat in range(1, arguments.repeats + 1):
            for name, worker, options in COMPETITORS:
                result = run(worker, options, task, arguments.steps, seed=repeat)
                versions[worker] = result['versions']
                row = {'task': task, 'competitor': name, 'seed': repeat, 'steps': result['steps']}
                row['seconds'] = round(result['seconds'], 3)
                row['steps_per_second'] = round(result['steps_per_second'], 1)
                rows.append(row)
                print(f'{task} {name}: {row["steps_per_second"]:,.0f} steps/s', file=sys.stderr)
        options = ['--updates-per-call', '1', '--parts']
        parts[task] = run('culmen', options, task, arguments.steps, seed=1)['parts']
    command = shlex.join(['python', 'benchmarks/dqn_speed.py', *sys.argv[1:]])
    page = report(rows, command, versions, parts)
    print(page)
    if arguments.write:
        write_page('speed.md', page)
        with open(RESULTS / 'speed.csv', 'w', newline='') as file:
            writer = csv.DictWriter(file, rows[0].keys(), lineterminator='\n')
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == '__main__':
    sys.exit(main())
