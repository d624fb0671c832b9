"""`culmen train`."""

import signal
import sys
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from culmen.launchers.command_line import clusters
from culmen.launchers.command_line import completing
from culmen.launchers.command_line.configuring import apply_options
from culmen.launchers.command_line.configuring import check_complete
from culmen.launchers.command_line.configuring import read_config
from culmen.launchers.command_line.configuring import typed_names
from culmen.launchers.command_line.hosting import NAMES
from culmen.launchers.command_line.hosting import apply_hosts
from culmen.launchers.command_line.hosting import host_options
from culmen.launchers.command_line.parameters import Count
from culmen.launchers.command_line.parameters import CountOrNone
from culmen.launchers.command_line.parameters import UserPath
from culmen.launchers.command_line.planning import Given
from culmen.launchers.command_line.planning import Plan
from culmen.launchers.command_line.planning import check_jobs
from culmen.launchers.command_line.planning import plan_runs
from culmen.launchers.command_line.planning import plan_search
from culmen.launchers.command_line.reporting import command
from culmen.launchers.command_line.reporting import print_json
from culmen.launchers.command_line.reporting import print_table
from culmen.launchers.command_line.reporting import stdout_to_stderr
from culmen.launchers.command_line.sweep_files import SweepCommand
from culmen.launchers.command_line.sweep_files import typed_only
from culmen.launchers.command_line.sweep_files import typed_sweeps
from culmen.launchers.command_line.sweeps import read_axes
from culmen.launchers.command_line.teaching import epilog
from culmen.launchers.command_line.teaching import tell_next
from culmen.launchers.command_line.tuning import NAMES as TUNING
from culmen.launchers.command_line.tuning import check_tuning
from culmen.launchers.command_line.tuning import observers_of
from culmen.launchers.command_line.tuning import tuning_options
from culmen.launchers.results import Result
from culmen.launchers.results import RunsFailed
from culmen.launchers.results import refusing


