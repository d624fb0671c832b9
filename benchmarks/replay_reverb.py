"""The in-process table against Reverb, in one run on one core.

    python -m benchmarks.replay_reverb --out docs/results/replay

84x84 frames in stacks of 4, transitions, batches of 256, `--frames` items in each table. The two take turns,
`--rounds` times, and a figure is the best round; CPU time is that of the whole process, Reverb's threads
among it, and the clock's counts its waits too. Reverb's table is Culmen's, in the same process, which
is the fastest way to draw from it; `bare` leaves out all that Culmen does with what Reverb gives.
Reverb stores stacks whole. Inserts are made with a flush each tick, as one process needs it, and with one
every 64, as a program does. Exit code 1 where a bar is missed: the times are held to
Reverb's best figure, by the clock and in CPU time, whichever is worse.
"""

import argparse
import csv
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from benchmarks import replay
from culmen.components.dispatch import unpacked
from culmen.components.replay import InProcessTable
from culmen.components.replay import RowSpec
from culmen.components.replay.reverb import ReverbReader
from culmen.components.replay.reverb import ReverbServer
from culmen.components.replay.reverb import ReverbWriter
from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import MID
from culmen.core import EnvironmentSpec
from culmen.core import Lanes
from culmen.core import StackedArray
from culmen.core.types import TimeStep

BARS = {'draws': 3.0, 'inserts': 5.0}
SEGMENT = 1000  # ticks between turns of inserting

Seconds = tuple[float, float]  # CPU, clock


def timed(function: Callable[[], Any], num: int) -> Seconds:
    """Seconds a call."""
    cpu, clock = time.process_time(), time.perf_counter()
    for _ in range(num):
        function()
    return (time.process_time() - cpu) / num, (time.perf_counter() - clock) / num


