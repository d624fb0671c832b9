"""Calls between two nodes: connections of the standard library beside Courier, in turns.

    python benchmarks/calls.py              # both, in turns; --rounds and --seconds say how long
    python benchmarks/calls.py --report     # the same, and docs/results/calls.md

A server runs in a process of its own and answers with so many bytes, idle or beside a thread that runs Python
all the time, as a learner's may. Bytes are counted by a proxy between the two, in calls of their own. Needs
Courier, which Launchpad brings; a commit without `connections` measures Courier alone.
"""

import argparse
import contextlib
import importlib.util
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from culmen.launchers.programs import remote

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ('courier', 'connections')
# What is called: (name, bytes of the answer, callers at once, whether the server's Python is busy).
CASES = [
    ('nothing', 0, 1, False),
    ('nothing', 0, 1, True),
    ('nothing, 8 callers', 0, 8, False),
    ('nothing, 8 callers', 0, 8, True),
    ('30 kB', 30_000, 1, False),
    ('30 kB', 30_000, 1, True),
    ('5 MB', 5_000_000, 1, False),
]
WHAT = (
    'A node that calls another on the same machine: the method returns so many bytes, *busy* beside a thread '
    'that runs Python all the time and gives it up every 0.5 ms, as programs set it. Calls a second and the '
    'median time of a call are medians of {rounds} rounds of {seconds:g} s, the two engines in turns, with '
    'the least and the most of the rounds in brackets. Bytes a call are what a proxy between the two saw, '
    'both ways, of a call after the first.'
)


class Node:
    """What is called."""

    def get(self, size: int) -> bytes | None:
        """Answers with so many bytes."""
        return b'x' * size if size else None


# Courier, as programs had it: one method, `call`, with the program's secret.


class Courier:
    """A Channel over Courier."""

    def __init__(self, address: str) -> None:
        import courier

        self._client = courier.Client(address)

    def start(self, name: str, payload: bytes) -> Any:
        """Begins a call."""
        return self._client.futures.call('secret', name, payload)

    def listens(self) -> bool:
        """The server is there before its clients."""
        return True


def serve_courier(server: remote.Server, address: str) -> None:
    """Begins to serve."""
    import courier

    made = courier.Server('node', port=int(address.rpartition(':')[2]))
    made.Bind('call', lambda secret, name, payload: server.call(name, payload))
    made.Start()
    globals()['_kept'] = made


def serve(engine: str, address: str, busy: bool) -> None:
    """The server's process; ends with its standard input."""
    sys.setswitchinterval(remote.SWITCH_SECONDS)
    server = remote.Server()
    server.open(Node())
    if engine == 'courier':
        serve_courier(server, address)
    else:
        from culmen.launchers.programs import connections

        globals()['_kept'] = connections.Service(server, address, connections.Key(b'secret'))
    if busy:
        threading.Thread(target=spin, daemon=True).start()
    print('ready', flush=True)
    sys.stdin.read()
    os._exit(0)


def spin() -> None:
    """Runs Python, and nothing else."""
    while True:
        sum(range(100))


def channel(engine: str, address: str) -> Any:
    """The way to a server."""
    if engine == 'courier':
        return Courier(address)
    from culmen.launchers.programs import connections

    return connections.Line(address, connections.Key(b'secret'))


