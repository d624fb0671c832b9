"""What the tests cost: seconds and memory of each, by suite and by agent, and what the seconds are.

A plugin of pytest that conftest.py registers for `--costs FILE`, where it writes what it measured.

    python -m tests.costs --show FILE     the tables of such a file
    python -m tests.costs --agent sac     runs what `make test` runs of one agent, in one process, and
                                          prints its cost beside the shares in CONTRIBUTING.md
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import jax.monitoring
import psutil
import pytest

ROOT = pathlib.Path(__file__).parents[1]
ROW_SECONDS = 15  # what a further row of an agent may take of contract suites
DEAR_ROW_SECONDS = 40  # where the agent searches, remembers or learns a model
FAMILY_SECONDS = 45  # what a further family may take with its own tests
WORKER_GB = 3.0
KINDS = ('tracing', 'compiling', 'processes', 'learning', 'running')

_TRACING = (
    '/jax/core/compile/jaxpr_trace_duration',
    '/jax/core/compile/jaxpr_to_mlir_module_duration',
)
_COMPILING = '/jax/core/compile/backend_compile_duration'


class Clock:
    """Seconds in which JAX traces and compiles; what lies within another is counted once."""

    def __init__(self) -> None:
        self.tracing: list[tuple[float, float]] = []
        self.compiling: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, seconds: float, **_: Any) -> None:
        now = time.time()
        if event in _TRACING:
            self.tracing.append((now - seconds, now))
        elif event == _COMPILING:
            self.compiling.append((now - seconds, now))

    def take(self) -> tuple[float, float]:
        """Seconds (tracing, compiling) since the last call."""
        compiling = _length(self.compiling)
        tracing = _length(self.tracing + self.compiling) - compiling
        self.tracing.clear()
        self.compiling.clear()
        return tracing, compiling


def _length(spans: Iterable[tuple[float, float]]) -> float:
    total, end = 0.0, 0.0
    for start, stop in sorted(spans):
        total += max(stop - max(start, end), 0.0)
        end = max(end, stop)
    return total


class Costs:
    """Measures each test where it runs; collects the rows where the run is told of."""

    def __init__(self) -> None:
        self._clock = Clock()
        self.rows: list[dict[str, Any]] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        from tests import selection

        self._clock.take()
        children = _children_seconds()
        start = time.perf_counter()
        self._start, self._children, self._cpu = start, children, time.process_time()
        of_item = selection.row(item)
        self._about = {
            'row': of_item.name if of_item else None,
            'family': selection.family(item),
            'remembers': of_item is not None and of_item.remembers,
            'kind': item.get_closest_marker('kind') is not None,
            'learning': item.get_closest_marker('learning') is not None,
        }
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> Any:
        report = yield
        if report.when == 'teardown':
            seconds = time.perf_counter() - self._start
            tracing, compiling = self._clock.take()
            of_children = max(_children_seconds() - self._children, 0.0)
            processes = min(of_children, seconds)
            row = {
                **self._about,
                'test': item.nodeid,
                'seconds': seconds,
                'cpu': time.process_time() - self._cpu + of_children,
                'tracing': tracing,
                'compiling': compiling,
                'processes': processes,
                'memory': psutil.Process().memory_info().rss / 1e9,
            }
            report.user_properties.append(('culmen_cost', row))
        return report

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == 'teardown':
            self.rows += [row for name, row in report.user_properties if name == 'culmen_cost']

    def write(self, path: str) -> None:
        """Writes the rows as JSON."""
        pathlib.Path(path).write_text(json.dumps(self.rows))


def _children_seconds() -> float:
    """CPU seconds of the processes that a test has begun: those that have ended, and those that live."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = usage.ru_utime + usage.ru_stime
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:  # It has ended meanwhile.
            continue
        seconds += times.user + times.system
    return seconds


def tables(rows: list[dict[str, Any]]) -> list[str]:
    """The tables: by suite, by agent, and the twenty slowest tests."""
    rows = [{**row, **_shares(row)} for row in rows]
    lines = _table('suite', rows, lambda row: suite(row['test']))
    lines += [
        '',
        *_table('agent', [row for row in rows if row['family']], lambda row: row['family']),
    ]
    contracts = defaultdict(float)
    for row in rows:
        if row['row']:
            contracts[row['row']] += row['seconds']
    dearest = sorted(contracts.items(), key=lambda item: -item[1])[:5]
    lines += [
        '',
        'dearest rows of contract suites: ' + ', '.join(f'{n} {s:.0f} s' for n, s in dearest),
    ]
    lines += ['', 'slowest tests']
    for row in sorted(rows, key=lambda row: -row['seconds'])[:20]:
        lines.append(f'{row["seconds"]:7.1f} s  {row["test"]}')
    memory = max((row['memory'] for row in rows), default=0.0)
    lines += ['', f'largest worker: {memory:.1f} GB']
    if memory > WORKER_GB:
        lines.append(f'WARNING: a worker took more than {WORKER_GB} GB')
    return lines


