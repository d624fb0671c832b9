"""Programs against one process: curves over actor steps, and how the nodes of a program spend their time.

    python benchmarks/program.py run catch cartpole      # every run that has not finished; no name: all
    python benchmarks/program.py run catch --only processes-2
    python benchmarks/program.py rates catch --steps 3000  # of each kind once, on a machine that is quiet
    python benchmarks/program.py report                  # only writes the page

The page is made of two files beside it, program.csv with the evaluations and program_rates.csv with the
rates. Finished runs take the place of their rows, so the page can be made where the runs are not. Each run
has a workdir of its own in runs/program and is a command of its own, one after another. After a stop the same
command goes on: a run resumes from its checkpoint, a finished one is not run again. For speed
keep the machine quiet; `taskset` before the command says which cores all of a program share.
"""

import argparse
import dataclasses
import datetime
import json
import math
import os
import platform
import statistics
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

NOTES = '## Notes\n'  # written by hand, on the machine and its load: kept

CURVES = (
    'Evaluations of 20 episodes every {every:,} actor steps. *inside*: at how many of them the mean of the '
    'seeds lies within the least and the most of the one-process seeds. *area*: between the curve and the '
    'return of random actions ({floor:.3g}), against the mean of the one-process seeds. A program holds '
    'where all are inside, or where the areas differ by at most 10%. One process has {seeds} seeds.'
)
RATES = (
    'Rates of {taken}, while steps are taken (without the start of the nodes), and shares of the time that a '
    'node waits: an actor until its items are stored (because the learner is behind, or the server busy) and '
    'for claims of steps, the learner for items, the evaluator for evaluations. Calls and bytes are those to '
    "others; *looks* is an actor's share of time in asking for parameters. Evaluations take their part of "
    'the cores from all others; the rate of one process leaves them out.'
)
# Columns of program_rates.csv after figure, kind, seed, steps and taken: numbers of one run.
NUMBERS = (
    'steps_per_second', 'updates_per_second', 'table', 'claims', 'items', 'evaluations', 'calls',
    'bytes', 'looks',
)  # fmt: skip
EVALUATIONS = (
    'kind',
    'seed',
    'point',
    'actor_steps',
    'learner_steps',
    'episode_return',
    'episodes',
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


def stored(file: str, name: str) -> Any:
    """The rows of a figure in a file beside the page."""
    import pandas as pd

    table = pd.read_csv(RESULTS / file, dtype={'taken': str})
    return table[table['figure'] == name].drop(columns='figure')


def read(name: str, figure: Figure, runs: Path) -> Any:
    """The evaluations of a figure, at the multiples that they were asked for at."""
    import pandas as pd

    table = stored('program.csv', name)
    for launcher, actors in kinds():
        kind = name_of(launcher, actors)
        for seed in figure.seeds(kind):
            workdir = runs / name / kind / f'seed-{seed}'
            if not (workdir / 'result.json').exists():
                continue
            frame = pd.read_csv(workdir / 'logs' / 'evaluator.csv')
            point = frame['actor_steps'] // figure.evaluate_every * figure.evaluate_every
            frame = frame.assign(kind=kind, seed=seed, point=point)[list(EVALUATIONS)]
            others = table[(table['kind'] != kind) | (table['seed'] != seed)]
            table = pd.concat([others, frame])
    return table


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


def share(nodes: Mapping[str, Any], kind: str, why: str) -> float:
    """The part of the time that the nodes of a kind waited for something."""
    of_kind = [each for name, each in nodes.items() if name.startswith(kind)]
    return statistics.mean(each['waited'][why] / each['seconds'] for each in of_kind)


def numbers_of(workdir: Path) -> list[float]:
    """NUMBERS of a finished run; of one process only the two rates, the others are NaN."""
    result = json.loads((workdir / 'result.json').read_text())
    steps = result['steps_per_second']
    rates = [steps, result['learner_steps'] / result['actor_steps'] * steps]
    path = workdir / 'logs' / 'nodes.json'
    if not path.exists():
        return [*rates, *[math.nan] * (len(NUMBERS) - len(rates))]
    nodes = json.loads(path.read_text())
    of_actors = [each for name, each in nodes.items() if name.startswith('actor')]
    traffic = [each for node in of_actors for each in node['traffic'].values()]
    return [
        *rates,
        share(nodes, 'actor', 'for the table'),
        share(nodes, 'actor', 'for claims'),
        share(nodes, 'learner', 'for items'),
        share(nodes, 'evaluator', 'for evaluations'),
        *(
            sum(each[what] for each in traffic) / result['actor_steps']
            for what in ('calls', 'bytes')
        ),
        statistics.mean(
            each['traffic']['learner']['seconds'] / each['seconds'] for each in of_actors
        ),
    ]


def machine() -> str:
    """Cores and versions here."""
    packages = ('jax', 'dm-launchpad-nightly', 'dm-reverb')
    versions = ', '.join(f'{package} {metadata.version(package)}' for package in packages)
    cores = len(os.sched_getaffinity(0))
    return f'{cores} of {os.cpu_count()} cores, Python {platform.python_version()}, {versions}'


def read_rates(name: str, rates: Path) -> Any:
    """The rows of program_rates.csv of a figure; finished runs take the place of those of their kind."""
    import pandas as pd

    columns = ['kind', 'seed', 'steps', 'taken', *NUMBERS]
    table = stored('program_rates.csv', name) if (RESULTS / 'program_rates.csv').exists() else None
    table = pd.DataFrame(columns=columns) if table is None else table
    for kind in (name_of(*each) for each in kinds()):
        found = []
        for path in sorted((rates / name / kind).glob('seed-*/result.json')):
            steps = json.loads(path.read_text())['actor_steps']
            taken = f'{datetime.date.fromtimestamp(path.stat().st_mtime)} ({machine()})'
            seed = int(path.parent.name.partition('-')[2])
            found.append([kind, seed, steps, taken, *numbers_of(path.parent)])
        if found:
            others = table[table['kind'] != kind]
            new = pd.DataFrame(found, columns=columns)
            table = pd.concat([others, new]) if len(others) else new
    order = [name_of(*each) for each in kinds()]
    return table.sort_values('kind', key=lambda column: column.map(order.index))


def speeds(table: Any) -> list[list[str]]:
    """A row a kind: means of the rates, waits and traffic of its runs."""
    rows = []
    for kind, found in table.groupby('kind', sort=False):
        mean = found[list(NUMBERS)].mean()
        row = [kind, f'{mean["steps_per_second"]:,.0f}', f'{mean["updates_per_second"]:,.0f}']
        if kind == 'local':
            rows.append([*row, *['-'] * 7])
            continue
        row += [f'{mean[what]:.0%}' for what in ('table', 'claims', 'items', 'evaluations')]
        rows.append(
            [*row, f'{mean["calls"]:,.3g}', f'{mean["bytes"]:,.0f}', f'{mean["looks"]:.0%}']
        )
    return rows


def markdown(header: list[str], rows: list[list[Any]]) -> list[str]:
    """A table."""
    lines = [header, ['---'] * len(header), *rows]
    return [f'| {" | ".join(map(str, line))} |' for line in lines]


def report(runs: Path, rates: Path) -> None:
    """Writes docs/results/program.md and the raw numbers beside it; keeps what the page says in its notes."""
    import pandas as pd

    lines = [
        '# Programs against one process',
        '',
        'DQN with its defaults. All runs: `python benchmarks/program.py run`; their rates: '
        '`python benchmarks/program.py rates`; the page alone: `python benchmarks/program.py report`.',
        '',
    ]
    tables, of_rates = [], []
    for name, figure in FIGURES.items():
        table = read(name, figure, runs)
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
        ]
        taken = read_rates(name, rates)
        if len(taken):
            of_rates.append(taken.assign(figure=name))
            when = ', '.join(sorted(set(taken['taken'])))
            steps = ', '.join(f'{each:,}' for each in sorted(set(taken['steps'])))
            lines += [
                RATES.format(taken=f'{when}, {steps} steps'),
                '',
                *markdown(SPEEDS, speeds(taken)),
                '',
            ]
    pd.concat(tables).to_csv(RESULTS / 'program.csv', index=False)
    if of_rates:
        pd.concat(of_rates).round(5).to_csv(RESULTS / 'program_rates.csv', index=False)
    page = RESULTS / 'program.md'
    notes = page.read_text().partition(NOTES)[2] if page.exists() else ''
    page.write_text('\n'.join(lines) + (f'\n{NOTES}{notes}' if notes else ''))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('what', choices=['run', 'rates', 'report'])
    parser.add_argument('figures', nargs='*', help=f'of {", ".join(FIGURES)}')
    parser.add_argument(
        '--only', nargs='*', default=[], help='kinds: local, threads-1, processes-4 ...'
    )
    parser.add_argument('--runs', type=Path, default=ROOT / 'runs' / 'program')
    parser.add_argument('--rates', type=Path, default=ROOT / 'runs' / 'program-rates')
    parser.add_argument('--steps', type=int, help='of a run of `rates`, in place of the figure')
    options = parser.parse_args()
    if options.steps is not None and options.what != 'rates':
        parser.error('--steps is for rates: curves have the steps of their figures')
    unknown = set(options.figures) - set(FIGURES)
    if unknown:
        parser.error(f'no such figure: {", ".join(sorted(unknown))}')
    if options.what == 'run':
        for name in options.figures or FIGURES:
            run(name, FIGURES[name], options.runs, set(options.only))
    if options.what == 'rates':
        for name in options.figures or FIGURES:
            figure = FIGURES[name]
            if options.steps is not None:
                figure = dataclasses.replace(figure, steps=options.steps)
            run(name, figure, options.rates, set(options.only), seeds=SEEDS[:1])
    report(options.runs, options.rates)


if __name__ == '__main__':
    main()