class Served:
    """A server's process, while it is needed."""

    def __init__(self, engine: str, busy: bool) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.address = f'{self._folder.name}/node'
        if engine == 'courier':
            import portpicker

            self.address = f'localhost:{portpicker.pick_unused_port()}'
        command = [sys.executable, __file__, '--serve', engine, self.address, str(int(busy))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        while b'ready' not in self._process.stdout.readline():
            assert self._process.poll() is None, 'the server has ended'

    def __enter__(self) -> 'Served':
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.communicate()
        self._folder.cleanup()


def measure(engine: str, size: int, callers: int, busy: bool, seconds: float) -> dict[str, float]:
    """Calls a second, and microseconds of the median call."""
    with Served(engine, busy) as served:
        node = remote.Remote('node', channel(engine, served.address), remote.Stop())
        node.get(size)
        end = time.perf_counter() + seconds
        took: list[float] = []

        def call() -> None:
            while (begin := time.perf_counter()) < end:
                node.get(size)
                took.append(time.perf_counter() - begin)

        threads = [threading.Thread(target=call) for _ in range(callers)]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {
            'calls': len(took) / (time.perf_counter() - begin),
            'microseconds': 1e6 * statistics.median(took),
        }


class Proxy:
    """Counts the bytes that pass."""

    def __init__(self, address: str) -> None:
        self.bytes = 0
        self._to = address
        self._listener: Any
        if ':' in address:
            self._listener = socket.create_server(('localhost', 0))
            self.address = f'localhost:{self._listener.getsockname()[1]}'
        else:
            self.address = f'{address}-proxy'
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(self.address)
            self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            if ':' in self._to:
                host, _, port = self._to.rpartition(':')
                far = socket.create_connection((host, int(port)))
            else:
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._to)
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # one that only looked whether anybody listens
            while data := source.recv(1 << 20):
                self.bytes += len(data)
                target.sendall(data)


def count_bytes(engine: str, size: int, calls: int = 20) -> float:
    """Bytes of a call, both ways."""
    with Served(engine, False) as served:
        proxy = Proxy(served.address)
        node = remote.Remote('node', channel(engine, proxy.address), remote.Stop())
        node.get(size)
        time.sleep(0.2)
        before = proxy.bytes
        for _ in range(calls):
            node.get(size)
        time.sleep(0.2)
        return (proxy.bytes - before) / calls


def rows(rounds: int, seconds: float) -> list[list[str]]:
    """A row for each case and engine."""
    engines = [
        e for e in ENGINES if e == 'courier' or importlib.util.find_spec(f'culmen.launchers.{e}')
    ]
    table = []
    for name, size, callers, busy in CASES:
        found: dict[str, list[dict[str, float]]] = {engine: [] for engine in engines}
        for _ in range(rounds):
            for engine in engines:
                found[engine].append(measure(engine, size, callers, busy, seconds))
        for engine in engines:
            cells = [name, 'busy' if busy else 'idle', engine]
            for what in ('calls', 'microseconds'):
                values = [each[what] for each in found[engine]]
                least, middle, most = min(values), statistics.median(values), max(values)
                cells.append(f'{middle:,.0f} ({least:,.0f} to {most:,.0f})')
            cells.append(f'{count_bytes(engine, size):,.0f}' if callers == 1 and not busy else '')
            print('  '.join(cells), file=sys.stderr, flush=True)
            table.append(cells)
    return table


def report(table: list[list[str]], rounds: int, seconds: float, note: str) -> str:
    """The page."""
    header = ['the answer', 'server', 'engine', 'calls/s', 'microseconds a call', 'bytes a call']
    lines = [f'| {" | ".join(cells)} |' for cells in (header, ['---'] * len(header), *table)]
    versions = ', '.join(
        f'{p} {metadata.version(p)}' for p in ('dm-launchpad-nightly', 'cloudpickle')
    )
    return '\n'.join(
        [
            '# Calls between nodes',
            '',
            f'`python benchmarks/calls.py --report --rounds {rounds} --seconds {seconds:g}` on '
            f'{len(os.sched_getaffinity(0))} core(s), Python {platform.python_version()}, {versions}. {note}',
            '',
            WHAT.format(rounds=rounds, seconds=seconds),
            '',
            *lines,
            '',
        ]
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--serve', nargs=3, help=argparse.SUPPRESS)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seconds', type=float, default=1.0)
    parser.add_argument('--report', action='store_true', help='write docs/results/calls.md')
    parser.add_argument('--note', default='', help='of the machine and its load, for the page')
    options = parser.parse_args()
    if options.serve:
        engine, address, busy = options.serve
        serve(engine, address, bool(int(busy)))
    page = report(
        rows(options.rounds, options.seconds), options.rounds, options.seconds, options.note
    )
    print(page)
    if options.report:
        (ROOT / 'docs' / 'results' / 'calls.md').write_text(page)


if __name__ == '__main__':
    main()