@click.command(
    cls=SweepCommand, short_help='Train an agent, or go on with a run.', epilog=epilog('train')
)
@click.argument('agent', required=False, shell_complete=completing.agents)
@click.option(
    '--environment',
    metavar='NAME[,NAME...]',
    shell_complete=completing.environments,
    help='A name (culmen list environments), or several: lane i has the one i modulo their number.',
)
@click.option('--steps', type=Count(), help='Environment steps of the whole run.')
@click.option('--learner-steps', type=Count(), help='Updates of the whole run.')
@click.option('--seed', type=Count(0), help='Of all that is drawn.  [default: 0]')
@click.option('--seeds', type=Count(), help='Runs of as many seeds, from --seed on.')
@click.option(
    '--sweep',
    multiple=True,
    metavar='FIELD=V1,V2,...',
    help='A run for each value of agent.FIELD or environment.FIELD; of several, for all combinations. '
    'FILE.toml: axes, ranges and options in a file.',
)
@click.option(
    '--jobs',
    type=Count(),
    help='With --seeds, --sweep or --tune: runs at a time, each a process of its own.  '
    '[default: 1, in this process]',
)
@tuning_options
@click.option(
    '--workdir',
    type=UserPath(path_type=Path),
    help='Of config, logs, checkpoints and result; a run in it goes on.  '
    '[default: runs/AGENT/ENVIRONMENT/seed-SEED]',
)
@click.option(
    '--initial',
    metavar='WORKDIR[:PATH,...]',
    help='A run whose training state begins this one: all of it, or some paths of it (params/policy; '
    'HERE=THERE puts its path THERE at HERE). A run that goes on begins from its own checkpoint.',
)
@click.option('--evaluate-every', type=Count(), help='Steps.  [default: at the end only]')
@click.option('--evaluation-episodes', type=Count(), help='[default: 20]')
@click.option(
    '--evaluation-max-steps',
    type=CountOrNone(),
    help='Steps after which an episode of an evaluation is cut; none: never.  [default: 108000]',
)
@click.option('--checkpoint-every', type=Count(), help='Steps.  [default: 10000]')
@click.option('--num-environments', type=Count(), help='Stepped side by side.  [default: 1]')
@click.option('--updates-per-call', type=Count(), help='Of the compiled update.  [default: 1]')
@click.option('--lag', type=Count(0), help='Calls until an update reaches actors.  [default: 1]')
@click.option(
    '--replay',
    type=click.Choice(['in_process', 'reverb']),
    help="What keeps the tables.  [default: in_process; of Launchpad's programs: reverb]",
)
@click.option(
    '--launcher',
    type=click.Choice(['local', 'compiled', 'threads', 'processes', 'hosts', 'ray', 'offline']),
    help='One process, one compiled program with an environment written in JAX, a program of nodes '
    'under Launchpad on this machine or on several or under Ray, or one process without actors, which '
    'learns from a recording.  '
    '[default: local]',
)
@click.option('--actors', type=Count(), help='Of a program, each with its own environments.')
@host_options
@clusters.ray_options
@click.option(
    '--record',
    type=UserPath(path_type=Path),
    help='Write the streams of the run to this folder; with --seeds or --sweep to folders in it.',
)
@click.option(
    '--preset',
    metavar='NAME',
    shell_complete=completing.presets,
    help="Settings of the agent's paper.",
)
@click.option('--until-return', type=float, help='End when an evaluation reaches this mean.')
@click.option(
    '--restarts',
    type=Count(0),
    help='Of a program: failures of nodes in the window after which they are started again; one more ends '
    'the program.  [default: 0]',
)
@click.option('--restart-window', type=float, help='Seconds.  [default: 600]')
@click.option(
    '--hang-after',
    type=float,
    help='Of a program: seconds without progress after which a node has failed.  [default: never]',
)
@click.option(
    '--grace',
    type=float,
    help='Of a program: seconds that a signal leaves for the checkpoint.  [default: 9]',
)
@click.option(
    '--config',
    'config_file',
    type=UserPath(exists=True, dir_okay=False, path_type=Path),
    help="Fields in JSON, such as a run's config.json. Other options take precedence.",
)
@click.option(
    '--trust',
    is_flag=True,
    help='Import and call what files name as module:name, and go on with a run whose files another user '
    'may have written: both may run any code.',
)
@click.option(
    '--log',
    multiple=True,
    type=click.Choice(['jsonl', 'tensorboard', 'wandb', 'mlflow']),
    help='Write the rows of the logs there too; may be given several times.',
)
@click.option('--device', metavar='NAME', help='Where to learn: cpu, gpu:0, or gpu:0,gpu:1.')
@click.option(
    '--actor-device', metavar='NAME', help='Where to act; processes of actors: cpu without it.'
)
@click.option('--actors-per-process', type=Count(), help='Of a program, as threads.  [default: 1]')
@click.option(
    '--variables',
    multiple=True,
    metavar='KIND.NAME=VALUE',
    help='An environment variable of the processes of a kind of node: counter, replay, learner, actor or '
    'evaluator.',
)
@click.option(
    '--on-non-finite',
    type=click.Choice(['stop', 'log']),
    default='stop',
    show_default=True,
    help='What a loss that is not finite does.',
)
@click.option(
    '--on-lost-rows',
    type=click.Choice(['drop', 'refuse']),
    default='drop',
    show_default=True,
    help='What damaged files of rows, of a checkpoint or a recording, do: drop the items that need '
    'them and go on, or refuse.',
)
@click.pass_context
@command
def train(
    context: click.Context,
    *,
    as_json: bool,
    workdir: Path | None,
    seeds: int | None,
    sweep: Sequence[str],
    jobs: int | None,
    config_file: Path | None,
    trust: bool,
    **options: Any,
) -> None:
    """Train AGENT; the same command on the same workdir goes on where it stopped.

    Fields of the agent and arguments of the environment are options too: --agent.FIELD V and
    --environment.FIELD V (--agent.learning_rate 1e-3 --environment.frame_stack 4);
    --evaluation-environment.FIELD V is for evaluations alone. With AGENT before --help its fields
    are listed.
    """
    # Options that are not fields of the config.
    how = {'trust': trust, **{name: options.pop(name) for name in _HOW}}
    of_programs = {name: options.pop(name) for name in _OF_PROGRAMS}
    how['of_programs'] = {
        name: each for name, each in of_programs.items() if each not in (None, ())
    }
    placing = {
        'actors': options['actors'],
        **{name: options.pop(name) for name in (*NAMES, *clusters.NAMES)},
    }
    tuning = {name: options.pop(name) for name in TUNING}
    report_to = options.pop('report_to')
    file, axes_typed = context.meta['sweep_file'], typed_sweeps(sweep)
    many = seeds is not None or bool(sweep)
    with refusing():
        config = read_config(config_file)
        names = typed_names(options, context.meta['fields'], axes_typed)
        vouched = {'trust': trust, 'named': typed_only(names, file, context.meta['typed'])}
        axes = read_axes(axes_typed, file)
        check_tuning(tuning, file, axes)
        apply_options(config, options, context.meta['fields'], vouched)
        config.setdefault('seed', 0)
        apply_hosts(config, placing, many)
        clusters.check_ray(config, placing)
        check_complete(config)
        check_jobs(config, jobs, many)
        given = Given(context, config, seeds, jobs or 1, workdir, many, vouched, placing, how)
        if tuning['tune'] is None:
            plan = plan_runs(given, axes, observers_of(report_to))
        else:
            plan = plan_search(given, file, tuning)
    if workdir is None:
        click.echo(f'culmen: the workdir is {plan.where}', err=True)
    failed = None
    try:
        results = _run(plan.calls, as_json)
    except RunsFailed as error:
        results, failed = error.results, error
    summaries = [dict(result.summary) for result in results]
    table = _table(plan) if many else []
    if as_json:
        print_json({'runs': summaries, 'table': table} if many else summaries[0])
    elif table:
        print_table(table)
    if failed is not None:
        raise failed
    stopped = [result for result in results if result.interrupted]
    tell_next(summaries, stopped=bool(stopped))
    if stopped:
        sys.exit(128 + (stopped[0].signal or signal.SIGINT))


_HOW = (
    'log', 'device', 'actor_device', 'on_non_finite', 'on_lost_rows', 'until_return', 'record',
)  # fmt: skip

# Options of programs alone.
_OF_PROGRAMS = (
    'restarts', 'restart_window', 'hang_after', 'grace', 'actors_per_process', 'variables',
)  # fmt: skip


def _table(plan: Plan) -> list[dict[str, Any]]:
    from culmen.launchers.sweeping.frames import make_table

    return make_table(plan.groups())


def _run(runs: Sequence[Callable[[], list[Result]]], as_json: bool) -> list[Result]:
    """Makes the runs one after another until one is stopped, and prints the result of each."""
    results: list[Result] = []
    with stdout_to_stderr(as_json):
        for run in runs:
            for result in run():
                results.append(result)
                if not as_json:
                    click.echo(str(result).partition('\n')[2])
            if not results or results[-1].interrupted:
                break
    return results