def best_in_turns(
    functions: dict[str, Callable[[], Any]], rounds: int, seconds: float = 0.5
) -> dict[str, Seconds]:
    """Seconds a call of each, in the best of so many rounds."""
    nums = {}
    for name, function in functions.items():
        timed(function, 2)
        nums[name] = max(int(seconds / max(timed(function, 2)[1], 1e-7)), 2)
    times: dict[str, list[Seconds]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(timed(function, nums[name]))
    return {
        name: (min(cpu for cpu, _ in each), min(clock for _, clock in each))
        for name, each in times.items()
    }


class Stream:
    """One lane of noise, in stacks and in episodes of 1,000 rows."""

    def __init__(self, seed: int) -> None:
        bank = np.random.default_rng(seed).integers(0, 256, (97, 84, 84), np.uint8)
        at = np.arange(97)[:, None] + np.arange(1 - replay.STACK, 1)
        self._bank = bank
        self._stacks = np.ascontiguousarray(np.moveaxis(bank[at % 97], 1, -1))[:, None]
        self._one = np.ones(1, np.float32)
        self._action = np.zeros(1, np.int32)

    def insert(self, table: Any, start: int, num: int) -> Seconds:
        """Plays so many ticks into a table; seconds a tick spent inside it."""
        cpu = clock = 0.0
        for tick in range(start, start + num):
            age = tick % replay.EPISODE
            kind = FIRST if age == 0 else LAST if age == replay.EPISODE - 1 else MID
            stack = self._stacks[tick % 97]
            if age < replay.STACK - 1:
                back = np.minimum(np.arange(replay.STACK - 1, -1, -1), age)
                stack = np.moveaxis(self._bank[(tick - back) % 97], 0, -1)[None]
            timestep = TimeStep(np.array([kind], np.int32), self._one, self._one, stack)
            cpu, clock = cpu - time.process_time(), clock - time.perf_counter()
            table.observe(timestep)
            table.act(self._action, (), 0)
            cpu, clock = cpu + time.process_time(), clock + time.perf_counter()
        return cpu / num, clock / num


def measure(
    kind: str, exponent: float, frames: int, rounds: int, seed: int
) -> list[dict[str, Any]]:
    """Rows of one kind of draws."""
    shape = (replay.SIDE, replay.SIDE, replay.STACK)
    stack = StackedArray(shape, np.uint8, 0, 255, replay.STACK)
    spec = EnvironmentSpec(stack, specs.DiscreteArray(18), replay.SCALAR, replay.SCALAR)
    experience = replay.replay(frames, replay.BATCH, 1, exponent)
    rows_of = (experience, RowSpec(spec, replay.ACTION, ()))
    lanes = Lanes(np.zeros(1, np.int32), 1)
    server = ReverbServer(experience, 1, lead='none')
    writers = {
        'in-process': InProcessTable(*rows_of, 1, seed),
        'Reverb, a flush each tick': ReverbWriter(
            *rows_of, lanes, server.address, single_writer=True
        ),
        'Reverb, a flush each 64': ReverbWriter(*rows_of, lanes, server.address, flush_period=64),
    }
    table = writers['in-process']
    inserts: dict[str, list[Seconds]] = {name: [] for name in writers}
    for start in range(0, frames + frames // 7, SEGMENT):
        for name, writer in writers.items():
            inserts[name].append(Stream(seed).insert(writer, start, SEGMENT))
    reader = ReverbReader(*rows_of, 1, server.address, lead='none', info=server.info)
    keys = {'in-process': table.draw().keys, 'Reverb': reader.draw().keys}

    def fetch() -> Any:
        return reader._connection.sample('experience', replay.BATCH)

    # As an update takes a batch: what a table packs is opened inside the compiled function.
    take = jax.jit(lambda samples: jax.tree_util.tree_map(jnp.copy, unpacked(samples)))

    def to_device(draw: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(take(draw().samples))

    functions = {
        'draws': {'in-process': table.draw, 'Reverb': reader.draw, 'Reverb, bare': fetch},
        'draws to the device': {
            'in-process': to_device(table.draw),
            'Reverb': to_device(reader.draw),
        },
    }
    if exponent:
        new = np.random.default_rng(seed).random(replay.BATCH).astype(np.float32)
        functions['priorities'] = {
            'in-process': lambda: table.update_priorities(keys['in-process'], new),
            'Reverb': lambda: reader.update_priorities(keys['Reverb'], new),
        }
    # The first half fills the tables; a median, since no segment is like another.
    half = len(inserts['in-process']) // 2
    found = {
        'inserts': {
            name: (
                float(np.median([c for c, _ in s[half:]])),
                float(np.median([w for _, w in s[half:]])),
            )
            for name, s in inserts.items()
        }
    }
    for part, of_part in functions.items():
        times = best_in_turns(of_part, rounds)
        found[part] = {name: (c / replay.BATCH, w / replay.BATCH) for name, (c, w) in times.items()}
    for writer in list(writers.values())[1:]:
        writer.close()  # type: ignore[attr-defined]
    reader.close()
    server.stop()
    rows = []
    for part, times in found.items():
        own = times['in-process']
        for name, (cpu, clock) in times.items():
            rows.append(
                {
                    'figure': f'{part}, {kind}',
                    'table': name,
                    'per_cpu_second': 1 / cpu,
                    'per_second': 1 / clock,
                    'times_cpu': cpu / own[0],
                    'times': clock / own[1],
                }
            )
            print(f'{part}, {kind}: {name}: {1 / clock:,.0f} a second, {1 / cpu:,.0f} a CPU second')
    return rows


def smallest_times(rows: list[dict[str, Any]], part: str) -> float:
    """How many times faster the in-process table is than Reverb at its best."""
    return min(
        min(row['times'], row['times_cpu'])
        for row in rows
        if row['figure'].split(',')[0] == part and row['table'].startswith('Reverb')
    )


def describe(rows: list[dict[str, Any]], options: argparse.Namespace, machine: str) -> str:
    """The section of the page."""
    command = (
        f'python -m benchmarks.replay_reverb --out {options.out} --seed {options.seed} '
        f'--frames {options.frames} --rounds {options.rounds}'
    )
    lines = [
        replay.AGAINST_REVERB,
        '',
        f'    {command}',
        '',
        f"{machine}; one core, which both share with Reverb's threads; seed {options.seed}.",
        '',
        'Transitions of 84x84 frames in stacks of 4, noise, one lane; batches of 256;',
        f'{options.frames:,} items in each table. Draws are the best of {options.rounds} rounds in turns, '
        'inserts the',
        f'median of segments of {SEGMENT:,} ticks in turns. Items a second by the clock, and in CPU time of',
        'the whole process, which leaves out what Reverb waits and counts what its threads do; what they do',
        'while the next row is made is in neither, which favours Reverb. Reverb runs',
        'in the same process, which is the fastest way to draw from it, and stores stacks whole; `bare` is',
        'what it gives, before that is a batch; `to the device`: drawn, and opened in a compiled function.',
        '`times`: how many times faster the in-process table is.',
        '',
        '| | table | a second | times | a CPU second | times |',
        '|---|---|---:|---:|---:|---:|',
    ]
    for row in rows:
        times = ('', '')
        if row['table'] != 'in-process':
            times = (f'{row["times"]:.1f}', f'{row["times_cpu"]:.1f}')
        lines.append(
            f'| {row["figure"]} | {row["table"]} | {row["per_second"]:,.0f} | {times[0]} '
            f'| {row["per_cpu_second"]:,.0f} | {times[1]} |'
        )
    lines.append('')
    for part, bar in BARS.items():
        reached = smallest_times(rows, part)
        lines.append(
            f'The bar for {part}: {bar:.0f} times Reverb at its best; {reached:.1f} here, '
            f'{"reached" if reached >= bar else "missed"}.'
        )
    return '\n'.join(lines) + '\n'


def main() -> int:
    """Measures; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--frames', type=int, default=20_000)
    parser.add_argument('--out', help='where the page and the CSV go, without their endings')
    options = parser.parse_args()
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    machine = replay.describe_machine()
    print(machine)
    rows = []
    for kind, exponent in (('uniform', 0.0), ('prioritised', 0.6)):
        rows += measure(kind, exponent, options.frames, options.rounds, options.seed)
    if options.out:
        with open(f'{options.out}_reverb.csv', 'w', newline='') as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator='\n')
            writer.writeheader()
            writer.writerows(rows)
        page = Path(f'{options.out}.md')
        before, _ = replay.split_page(page)
        page.write_text(f'{before}\n{describe(rows, options, machine)}')
    return int(any(smallest_times(rows, part) < bar for part, bar in BARS.items()))


if __name__ == '__main__':
    raise SystemExit(main())
