"""The command line: `culmen train`, `evaluate`, `status`, `watch`, `plot`, `compare`, `list`, and help.

The options become a config (the data of a config.json), and the config an Experiment, which is run as
from Python. JAX is imported only when a command needs it.
"""

from collections.abc import Sequence

import click

from culmen import __version__
from culmen.launchers.command_line.comparing import compare
from culmen.launchers.command_line.completing import completion
from culmen.launchers.command_line.doctor import doctor
from culmen.launchers.command_line.evaluating import evaluate
from culmen.launchers.command_line.listing import list_command
from culmen.launchers.command_line.plotting import plot
from culmen.launchers.command_line.showing import status
from culmen.launchers.command_line.teaching import epilog
from culmen.launchers.command_line.training import train
from culmen.launchers.command_line.watching import watch


@click.group(
    context_settings={'help_option_names': ['-h', '--help'], 'max_content_width': 100},
    epilog=epilog('culmen'),
)
@click.version_option(__version__, message='%(version)s')
def cli() -> None:
    """Culmen: reinforcement learning in JAX."""


for _command in (train, evaluate, status, watch, plot, compare, list_command, doctor, completion):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits."""
    cli.main(None if arguments is None else list(arguments), prog_name='culmen')
