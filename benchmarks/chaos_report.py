"""The page of what `chaos.py` has finished: counts, losses, and the memory of each process with its slope.

    python benchmarks/chaos.py report

Memory has a slope where a process lived for ten minutes: a line through what it held in the second half of
its life, by least squares, with the standard error of means over minutes.
"""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from chaos import BATCH
from chaos import PASSES
from chaos import ROOT
from chaos import RUNS
from chaos import SAMPLES_PER_INSERT
from chaos import WINDOWS

PAGE = ROOT / 'docs' / 'results' / 'chaos.md'
FIGURE = PAGE.with_suffix('.png')
MAX_CLAIM = 16  # steps that an actor may have taken and not reported
QUEUED = 2 * WINDOWS  # windows that IMPALA's Queue holds at most
SOLVED = 0.95
SLOPE_SECONDS = 600.0  # of a life, for its memory to have a slope
PAUSE_SECONDS = 60.0  # without a look: the command was stopped meanwhile

Points = list[tuple[float, float]]  # (seconds, MiB)


def agents() -> list[str]:
    """What has begun, as `chaos.label` names it."""
    return sorted(path.name for path in RUNS.iterdir()) if RUNS.exists() else []


def read(agent: str, name: str) -> dict[str, Any] | None:
    """What a pass that has finished has left; None: it has not."""
    folder = RUNS / agent / name
    if not (folder / 'result.json').exists():
        return None
    log = folder / 'big' / 'logs' / 'restarts.jsonl'
    kills = folder / 'kills.csv'
    return {
        **json.loads((folder / 'result.json').read_text()),
        'restarts': [json.loads(line) for line in log.read_text().splitlines()]
        if log.exists()
        else [],
        'kills': kills.read_text().splitlines() if kills.exists() else [],
        'lives': read_lives(folder / 'memory.csv'),
    }


def read_lives(path: Any) -> Mapping[tuple[str, str], Points]:
    """What each process held, by its name and process id."""
    found: dict[tuple[str, str], Points] = defaultdict(list)
    with open(path, newline='') as file:
        for at, name, pid, size in csv.reader(file):
            found[name, pid].append((float(at), float(size)))
    return found


def minutes(lives: Mapping[Any, Points]) -> float:
    """For which a pass ran, without the time in which its command was stopped."""
    looks = np.unique([at for points in lives.values() for at, _ in points])
    gaps = np.diff(looks)
    return float(gaps[gaps < PAUSE_SECONDS].sum() / 60)


