"""Learning curves: trains every seed of a figure in a workdir of its own and writes docs/results.

    python benchmarks/learning_curves.py catch cartpole        # or no name: all of them
    python benchmarks/learning_curves.py --report              # only writes what has finished

Two seeds run at once, each pinned to one core. After a stop the same command goes on: a seed resumes
from its checkpoint, a finished one is not run again.
"""

import argparse
import concurrent.futures
import functools
import json
import os
import platform
import queue
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import learning_figures_of_control
import learning_figures_of_policies
import learning_figures_of_sac
import learning_figures_of_values
from learning_figures import FIGURES as FIRST
from learning_figures import Figure

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'docs' / 'results'
FIGURES = {
    **FIRST, **learning_figures_of_values.FIGURES, **learning_figures_of_policies.FIGURES,
    **learning_figures_of_control.FIGURES,
    **learning_figures_of_sac.FIGURES,
}  # fmt: skip


def command(figure: Figure, seed: int, workdir: Path) -> list[str]:
    """The command of one seed."""
    return [
        'train', figure.agent, '--environment', figure.environment, '--steps', str(figure.steps),
        '--seed', str(seed), '--evaluate-every', str(figure.evaluate_every),
        '--evaluation-episodes', str(figure.evaluation_episodes),
        '--checkpoint-every', str(figure.checkpoint_every), *figure.options, '--workdir', str(workdir),
    ]  # fmt: skip


def train(figure: Figure, seed: int, workdir: Path, cores: 'queue.Queue[int]') -> None:
    """Runs, or resumes, one seed on a free core."""
    run_pinned([sys.executable, '-m', 'culmen', *command(figure, seed, workdir)], workdir, cores)


def run_pinned(
    told: Sequence[Any],
    workdir: Path,
    cores: 'queue.Queue[int]',
    environment: Mapping[str, str] | None = None,
) -> None:
    """Runs a command on a free core; what it prints goes to a log beside its workdir.

    Args: told: the command. environment: variables beside those of this process.
    """
    core = cores.get()
    try:
        workdir.parent.mkdir(parents=True, exist_ok=True)
        with open(workdir.parent / f'{workdir.name}.log', 'a') as log:
            subprocess.run(
                [str(part) for part in told], check=True, cwd=ROOT,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(environment or {})},
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )  # fmt: skip
    finally:
        cores.put(core)


def run_all(jobs: Mapping[str, Callable[['queue.Queue[int]'], None]]) -> None:
    """Makes jobs, two at once, and prints how each ended. Args: jobs: of the free cores, by name."""
    cores: queue.Queue[int] = queue.Queue()
    for core in sorted(os.sched_getaffinity(0))[:2]:
        cores.put(core)
    with concurrent.futures.ThreadPoolExecutor(cores.qsize()) as pool:
        names = {pool.submit(job, cores): name for name, job in jobs.items()}
        for done in concurrent.futures.as_completed(names):
            print(names[done], done.exception() or 'finished', flush=True)


def report(name: str, figure: Figure, runs: Path) -> bool:
    """Writes the page, the curve and the raw numbers of the seeds that have finished."""
    import pandas as pd

    frames, summaries = {}, {}
    for seed in figure.seeds:
        workdir = runs / name / f'seed-{seed}'
        if (workdir / 'result.json').exists():
            frames[seed] = pd.read_csv(workdir / 'logs' / 'evaluator.csv')
            summaries[seed] = json.loads((workdir / 'result.json').read_text())
    if not frames:
        return False
    figures = {
        seed: float(frame['episode_return'].iloc[-figure.last :].mean())
        for seed, frame in frames.items()
    }
    table = pd.concat([frame.assign(seed=seed) for seed, frame in frames.items()])
    RESULTS.mkdir(parents=True, exist_ok=True)
    columns = [
        'seed',
        'actor_steps',
        'learner_steps',
        'episode_return',
        'episode_return_std',
        'episodes',
    ]
    table[columns].to_csv(RESULTS / f'{name}.csv', index=False)
    subprocess.run(
        [sys.executable, '-m', 'culmen', 'plot', str(runs / name), '--out', str(RESULTS / f'{name}.png')],
        check=True, cwd=ROOT, stdout=sys.stderr,
    )  # fmt: skip
    (RESULTS / f'{name}.md').write_text(page(name, figure, figures, table, summaries))
    return len(frames) == len(figure.seeds)


