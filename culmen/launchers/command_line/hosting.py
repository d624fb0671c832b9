"""The options of `culmen train --launcher hosts`."""

import functools
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from culmen.launchers.command_line.parameters import UserPath
from culmen.launchers.results import Refused
from culmen.launchers.results import Result

NAMES = ('hosts', 'host', 'key_file', 'trusted_network')


def host_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command."""
    options = (
        click.option(
            '--hosts',
            metavar='FILE',
            type=UserPath(dir_okay=False, path_type=Path),
            help='For --launcher hosts: the machines, and which nodes run where, in TOML.',
        ),
        click.option(
            '--host',
            metavar='NAME',
            help="Which of them this machine is. Without it it is the learner's, and starts the others over "
            'SSH.',
        ),
        click.option(
            '--key-file',
            metavar='PATH',
            type=UserPath(dir_okay=False, path_type=Path),
            help="The program's key, in a file of mode 0600, the same on all hosts.  "
            '[default: key in the file of hosts]',
        ),
        click.option(
            '--trusted-network',
            is_flag=True,
            help='Everybody who can reach the hosts may read and alter the traffic between them.',
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def apply_hosts(config: dict[str, Any], how: Mapping[str, Any], many: bool) -> None:
    """Checks the options, and sets the number of actors from the file of hosts.

    Args:
        config: receives it.
        how: the options, and those of `train` that are no fields of the config.
        many: whether there are several runs.
    Raises: Refused for options that do not fit.
    """
    if config.get('launcher') != 'hosts':
        for name in NAMES:
            if how[name]:
                raise Refused(f'--{name.replace("_", "-")} is for --launcher hosts.')
        return
    if how['hosts'] is None:
        raise Refused('--launcher hosts needs --hosts FILE, which says what runs where.')
    if many:
        raise Refused('--launcher hosts has one run a command: no --seeds and no --sweep.')
    from culmen.launchers.programs.hosts.file import read_hosts

    found = read_hosts(how['hosts'])
    if how['host'] is not None:
        found.find(how['host'])
    if how['actors'] not in (None, found.num_actors):
        raise Refused(
            f'--actors must be {found.num_actors}, as many as {found.name} has, or be left out, got '
            f'{how["actors"]}.'
        )
    config['num_actors'] = found.num_actors


def make_host_run(
    experiment: Any, folder: Path, *, how: Mapping[str, Any], **options: Any
) -> Callable[[], Result]:
    """The run of this host: of the whole program, or of the nodes that are here."""
    from culmen.launchers import hosts
    from culmen.launchers.programs.hosts.file import read_hosts

    found = read_hosts(how['hosts'])
    hosts.check_trusted(found, how['trusted_network'])
    shared = {'trusted_network': how['trusted_network'], 'key': how['key_file']}
    if how['host'] in (None, found.head.name):
        options.pop('num_actors', None)
        program = hosts.make_program(experiment, how['hosts'], folder, **options)
        over_ssh = how['host'] is None
        return functools.partial(hosts.launch, program, how['hosts'], over_ssh=over_ssh, **shared)
    return functools.partial(hosts.join, experiment, how['hosts'], how['host'], folder, **shared)
