"""`culmen plot`."""

from pathlib import Path

import click

from culmen.launchers.command_line.parameters import UserPath
from culmen.launchers.command_line.reporting import command
from culmen.launchers.command_line.reporting import print_json
from culmen.launchers.command_line.teaching import epilog
from culmen.launchers.results import refusing


@click.command(epilog=epilog('plot'))
@click.argument('workdirs', nargs=-1, required=True, type=UserPath(path_type=Path))
@click.option(
    '--out',
    type=UserPath(path_type=Path, dir_okay=False),
    default='curve.png',
    show_default=True,
    help='PNG, or what the ending says.',
)
@command
def plot(*, as_json: bool, workdirs: tuple[Path, ...], out: Path) -> None:
    """Draw returns against steps, a line for each of WORKDIRS.

    A folder of seed-<s> runs is one line: their mean and spread.
    """
    with refusing():
        from culmen.launchers import plots

        curves = [plots.read_curve(workdir) for workdir in workdirs]
        plots.draw(curves, out)
    print_json({'out': str(out)}) if as_json else click.echo(str(out))
