"""`culmen status`."""

import datetime
import sys
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from culmen.components.files import expanded
from culmen.launchers import provenance
from culmen.launchers import status as statuses
from culmen.launchers.command_line.parameters import UserPath
from culmen.launchers.command_line.reporting import command
from culmen.launchers.command_line.reporting import print_json
from culmen.launchers.command_line.teaching import epilog
from culmen.launchers.results import Refused
from culmen.launchers.results import describe
from culmen.launchers.results import refusing

_WATCH_SECONDS = 1.0
_WIDTH = 120  # characters of a line where the output is no terminal
_SHOWN_RESTARTS = 8

# Heads of columns.
_OF_RUNS = ('run', 'state', 'steps', 'steps/s', 'return', 'evaluation', 'nodes')
_OF_TABLES = ('table', 'items', 'inserted', 'sampled', 'samples/insert', 'staleness')
OF_NODES = ('node', 'host', 'pid', 'state', 'steps', 'steps/s', 'silent', 'restarts')


@click.command(epilog=epilog('status'))
@click.argument('workdir', type=UserPath(path_type=Path))
@click.option(
    '--watch', is_flag=True, help='Show it again each second until the run is over, or Ctrl-C.'
)
@command
def status(*, as_json: bool, workdir: Path, watch: bool) -> None:
    """Show how far the run in WORKDIR is, and its nodes, whether it runs or has ended.

    Of a folder of runs (--seeds, --sweep) it shows a line for each.
    """
    folder = expanded(workdir)
    with refusing():
        found = _read(folder)
    if not watch:
        print_json(found) if as_json else make_console().print(_render(found))
        return
    try:
        (_watch_json if as_json else _watch)(lambda: _read(folder), found)
    except KeyboardInterrupt:
        sys.exit(0)


def _read(folder: Path) -> dict[str, Any]:
    """The status of a run, or {'runs': [...]} of a folder of runs."""
    if (folder / 'config.json').exists():
        return statuses.read_status(folder)
    runs = statuses.find_runs(folder)
    if not runs:
        raise Refused(f'{folder} holds no run: there is no config.json in it.')
    return {'runs': [statuses.read_status(run) for run in runs]}


def _is_over(found: Mapping[str, Any]) -> bool:
    return all(each['state'] != statuses.RUNNING for each in found.get('runs', [found]))


def _watch_json(read: Callable[[], dict[str, Any]], found: dict[str, Any]) -> None:
    print_json(found)
    while not _is_over(found):
        time.sleep(_WATCH_SECONDS)
        found = read()
        print_json(found)
        sys.stdout.flush()


def _watch(read: Callable[[], dict[str, Any]], found: dict[str, Any]) -> None:
    from rich.live import Live

    console = make_console()
    if not console.is_terminal:
        console.print(_render(found))
        while not _is_over(found):
            time.sleep(_WATCH_SECONDS)
            found = read()
            console.print()
            console.print(_render(found))
        return
    with Live(_render(found), console=console, auto_refresh=False) as live:
        while not _is_over(found):
            time.sleep(_WATCH_SECONDS)
            found = read()
            live.update(_render(found), refresh=True)


