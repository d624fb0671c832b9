"""`culmen compare`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import click

from culmen.launchers.command_line.parameters import Count
from culmen.launchers.command_line.parameters import UserPath
from culmen.launchers.command_line.reporting import command
from culmen.launchers.command_line.reporting import print_json
from culmen.launchers.command_line.teaching import epilog
from culmen.launchers.results import Refused
from culmen.launchers.results import refusing

if TYPE_CHECKING:
    from culmen.launchers.comparing import Comparison

_WIDTH = 120  # characters of a line where the output is no terminal


@click.command(epilog=epilog('compare'))
@click.argument('workdirs', nargs=-1, required=True, type=UserPath(path_type=Path))
@click.option(
    '--by', multiple=True, metavar='FIELD', help='Group by this field: agent.learning_rate.'
)
@click.option(
    '--last', type=Count(), default=5, show_default=True, help='Evaluations that make a score.'
)
@click.option(
    '--scale',
    multiple=True,
    metavar='TASK=LOW,HIGH',
    help='The returns of a task that score 0 and 1; needed of each where there are several.',
)
@click.option(
    '--repetitions', type=Count(), default=2000, show_default=True, help='Of a bootstrap.'
)
@click.option(
    '--out',
    type=UserPath(path_type=Path, file_okay=False),
    default='comparison',
    show_default=True,
    help='The folder of the picture, the page and the JSON.',
)
@command
def compare(
    *,
    as_json: bool,
    workdirs: tuple[Path, ...],
    by: tuple[str, ...],
    last: int,
    scale: tuple[str, ...],
    repetitions: int,
    out: Path,
) -> None:
    """Compare the runs in WORKDIRS: scores with intervals, probabilities of improvement, profiles.

    Runs that differ in their seeds alone are one group; --by makes the groups by a field's values. A folder
    of runs (--seeds, --sweep) stands for all of them.
    """
    with refusing():
        from culmen.components.files import check_writable
        from culmen.launchers import comparing
        from culmen.launchers.comparing import pages

        scales = dict(_read_scale(text) for text in scale)
        check_writable('--out', out)
        found = comparing.compare(workdirs, by, last=last, scales=scales, repetitions=repetitions)
    paths = found.save(out)
    if as_json:
        content = {name: str(path) for name, path in paths.items()}
        print_json({**pages.as_json(found), 'out': content})
        return
    _print(found)
    click.echo(str(paths['index.html']))


def _read_scale(text: str) -> tuple[str, tuple[float, float]]:
    task, equals, ends = text.rpartition('=')
    try:
        low, high = map(float, ends.split(','))
    except ValueError:
        equals = ''
    if not (task and equals):
        raise Refused(f'--scale must be TASK=LOW,HIGH with two numbers, got {text!r}.')
    return task, (low, high)


def _print(found: 'Comparison') -> None:
    from rich.console import Console
    from rich.table import Table

    from culmen.launchers.comparing.pages import say

    names = list(next(iter(found.aggregates.values())))
    table = Table('group', 'seeds', *names, title=', '.join(found.tasks), title_justify='left')
    for label, estimates in found.aggregates.items():
        table.add_row(label, str(len(found.scores[label])), *map(say, estimates.values()))
    console: Any = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(table)
    for (first, second), estimate in found.improvements.items():
        console.print(
            f'{first} beats {second} with probability {say(estimate)}',
            highlight=False,
            markup=False,
        )