def suite(test: str) -> str:
    """The suite that a test belongs to: its file in tests/agents, else its folder."""
    path = test.split('::')[0].removeprefix('tests/')
    parts = path.split('/')
    if parts[0] == 'agents':
        return 'agents/test_*.py' if len(parts) == 2 else f'agents/{parts[1]}'
    return '/'.join(parts[: 2 if parts[0] == 'components' else 1])


def _shares(row: dict[str, Any]) -> dict[str, float]:
    """What the seconds of a test are; what trains is learning as a whole."""
    seconds = row['seconds']
    if row['learning']:
        return {
            'tracing': 0.0,
            'compiling': 0.0,
            'processes': 0.0,
            'learning': seconds,
            'running': 0.0,
        }
    known = row['tracing'] + row['compiling'] + row['processes']
    return {'learning': 0.0, 'running': max(seconds - known, 0.0)}


def _table(
    name: str, rows: list[dict[str, Any]], key: Callable[[dict[str, Any]], str]
) -> list[str]:
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        for label in (key(row), 'all'):
            sums[label]['tests'] += 1
            sums[label]['memory'] = max(sums[label]['memory'], row['memory'])
            for column in ('seconds', 'cpu', *KINDS):
                sums[label][column] += row[column]
    lines = [
        f'{name:26}{"tests":>7}{"seconds":>9}{"CPU":>7}'
        + ''.join(f'{kind:>11}' for kind in KINDS)
        + f'{"GB":>6}'
    ]
    for label, of_label in sorted(sums.items(), key=lambda item: -item[1]['seconds']):
        columns = ''.join(f'{of_label[kind]:11.0f}' for kind in KINDS)
        lines.append(
            f'{label:26}{of_label["tests"]:7.0f}{of_label["seconds"]:9.0f}{of_label["cpu"]:7.0f}{columns}{of_label["memory"]:6.1f}'
        )
    return lines


def cost_of(rows: list[dict[str, Any]], agent: str) -> tuple[list[str], bool]:
    """What one agent costs beside its shares, and whether it keeps them.

    What one agent of each kind is asked (whole runs, programs) comes with no further agent, and is left out.
    """
    rows = [row for row in rows if not row['kind']]
    shares = {
        row['row']: DEAR_ROW_SECONDS if row['remembers'] else ROW_SECONDS
        for row in rows
        if row['row']
    }
    seconds: dict[str | None, float] = defaultdict(float)
    for row in rows:
        seconds[row['row']] += row['cpu']
    own = seconds.pop(None, 0.0)
    lines = [f'{name:40}{seconds[name]:7.1f} s of {share}' for name, share in shares.items()]
    first = min(seconds.values(), default=0.0)
    lines.append(f'{"its own tests":40}{own:7.1f} s')
    lines.append(f'{agent + ", with its cheapest row":40}{own + first:7.1f} s of {FAMILY_SECONDS}')
    kept = all(seconds[name] <= share for name, share in shares.items())
    return lines, kept and own + first <= FAMILY_SECONDS


def measure(agent: str) -> list[dict[str, Any]]:
    """Runs the tests of one agent in one process; what they cost."""
    path = ROOT / '.pytest_cache' / f'costs-{agent}.json'
    path.parent.mkdir(exist_ok=True)
    command = [sys.executable, '-m', 'pytest', '-q', '-n', '0', '-m', 'not deep']
    code = subprocess.run([*command, f'--agent={agent}', f'--costs={path}'], cwd=ROOT).returncode
    if code:
        sys.exit(code)
    return json.loads(path.read_text())


def main() -> None:
    """Prints the tables of a run, or what one agent costs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument('--agent', help='a folder of culmen/agents')
    one.add_argument('--show', metavar='FILE', help='what `pytest --costs FILE` wrote')
    options = parser.parse_args()
    if options.show:
        print('\n'.join(tables(json.loads(pathlib.Path(options.show).read_text()))))
        return
    lines, kept = cost_of(measure(options.agent), options.agent)
    print('\n'.join(lines))
    if not kept:
        sys.exit('more than its share: see "What tests cost" in CONTRIBUTING.md')


if __name__ == '__main__':
    main()
