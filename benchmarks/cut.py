"""A network that is away for 30 seconds: how long a program over hosts takes until its steps are back.

    python benchmarks/cut.py run        # four cuts, about 8 minutes; needs root, and iproute2
    python benchmarks/cut.py report     # writes docs/results/cut.md from the last run

Two network namespaces: one host has learner, counter, replay and evaluator, the other four actors, whose
steps of Catch take 20 ms longer. The other host is taken from the network for 30 seconds, four times. Steps a
second before a cut are those of the 20 seconds before. They are back when 5 seconds have 90% of them, and the
time to that is counted from the end of the cut to the end of those 5 seconds.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks')]
FOLDER = ROOT / 'runs' / 'cut'
PAGE = ROOT / 'docs' / 'results' / 'cut.md'
ACTORS = 4
CUTS, AWAY_SECONDS, BEFORE_SECONDS, WINDOW_SECONDS = 4, 30.0, 20.0, 5.0
SHARE, BAR_SECONDS, MOST_SECONDS = 0.9, 60.0, 180.0
LOOK_SECONDS = 0.25


class Watch:
    """The steps of a program over time, from what its actors have reported."""

    def __init__(self, logs: Path, processes: Sequence[Any]) -> None:
        self._logs = logs
        self._processes = processes
        self._seen: list[tuple[float, int]] = []

    def look(self, seconds: float) -> None:
        """Looks for some seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if any(process.poll() is not None for process in self._processes):
                sys.exit(f'a command ended early; see {FOLDER}/big.err.')
            steps = 0
            for log in self._logs.glob('actor-*.csv'):
                rows = log.read_text().splitlines()
                if len(rows) > 2:
                    steps = max(steps, int(rows[-2].partition(',')[0]))
            self._seen.append((time.monotonic(), steps))
            time.sleep(LOOK_SECONDS)

    def rate(self, seconds: float) -> float:
        """Steps a second over the last seconds."""
        at, steps = np.array(self._seen).T
        now = at[-1]
        return float((steps[-1] - np.interp(now - seconds, at, steps)) / seconds)


def measure(hosts: Any, watch: Watch) -> list[dict[str, float]]:
    """Cuts the network again and again. Returns: of each cut, rates and seconds."""
    watch.look(1.0)
    while watch.rate(1.0) == 0.0:
        watch.look(1.0)
    found = []
    for number in range(CUTS):
        watch.look(BEFORE_SECONDS + 5.0)
        before = watch.rate(BEFORE_SECONDS)
        hosts.cut(1)
        watch.look(AWAY_SECONDS)
        during = watch.rate(AWAY_SECONDS)
        hosts.cut(1, away=False)
        begin = time.monotonic()
        watch.look(WINDOW_SECONDS)
        while (after := watch.rate(WINDOW_SECONDS)) < SHARE * before:
            if time.monotonic() - begin > MOST_SECONDS:
                sys.exit(
                    f'cut {number}: after {MOST_SECONDS:g} s {after:.1f} of {before:.1f} steps/s.'
                )
            watch.look(LOOK_SECONDS)
        one = {
            'before': before,
            'during': during,
            'after': after,
            'seconds': time.monotonic() - begin,
        }
        print(one, flush=True)
        found.append(one)
    return found


def run() -> None:
    """Runs the program, cuts its network, and ends it."""
    import chaos

    from tests.integration.namespaces import namespaces

    FOLDER.mkdir(parents=True, exist_ok=True)
    work = FOLDER / f'{time.time():.0f}'
    with namespaces(2) as hosts:
        chaos.write_hosts(work, hosts.addresses)
        table = work / 'hosts.toml'
        text = table.read_text().replace('nodes = ["replay", "evaluator"]\n', '')
        first, _, second = text.replace('actors = 1', 'actors = 0', 1).rpartition('actors = 1')
        table.write_text(f'{first}actors = {ACTORS}{second}')
        processes = [
            hosts.train(
                i, 'dqn', '--environment', 'benchmarks.chaos:slow_catch', *chaos.AGENTS['dqn'],
                '--steps', 1_000_000, '--launcher', 'hosts', '--hosts', table, '--host', host,
                '--trusted-network', '--restarts', 9, '--workdir', work / host, output=FOLDER / host,
            )
            for i, host in enumerate(chaos.HOSTS[:2])
        ]  # fmt: skip
        found = measure(hosts, Watch(work / 'big' / 'logs', processes))
        load = os.getloadavg()[0]
        processes[0].terminate()
        for process in processes:
            process.wait()
    log = work / 'big' / 'logs' / 'restarts.jsonl'
    restarts = (
        [json.loads(line)['node'] for line in log.read_text().splitlines()] if log.exists() else []
    )
    (FOLDER / 'result.json').write_text(
        json.dumps({'cuts': found, 'restarts': restarts, 'load': load}) + '\n'
    )


def report() -> None:
    """Writes the page."""
    found = json.loads((FOLDER / 'result.json').read_text())
    heads = (
        'cut',
        'steps/s before',
        'while it is away',
        'back',
        f'seconds until {SHARE:.0%} are back',
    )
    rows = [
        f'| {number} | {one["before"]:.1f} | {one["during"]:.1f} | {one["after"]:.1f} | '
        f'{one["seconds"]:.1f} |'
        for number, one in enumerate(found['cuts'], 1)
    ]
    most = max(one['seconds'] for one in found['cuts'])
    lines = [
        '# A network that is away',
        '',
        f'`python benchmarks/cut.py run` on {len(os.sched_getaffinity(0))} cores, at a load of '
        f'{found["load"]:.0f}. '
        + ' '.join((__doc__ or '').partition('\n\n')[2].partition('\n\n')[2].split()),
        '',
        f'| {" | ".join(heads)} |',
        '|' + ' --- |' * len(heads),
        *rows,
        '',
        f'The longest is {most:.1f} s (bar: {BAR_SECONDS:g}). Nodes that were started again: '
        f'{", ".join(found["restarts"]) or "none"}.',
    ]
    PAGE.write_text('\n'.join(lines) + '\n')
    print(f'written: {PAGE.relative_to(ROOT)}')


def main() -> None:
    """Reads the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('what', choices=['run', 'report'])
    if parser.parse_args().what == 'run':
        run()
    report()


if __name__ == '__main__':
    main()
