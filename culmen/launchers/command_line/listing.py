"""`culmen list`."""

import ast
import importlib.util
from pathlib import Path
from typing import Any

import click

from culmen.launchers.command_line.reporting import command
from culmen.launchers.command_line.reporting import print_json
from culmen.launchers.command_line.teaching import epilog
from culmen.launchers.results import refusing


@click.command('list', epilog=epilog('list'))
@click.argument('kind', type=click.Choice(['agents', 'environments']))
@click.option('--family', help='The environments of one family, by name.')
@click.option(
    '--actions',
    type=click.Choice(['discrete', 'multi_discrete', 'continuous', 'hybrid']),
    help='The environments with this kind of action, by name.',
)
@click.option('--jax', is_flag=True, help='The environments written in JAX, by name.')
@command
def list_command(*, as_json: bool, kind: str, family: str | None, actions: Any, jax: bool) -> None:
    """Show the names of agents or environments.

    Without options of its own, `culmen list environments` shows the families of environments.
    """
    is_filtered = family is not None or actions is not None or jax
    if kind == 'agents':
        if is_filtered:
            raise click.UsageError('--family, --actions and --jax are of environments.')
        rows = _agents()
    else:
        rows = _environments(family, actions, jax) if is_filtered else _families()
    if as_json:
        print_json(rows)
        return
    group = None
    for row in rows:
        if kind == 'agents' and row['group'] != group:
            group = row['group']
            click.echo(f'{group}:')
        click.echo(row['name'])
        if is_filtered:
            continue
        for key, value in row.items():
            if key not in ('name', 'group') and value not in ('', [], {}):
                text = ', '.join(map(str, value)) if isinstance(value, list) else value
                click.echo(f'    {key}: {text}')


def _agents() -> list[dict[str, Any]]:
    """The agents by group, each with what its page begins with."""
    from culmen.agents import AGENTS
    from culmen.agents.catalogue import ENTRIES

    return [
        {
            'name': name,
            'class': AGENTS[name],
            'about': _first_line(AGENTS[name].partition(':')[0]),
            **entry._asdict(),
        }
        for name, entry in ENTRIES.items()
    ]


def _families() -> list[dict[str, Any]]:
    from culmen.components import environments

    return [family.as_dict() for family in environments.families()]


def _environments(family: str | None, actions: Any, jax: bool) -> list[dict[str, Any]]:
    """The environments that fit, each with what its family says of it."""
    from culmen.components import environments

    by_name = {each.name: each for each in environments.families()}
    rows = []
    with refusing():
        names = environments.names(family, actions=actions, jax=jax)
    for name in names:
        prefix, _, identity = name.partition('/')
        of_family = by_name[prefix]
        kind = of_family.action_kind(identity)
        rows.append({'name': name, 'actions': kind, 'jax': of_family.jax})
    return rows


def _first_line(module: str) -> str:
    """The first line of a module's docstring, read without importing the module."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ''
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ''
    return docstring.partition('\n')[0]
