"""The options of `culmen train --launcher ray`."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import click

from culmen.launchers.results import Refused

NAMES = ('address', 'resources')


def ray_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command."""
    options = (
        click.option(
            '--address',
            metavar='HOST:PORT',
            help='For --launcher ray: the head of a Ray cluster that this machine is in, or auto.  '
            '[default: Ray is started here]',
        ),
        click.option(
            '--resources',
            multiple=True,
            metavar='KIND.NAME=NUMBER',
            help='What each node of a kind takes of the cluster: learner.gpu=1, actor.cpu=1; with --seeds or '
            '--sweep run.cpu=2, each run.',
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def check_ray(config: Mapping[str, Any], how: Mapping[str, Any]) -> None:
    """Refuses the options for other launchers. Args: how: as typed. Raises: Refused."""
    if config.get('launcher') != 'ray':
        for name in NAMES:
            if how[name]:
                raise Refused(f'--{name} is for --launcher ray.')


def read_resources(typed: Sequence[str]) -> dict[str, dict[str, float]]:
    """Resources by kind of node. Args: typed: KIND.NAME=NUMBER. Raises: Refused."""
    found: dict[str, dict[str, float]] = {}
    for text in typed:
        name, _, number = text.partition('=')
        kind, dot, name = name.partition('.')
        try:
            amount = float(number)
        except ValueError:
            amount = -1.0
        if not (dot and name) or not 0 <= amount < float('inf'):
            raise Refused(f'--resources must be KIND.NAME=NUMBER, as learner.gpu=1, got {text!r}.')
        found.setdefault(kind, {})[name] = amount
    return found
