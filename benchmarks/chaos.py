"""A program whose nodes are killed at random, beside the same program in peace: what is lost.

    python benchmarks/chaos.py run dqn impala       # an hour of chaos for each, and the two passes before
    python benchmarks/chaos.py run dqn --minutes 4 --every 20
    python benchmarks/chaos.py report               # only writes what has finished

Three passes of one command: warm (compiled programs come into the caches), quiet, and chaos, in which SIGKILL
goes to a random node every `--every` seconds. A step of Catch takes time here, so that the budget lasts for
`--minutes`. Each pass has a workdir in runs/chaos. After a stop the same command goes on.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dm_env
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / 'runs' / 'chaos'
PAGE = ROOT / 'docs' / 'results' / 'chaos.md'
PASSES = ('warm', 'quiet', 'chaos')
ACTORS = 2
STEP_SECONDS = 0.02
NODES = ('counter', 'replay', 'learner', 'actor-0', 'actor-1', 'evaluator')
LOOK_SECONDS = 5.0
SLOPE_SECONDS = 600.0  # of a life, for its memory to have a slope
# Settings by agent; DQN's rate says how many updates a run has.
BATCH, SAMPLES_PER_INSERT = 32, 8.0
AGENTS = {
    'dqn': ['--agent.min_replay_size', 200, '--agent.batch_size', BATCH, '--agent.samples_per_insert',
            SAMPLES_PER_INSERT],
    'impala': [],
}  # fmt: skip


class Slow(dm_env.Environment):
    """Steps that take time."""

    def __init__(self, environment: dm_env.Environment) -> None:
        self._environment = environment

    def reset(self) -> dm_env.TimeStep:
        return self._environment.reset()

    def step(self, action: Any) -> dm_env.TimeStep:
        time.sleep(STEP_SECONDS)
        return self._environment.step(action)

    def observation_spec(self) -> Any:
        return self._environment.observation_spec()

    def action_spec(self) -> Any:
        return self._environment.action_spec()


def slow_catch(seed: int) -> Slow:
    """The environment of all passes."""
    from bsuite.environments import catch

    return Slow(catch.Catch(seed=seed))


def command(agent: str, name: str, steps: int) -> list[str]:
    """Of a pass."""
    arguments = [
        *('train', agent, '--environment', 'benchmarks.chaos:slow_catch', *AGENTS[agent]),
        *('--steps', steps, '--evaluate-every', max(steps // 5, 1), '--evaluation-episodes', 5),
        *(
            '--checkpoint-every',
            max(steps // 20, 200),
            '--launcher',
            'processes',
            '--actors',
            ACTORS,
        ),
        *('--restarts', 100, '--hang-after', 120, '--workdir', RUNS / agent / name, '--json'),
    ]
    return [sys.executable, '-m', 'culmen', *map(str, arguments)]


def processes(launcher: int) -> Iterator[tuple[str, int]]:
    """(node, process id) of a program that runs."""
    for path in Path('/proc').glob('[0-9]*'):
        try:
            if f'CULMEN_LAUNCHER={launcher}\0'.encode() in (path / 'environ').read_bytes():
                name = (path / 'cmdline').read_bytes().decode().rstrip('\0').rpartition('=')[2]
                if name in NODES:
                    yield name, int(path.name)
        except OSError:
            continue


def memory(pid: int) -> float | None:
    """MiB in RAM."""
    try:
        lines = Path(f'/proc/{pid}/status').read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmRSS'))
    except (OSError, StopIteration):
        return None


def make_pass(agent: str, name: str, steps: int, every: float) -> None:
    """Runs a pass to its end, and writes what was seen."""
    folder = RUNS / agent / name
    seen = folder.with_suffix('.json')
    if seen.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f'{agent}, {name}: {steps:,} steps', flush=True)
    begin = time.time()
    process = subprocess.Popen(
        command(agent, name, steps),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=open(folder.with_suffix('.err'), 'a'),
        text=True,
    )
    log = folder.with_suffix('.kills')  # a line each, those before a stop of this command too
    draw = random.Random(len(log.read_text().splitlines()) if log.exists() else 0)
    sizes: dict[str, list[tuple[float, float]]] = defaultdict(list)  # by node and process
    kill_at = time.time() + every
    try:
        while process.poll() is None:
            time.sleep(min(LOOK_SECONDS, every / 4))
            now = dict(processes(process.pid))
            for node, pid in now.items():
                size = memory(pid)
                if size is not None:
                    sizes[f'{node} {pid}'].append((time.time() - begin, size))
            # A program that has not begun to act, or is nearly done, is left alone.
            if (
                name == 'chaos'
                and now
                and time.time() >= kill_at
                and (folder / 'checkpoints').exists()
            ):
                victim = draw.choice(sorted(now))
                os.kill(now[victim], signal.SIGKILL)
                with open(log, 'a') as file:
                    file.write(f'{time.time():.0f} {victim}\n')
                kill_at = time.time() + every
    finally:
        process.terminate()
        out, _ = process.communicate()
    if process.returncode:
        sys.exit(f'{agent}, {name} ended with code {process.returncode}; the same command goes on.')
    summary = {
        'result': json.loads(out.splitlines()[-1]),
        'seconds': time.time() - begin,
        'kills': log.read_text().splitlines() if log.exists() else [],
        'lost': lost_of(folder),
        'memory': {each: fit(points) for each, points in sizes.items()},
    }
    seen.write_text(json.dumps(summary, indent=1) + '\n')


def lost_of(folder: Path) -> Mapping[str, int]:
    """What the counter says of lost updates and items."""
    timings = json.loads((folder / 'logs' / 'nodes.json').read_text())
    return timings.get('counter', {}).get('lost', {'updates': 0, 'items': 0})


def fit(points: list[tuple[float, float]]) -> Mapping[str, float]:
    """Seconds that a process lived, MiB at the end, and MiB an hour over the second half."""
    later = points[len(points) // 2 :]
    found = {'seconds': points[-1][0] - points[0][0], 'last': points[-1][1]}
    if len(later) > 2:
        at, size = np.array(later).T
        found['slope'] = float(np.polyfit(at, size, 1)[0] * 3600)
    return found


def check(agent: str, found: Mapping[str, Mapping[str, Any]], steps: int) -> list[str]:
    """What does not hold of the passes of an agent."""
    quiet, chaos = found['quiet'], found['chaos']
    wrong = [
        f'{name}: actor_steps is {one["result"]["actor_steps"]}, not {steps}'
        for name, one in found.items()
        if one['result']['actor_steps'] != steps
    ]
    if agent == 'dqn':
        lost, expected = chaos['lost'], quiet['result']['learner_steps']
        items = lost['items'] + 16 * len(
            chaos['kills']
        )  # what an actor had claimed is stored, or is not
        explained = lost['updates'] + items * SAMPLES_PER_INSERT / BATCH + 1
        if abs(chaos['result']['learner_steps'] - expected) > explained:
            wrong.append(
                f'chaos: {chaos["result"]["learner_steps"]} updates, {expected} in peace, {lost}'
            )
    return wrong


def report() -> None:
    """Writes the page of what has finished."""
    columns = (
        'agent', 'pass', 'minutes', 'kills', 'restarts', 'actor steps', 'updates', 'lost updates',
        'lost items', 'return', 'largest process, MiB', 'steepest, MiB an hour',
    )  # fmt: skip
    lines = [
        '# Chaos',
        '',
        'Made by `python benchmarks/chaos.py run`, whose first lines say what a pass is.',
        'Memory has a slope where a process lived for ten minutes.',
        '',
        f'| {" | ".join(columns)} |',
        '|' + ' --- |' * len(columns),
    ]
    for agent in AGENTS:
        for name in PASSES:
            path = RUNS / agent / f'{name}.json'
            if not path.exists():
                continue
            one = json.loads(path.read_text())
            log = RUNS / agent / name / 'logs' / 'restarts.jsonl'
            restarts = len(log.read_text().splitlines()) if log.exists() else 0
            result, sizes = one['result'], one['memory'].values()
            slopes = [each['slope'] for each in sizes if each['seconds'] >= SLOPE_SECONDS]
            steepest = f'{max(slopes):.1f}' if slopes else '-'
            lines.append(
                f'| {agent} | {name} | {one["seconds"] / 60:.1f} | {len(one["kills"])} | {restarts} | '
                f'{result["actor_steps"]:,} | {result["learner_steps"]:,} | {one["lost"]["updates"]} | '
                f'{one["lost"]["items"]} | {result["evaluation"]["return_mean"]:.2f} | '
                f'{max(each["last"] for each in sizes):.0f} | {steepest} |'
            )
    PAGE.write_text('\n'.join(lines) + '\n')


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('what', choices=['run', 'report'])
    parser.add_argument('agents', nargs='*', help=f'of {", ".join(AGENTS)}; none: all')
    parser.add_argument('--minutes', type=float, default=60.0)
    parser.add_argument('--every', type=float, default=60.0, help='seconds between kills')
    options = parser.parse_args()
    for agent in options.agents:
        if agent not in AGENTS:
            parser.error(f'an agent must be one of {list(AGENTS)}, got {agent!r}')
    wrong = []
    if options.what == 'run':
        steps = int(options.minutes * 60 * ACTORS / STEP_SECONDS)
        for agent in options.agents or AGENTS:
            for name in PASSES:
                make_pass(agent, name, steps if name != 'warm' else steps // 10, options.every)
            found = {
                name: json.loads((RUNS / agent / f'{name}.json').read_text()) for name in PASSES[1:]
            }
            wrong += [f'{agent}, {each}' for each in check(agent, found, steps)]
    report()
    if wrong:
        sys.exit('\n'.join(wrong))


if __name__ == '__main__':
    main()
