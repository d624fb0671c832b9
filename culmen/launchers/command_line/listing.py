"""`culmen list`."""

import ast
import importlib.util
from pathlib import Path
from typing import Any

import click

from culmen.launchers.command_line.reporting import command
from culmen.launchers.command_line.reporting import print_json


@click.command('list')
@click.argument('kind', type=click.Choice(['agents', 'environments']))
@command
def list_command(*, as_json: bool, kind: str) -> None:
    """Show the names of agents or environments."""
    rows = _agents() if kind == 'agents' else _environments()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(row['name'])
        for key, value in row.items():
            if key != 'name' and value not in ('', [], {}):
                text = ', '.join(map(str, value)) if isinstance(value, list) else value
                click.echo(f'    {key}: {text}')


def _agents() -> list[dict[str, Any]]:
    from culmen.agents import AGENTS

    return [
        {'name': name, 'class': target, 'about': _first_line(target.partition(':')[0])}
        for name, target in sorted(AGENTS.items())
    ]


def _environments() -> list[dict[str, Any]]:
    from culmen.components import environments

    return [family.as_dict() for family in environments.families()]


def _first_line(module: str) -> str:
    """The first line of a module's docstring, read without importing the module."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ''
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ''
    return docstring.partition('\n')[0]
