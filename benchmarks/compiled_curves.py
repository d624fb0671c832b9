"""Compiled training against the loops of the host: the curves of every agent on environments of gymnax.

    python benchmarks/compiled_curves.py             # every run that has not finished, then the page
    python benchmarks/compiled_curves.py --report    # only writes what has finished

Each run has a workdir of its own in runs/compiled, two go at once and each on one core. After a stop the same
command goes on.
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

from learning_curves import run_all
from learning_curves import run_pinned
from program import RESULTS
from program import ROOT
from program import Figure
from program import compare
from program import markdown
from program import random_return

SEEDS = (1, 2, 3)
CARTPOLE = Figure('gymnax/CartPole-v1', 50_000, 5_000)
PENDULUM = Figure('gymnax/Pendulum-v1', 10_000, 1_000)
ACROBOT = Figure('gymnax/Acrobot-v1', 300_000, 25_000)
CURVES = {
    **dict.fromkeys(('dqn', 'r2d2', 'impala', 'a2c', 'ppo'), CARTPOLE),
    **dict.fromkeys(('sac', 'td3', 'ddpg', 'd4pg'), PENDULUM),
}
# Where seeds differ more than loops do, three of each are no measure.
MORE_SEEDS = dict.fromkeys(('dqn', 'impala', 'a2c'), tuple(range(1, 10)))
SOLVED = ('dqn', 'ppo')  # on Acrobot, compiled
BAR = -150.0
RULE = (
    'The same agent with its defaults in the loop of the host and in the compiled one, evaluations of 20 '
    'episodes; nine seeds where the curves of seeds lie far apart, else three. *inside*: at how many of '
    'them the mean of the compiled seeds lies within the least and the most of the host seeds. *area*: '
    'between the curve and the return of random '
    'actions ({floors}), against the mean of the host seeds. A curve is the same where all are inside, or '
    'where the areas differ by at most 10%.'
)


def jobs() -> list[tuple[str, str, Figure, int]]:
    """(agent, launcher, figure, seed) of all runs."""
    curves = [
        (agent, launcher, figure, seed)
        for agent, figure in CURVES.items()
        for launcher in ('local', 'compiled')
        for seed in MORE_SEEDS.get(agent, SEEDS)
    ]
    return curves + [(agent, 'compiled', ACROBOT, seed) for agent in SOLVED for seed in SEEDS]


def workdir_of(runs: Path, agent: str, launcher: str, figure: Figure, seed: int) -> Path:
    """Where a run is."""
    return runs / figure.environment.replace('/', '-') / agent / launcher / f'seed-{seed}'


def run(runs: Path, job: tuple[str, str, Figure, int], cores: 'queue.Queue[int]') -> None:
    """Runs, or resumes, one of them on a free core."""
    agent, launcher, figure, seed = job
    workdir = workdir_of(runs, *job)
    if (workdir / 'result.json').exists():
        return
    told = [
        sys.executable, '-m', 'culmen', 'train', agent, '--environment', figure.environment,
        '--launcher', launcher, '--steps', figure.steps, '--seed', seed,
        '--evaluate-every', figure.evaluate_every, '--workdir', workdir,
    ]  # fmt: skip
    run_pinned(told, workdir, cores)


def read(runs: Path, job: tuple[str, str, Figure, int]) -> Any:
    """The evaluations of a finished run; None: it has not."""
    import pandas as pd

    agent, launcher, figure, seed = job
    workdir = workdir_of(runs, *job)
    if not (workdir / 'result.json').exists():
        return None
    frame = pd.read_csv(workdir / 'logs' / 'evaluator.csv')
    point = frame['actor_steps'] // figure.evaluate_every * figure.evaluate_every
    columns = ['actor_steps', 'learner_steps', 'episode_return', 'episodes']
    kind = {'agent': agent, 'environment': figure.environment, 'kind': launcher, 'seed': seed}
    return frame[columns].assign(**kind, point=point)


def report(runs: Path) -> None:
    """Writes docs/results/compiled_curves.md and the raw numbers beside it."""
    import pandas as pd

    found = {job: frame for job in jobs() if (frame := read(runs, job)) is not None}
    if not found:
        raise SystemExit('nothing has finished')
    floors = {
        each.environment: random_return(each.environment, 50) for each in (CARTPOLE, PENDULUM)
    }
    rows: list[list[Any]] = []
    for agent, figure in CURVES.items():
        frames = [frame for job, frame in found.items() if job[0] == agent and job[2] == figure]
        if not frames:
            continue
        table = pd.concat(frames)
        host = table[(table['kind'] == 'local') & (table['point'] == figure.steps)][
            'episode_return'
        ]
        for row in compare(table, ['compiled'], figure, floors[figure.environment]):
            rows.append(
                [agent, figure.environment, *row[1:4], row[4], f'{host.mean():.3g}', row[6]]
            )
    solved = []
    for agent in SOLVED:
        last = {}
        for job in found:
            if job[0] == agent and job[2] == ACROBOT:
                summary = json.loads((workdir_of(runs, *job) / 'result.json').read_text())
                last[job[3]] = summary['evaluation']['return_mean'], summary['steps_per_second']
        if last:
            mean = sum(value for value, _ in last.values()) / len(last)
            solved.append(
                [agent, ', '.join(f'{value:.1f}' for value, _ in last.values()), f'{mean:.1f}',
                 f'{max(rate for _, rate in last.values()):,.0f}', 'yes' if mean >= BAR else 'NO']
            )  # fmt: skip
    names = ('jax', 'jaxlib', 'gymnax', 'dm-haiku', 'optax')
    told = ', '.join(f'{name.partition("/")[2]} {floor:.3g}' for name, floor in floors.items())
    columns = [
        'agent',
        'environment',
        'seeds',
        'inside',
        'area',
        'last',
        'last of the host',
        'same',
    ]
    lines = [
        '# Curves of the compiled loop', '',
        f'`python benchmarks/compiled_curves.py`, Python {platform.python_version()}, '
        + ', '.join(f'{name} {metadata.version(name)}' for name in names)
        + '. Raw numbers: [compiled_curves.csv](compiled_curves.csv).', '',
        '## Against the loop of the host', '',
        RULE.format(floors=told), '', *markdown(columns, rows), '',
        f'## {ACROBOT.environment} in {ACROBOT.steps:,} steps, compiled, with defaults', '',
        *markdown(['agent', 'last evaluation, by seed', 'mean', 'steps/s, one environment',
                   f'at least {BAR:g}'], solved), '',
    ]  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    pd.concat(found.values()).to_csv(RESULTS / 'compiled_curves.csv', index=False)
    (RESULTS / 'compiled_curves.md').write_text('\n'.join(lines))
    print('\n'.join(lines))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--report', action='store_true', help='only write what has finished')
    parser.add_argument('--runs', type=Path, default=ROOT / 'runs' / 'compiled')
    arguments = parser.parse_args()
    if not arguments.report:
        run_all(
            {
                f'{agent} {launcher} {figure.environment} {seed}': functools.partial(
                    run, arguments.runs, (agent, launcher, figure, seed)
                )
                for agent, launcher, figure, seed in jobs()
            }
        )
    report(arguments.runs)


if __name__ == '__main__':
    main()
