"""Types of option values, and a command with options for any field."""

import os
import re
from typing import Any

import click
from click.shell_completion import CompletionItem

from culmen.launchers.command_line import completing


class Count(click.ParamType):  # type: ignore[type-arg]
    """A whole number, also as 20_000 or 2e4."""

    name = 'integer'

    def __init__(self, minimum: int = 1) -> None:
        """Args: minimum: the least that is accepted."""
        self._minimum = minimum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads the text."""
        try:
            number = int(value)
        except ValueError:
            try:
                number = int(float(value))
            except (ValueError, OverflowError):
                number = self._minimum - 1
            if number < self._minimum or number != float(value):
                self.fail(f'must be an int, got {value!r}.', param, ctx)
        if number < self._minimum:
            self.fail(f'must be at least {self._minimum}, got {number}.', param, ctx)
        return number


class CountOrNone(Count):
    """A whole number, or none."""

    name = 'integer or none'

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads the text."""
        return 'none' if value == 'none' else super().convert(value, param, ctx)


class UserPath(click.Path):
    """A path whose `~` is the user's home, even if no shell has expanded it: --workdir=~/runs."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """Reads the text."""
        return super().convert(os.path.expanduser(value), param, ctx)


class FieldsCommand(click.Command):
    """A command that accepts `--agent.FIELD V` for any field, and the same for the environment."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Moves the fields to ctx.meta['fields'], as (kind, field, text)."""
        rest: list[str] = []
        fields: list[tuple[str, str, str]] = []
        tokens = iter(args)
        for token in tokens:
            match = re.fullmatch(
                r'--(agent|environment|evaluation-environment)\.([^=]+)(?:=(.*))?', token, re.DOTALL
            )
            if match is None:
                rest.append(token)
                continue
            kind, name, value = match.groups()
            if value is None:
                value = next(tokens, '--')
                if value == '--' and ctx.resilient_parsing:  # a shell asks for the value
                    ctx.meta['unfinished'] = kind, name.replace('-', '_')
                    continue
                if value.startswith('--'):
                    raise click.UsageError(f'--{kind}.{name} needs a value.', ctx)
            fields.append((kind, name.replace('-', '_'), value))
        ctx.meta['fields'] = fields
        ctx.meta['arguments'] = list(rest)
        return super().parse_args(ctx, rest)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Completes options, fields, and the values of fields."""
        if 'unfinished' in ctx.meta:
            kind, name = ctx.meta['unfinished']
            return completing.values(ctx, kind, name, incomplete)
        return [*super().shell_complete(ctx, incomplete), *completing.fields(ctx, incomplete)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the options, and the fields of the agent that the command names."""
        super().format_options(ctx, formatter)
        from culmen.agents import AGENTS
        from culmen.launchers import configs

        for name in AGENTS:
            if name in ctx.meta['arguments']:
                with formatter.section(f'Fields of {name}'):
                    formatter.write_dl(
                        [
                            (f'--agent.{field}', accepts)
                            for field, accepts in configs.agent_fields(name).items()
                        ]
                    )


def split_values(text: str) -> list[str]:
    """Splits the values of a sweep at commas, except those within brackets or quotes."""
    pieces = re.findall(r"""'[^']*'|"[^"]*"|.""", text)
    values, depth = [''], 0
    for piece in pieces:
        depth += (piece in '([{') - (piece in ')]}')
        if piece == ',' and depth <= 0:
            values.append('')
        else:
            values[-1] += piece
    return [value.strip() for value in values]
