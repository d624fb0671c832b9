"""How long a program takes to learn with one actor and with four: return against seconds and against steps.

    python benchmarks/scaling_curves.py run           # about 12 minutes; goes on where it stopped
    python benchmarks/scaling_curves.py run --seeds 1
    python benchmarks/scaling_curves.py report        # writes docs/results/scaling_curves.md

DQN learns Catch whose steps take 20 ms longer in the actors, with an update of 32 every 4 steps, as a
program of processes. The parameters of every 250th step are evaluated, in the environment as it is. Seconds
count from the first episode that an actor reports, and a return belongs to the second in which its parameters
were those of the learner, whenever it is evaluated. The best return of Catch is 1.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import dm_env
import numpy as np
from scaling import Sleeping

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / 'runs' / 'scaling_curves'
PAGE = ROOT / 'docs' / 'results' / 'scaling_curves.md'
FIGURE = PAGE.with_suffix('.png')
ACTORS = (1, 4)
SEEDS = (1, 2, 3)
STEPS, EVERY, EPISODES = 6_000, 250, 50
BEST, SHARE = 1.0, 0.95
LOOK_SECONDS = 0.1

Curve = list[tuple[float, int, float]]  # seconds, actor steps, return


def catch(seed: int) -> dm_env.Environment:
    """Catch, whose steps take 20 ms longer in an actor."""
    from culmen.components import environments

    made = environments.make('bsuite/catch/0', seed=seed)
    is_actor = sys.argv[-1].startswith('--lp_job_name=actor')
    return Sleeping(made, 0.02) if is_actor else made


def run(actors: int, seed: int) -> None:
    """Runs one program, and writes its curve beside its workdir."""
    folder = FOLDER / f'{actors}-seed-{seed}'
    found = folder.with_suffix('.json')
    if found.exists():
        return
    print(f'{actors} actors, seed {seed}', flush=True)
    command = [
        *(sys.executable, '-m', 'culmen', 'train', 'dqn', '--environment', 'scaling_curves:catch'),
        *('--steps', str(STEPS), '--seed', str(seed), '--workdir', str(folder), '--json'),
        *('--launcher', 'processes', '--actors', str(actors), '--checkpoint-every', '1000000'),
        *('--evaluate-every', str(EVERY), '--evaluation-episodes', str(EPISODES)),
        *('--agent.batch_size', '32', '--agent.samples_per_insert', '8'),
        *('--agent.min_replay_size', '200'),
    ]
    path = f'{ROOT / "benchmarks"}{os.pathsep}{ROOT}'
    process = subprocess.Popen(
        command, env={**os.environ, 'PYTHONPATH': path}, stdout=subprocess.DEVNULL
    )
    seen: list[tuple[float, int]] = []  # when the actors had taken so many steps
    while process.poll() is None:
        steps = max((_last_steps(folder, actor) for actor in range(actors)), default=0)
        if steps and (not seen or steps > seen[-1][1]):
            seen.append((time.monotonic(), steps))
        time.sleep(LOOK_SECONDS)
    if process.returncode:
        sys.exit(f'{" ".join(command)} exited with {process.returncode}.')
    at, steps = np.array(seen).T
    with open(folder / 'logs' / 'evaluator.csv', newline='') as file:
        rows = [
            (int(row['actor_steps']), float(row['episode_return'])) for row in csv.DictReader(file)
        ]
    curve = [(float(np.interp(step, steps, at - at[0])), step, score) for step, score in rows]
    found.write_text(json.dumps(curve) + '\n')


def _last_steps(folder: Path, actor: int) -> int:
    """The steps of all actors when this one last ended an episode; 0: none yet."""
    log = folder / 'logs' / f'actor-{actor}.csv'
    rows = log.read_text().splitlines() if log.exists() else []
    return int(rows[-2].partition(',')[0]) if len(rows) > 2 else 0


def read() -> Mapping[int, Sequence[Curve]]:
    """The curves that have finished, by the number of actors."""
    found = {
        actors: [
            [tuple(each) for each in json.loads(path.read_text())]
            for path in sorted(FOLDER.glob(f'{actors}-seed-*.json'))
        ]
        for actors in ACTORS
    }
    return {actors: curves for actors, curves in found.items() if curves}


def reach(curve: Curve) -> tuple[float, int] | None:
    """(seconds, steps) of the first evaluation with 95% of the best return; None: there is none."""
    return next(((at, steps) for at, steps, score in curve if score >= SHARE * BEST), None)


def report() -> None:
    """Writes the page."""
    found = read()
    heads = (
        'actors',
        'seeds',
        'seconds to 95%: each seed',
        'median',
        'steps to 95%: each seed',
        'median',
    )
    lines = [
        '# How long a program takes to learn',
        '',
        f'`python benchmarks/scaling_curves.py run` on {len(os.sched_getaffinity(0))} cores. '
        + ' '.join((__doc__ or '').partition('\n\n')[2].partition('\n\n')[2].split()),
        '',
        f'| {" | ".join(heads)} |',
        '|' + ' --- |' * len(heads),
    ]
    medians = {}
    for actors, curves in found.items():
        reached = [each or (float('inf'), sys.maxsize) for each in map(reach, curves)]
        seconds, steps = zip(*reached, strict=True)
        medians[actors] = float(np.median(seconds))
        lines.append(
            f'| {actors} | {len(curves)} | {", ".join(f"{each:.0f}" for each in seconds)} | '
            f'{medians[actors]:.0f} | {", ".join(f"{each:,}" for each in steps)} | '
            f'{np.median(steps):,.0f} |'
        )
    if len(medians) == len(ACTORS):
        share = medians[4] / medians[1]
        lines += ['', f'With 4 actors it takes {share:.2f} of the time with one (bar: 0.5).']
    lines += ['', *_by_steps(found), '', f'![return against time and steps]({FIGURE.name})']
    _draw(found)
    PAGE.write_text('\n'.join(lines) + '\n')
    print(f'written: {PAGE.relative_to(ROOT)}')


def _by_steps(found: Mapping[int, Sequence[Curve]]) -> list[str]:
    """The same curve against actor steps: means over seeds."""
    rows = [
        '| actor steps | ' + ' | '.join(f'return, {actors} actors' for actors in found) + ' |',
        '|' + ' --- |' * (1 + len(found)),
    ]
    for place in range(STEPS // EVERY):
        means = [
            np.mean([curve[min(place, len(curve) - 1)][2] for curve in curves])
            for curves in found.values()
        ]
        rows.append(
            f'| {(place + 1) * EVERY:,} | ' + ' | '.join(f'{mean:.2f}' for mean in means) + ' |'
        )
    return rows


def _draw(found: Mapping[int, Sequence[Curve]]) -> None:
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5), sharey=True)
    for axis, place, label in zip(axes, (0, 1), ('seconds', 'actor steps'), strict=True):
        for color, (actors, curves) in enumerate(found.items()):
            for number, curve in enumerate(curves):
                axis.plot([each[place] for each in curve], [each[2] for each in curve],
                          color=f'C{color}', linewidth=1,
                          label=None if number else f'{actors} actors')  # fmt: skip
        axis.set(xlabel=label, ylabel='return')
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(FIGURE, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Reads the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('what', choices=['run', 'report'])
    parser.add_argument('--seeds', type=int, nargs='+', default=SEEDS)
    options = parser.parse_args()
    if options.what == 'run':
        FOLDER.mkdir(parents=True, exist_ok=True)
        for seed in options.seeds:
            for actors in ACTORS:
                run(actors, seed)
    report()


if __name__ == '__main__':
    main()
