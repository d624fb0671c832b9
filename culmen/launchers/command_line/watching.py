"""`culmen watch`."""

import sys
import time
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from culmen.components.files import expanded
from culmen.launchers.command_line import showing
from culmen.launchers.command_line.parameters import UserPath
from culmen.launchers.command_line.reporting import command
from culmen.launchers.command_line.reporting import print_json
from culmen.launchers.command_line.teaching import epilog
from culmen.launchers.results import Refused
from culmen.launchers.results import refusing
from culmen.launchers.watching import Seen
from culmen.launchers.watching import Watch

_LOOK_SECONDS = 1.0
_OVER_LOOKS = 3  # after which runs are over: the next run of a sweep may be about to begin
_LAST_SECONDS = 10.0  # that a page stays once all runs are over, to be loaded a last time

_OF_RUNS = (
    'run', 'state', 'steps', 'left', 'time left', 'steps/s', 'updates/s', 'return', 'evaluation', 'nodes',
)  # fmt: skip


@click.command(epilog=epilog('watch'))
@click.argument(
    'workdirs', metavar='RUN...', nargs=-1, required=True, type=UserPath(path_type=Path)
)
@click.option(
    '--serve',
    type=click.IntRange(0, 65535),
    metavar='PORT',
    help='As a page with curves at 127.0.0.1:PORT, for browsers of this machine alone; 0: a free port.',
)
@command
def watch(*, as_json: bool, workdirs: Sequence[Path], serve: int | None) -> None:
    """Follow the runs in RUN... until all have ended, or Ctrl-C, which leaves them as they are.

    A folder of runs (--seeds, --sweep) stands for all of them, also for those that begin later.
    """
    if as_json and serve is not None:
        raise Refused('--json is for the terminal, and --serve is a page: give one of them.')
    with refusing():
        watched = Watch([expanded(each) for each in workdirs])
        seen = watched.look()
    if serve is not None:
        _serve(watched, seen, serve)
    elif as_json:
        _follow(watched, seen, lambda now: print_json({'runs': list(map(_plain, now))}))
    else:
        _show(watched, seen)


def _follow(watched: Watch, seen: list[Seen], show: Callable[[list[Seen]], None]) -> None:
    """Shows the runs each second until all are over."""
    over = _OVER_LOOKS  # of runs that do not run at first, none is about to begin
    while True:
        show(seen)
        sys.stdout.flush()
        over = over + 1 if all(each.is_over for each in seen) else 0
        if over >= _OVER_LOOKS:
            return
        time.sleep(_LOOK_SECONDS)
        seen = watched.look()


def _show(watched: Watch, seen: list[Seen]) -> None:
    from rich.live import Live

    console = showing.make_console()
    if not console.is_terminal:
        _follow(watched, seen, lambda now: console.print(_render(now)))
        return
    with Live(console=console, auto_refresh=False) as live:
        _follow(watched, seen, lambda now: live.update(_render(now), refresh=True))


def _serve(watched: Watch, seen: list[Seen], port: int) -> None:
    from culmen.launchers import watch_page

    with refusing():
        server = watch_page.PageServer(port)

    def show(now: list[Seen]) -> None:
        server.page = watch_page.make_page(now, _tables(now))

    with server:
        show(seen)
        click.echo(f'culmen: {server.url} until all runs have ended, or Ctrl-C', err=True)
        _follow(watched, seen, show)
        time.sleep(_LAST_SECONDS)


def _render(seen: Sequence[Seen]) -> Any:
    from rich.console import Group

    return Group(*(showing.make_table(*each) for each in _tables(seen)))


def _tables(seen: Sequence[Seen]) -> list[tuple[Sequence[str], list[list[str]]]]:
    """(heads, rows) of a table of all runs, and of one of the nodes of each program that runs."""
    tables: list[tuple[Sequence[str], list[list[str]]]] = [(_OF_RUNS, list(map(_row, seen)))]
    for each in seen:
        if each.status['nodes'] and not each.is_over:
            heads = (f'node of {each.status["workdir"]}', *showing.OF_NODES[1:])
            tables.append((heads, list(map(showing.node_row, each.status['nodes']))))
    return tables


def _row(seen: Seen) -> list[str]:
    run, state, steps, rate, last, evaluation, nodes = showing.run_row(seen.status)
    time_left = '' if seen.seconds_left is None else showing.say_seconds(seen.seconds_left)
    updates = showing.say_number(seen.status['updates_per_second'])
    return [
        run, state, steps, showing.say_number(seen.left), time_left, rate, updates, last, evaluation, nodes,
    ]  # fmt: skip


def _plain(seen: Seen) -> dict[str, Any]:
    left = {'left': seen.left, 'seconds_left': seen.seconds_left}
    kind = 'evaluation' if seen.is_evaluated else 'training'
    return {**seen.status, **left, 'returns': {'of': kind, **seen.returns._asdict()}}
