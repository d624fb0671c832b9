"""`culmen evaluate`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from culmen.launchers.command_line.parameters import Count
from culmen.launchers.command_line.parameters import UserPath
from culmen.launchers.command_line.reporting import command
from culmen.launchers.command_line.reporting import print_json
from culmen.launchers.command_line.reporting import stdout_to_stderr
from culmen.launchers.command_line.teaching import epilog
from culmen.launchers.results import Refused
from culmen.launchers.results import Result
from culmen.launchers.results import refusing


@click.command(epilog=epilog('evaluate'))
@click.argument('workdir', type=UserPath(path_type=Path))
@click.option('--episodes', type=Count(), default=20, show_default=True)
@click.option(
    '--max-steps',
    type=Count(),
    help="Steps after which an episode is cut.  [default: as the run's evaluations have it]",
)
@click.option('--video', type=UserPath(path_type=Path), help='An .mp4 of the first episode.')
@click.option(
    '--trust', is_flag=True, help='Import and call what config.json names as module:name.'
)
@command
def evaluate(
    *,
    as_json: bool,
    workdir: Path,
    episodes: int,
    max_steps: int | None,
    video: Path | None,
    trust: bool,
) -> None:
    """Play episodes with what the run in WORKDIR has learned so far."""
    with stdout_to_stderr(as_json):
        with refusing():
            loaded, summary = _load(workdir, trust)
            make_environment = None if video is None else _filmed(loaded.experiment, video)
        begin = time.monotonic()
        result = loaded.evaluate(episodes, make_environment=make_environment, max_steps=max_steps)
        seconds = time.monotonic() - begin

        from culmen.launchers.factories import labels_of
        from culmen.launchers.rows import summarise

        summary['steps_per_second'] = float(result.lengths.sum()) / seconds
        summary['evaluation'] = summarise(result, labels_of(loaded.experiment))
    if as_json:
        print_json(summary)
    else:
        click.echo(str(Result(loaded.experiment, str(workdir), summary)).partition('\n')[2])


def _load(folder: Path, trust: bool) -> tuple[Any, dict[str, Any]]:
    """A run's variables, and the summary of their checkpoint."""
    from culmen.launchers import loading
    from culmen.launchers import plots
    from culmen.launchers.restoring import refusing_checkpoints

    seeds = plots.seed_folders(folder)
    if seeds and not (folder / 'config.json').exists():
        raise Refused(f'{folder} is a folder of runs, name one: {", ".join(map(str, seeds))}.')
    with refusing_checkpoints():
        loaded = loading.load(folder, trust=trust)
    return loaded, dict(loaded.summary)


def _filmed(experiment: Any, video: Path) -> list[Callable[[int], Any]]:
    """Makes the factories of the experiment's environments; the first films its first episode."""
    from culmen.components import environments
    from culmen.launchers.factories import evaluation_factories

    make, *others = evaluation_factories(experiment)
    environments.VideoRecorder(_drawn(make(0)), str(video)).close()
    made = []

    def make_filmed(seed: int) -> Any:
        made.append(seed)
        environment = make(seed)
        if len(made) > 1:
            return environment
        return environments.VideoRecorder(environment, str(video))

    return [make_filmed, *others]


def _drawn(environment: Any) -> Any:
    """Returns an environment that can be rendered, or refuses it before anything is played."""
    from culmen.components import environments

    environment.reset()
    environments.render(environment)
    return environment
