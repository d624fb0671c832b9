"""The output of commands: errors in one line, exit codes, JSON."""

import contextlib
import functools
import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import click

from culmen.launchers.command_line.teaching import has_colours
from culmen.launchers.command_line.teaching import styled
from culmen.launchers.results import Refused

_WIDTH = 160  # characters of a line where the output is no terminal


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Adds --json and --debug to a command; reports errors in one line and by an exit code."""

    @functools.wraps(function)
    def reported(*args: Any, debug: bool, as_json: bool, **options: Any) -> None:
        try:
            function(*args, as_json=as_json, **options)
            return
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            code, message = 1, f'{type(error).__name__}: {error}'
            if isinstance(error, Refused):
                code, message = 2, str(error)
            elif isinstance(error, KeyboardInterrupt):
                code, message = 128 + signal.SIGINT, 'interrupted.'
            if debug:
                click.echo(traceback.format_exc(), err=True)
        head = styled('culmen: error:', fg='red', bold=True)
        click.echo(f'{head} {" ".join(message.split())}', err=True, color=has_colours())
        sys.exit(code)

    as_json = click.option(
        '--json', 'as_json', is_flag=True, help='The last line on standard output is JSON.'
    )
    debug = click.option('--debug', is_flag=True, help='Show the traceback of an error.')
    return as_json(debug(reported))


@contextlib.contextmanager
def stdout_to_stderr(active: bool) -> Iterator[None]:
    """Sends all output inside to standard error, including what libraries write directly."""
    if not active:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def print_json(value: Any) -> None:
    """Prints a value in one line of JSON."""
    click.echo(json.dumps(_finite(value), allow_nan=False))


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints what groups of runs scored (`culmen.launchers.sweeping.frames.make_table`)."""
    from rich.console import Console
    from rich.table import Table

    table = Table('run', 'seeds', 'best', 'mean [95% interval]')
    for row in rows:
        mean = f'{row["mean"]:.4g}'
        if row['low'] is not None:
            mean += f' [{row["low"]:.4g}, {row["high"]:.4g}]'
        table.add_row(str(row['run']), str(row['seeds']), f'{row["best"]:.4g}', mean)
    console: Any = Console(width=None if sys.stdout.isatty() else _WIDTH, markup=False)
    console.print(table)


def _finite(value: Any) -> Any:
    """Replaces NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
