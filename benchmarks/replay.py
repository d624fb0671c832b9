"""Speed and memory of the in-process replay, on one core.

    python -m benchmarks.replay --out docs/results/replay

Small: CartPole's shapes, one lane and many. Atari: 84x84 frames in stacks of 4, `--frames` of them
stored. A figure is the best of `--rounds`, each long enough to be timed; inserts count observe and
act together. Draws of frames are compared with a bare `numpy.take` of the frames that they hold, so
that the ratio means the same on any machine; `to device` adds the copy that a jitted update makes.
Memory is the growth of the resident set while the rows were written. Times are CPU time of the
process, so that others on the machine matter less. `replay_reverb` beside this compares with Reverb.
"""

import argparse
import csv
import gc
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from dm_env import specs

from culmen.components.replay import InProcessTable
from culmen.components.replay import RowSpec
from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import MID
from culmen.core import EnvironmentSpec
from culmen.core import Replay
from culmen.core import StackedArray
from culmen.core import Window
from culmen.core.types import TimeStep

ACTION = jax.ShapeDtypeStruct((), np.int32)
SCALAR = specs.Array((), np.float32)
BATCH, STACK, SIDE, EPISODE = 256, 4, 84, 1000
BAR_GIB = 8.0
AGAINST_REVERB = '## Against Reverb'

Row = dict[str, Any]


def best(function: Callable[[], Any], rounds: int, seconds: float = 0.3) -> float:
    """Seconds a call, in the best of several rounds."""
    function()
    num = 1
    while True:
        start = time.process_time()
        for _ in range(num):
            function()
        taken = time.process_time() - start
        if taken > seconds / 4:
            break
        num *= 2
    num = max(int(num * seconds / taken), 1)
    times = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(num):
            function()
        times.append((time.process_time() - start) / num)
    return min(times)


def row(part: str, name: str, value: float, unit: str, ratio: float | None = None) -> Row:
    """One figure."""
    shown = '' if ratio is None else f', {ratio:.2f} times the bare copy'
    print(f'{part}: {name}: {value:,.4g} {unit}{shown}', flush=True)
    return {'part': part, 'name': name, 'value': value, 'unit': unit, 'ratio': ratio}


def replay(capacity: int, batch: int, length: int, exponent: float) -> Replay:
    """A Replay whose draws are always due."""
    return Replay(Window(length), capacity, 1, batch, 1e9, priority_exponent=exponent)


