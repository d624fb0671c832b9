"""Programs against one process: curves over actor steps, and how the nodes of a program spend their time.

    python benchmarks/program.py run catch cartpole      # every run that has not finished; no name: all
    python benchmarks/program.py run catch --only processes-2
    python benchmarks/program.py rates                   # of each kind once, on a machine that is quiet
    python benchmarks/program.py report                  # only writes what has finished

Each run has a workdir of its own in runs/program and is a command of its own, one after another. After a
stop the same command goes on: a run resumes from its checkpoint, a finished one is not run again. For speed
keep the machine quiet; `taskset` before the command says which cores all of a program share.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'docs' / 'results'
SEEDS = (1, 2, 3)
LOCAL = 'one process'
PROGRAMS = [(launcher, actors) for launcher in ('threads', 'processes') for actors in (1, 2, 4)]
CHECKPOINT_EVERY = 1_000_000  # of a run's speed nothing goes into checkpoints but the last

CURVES = (
    'Evaluations of 20 episodes every {every:,} actor steps. *inside*: at how many of them the mean of the '
    'seeds lies within the least and the most of the one-process seeds. *area*: between the curve and the '
    'return of random actions ({floor:.3g}), against the mean of the one-process seeds. A program holds '
    'where all are inside, or where the areas differ by at most 10%. One process has {seeds} seeds.'
)
RATES = (
    'Rates while steps are taken (without the start of the nodes), and shares of the time that a node waits: '
    'an actor until its items are stored (because the learner is behind, or the server busy) and for claims '
    'of steps, the learner for items, the evaluator for evaluations. Calls and bytes are those to others; '
    "*looks* is an actor's share of time in asking for parameters. Evaluations take their part of the cores "
    'from all others; the rate of one process leaves them out.'
)
SPEEDS = [
    '', 'actor steps/s', 'updates/s', 'actor waits: table', 'claims', 'learner waits', 'evaluator waits',
    'calls a step', 'bytes a step', 'looks',
]  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A task and how long it is learned."""

    environment: str
    steps: int
    evaluate_every: int
    # Of the kinds, by name, that take more seeds than three; 'local' is what programs are held to.
    more_seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)

    def seeds(self, kind: str) -> tuple[int, ...]:
        """Of the runs of a kind."""
        return self.more_seeds.get(kind, SEEDS)


FIGURES = {
    'catch': Figure('bsuite/catch/0', 20_000, 2_000),
    # Here seeds differ more than launchers do: three of one process are no measure.
    'cartpole': Figure(
        'gymnasium/CartPole-v1', 50_000, 5_000,
        dict.fromkeys(('local', 'threads-2', 'threads-4'), tuple(range(1, 10))),
    ),
}  # fmt: skip


def name_of(launcher: str, actors: int) -> str:
    """Of the runs of a launcher, in names of folders and tables."""
    return 'local' if launcher == 'local' else f'{launcher}-{actors}'


def kinds() -> list[tuple[str, int]]:
    """All ways to run a figure."""
    return [('local', 1), *PROGRAMS]


def command(figure: Figure, launcher: str, actors: int, seed: int, workdir: Path) -> list[str]:
    """The command of one run."""
    program = () if launcher == 'local' else ('--launcher', launcher, '--actors', str(actors))
    return [
        'train', 'dqn', '--environment', figure.environment, '--steps', str(figure.steps),
        '--seed', str(seed), '--evaluate-every', str(figure.evaluate_every),
        '--checkpoint-every', str(CHECKPOINT_EVERY), *program, '--workdir', str(workdir),
    ]  # fmt: skip