def page(
    name: str, figure: Figure, figures: dict[int, float], table: Any, summaries: dict[int, Any]
) -> str:
    """The page of a figure."""
    told = ' '.join(['culmen', *command(figure, 1, Path(f'runs/{name}/seed-1'))])
    lines = [
        f'# {figure.title}', '', f'![curve]({name}.png)', '',
        '| seed | figure | last evaluation | updates |', '|---|---|---|---|',
    ]  # fmt: skip
    for seed, value in figures.items():
        evaluation = summaries[seed]['evaluation']
        lines.append(
            f'| {seed} | {value:.2f} | {evaluation["return_mean"]:.2f} +- {evaluation["return_std"]:.2f} '
            f'({evaluation["episodes"]} episodes) | {summaries[seed]["learner_steps"]:,} |'
        )
    missing = sorted(set(figure.seeds) - set(figures))
    if missing:
        lines += ['', f'Not finished yet: seeds {missing}.']
    if figure.bar is not None:
        worst, mean = min(figures.values()), sum(figures.values()) / len(figures)
        of_mean = figure.bar_of == 'the mean over seeds'
        reached = (mean if of_mean else worst) >= figure.bar
        # One bad seed decides about every seed, and not yet about the mean of those to come.
        verdict = 'met' if reached else 'missed'
        if missing and (reached or of_mean):
            verdict = 'open'
        lines += [
            '',
            f'Bar: {figure.bar:g} for {figure.bar_of}; {verdict} '
            f'(the worst is {worst:.2f}, the mean {mean:.2f}).',
        ]
    if figure.beside:
        lines += ['', against(figure.beside, figures, table)]
    if figure.published:
        lines += ['', figure.published]
    lines += [
        '',
        'Mean over seeds:',
        '',
        '| actor steps | mean | least | most |',
        '|---|---|---|---|',
    ]
    # Lanes step together, so an evaluation may come some steps after it is due.
    for number, group in table.groupby(table.groupby('seed').cumcount()):
        steps, returns = figure.evaluate_every * (number + 1), group['episode_return']
        lines.append(
            f'| {steps:,} | {returns.mean():.2f} | {returns.min():.2f} | {returns.max():.2f} |'
        )
    lines += [
        '', f'All seeds: `python benchmarks/learning_curves.py {name}`. One seed:', '', f'    {told}', '',
        f'Python {platform.python_version()}, '
        + ', '.join(f'{p} {metadata.version(p)}' for p in ('jax', 'jaxlib', 'numpy', 'dm-haiku', 'optax'))
        + f'. Raw numbers: [{name}.csv]({name}.csv).', '',
    ]  # fmt: skip
    return '\n'.join(lines)


def against(name: str, figures: Mapping[int, float], table: Any) -> str:
    """What a figure is beside another that has finished, in a sentence."""
    import pandas as pd

    other = FIGURES[name]
    of_seeds = pd.read_csv(RESULTS / f'{name}.csv').groupby('seed')['episode_return']
    mean = of_seeds.apply(lambda values: values.iloc[-other.last :].mean()).mean()
    area = table.groupby('seed')['episode_return'].mean().mean() / of_seeds.mean().mean()
    return (
        f'Beside [{other.agent}]({name}.md), whose mean is {mean:.2f}: the least seed is '
        f'{min(figures.values()):.2f}, and the area below the curve is {area:.2f} times as large.'
    )


def main() -> None:
    """Runs the figures that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('figures', nargs='*', choices=[[], *FIGURES], help='which; none: all')
    parser.add_argument(
        '--runs', type=Path, default=ROOT / 'runs' / 'benchmarks', help='where workdirs are'
    )
    parser.add_argument('--report', action='store_true', help='only write what has finished')
    arguments = parser.parse_args()
    names = arguments.figures or list(FIGURES)
    if not arguments.report:
        run_all(
            {
                f'{name} {seed}': functools.partial(
                    train, FIGURES[name], seed, arguments.runs / name / f'seed-{seed}'
                )
                for name in names
                for seed in FIGURES[name].seeds
            }
        )
    for name in names:
        print(
            name,
            'complete' if report(name, FIGURES[name], arguments.runs) else 'not complete',
            flush=True,
        )


if __name__ == '__main__':
    main()
