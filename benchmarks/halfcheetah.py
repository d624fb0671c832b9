"""SAC on HalfCheetah-v5 to 100,000 steps, beside stable-baselines3's SAC with the same settings.

    python benchmarks/halfcheetah.py --python PYTHON      # every seed that has not finished, then the page
    python benchmarks/halfcheetah.py --report             # only writes what has finished

Our seeds are those of `learning_curves.py sac-halfcheetah`. Theirs run in .venv-sb3-mujoco, which the first
run makes with `--python` (3.10 or later) and `--torch`. Each run has a workdir of its own, two go at once and
each on one core. After a stop the same command goes on; a run of stable-baselines3 begins anew.
"""

import argparse
import functools
import json
import platform
import queue
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import learning_curves
from dqn_speed import prepare
from learning_curves import FIGURES
from learning_curves import RESULTS
from learning_curves import ROOT
from learning_curves import run_all
from learning_curves import run_pinned
from program import markdown

NAME = 'sac-halfcheetah'
FIGURE = FIGURES[NAME]
SB3 = ROOT / '.venv-sb3-mujoco'
PINS = [
    f'gymnasium[mujoco]=={metadata.version("gymnasium")}',
    f'mujoco=={metadata.version("mujoco")}',
]
# The fields of the preset that both are given; policy and critics have MLPs of ReLUs in both.
SETTINGS = {
    'learning_rate': 3e-4,
    'buffer_size': 1_000_000,
    'learning_starts': 1_000,
    'batch_size': 256,
    'tau': 0.005,
    'gamma': 0.99,
    'train_freq': 1,
    'gradient_steps': 1,
    'ent_coef': 'auto',
    'target_entropy': 'auto',
    'policy_kwargs': {'net_arch': [256, 256]},
}
BAR = 0.9


def train(seed: int, workdir: Path, cores: 'queue.Queue[int]') -> None:
    """One seed of stable-baselines3 on a free core."""
    if (workdir / 'result.json').exists():
        return
    told = [
        SB3 / 'bin' / 'python', ROOT / 'benchmarks' / 'halfcheetah_sb3.py',
        '--seed', seed, '--steps', FIGURE.steps, '--every', FIGURE.evaluate_every,
        '--episodes', FIGURE.evaluation_episodes,
        '--environment', FIGURE.environment.partition('/')[2],
        '--settings', json.dumps(SETTINGS), '--workdir', workdir,
    ]  # fmt: skip
    run_pinned(told, workdir, cores, {'OMP_NUM_THREADS': '1'})


def report(workdirs: dict[str, Path]) -> None:
    """Writes docs/results/halfcheetah.md and the raw numbers beside it."""
    import pandas as pd

    frames, told = [], {}
    for name, folder in workdirs.items():
        for seed in FIGURE.seeds:
            workdir = folder / f'seed-{seed}'
            if (workdir / 'result.json').exists():
                frame = pd.read_csv(workdir / 'logs' / 'evaluator.csv')
                frames.append(frame.assign(kind=name, seed=seed))
                told[name] = json.loads((workdir / 'result.json').read_text())
    if not frames:
        raise SystemExit('nothing has finished')
    columns = [
        'kind',
        'seed',
        'actor_steps',
        'learner_steps',
        'episode_return',
        'episode_return_std',
    ]
    table = pd.concat(frames)[columns]
    rows: list[list[Any]] = []
    means = {}
    for name, frame in table.groupby('kind', sort=False):
        seeds = frame.groupby('seed')['episode_return'].apply(
            lambda x: x.iloc[-FIGURE.last :].mean()
        )
        means[name] = seeds.mean()
        updates = sorted(set(frame.groupby('seed')['learner_steps'].max()))
        rows.append(
            [name, ', '.join(f'{value:,.0f}' for value in seeds), f'{seeds.mean():,.0f}',
             ', '.join(f'{each:,}' for each in updates)]
        )  # fmt: skip
    points = table.groupby(['actor_steps', 'kind'])['episode_return'].mean().unstack()
    verdict = 'open: not all seeds have finished'
    if len(frames) == len(workdirs) * len(FIGURE.seeds):
        share = means['culmen'] / means['sb3']
        verdict = f'{share:.2f} times; {"met" if share >= BAR else "missed"}'
    here = ('jax', 'jaxlib', 'gymnasium', 'mujoco', 'numpy')
    versions = ', '.join(f'{name} {metadata.version(name)}' for name in here)
    theirs = told.get('sb3', {}).get('versions', {})
    lines = [
        "# SAC on HalfCheetah-v5 beside stable-baselines3", '',
        f'`python benchmarks/halfcheetah.py`: {FIGURE.steps:,} steps, an update a step after 1,000 random '
        f'ones, seeds {FIGURE.seeds}, the mean action for {FIGURE.evaluation_episodes} episodes every '
        f'{FIGURE.evaluate_every:,} steps. The figure is the mean of the last three evaluations. Both have '
        'the settings below.', '',
        *markdown(['', 'by seed', 'mean', 'updates'], rows), '',
        f'Bar: {BAR:g} times the mean of stable-baselines3: {verdict}.', '',
        *markdown(
            ['actor steps', *points.columns],
            [
                [f'{steps:,}', *(f'{value:,.0f}' for value in row)]
                for steps, row in zip(points.index, points.values)
            ],
        ), '',
        'Settings, by their names in stable-baselines3: '
        + ', '.join(f'`{name}` {value}' for name, value in SETTINGS.items()) + '.', '',
        f'Culmen: Python {platform.python_version()}, {versions}. stable-baselines3 (sb3): '
        + ', '.join(f'{name} {version}' for name, version in theirs.items())
        + '. Raw numbers: [halfcheetah.csv](halfcheetah.csv).', '',
    ]  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    table.to_csv(RESULTS / 'halfcheetah.csv', index=False)
    (RESULTS / 'halfcheetah.md').write_text('\n'.join(lines))
    print('\n'.join(lines))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--python', default=sys.executable, help='that stable-baselines3 runs on')
    parser.add_argument('--torch', default='torch', help='what pip installs, as torch==2.13.0')
    parser.add_argument('--runs', type=Path, default=ROOT / 'runs')
    parser.add_argument('--report', action='store_true', help='only write what has finished')
    arguments = parser.parse_args()
    workdirs = {
        'culmen': arguments.runs / 'benchmarks' / NAME,
        'sb3': arguments.runs / 'halfcheetah-sb3',
    }
    if not arguments.report:
        prepare(SB3, arguments.python, [arguments.torch], ['stable-baselines3', *PINS])
        jobs = {}
        for seed in FIGURE.seeds:
            ours, theirs = (folder / f'seed-{seed}' for folder in workdirs.values())
            jobs[f'culmen {seed}'] = functools.partial(learning_curves.train, FIGURE, seed, ours)
            jobs[f'sb3 {seed}'] = functools.partial(train, seed, theirs)
        run_all(jobs)
    report(workdirs)


if __name__ == '__main__':
    main()
