"""Three tasks in one run of IMPALA against a run for each: docs/results/three_tasks.md.

    python benchmarks/three_tasks.py             # every run that has not finished, then the page
    python benchmarks/three_tasks.py --report    # only writes what has finished

The run of all three has three times the steps and the lanes of a run alone, so that each task has as many of
its own. Each run has a workdir in runs/tasks, two go at once and each on one core. After a stop the
same command goes on.
"""

import argparse
import functools
import platform
import queue
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from learning_curves import RESULTS
from learning_curves import ROOT
from learning_curves import run_all
from learning_curves import run_pinned

TASKS = ('jax/four_rooms', 'jax/key_door', 'jax/two_rooms')
TOGETHER = ','.join(TASKS)
STEPS, LANES, SEEDS = 1_000_000, 16, (1, 2)  # of a task
EVALUATIONS, LAST, EPISODES = 20, 5, 50  # of a task
BAR = 0.9


def command(environment: str, seed: int, workdir: Path | str) -> list[str]:
    """The command of a run."""
    num_tasks = environment.count(',') + 1
    alone = ('--agent.task_input', 'false') if num_tasks == 1 else ()
    return [
        'train', 'impala', '--environment', environment, '--preset', 'tasks', *alone,
        '--launcher', 'compiled', '--num-environments', str(LANES * num_tasks),
        '--steps', str(STEPS * num_tasks), '--seed', str(seed),
        '--evaluate-every', str(STEPS * num_tasks // EVALUATIONS),
        '--evaluation-episodes', str(EPISODES * num_tasks),
        '--checkpoint-every', str(STEPS * num_tasks // 4), '--workdir', str(workdir),
    ]  # fmt: skip


def workdir_of(runs: Path, environment: str, seed: int) -> Path:
    """Where a run is."""
    name = 'together' if environment == TOGETHER else environment.replace('/', '-')
    return runs / name / f'seed-{seed}'


def run(runs: Path, environment: str, seed: int, cores: 'queue.Queue[int]') -> None:
    """Runs, or resumes, one of them on a free core."""
    workdir = workdir_of(runs, environment, seed)
    if not (workdir / 'result.json').exists():
        run_pinned(
            [sys.executable, '-m', 'culmen', *command(environment, seed, workdir)], workdir, cores
        )


def read(runs: Path) -> Any:
    """The evaluations of finished runs: a row for each task, run, seed and evaluation."""
    import pandas as pd

    frames = []
    for environment in (*TASKS, TOGETHER):
        for seed in SEEDS:
            workdir = workdir_of(runs, environment, seed)
            if (workdir / 'result.json').exists():
                frame = pd.read_csv(workdir / 'logs' / 'evaluator.csv')
                if environment != TOGETHER:
                    frame['environment'] = environment
                kind = 'together' if environment == TOGETHER else 'alone'
                columns = [
                    'environment',
                    'actor_steps',
                    'learner_steps',
                    'episode_return',
                    'episodes',
                ]
                frames.append(frame[columns].assign(run=kind, seed=seed))
    if not frames:
        raise SystemExit('nothing has finished')
    return pd.concat(frames)


def report(runs: Path) -> None:
    """Writes the page, and the raw numbers beside it."""
    table = read(runs)
    lines = [
        '# Three tasks in one run of IMPALA', '',
        f'`python benchmarks/three_tasks.py`: {STEPS:,} steps of each task, alone in a run of {LANES} lanes '
        f'and together in one of {LANES * len(TASKS)}. Mean returns of the last {LAST} of {EVALUATIONS} '
        f'evaluations, of {EPISODES} episodes of each task, by seed. Bar: together {BAR:g} of alone.', '',
        '| task | alone | together | part | bar |', '|---|---|---|---|---|',
    ]  # fmt: skip
    for task in TASKS:
        means: dict[str, list[float]] = {
            kind: [
                float(each['episode_return'].iloc[-LAST:].mean())
                for _, each in rows.groupby('seed', sort=True)
            ]
            for kind, rows in table[table['environment'] == task].groupby('run')
        }
        cells = [
            ', '.join(f'{m:.3f}' for m in means.get(kind, [])) for kind in ('alone', 'together')
        ]
        part, met = '', 'open'
        if len(means.get('alone', [])) == len(means.get('together', [])) == len(SEEDS):
            ratio = sum(means['together']) / sum(means['alone'])
            part, met = f'{ratio:.2f}', 'met' if ratio >= BAR else 'missed'
        lines.append(f'| {task} | {cells[0]} | {cells[1]} | {part} | {met} |')
    names = ('jax', 'jaxlib', 'numpy', 'dm-haiku', 'optax')
    lines += [
        '', 'One seed of all three:', '',
        f'    culmen {" ".join(command(TOGETHER, 1, "runs/tasks/together/seed-1"))}', '',
        f'Python {platform.python_version()}, '
        + ', '.join(f'{name} {metadata.version(name)}' for name in names)
        + '. Raw numbers: [three_tasks.csv](three_tasks.csv).', '',
    ]  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    table.to_csv(RESULTS / 'three_tasks.csv', index=False)
    (RESULTS / 'three_tasks.md').write_text('\n'.join(lines))
    print('\n'.join(lines))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--report', action='store_true', help='only write what has finished')
    parser.add_argument('--runs', type=Path, default=ROOT / 'runs' / 'tasks')
    arguments = parser.parse_args()
    if not arguments.report:
        run_all(
            {
                f'{environment} {seed}': functools.partial(run, arguments.runs, environment, seed)
                for seed in SEEDS
                for environment in (TOGETHER, *TASKS)
            }
        )
    report(arguments.runs)


if __name__ == '__main__':
    main()
