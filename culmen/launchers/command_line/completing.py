"""Completion for shells: `culmen completion`, and the names that there are."""

import types
import typing
from collections.abc import Iterable
from typing import Any
from typing import Literal

import click
from click.shell_completion import CompletionItem
from click.shell_completion import get_completion_class

from culmen.launchers.command_line.teaching import epilog

SHELLS = ('bash', 'zsh', 'fish')
Items = list[CompletionItem[str]]


@click.command('completion', epilog=epilog('completion'))
@click.argument('shell', type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print what makes SHELL complete commands, options, agents, environments and fields."""
    found = get_completion_class(shell)
    assert found is not None
    # Without click's own source(), which starts bash to ask for its version.
    made = found(context.find_root().command, {}, 'culmen', '_CULMEN_COMPLETE')
    click.echo(made.source_template % made.source_vars())


def agents(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Names of agents, each with its paper."""
    from culmen.agents import AGENTS
    from culmen.agents.catalogue import ENTRIES

    return [
        CompletionItem(name, help=ENTRIES[name].paper if name in ENTRIES else None)
        for name in AGENTS
        if name.startswith(incomplete)
    ]


def environments(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Families of environments, then the names in one; of several with commas the last."""
    from culmen.components import environments

    before, comma, incomplete = incomplete.rpartition(',')
    family, slash, _ = incomplete.partition('/')
    known = [each.name for each in environments.families() if each.name != 'function']
    if not slash:
        names = [f'{name}/' for name in known]
    else:
        try:
            names = environments.names(family) if family in known else []
        except ImportError:
            names = []
    return _items((f'{before}{comma}{name}' for name in names), f'{before}{comma}{incomplete}')


def presets(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Presets of the agent that the command names."""
    from culmen.launchers import configs

    try:
        found = configs.agent_class(_agent(context))
    except (TypeError, AttributeError, ValueError):
        return []
    return _items(getattr(found, 'presets', {}), incomplete)


def fields(context: click.Context, incomplete: str) -> Items:
    """Options for the fields of the agent and the environment that the command names."""
    items = []
    for kind in ('agent', 'environment', 'evaluation-environment'):
        known = _annotations(context, kind)
        items += _items((f'--{kind}.{name}' for name in known), incomplete)
    return items


def values(context: click.Context, kind: str, field: str, incomplete: str) -> Items:
    """Values of a field that has a few, as choices and flags do."""
    return _items(_choices(_annotations(context, kind).get(field)), incomplete)


def _annotations(context: click.Context, kind: str) -> dict[str, Any]:
    """The types of the fields of the named agent or environment, by name; {} where it can't be known."""
    from culmen.components import environments
    from culmen.core import checks
    from culmen.launchers import configs

    try:
        if kind == 'agent':
            return dict(checks.field_types(configs.agent_class(_agent(context))))
        return environments.argument_types(context.params['environment'].partition(',')[0])
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}


def _agent(context: click.Context) -> str:
    """The name of the agent, also where the line ends with an option that still lacks its value."""
    typed = context.meta.get('arguments', [])
    return str(context.params.get('agent') or (typed[0] if typed else ''))


def _choices(annotation: Any) -> list[str]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is bool:
        return ['true', 'false']
    if annotation is type(None):
        return ['none']
    if origin is Literal:
        return [str(each) for each in arguments]
    if origin is typing.Annotated:
        return _choices(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return [text for each in arguments for text in _choices(each)]
    return []


def _items(names: Iterable[str], incomplete: str) -> Items:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
