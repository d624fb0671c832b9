"""`culmen train --sweep FILE.toml`: the options of the file beside those that are typed."""

from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from culmen.launchers.command_line.parameters import FieldsCommand
from culmen.launchers.command_line.parameters import split_values
from culmen.launchers.results import Refused
from culmen.launchers.sweeping.files import SweepFile
from culmen.launchers.sweeping.files import as_typed
from culmen.launchers.sweeping.files import read_sweep_file

# Options that a person types: whether code that a file names may run, and what the file is for.
_TYPED_ALONE = ('trust', 'sweep', 'help', 'json', 'debug')
_KINDS = ('agent', 'environment', 'evaluation-environment')


class SweepCommand(FieldsCommand):
    """A command whose --sweep may name a file with options of its own; typed ones take precedence."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts the options of the file before the typed ones, and the file in ctx.meta['sweep_file']."""
        ctx.meta['typed'] = list(args)
        ctx.meta['sweep_file'] = file = None
        paths = [text for text in _sweeps(args) if _is_file(text)]
        if len(paths) > 1:
            raise click.UsageError(f'--sweep takes one file, got {", ".join(paths)}.', ctx)
        if paths:
            try:
                ctx.meta['sweep_file'] = file = read_sweep_file(Path(paths[0]).expanduser())
                args = [*self._tokens(file), *args]
            except Refused as error:
                raise click.UsageError(str(error), ctx) from error
        rest = super().parse_args(ctx, args)
        if file is not None and ctx.params.get('agent') is None:
            ctx.params['agent'] = file.options.get('agent')
        return rest

    def _tokens(self, file: SweepFile) -> Iterator[str]:
        """The options of a file as tokens. Raises: Refused for an option that it can't have."""
        known = {
            name.lstrip('-'): each
            for each in self.params
            if isinstance(each, click.Option) and not each.hidden
            for name in each.opts
            if name.lstrip('-') not in _TYPED_ALONE
        }
        for name, value in file.options.items():
            kind, dot, field = name.partition('.')
            if dot and kind in _KINDS:
                yield f'--{name}={as_typed(value)}'
                continue
            name = name.replace('_', '-')
            if name == 'agent':
                if not isinstance(value, str):
                    raise Refused(f'{file.path}: agent must be a name, got {value!r:.40}.')
                continue
            if name not in known:
                from culmen.core.checks import unknown_name  # imports JAX

                names = ['agent', *known]
                raise Refused(f'{file.path}: {unknown_name("option", name, names)}')
            yield from _option(file, name, value, known[name])


def _option(file: SweepFile, name: str, value: Any, option: click.Option) -> Iterator[str]:
    if option.is_flag:
        if not isinstance(value, bool):
            raise Refused(f'{file.path}: {name} must be true or false, got {value!r:.40}.')
        yield from [f'--{name}'] * value
    elif isinstance(value, list):
        if name == 'environment':
            yield f'--{name}={",".join(map(as_typed, value))}'
            return
        if not option.multiple:
            raise Refused(f'{file.path}: {name} takes one value, got {value!r:.40}.')
        yield from (f'--{name}={as_typed(each)}' for each in value)
    else:
        yield f'--{name}={as_typed(value)}'


def _sweeps(arguments: Sequence[str]) -> Iterator[str]:
    """The texts after --sweep."""
    for token, following in zip(arguments, [*arguments[1:], ''], strict=False):
        if token == '--sweep':
            yield following
        elif token.startswith('--sweep='):
            yield token.partition('=')[2]


def _is_file(text: str) -> bool:
    return text.endswith('.toml') and '=' not in text


def typed_sweeps(sweep: Sequence[str]) -> list[str]:
    """The sweeps that are no file."""
    return [text for text in sweep if not _is_file(text)]


def typed_only(names: set[str], file: SweepFile | None, typed: Sequence[str]) -> set[str]:
    """The names without those that stand in the file alone: code that a file names needs --trust."""
    if file is None:
        return names
    texts = {part for token in typed for part in (token, token.partition('=')[2])}
    texts |= {part for token in typed for part in split_values(token.rpartition('=')[2])}
    return names - (file.names() - texts)