def fit(points: Points) -> tuple[float, float] | None:
    """(slope, its standard error) in MiB an hour; None for a short life."""
    if points[-1][0] - points[0][0] < SLOPE_SECONDS:
        return None
    at, size = np.array(points[len(points) // 2 :]).T
    minute = ((at - at[0]) // 60).astype(int)
    # Neighbouring looks are alike, so an error from all of them would be too small.
    at, size = (
        np.array([each[minute == m].mean() for m in np.unique(minute)]) for each in (at, size)
    )
    x = (at - at.mean()) / 3600
    slope = float((x * size).sum() / (x * x).sum())
    rest = size - size.mean() - slope * x
    error = math.sqrt(float((rest * rest).sum()) / max(len(x) - 2, 1) / float((x * x).sum()))
    return slope, error


def explained(agent: str, chaos: Mapping[str, Any]) -> float:
    """By how many updates a pass may differ from the quiet one, by what its counter says is lost."""
    lost = chaos['lost']
    if agent.startswith('dqn'):  # what an actor had claimed is stored, or is not
        items = lost['items'] + MAX_CLAIM * len(chaos['kills'])
        return float(lost['updates'] + items * SAMPLES_PER_INSERT / BATCH + 1)
    # Each actor that is started again has left a window open.
    actors = sum(each['node'].startswith('actor') for each in chaos['restarts'])
    return float(lost['updates'] + (lost['items'] + actors + QUEUED) / WINDOWS + 1)


def check() -> list[str]:
    """What does not hold of the passes that have finished."""
    wrong = []
    for agent in agents():
        quiet, chaos = read(agent, 'quiet'), read(agent, 'chaos')
        if quiet is None or chaos is None:
            continue
        ends = {name: each['result'] for name, each in (('quiet', quiet), ('chaos', chaos))}
        config = json.loads((RUNS / agent / 'quiet' / 'big' / 'config.json').read_text())
        steps = config['max_actor_steps']
        for name, end in ends.items():
            if end['actor_steps'] != steps:
                wrong.append(f'{agent}, {name}: {end["actor_steps"]} actor steps, not {steps}.')
            if (end['evaluation']['return_mean'] or -1.0) < SOLVED:
                wrong.append(f'{agent}, {name}: the return is {end["evaluation"]["return_mean"]}.')
        difference = ends['chaos']['learner_steps'] - ends['quiet']['learner_steps']
        if abs(difference) > explained(agent, chaos):
            wrong.append(f'{agent}, chaos: {difference} updates, lost are {chaos["lost"]}.')
    return wrong


def table(found: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[str]:
    """Counts and losses of each pass."""
    heads = (
        'agent', 'pass', 'minutes', 'kills', 'restarts', 'actor steps', 'updates', 'lost updates',
        'lost items', 'difference explained', 'return',
    )  # fmt: skip
    rows = [f'| {" | ".join(heads)} |', '|' + ' --- |' * len(heads)]
    for (agent, name), one in found.items():
        result = one['result']
        bound = f'{explained(agent, one):.0f}' if name == 'chaos' else '-'
        rows.append(
            f'| {agent} | {name} | {minutes(one["lives"]):.1f} | {len(one["kills"])} | '
            f'{len(one["restarts"])} | {result["actor_steps"]:,} | {result["learner_steps"]:,} | '
            f'{one["lost"]["updates"]} | {one["lost"]["items"]} | {bound} | '
            f'{result["evaluation"]["return_mean"]:.2f} |'
        )
    return rows


def memory_table(found: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[str]:
    """The memory of each process of each pass, and the slope of the one that lived longest."""
    heads = ('agent', 'pass', 'process', 'lives', 'largest, MiB', 'longest life, minutes', 'from, MiB',
             'to, MiB', 'slope, MiB an hour')  # fmt: skip
    rows = [f'| {" | ".join(heads)} |', '|' + ' --- |' * len(heads)]
    for (agent, name), one in found.items():
        for process in sorted({each for each, _ in one['lives']}):
            lives = [points for (each, _), points in one['lives'].items() if each == process]
            longest = max(lives, key=lambda points: points[-1][0] - points[0][0])
            slope = fit(longest)
            half = longest[len(longest) // 2 :]
            rows.append(
                f'| {agent} | {name} | {process} | {len(lives)} | '
                f'{max(size for points in lives for _, size in points):.0f} | '
                f'{(longest[-1][0] - longest[0][0]) / 60:.1f} | {half[0][1]:.0f} | {half[-1][1]:.0f} | '
                + ('- |' if slope is None else f'{slope[0]:+.1f} ± {slope[1]:.1f} |')
            )
    return rows


def draw(found: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """Draws the memory of every process over time."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    shown = [key for key in found if key[1] != 'warm']
    figure, axes = pyplot.subplots(
        1, len(shown), figsize=(4.5 * len(shown), 3.5), squeeze=False, sharey=True
    )
    for axis, key in zip(axes[0], shown, strict=True):
        lives = found[key]['lives']
        begin = min(points[0][0] for points in lives.values())
        names = sorted({name for name, _ in lives})
        for (name, _), points in lives.items():
            at, size = np.array(points).T
            first = points is next(each for (n, _), each in lives.items() if n == name)
            axis.plot((at - begin) / 60, size, color=f'C{names.index(name)}', linewidth=1,
                      label=name if first else None)  # fmt: skip
        axis.set(title=', '.join(key), xlabel='minutes', ylim=(0, None))
    axes[0][0].set_ylabel('MiB in RAM')
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(FIGURE, dpi=110)
    pyplot.close(figure)


def write() -> None:
    """Writes the page and its figure."""
    passes: Sequence[tuple[str, str]] = [(agent, name) for agent in agents() for name in PASSES]
    found = {key: one for key in passes if (one := read(*key)) is not None}
    if not found:
        return
    lines = [
        '# Chaos',
        '',
        'Made by `python benchmarks/chaos.py run`, whose first lines say what a pass is: hosts, each a',
        'network namespace, and in chaos a SIGKILL to a random node at regular times. The agents run side by',
        'side. Restarts are those of all nodes, of which some follow from the death of another. The updates',
        'of chaos may differ from those of the quiet pass by those that lost updates and items explain.',
        '',
        *table(found),
        '',
        *[f'What does not hold: {each}' for each in check()],
        *([''] if check() else []),
        '## Memory',
        '',
        'In the second half of the longest life of each process; the slope has its standard error.',
        'A life of less than ten minutes has none.',
        '',
        *memory_table(found),
    ]
    if any(name != 'warm' for _, name in found):
        draw(found)
        lines += ['', f'![MiB of each process over time]({FIGURE.name})']
    PAGE.write_text('\n'.join(lines) + '\n')
    print(f'written: {PAGE.relative_to(ROOT)}', flush=True)