def run(
    name: str, figure: Figure, runs: Path, only: set[str], seeds: tuple[int, ...] | None = None
) -> None:
    """Runs what has not finished, of the figure's seeds or of these, the seeds of all kinds in turns."""
    of_kind = {kind: seeds or figure.seeds(kind) for kind in (name_of(*each) for each in kinds())}
    for seed in sorted({seed for each in of_kind.values() for seed in each}):
        for launcher, actors in kinds():
            kind = name_of(launcher, actors)
            workdir = runs / name / kind / f'seed-{seed}'
            if (only and kind not in only) or (workdir / 'result.json').exists():
                continue
            if seed not in of_kind[kind]:
                continue
            print(f'{name}: {kind}, seed {seed}', file=sys.stderr, flush=True)
            workdir.parent.mkdir(parents=True, exist_ok=True)
            with open(workdir.parent / f'seed-{seed}.log', 'a') as log:
                subprocess.run(
                    [sys.executable, '-m', 'culmen', *command(figure, launcher, actors, seed, workdir)],
                    check=True, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip


def random_return(environment: str, episodes: int = 300) -> float:
    """The mean return of actions drawn at random."""
    import numpy as np

    from culmen.components import environments

    made = environments.make(environment, seed=0)
    generator = np.random.default_rng(0)
    total = 0.0
    for _ in range(episodes):
        timestep = made.reset()
        while not timestep.last():
            timestep = made.step(draw(made.action_spec(), generator))
            total += timestep.reward
    return total / episodes


def draw(spec: Any, generator: Any) -> Any:
    """An action at random."""
    if hasattr(spec, 'num_values'):
        return int(generator.integers(spec.num_values))
    return generator.uniform(spec.minimum, spec.maximum, spec.shape).astype(spec.dtype)


def read(name: str, figure: Figure, runs: Path) -> Any:
    """The evaluations of all finished runs, at the multiples that they were asked for at."""
    import pandas as pd

    frames = []
    for launcher, actors in kinds():
        for seed in figure.seeds(name_of(launcher, actors)):
            workdir = runs / name / name_of(launcher, actors) / f'seed-{seed}'
            if not (workdir / 'result.json').exists():
                continue
            frame = pd.read_csv(workdir / 'logs' / 'evaluator.csv')
            point = frame['actor_steps'] // figure.evaluate_every * figure.evaluate_every
            frames.append(frame.assign(kind=name_of(launcher, actors), seed=seed, point=point))
    if not frames:
        return None
    columns = [
        'kind',
        'seed',
        'point',
        'actor_steps',
        'learner_steps',
        'episode_return',
        'episodes',
    ]
    return pd.concat(frames)[columns]


def compare(table: Any, names: list[str], figure: Figure, floor: float) -> list[list[Any]]:
    """A row for each kind of these names: points within the one-process seeds, the difference of areas, and
    whether it holds."""
    of_kind = {
        kind: frame.pivot(index='point', columns='seed', values='episode_return')
        for kind, frame in table.groupby('kind')
    }
    local = of_kind.get('local')
    rows = []
    for kind in names:
        if kind not in of_kind or local is None:
            continue
        curve, base = of_kind[kind].mean(axis=1), local.loc[local.index.isin(of_kind[kind].index)]
        inside = (curve >= base.min(axis=1) - 1e-9) & (curve <= base.max(axis=1) + 1e-9)
        areas = [float((each - floor).sum()) for each in (curve, base.mean(axis=1))]
        difference = areas[0] / areas[1] - 1
        holds = bool(inside.all()) or abs(difference) <= 0.1
        last = table[(table['kind'] == kind) & (table['point'] == figure.steps)]
        rows.append(
            [kind, len(of_kind[kind].columns), f'{int(inside.sum())} of {len(inside)}', f'{difference:+.1%}',
             f"{last['episode_return'].mean():.3g}",
             ', '.join(f'{n:,}' for n in sorted(set(last['learner_steps']))), 'yes' if holds else 'NO']
        )  # fmt: skip
    return rows


def speeds(name: str, runs: Path) -> list[list[Any]]:
    """A row a kind: rates, waits and traffic, means over the finished seeds."""
    rows = []
    mean = lambda values: sum(values) / len(values)

    def share(nodes: dict[str, Any], kind: str, why: str) -> float:
        of_kind = [each for name, each in nodes.items() if name.startswith(kind)]
        return mean([each['waited'][why] / each['seconds'] for each in of_kind])

    for launcher, actors in kinds():
        found = []
        for seed in SEEDS:
            workdir = runs / name / name_of(launcher, actors) / f'seed-{seed}'
            if (workdir / 'result.json').exists():
                result = json.loads((workdir / 'result.json').read_text())
                nodes = workdir / 'logs' / 'nodes.json'
                found.append((result, json.loads(nodes.read_text()) if nodes.exists() else {}))
        if not found:
            continue
        steps = mean([result['steps_per_second'] for result, _ in found])
        updates = mean(
            [r['learner_steps'] / r['actor_steps'] * r['steps_per_second'] for r, _ in found]
        )
        row = [name_of(launcher, actors), f'{steps:,.0f}', f'{updates:,.0f}']
        if launcher == 'local':
            rows.append([*row, *['-'] * 7])
            continue
        for kind, why in (
            ('actor', 'for the table'),
            ('actor', 'for claims'),
            ('learner', 'for items'),
            ('evaluator', 'for evaluations'),
        ):
            row.append(f'{mean([share(nodes, kind, why) for _, nodes in found]):.0%}')
        for what in ('calls', 'bytes'):
            per_step = [
                sum(t[what] for n, each in nodes.items() if n.startswith('actor')
                    for t in each['traffic'].values()) / result['actor_steps']
                for result, nodes in found
            ]  # fmt: skip
            row.append(f'{mean(per_step):,.3g}' if what == 'calls' else f'{mean(per_step):,.0f}')
        looks = mean(
            [
                mean([n['traffic']['learner']['seconds'] / n['seconds']
                      for name, n in nodes.items() if name.startswith('actor')])
                for _, nodes in found
            ]
        )  # fmt: skip
        rows.append([*row, f'{looks:.0%}'])
    return rows


def markdown(header: list[str], rows: list[list[Any]]) -> list[str]:
    """A table."""
    lines = [header, ['---'] * len(header), *rows]
    return [f'| {" | ".join(map(str, line))} |' for line in lines]


def report(runs: Path, rates: Path, note: str) -> None:
    """Writes docs/results/program.md, with a note on the machine, and the raw numbers beside it."""
    import pandas as pd

    cores = sorted(os.sched_getaffinity(0))
    versions = ', '.join(
        f'{package} {metadata.version(package)}'
        for package in ('jax', 'dm-launchpad-nightly', 'dm-reverb')
    )
    lines = [
        '# Programs against one process',
        '',
        f'DQN with its defaults, {len(cores)} core(s) of {os.cpu_count()} for all nodes '
        f'of a program, Python {platform.python_version()}, {versions}. All runs: '
        '`python benchmarks/program.py run`; what has finished: `python benchmarks/program.py report`.',
        *(['', note] if note else []),
        '',
    ]
    tables = []
    for name, figure in FIGURES.items():
        table = read(name, figure, runs)
        if table is None:
            continue
        tables.append(table.assign(figure=name))
        floor = random_return(figure.environment)
        local = table[table['kind'] == 'local'].groupby('point')['episode_return']
        points = '; '.join(
            f'{point:,}: {group.mean():.3g} ({group.min():.3g} to {group.max():.3g})'
            for point, group in local
        )
        columns = ['program', 'seeds', 'inside', 'area', 'last return', 'updates', 'holds']
        lines += [
            f'## {figure.environment}, {figure.steps:,} steps',
            '',
            CURVES.format(
                every=figure.evaluate_every, floor=floor, seeds=len(figure.seeds('local'))
            ),
            '',
            *markdown(
                columns, compare(table, [name_of(*each) for each in PROGRAMS], figure, floor)
            ),
            '',
            f'One process: {points}.',
            '',
            RATES if (rates / name).exists() else f'{RATES} Taken from the runs of the curves.',
            '',
            *markdown(SPEEDS, speeds(name, rates if (rates / name).exists() else runs)),
            '',
        ]
    if not tables:
        raise SystemExit('nothing has finished')
    RESULTS.mkdir(parents=True, exist_ok=True)
    pd.concat(tables).to_csv(RESULTS / 'program.csv', index=False)
    (RESULTS / 'program.md').write_text('\n'.join(lines).rstrip() + '\n')


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('what', choices=['run', 'rates', 'report'])
    parser.add_argument('figures', nargs='*', help=f'of {", ".join(FIGURES)}')
    parser.add_argument(
        '--only', nargs='*', default=[], help='kinds: local, threads-1, processes-4 ...'
    )
    parser.add_argument('--note', default='', help='of the machine and its load, for the page')
    parser.add_argument('--runs', type=Path, default=ROOT / 'runs' / 'program')
    parser.add_argument('--rates', type=Path, default=ROOT / 'runs' / 'program-rates')
    options = parser.parse_args()
    unknown = set(options.figures) - set(FIGURES)
    if unknown:
        parser.error(f'no such figure: {", ".join(sorted(unknown))}')
    if options.what == 'run':
        for name in options.figures or FIGURES:
            run(name, FIGURES[name], options.runs, set(options.only))
    if options.what == 'rates':
        for name in options.figures or FIGURES:
            run(name, FIGURES[name], options.rates, set(options.only), seeds=SEEDS[:1])
    report(options.runs, options.rates, options.note)


if __name__ == '__main__':
    main()
