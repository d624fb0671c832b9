"""PQN, compiled, on gymnax/Breakout-MinAtar, beside rejax's PQN with the same settings.

    python benchmarks/pqn_breakout.py               # every seed that has not finished, then the page
    python benchmarks/pqn_breakout.py --report      # only writes what has finished

Our seeds are those of `learning_curves.py pqn-breakout`. Those of rejax run in .venv-rejax, which the first
run makes. Each run has a workdir of its own, two go at once and each on one core. After a stop the same
command goes on; a run of rejax begins anew.
"""

import argparse
import functools
import json
import platform
import queue
from importlib import metadata
from pathlib import Path
from typing import Any

import learning_curves
from compiled import NEEDS
from compiled import REJAX
from compiled import WHOLE
from compiled import prepare
from learning_curves import FIGURES
from learning_curves import RESULTS
from learning_curves import ROOT
from learning_curves import run_all
from learning_curves import run_pinned
from program import markdown

NAME = 'pqn-breakout'
FIGURE = FIGURES[NAME]
# What the preset says, for rejax: the networks are MinAtar's with layer norm in both.
SETTINGS = {
    'num_envs': 128,
    'num_steps': 32,
    'num_epochs': 2,
    'num_minibatches': 32,
    'learning_rate': 5e-4,
    'gamma': 0.99,
    'td_lambda': 0.65,
    'max_grad_norm': 10.0,
    'eps_start': 1.0,
    'eps_end': 0.05,
    'exploration_fraction': 1_000_000 / FIGURE.steps,
}
TOLERANCE = 0.1


def train(seed: int, workdir: Path, cores: 'queue.Queue[int]') -> None:
    """One seed of rejax on a free core."""
    if (workdir / 'result.json').exists():
        return
    told = [
        REJAX / 'bin' / 'python', ROOT / 'benchmarks' / 'pqn_breakout_rejax.py',
        '--seed', seed, '--steps', FIGURE.steps, '--every', FIGURE.evaluate_every,
        '--episodes', FIGURE.evaluation_episodes,
        '--environment', FIGURE.environment.partition('/')[2],
        '--settings', json.dumps(SETTINGS), '--workdir', workdir,
    ]  # fmt: skip
    run_pinned(told, workdir, cores, WHOLE)


def report(workdirs: dict[str, Path]) -> None:
    """Writes docs/results/pqn_breakout.md and the raw numbers beside it."""
    import pandas as pd

    frames = []
    for name, folder in workdirs.items():
        for seed in FIGURE.seeds:
            workdir = folder / f'seed-{seed}'
            if (workdir / 'result.json').exists():
                frame = pd.read_csv(workdir / 'logs' / 'evaluator.csv')
                frames.append(frame.assign(kind=name, seed=seed))
    if not frames:
        raise SystemExit('nothing has finished')
    table = pd.concat(frames)[['kind', 'seed', 'actor_steps', 'learner_steps', 'episode_return']]
    table['point'] = table.groupby(['kind', 'seed']).cumcount() + 1
    rows: list[list[Any]] = []
    areas = {}
    for name, frame in table.groupby('kind', sort=False):
        of_seeds = frame.groupby('seed')['episode_return']
        areas[name] = of_seeds.mean().mean()
        last = of_seeds.apply(lambda values: values.iloc[-5:].mean())
        rows.append(
            [name, ', '.join(f'{value:.2f}' for value in last), f'{last.mean():.2f}', f'{areas[name]:.2f}']
        )  # fmt: skip
    verdict = 'open: not all seeds have finished'
    if len(frames) == len(workdirs) * len(FIGURE.seeds):
        share = areas['culmen'] / areas['rejax']
        verdict = f'{share:.2f} times; {"met" if share >= 1 - TOLERANCE else "missed"}'
    points = table.groupby(['point', 'kind'])['episode_return'].mean().unstack()
    here = ('jax', 'jaxlib', 'gymnax', 'dm-haiku', 'optax')
    versions = ', '.join(f'{name} {metadata.version(name)}' for name in here)
    lines = [
        "# PQN on Breakout-MinAtar beside rejax's PQN", '',
        f'`python benchmarks/pqn_breakout.py`: {FIGURE.steps:,} frames of {FIGURE.environment}, compiled, '
        f'seeds {FIGURE.seeds}, the greedy action for {FIGURE.evaluation_episodes} episodes every '
        f'{FIGURE.evaluate_every:,} frames. *last* is the mean of the last five evaluations, *area* that of '
        "all. rejax's own PQN takes Adam and clips each gradient by itself; here it has rectified Adam, the "
        'global norm, and the learning rate that falls to 0.', '',
        *markdown(['', 'last, by seed', 'last', 'area'], rows), '',
        f'Bar: at least {1 - TOLERANCE:g} times the area of rejax: {verdict}.', '',
        *markdown(
            ['frames', *points.columns],
            [
                [f'{point * FIGURE.evaluate_every:,}', *(f'{value:.2f}' for value in row)]
                for point, row in zip(points.index, points.values)
            ],
        ), '',
        'Settings, by their names in rejax: '
        + ', '.join(f'`{name}` {value}' for name, value in SETTINGS.items()) + '.', '',
        f'Culmen: Python {platform.python_version()}, {versions}. rejax: {", ".join(NEEDS)}. '
        'Raw numbers: [pqn_breakout.csv](pqn_breakout.csv).', '',
    ]  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    table.to_csv(RESULTS / 'pqn_breakout.csv', index=False)
    (RESULTS / 'pqn_breakout.md').write_text('\n'.join(lines))
    print('\n'.join(lines))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--runs', type=Path, default=ROOT / 'runs')
    parser.add_argument('--report', action='store_true', help='only write what has finished')
    arguments = parser.parse_args()
    workdirs = {
        'culmen': arguments.runs / 'benchmarks' / NAME,
        'rejax': arguments.runs / 'pqn-breakout-rejax',
    }
    if not arguments.report:
        prepare()
        jobs = {}
        for seed in FIGURE.seeds:
            ours, theirs = (folder / f'seed-{seed}' for folder in workdirs.values())
            jobs[f'culmen {seed}'] = functools.partial(learning_curves.train, FIGURE, seed, ours)
            jobs[f'rejax {seed}'] = functools.partial(train, seed, theirs)
        run_all(jobs)
    report(workdirs)


if __name__ == '__main__':
    main()