def make_console() -> Any:
    """A console that is wide enough where the output is no terminal."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)


def _render(found: Mapping[str, Any]) -> Any:
    from rich.console import Group

    if 'runs' in found:
        return make_table(_OF_RUNS, list(map(run_row, found['runs'])))
    parts = [_text('\n'.join(_lines(found)))]
    if found['tables']:
        rows = [_table_row(*each) for each in found['tables'].items()]
        parts.append(make_table(_OF_TABLES, rows))
    if found['nodes']:
        parts.append(make_table(OF_NODES, list(map(node_row, found['nodes']))))
    restarts = sorted(
        ((each['at'], node['name'], each) for node in found['nodes'] for each in node['restarts']),
        key=lambda each: each[:2],
    )
    if restarts:
        lines = [_restart(*each) for each in restarts[-_SHOWN_RESTARTS:]]
        if len(restarts) > len(lines):
            lines.insert(0, f'{len(restarts) - len(lines)} earlier restarts')
        parts.append(_text('\n'.join(lines)))
    return Group(*parts)


def _lines(found: Mapping[str, Any]) -> list[str]:
    """The facts of a run that are in no table."""
    state = found['state']
    if state == statuses.RUNNING:
        state += f' on {found["host"]} (pid {found["pid"]}) since {found["since"]}'
    if found['seconds'] is not None:
        state += f'; as of {say_seconds(found["seconds"])} ago'
    if found['reason']:
        state += f'\n  {found["reason"]}'
    actor_steps, learner_steps = (
        f'{name} {_of(found[name], found[f"max_{name}"])}'
        for name in ('actor_steps', 'learner_steps')
    )
    speeds = [
        f'{say_number(found[f"{name}_per_second"])} {name}/s'
        for name in ('steps', 'updates')
        if found[f'{name}_per_second'] is not None
    ]
    lines = [
        f'{found["workdir"]}: {state}',
        f'  {found["agent"]} on {found["environment"]}, seed {found["seed"]}, launcher '
        f'{found["launcher"]}',
        '  ' + ', '.join([actor_steps, learner_steps, *speeds]),
    ]
    if found['episodes'] is not None:
        last = found['episode_return']
        text = f'  episodes {say_number(found["episodes"])}'
        lines.append(text + ('' if last is None else f', the last return {describe(last)}'))
    if found['evaluating']:
        lines.append(f'  {found["evaluating"]}')
    if found['evaluation']:
        lines.append(f'  evaluation: {describe(found["evaluation"])}')
    for label, evaluation in (found['evaluators'] or {}).items():
        lines.append(f'  {label}: {describe(evaluation)}')
    if found['checkpoint']:
        checkpoint = found['checkpoint']
        lines.append(
            f'  checkpoint at {checkpoint["steps"]:,} steps, {say_seconds(checkpoint["seconds"])} ago'
        )
    lines += [f'  {line}' for line in provenance.describe(found['commands'])]
    return lines


def run_row(found: Mapping[str, Any]) -> list[str]:
    """The row of a run in a table of several. Args: found: its status."""
    evaluation = found['evaluation'] or {}
    running = sum(node['state'] == statuses.RUNNING for node in found['nodes'])
    unit = 'learner_steps' if found['launcher'] == 'offline' else 'actor_steps'
    return [
        found['workdir'],
        found['state'],
        _of(found[unit], found[f'max_{unit}']),
        say_number(found['steps_per_second']),
        say_number(found['episode_return']),
        say_number(evaluation.get('return_mean')),
        f'{running}/{len(found["nodes"])}' if found['nodes'] else '',
    ]


def _table_row(name: str, table: Mapping[str, Any]) -> list[str]:
    wanted = table.get('wanted')
    measured = say_number(table.get('samples_per_insert'))
    stale = table.get('staleness')
    return [
        name or 'experience',
        _of(table.get('items'), table.get('capacity')),
        say_number(table.get('inserted')),
        say_number(table.get('sampled')),
        measured if wanted is None else f'{measured} of {say_number(wanted)}',
        ''
        if stale is None
        else f'{say_number(stale)}, at most {say_number(table.get("most_stale"))}',
    ]


def node_row(node: Mapping[str, Any]) -> list[str]:
    """The row of a node, under OF_NODES."""
    doing = node.get('doing')
    silent = node.get('silent')
    return [
        node['name'],
        str(node.get('host') or ''),
        str(node.get('pid') or ''),
        f'{node.get("state")}' + (f', {doing}' if doing else ''),
        say_number(node.get('actor_steps')),
        say_number(node.get('steps_per_second')),
        '' if silent is None else say_seconds(silent),
        str(len(node['restarts']) or ''),
    ]


def _restart(at: float, name: str, restart: Mapping[str, Any]) -> str:
    when = datetime.datetime.fromtimestamp(at).strftime('%Y-%m-%d %H:%M:%S')
    by = restart.get('caused_by')
    return f'{when} {name}: {restart["reason"]}' + (f' (after {by} was lost)' if by else '')


def make_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    """A table for a terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    texts = {'host', 'state'}
    for number, head in enumerate(heads):
        justify: Any = 'left' if number == 0 or head in texts else 'right'
        table.add_column(_text(head), justify=justify, overflow='fold')
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _text(text: str) -> Any:
    """Text without markup and without characters that would steer the terminal."""
    from rich.text import Text

    return Text(''.join(each if each.isprintable() or each == '\n' else ' ' for each in text))


def _of(number: Any, most: Any) -> str:
    return say_number(number) if most is None else f'{say_number(number)}/{say_number(most)}'


def say_number(number: Any) -> str:
    """A number as text; None is empty."""
    return '' if number is None else describe(number)


def say_seconds(seconds: float) -> str:
    """A span of time as text."""
    if seconds < 120:
        return f'{seconds:.1f} s'
    for unit, size in (('d', 86_400), ('h', 3_600)):
        if seconds >= 2 * size:
            return f'{seconds / size:.1f} {unit}'
    return f'{seconds / 60:.0f} min'
