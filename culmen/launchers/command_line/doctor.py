"""`culmen doctor`."""

import sys
from typing import Any

import click

from culmen.launchers.command_line.reporting import command
from culmen.launchers.command_line.reporting import print_json
from culmen.launchers.command_line.reporting import stdout_to_stderr
from culmen.launchers.command_line.teaching import epilog
from culmen.launchers.command_line.teaching import has_colours


@click.command(epilog=epilog('doctor'))
@command
def doctor(*, as_json: bool) -> None:
    """Show what is installed here, what is missing for which name, and what can't work.

    Exit code 1 says that Culmen can't train here; what is optional and missing is no fault.
    """
    from culmen.launchers import diagnosis

    with stdout_to_stderr(active=as_json):
        found = diagnosis.examine()
    print_json(found) if as_json else _print(found)
    if found['problems']:
        sys.exit(1)


def _print(found: dict[str, Any]) -> None:
    versions = ', '.join(f'{name} {version}' for name, version in found['versions'].items())
    _row('culmen', found['culmen'])
    _row('python', f'{found["python"]}, {found["platform"]}')
    _row('packages', versions)
    _row('devices', ', '.join(found['devices']) or 'none')
    _row('cores', f'{found["cores"]}')
    for path, gigabytes in found['free_gigabytes'].items():
        _row('free space', f'{gigabytes:.1f} GB in {path}')
    for kind, rows in (('extra', found['extras']), ('launcher', found['launchers'])):
        for name, lacking in rows.items():
            _row(f'{kind} {name}', 'ready' if not lacking else '; '.join(lacking), not lacking)
    for name, lacking in found['environments'].items():
        text = 'ready' if not lacking else f'needs {", ".join(lacking)}'
        _row(f'environments {name}', text, not lacking)
    for problem in found['problems']:
        _row('problem', problem, False)


def _row(name: str, text: str, is_well: bool | None = None) -> None:
    """Prints a line. Args: is_well: decides the colour; None: none."""
    if is_well is not None and has_colours(sys.stdout):
        text = click.style(text, fg='green' if is_well else 'yellow')
    click.echo(f'{name}: {text}', color=has_colours(sys.stdout))
