"""What the command line says besides what it does: examples in the help, and what to do after a run."""

import os
import shlex
import sys
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import TextIO

import click

EXIT_CODES = """Exit codes: 0 when it is done; 2 when it was refused before it began (nothing is
left behind); 1 when it failed; 130 or 143 when SIGINT or SIGTERM stopped it, after a checkpoint."""

_CATCH = '--environment bsuite/catch/0 --steps 20000'

# Of each command, and of `culmen` itself: what an example does, and the example.
EXAMPLES: Mapping[str, Sequence[tuple[str, str]]] = {
    'culmen': (
        ('Train an agent and draw its returns.', f'culmen train dqn {_CATCH} --workdir runs/catch'),
        ('', 'culmen plot runs/catch --out curve.png'),
        ('What there is to train, and where.', 'culmen list agents'),
        ('What is installed here, and what is missing.', 'culmen doctor'),
    ),
    'train': (
        ('DQN on Catch, evaluated as it learns.',
         f'culmen train dqn {_CATCH} --evaluate-every 2000 --workdir runs/catch'),
        ('The fields of an agent; some of them set.', 'culmen train dqn --help'),
        ('', f'culmen train dqn {_CATCH} --agent.learning_rate 3e-4 --agent.dueling true'),
        ('Five seeds of each of two learning rates.',
         f'culmen train dqn {_CATCH} --seeds 5 --sweep agent.learning_rate=1e-3,1e-4 --workdir runs/rates'),
        ("The settings of an agent's paper.",
         'culmen train dqn --environment minatar/breakout --steps 500000 --preset minatar'),
        ('All in one compiled program, with an environment written in JAX.',
         'culmen train ppo --environment jax/catch --steps 200000 --launcher compiled --num-environments 8'),
        ('Four processes that act beside one that learns.',
         f'culmen train dqn {_CATCH} --launcher processes --actors 4'),
    ),
    'evaluate': (
        ('A hundred episodes of what a run has learned.', 'culmen evaluate runs/catch --episodes 100'),
        ('The same, filmed.', 'culmen evaluate runs/catch --video catch.mp4'),
    ),
    'status': (
        ('How far a run is, now or again each second.', 'culmen status runs/catch'),
        ('', 'culmen status runs/catch --watch'),
    ),
    'watch': (
        ('Follow all runs of a sweep until they have ended.', 'culmen watch runs/rates'),
        ('The same with curves, as a page for browsers of this machine.',
         'culmen watch runs/rates --serve 8000'),
    ),
    'plot': (
        ('The returns of two runs, or of a folder of seeds, in one picture.',
         'culmen plot runs/catch runs/seeds --out curves.png'),
    ),
    'compare': (
        ('How sure the differences within a sweep are.',
         'culmen compare runs/rates --out runs/rates/comparison'),
        ('Groups by a field, machine-readable.', 'culmen compare runs/rates --by agent.learning_rate --json'),
    ),
    'list': (
        ('Agents by kind, each with its paper and a command.', 'culmen list agents'),
        ('Environments that are written in JAX and take continuous actions.',
         'culmen list environments --actions continuous --jax'),
    ),
    'doctor': (
        ('What is installed, and what the rest needs.', 'culmen doctor'),
        ('The same for a script or a report of a fault.', 'culmen doctor --json'),
    ),
    'completion': (
        ('Bash, from a line of ~/.bashrc.', 'eval "$(culmen completion bash)"'),
        ('Zsh, from a line of ~/.zshrc.', 'eval "$(culmen completion zsh)"'),
        ('Fish, in a file that it reads.', 'culmen completion fish > ~/.config/fish/completions/culmen.fish'),
    ),
}  # fmt: skip


def epilog(name: str) -> str:
    """What follows the options in the help of a command: examples, then the exit codes."""
    lines = ['\b', 'Examples:']
    for about, example in EXAMPLES[name]:
        lines += [f'  # {about}'] if about else []
        lines.append(f'  {example}')
    return '\n'.join(lines) + f'\n\n{EXIT_CODES}'


def has_colours(stream: TextIO | None = None) -> bool:
    """Whether to print colours: on a terminal, unless NO_COLOR (https://no-color.org) or TERM=dumb says no.

    Args: stream: None: standard error.
    """
    stream = sys.stderr if stream is None else stream
    return stream.isatty() and not os.environ.get('NO_COLOR') and os.environ.get('TERM') != 'dumb'


def tell_next(summaries: Sequence[Mapping[str, Any]], stopped: bool) -> None:
    """Says on standard error how to draw, play, compare and go on with runs.

    Args: summaries: of the runs; nothing is said of one without a workdir. stopped: whether a signal did it.
    """
    told = [each for each in summaries if each.get('workdir')]
    if not told:
        return
    last, folders = told[-1], [Path(each['workdir']) for each in told]
    # A folder of seeds is one line of a picture; a comparison takes the folder of all.
    lines = list(dict.fromkeys(each.parent if len(told) > 1 else each for each in folders))
    whole = Path(os.path.commonpath(folders)) if len(told) > 1 else folders[0]
    other = '' if len(told) > 1 else ' ANOTHER_RUN'
    steps = 'learner_steps' if last.get('launcher') == 'offline' else 'actor_steps'
    further = f'culmen train --config {_quoted(folders[-1] / "config.json")} --workdir {_quoted(folders[-1])}'
    if not stopped:
        option = 'learner-steps' if steps == 'learner_steps' else 'steps'
        further += f' --{option} {2 * last.get(steps, 0)}'
    if any(':' in str(last.get(name)) for name in ('agent', 'environment')):
        further += ' --trust'
    if stopped or last.get('launcher') in ('hosts', 'ray'):
        further = 'the same command' + ('' if stopped else ', with more steps')
    for name, text in (
        ('plot', f'culmen plot {_quoted(*lines)}'),
        ('play', f'culmen evaluate {_quoted(folders[-1])} --video episode.mp4'),
        ('compare', f'culmen compare {_quoted(whole)}{other}'),
        ('go on' if stopped else 'train on', further),
    ):
        click.echo(styled(f'  {name}: ', bold=True) + text, err=True, color=has_colours())


def styled(text: str, **style: Any) -> str:
    """The text in a style of `click.style` where standard error has colours, else as it is."""
    return click.style(text, **style) if has_colours() else text


def _quoted(*paths: Path) -> str:
    return shlex.join(map(str, paths))