def measure_small(rounds: int, seed: int) -> list[Row]:
    """Microseconds with observations of four floats, batch 64, 100,000 items."""
    rng = np.random.default_rng(seed)
    spec = EnvironmentSpec(specs.Array((4,), np.float32), specs.DiscreteArray(2), SCALAR, SCALAR)
    rows = []
    for lanes in (1, 64, 256):
        ones = np.ones(lanes, np.float32)
        steps = []
        types = np.full(lanes, LAST, np.int32)
        for _ in range(2000):
            ends = np.where(rng.random(lanes) < 1 / 200, LAST, MID)
            types = np.where(types == LAST, FIRST, ends).astype(np.int32)
            observation = rng.normal(size=(lanes, 4)).astype(np.float32)
            steps.append(TimeStep(types, ones, ones, observation))
        action = np.zeros(lanes, np.int32)
        for exponent in (0.0, 0.6):
            for length in (1, 3):
                table = InProcessTable(
                    replay(100_000, 64, length, exponent), RowSpec(spec, ACTION, ()), lanes, seed
                )
                tick = 0

                def insert(table: Any = table, steps: Any = steps, action: Any = action) -> None:
                    nonlocal tick
                    table.observe(steps[tick % 2000])
                    table.act(action, (), 0)
                    tick += 1

                for _ in range(120_000 // lanes):
                    insert()
                kind = 'prioritised' if exponent else 'uniform'
                name = f'{kind}, n={length}, lanes {lanes}'
                rows.append(row('small', f'insert, {name}', best(insert, rounds) * 1e6, 'us'))
                if lanes > 1:
                    continue
                rows.append(row('small', f'draw 64, {name}', best(table.draw, rounds) * 1e6, 'us'))
                if exponent:
                    keys = table.draw().keys
                    new = rng.random(64).astype(np.float32)
                    seconds = best(lambda t=table, k=keys, p=new: t.update_priorities(k, p), rounds)
                    rows.append(row('small', f'update 64, {name}', seconds * 1e6, 'us'))
    return rows


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def fill(table: InProcessTable, num_frames: int, seed: int) -> float:
    """Writes so many frames in episodes of 1,000 rows; returns seconds inside the table."""
    rng = np.random.default_rng(seed)
    bank = rng.integers(0, 256, (97, SIDE, SIDE), np.uint8)
    at = np.arange(97)[:, None] + np.arange(1 - STACK, 1)
    stacks = np.ascontiguousarray(np.moveaxis(bank[at % 97], 1, -1))[:, None]
    one, action = np.ones(1, np.float32), np.zeros(1, np.int32)
    types = [np.array([kind], np.int32) for kind in (FIRST, MID, LAST)]
    inside = 0.0
    for tick in range(num_frames):
        age = tick % EPISODE
        kind = types[FIRST if age == 0 else LAST if age == EPISODE - 1 else MID]
        if age < STACK - 1:
            back = np.minimum(np.arange(STACK - 1, -1, -1), age)
            stack = np.moveaxis(bank[(tick - back) % 97], 0, -1)[None]
        else:
            stack = stacks[tick % 97]
        timestep = TimeStep(kind, one, one, stack)
        start = time.process_time()
        table.observe(timestep)
        table.act(action, (), 0)
        inside += time.process_time() - start
    return inside


def measure_atari(rounds: int, seed: int, num_frames: int) -> list[Row]:
    """Batches of 256 transitions, inserts, memory and the pause of a checkpoint."""
    shape = (SIDE, SIDE, STACK)
    stack = StackedArray(shape, np.uint8, 0, 255, STACK)
    spec = EnvironmentSpec(stack, specs.DiscreteArray(18), SCALAR, SCALAR)
    rng = np.random.default_rng(seed)
    rows = []
    for exponent in (0.0, 0.6):
        kind = 'prioritised' if exponent else 'uniform'
        gc.collect()
        before = resident_bytes()
        experience = replay(num_frames, BATCH, 1, exponent)
        table = InProcessTable(experience, RowSpec(spec, ACTION, ()), 1, seed)
        # So much more than the capacity that the whole ring has been written.
        seconds = fill(table, num_frames + num_frames // 7, seed)
        inserts = (num_frames + num_frames // 7) / seconds
        gib = (resident_bytes() - before) / 2**30
        rows.append(row('atari', f'memory of {num_frames:,} frames, {kind}', gib, 'GiB'))
        rows.append(row('atari', f'inserts, {kind}', inserts, 'per second'))

        frames = table._rows.flat['observation']

        def bare(frames: Any = frames) -> Any:
            at = rng.integers(STACK, len(frames) - 2, (BATCH, 1, 1))
            at = at + np.arange(2)[:, None] + np.arange(1 - STACK, 1)
            return frames.take(at, axis=0, mode='clip')

        copy = best(bare, rounds)
        draw = best(table.draw, rounds)
        rows.append(row('atari', f'batches of 256, {kind}', 1 / draw, 'per second', draw / copy))
        device = best(
            lambda t=table: jax.block_until_ready(jax.device_put(t.draw().samples)), rounds
        )
        name = f'batches of 256, {kind}, to device'
        rows.append(row('atari', name, 1 / device, 'per second', device / copy))
        if exponent:
            keys = table.draw().keys
            new = rng.random(BATCH).astype(np.float32)
            update = best(lambda t=table, k=keys, p=new: t.update_priorities(k, p), rounds)
            rows.append(row('atari', 'updates of 256 priorities', 1 / update, 'per second'))

        _, stop = table.live_ticks()

        def checkpoint(table: Any = table, stop: int = stop) -> Any:
            return table.get_state(), table.read_rows(stop - 10_000, stop)

        name = f'checkpoint pause, 10,000 new frames, {kind}'
        rows.append(row('atari', name, best(checkpoint, rounds), 'seconds'))
        del table, frames, bare, checkpoint
    return rows


def describe(out: str, rows: list[Row], options: argparse.Namespace, machine: str) -> None:
    """Writes the figures as CSV and as a page."""
    with open(f'{out}.csv', 'w', newline='') as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    command = (
        f'python -m benchmarks.replay --out {options.out} --seed {options.seed} '
        f'--frames {options.frames} --rounds {options.rounds}'
    )
    lines = [
        '# The in-process replay',
        '',
        f'    {command}',
        '',
        f'{machine}; one core; seed {options.seed}; best of {options.rounds} rounds of CPU time.',
        '',
        f'The bar: 1,000,000 stored frames of 84x84 take at most {BAR_GIB:.0f} GiB, everything',
        'included. The ratio is the time of a draw over that of a bare `numpy.take` of the frames',
        'that it holds; `to device` adds the copy that a jitted update makes, which puts stacks in',
        'order. An insert is one tick of all lanes: observe and act.',
        '',
        '| | value | unit | ratio |',
        '|---|---:|---|---:|',
    ]
    for each in rows:
        ratio = '' if each['ratio'] is None else f'{each["ratio"]:.2f}'
        value = f'{each["value"]:,.0f}' if each['value'] >= 1000 else f'{each["value"]:.3g}'
        lines.append(f'| {each["part"]}: {each["name"]} | {value} | {each["unit"]} | {ratio} |')
    page = Path(f'{out}.md')
    _, against_reverb = split_page(page)
    page.write_text('\n'.join(lines) + '\n' + against_reverb)


def split_page(page: Path) -> tuple[str, str]:
    """The page of this benchmark, and the section that `replay_reverb` wrote to its end."""
    text = page.read_text() if page.exists() else ''
    before, heading, after = text.partition(f'\n{AGAINST_REVERB}\n')
    return before, heading + after


def describe_machine() -> str:
    """Revision, versions and load, in a line."""
    try:
        revision = subprocess.run(
            ['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        revision = 'unknown'
    return (
        f'revision {revision}, Python {platform.python_version()}, jax {jax.__version__}, '
        f'numpy {np.__version__}, {platform.machine()}, {os.cpu_count()} cores, '
        f'load {os.getloadavg()[0]:.1f} at the start'
    )


def main() -> int:
    """Measures; 1 where the memory is above its bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--frames', type=int, default=1_000_000)
    parser.add_argument('--parts', default='small,atari')
    parser.add_argument('--out', help='where the page and the CSV go, without their endings')
    options = parser.parse_args()
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    machine = describe_machine()
    print(machine)
    rows = []
    if 'small' in options.parts:
        rows += measure_small(options.rounds, options.seed)
    if 'atari' in options.parts:
        rows += measure_atari(options.rounds, options.seed, options.frames)
    if options.out:
        describe(options.out, rows, options, machine)
    too_large = [
        r for r in rows if r['unit'] == 'GiB' and r['value'] * 1e6 / options.frames > BAR_GIB
    ]
    return int(bool(too_large))


if __name__ == '__main__':
    raise SystemExit(main())
