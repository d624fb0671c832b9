"""The command line: `culmen train`, `evaluate`, `plot` and `list`.

What is typed becomes a config (the data that config.json holds), the config an Experiment, and that
is run as from Python. JAX is imported once a command knows that it needs it.
"""

import ast
import contextlib
import copy
import functools
import importlib.util
import itertools
import json
import math
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import TypeAlias

import click

from culmen import __version__
from culmen.launchers.results import Refused
from culmen.launchers.results import Result
from culmen.launchers.results import refusing

EXIT_CODES = """Exit codes: 0 when it is done; 2 when it was refused before it began (nothing is
left behind); 1 when it failed; 130 or 143 when SIGINT or SIGTERM stopped it, after a checkpoint."""


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
    """A path whose `~` is the user's home, also where no shell has read it: --workdir=~/runs."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """Reads the text."""
        return super().convert(os.path.expanduser(value), param, ctx)


class FieldsCommand(click.Command):
    """A command that takes `--agent.FIELD V` for any field, and the same of the environment."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Takes the fields out; they wait in ctx.meta['fields'] as (kind, field, text)."""
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
                if value.startswith('--'):
                    raise click.UsageError(f'--{kind}.{name} needs a value.', ctx)
            fields.append((kind, name.replace('-', '_'), value))
        ctx.meta['fields'] = fields
        ctx.meta['arguments'] = list(rest)
        return super().parse_args(ctx, rest)

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


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """A command with --json and --debug: errors in one line, and the exit code that they mean."""

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
        click.echo(f'culmen: error: {" ".join(message.split())}', err=True)
        sys.exit(code)

    as_json = click.option(
        '--json', 'as_json', is_flag=True, help='The last line on standard output is JSON.'
    )
    debug = click.option('--debug', is_flag=True, help='Show the traceback of an error.')
    return as_json(debug(reported))


@click.group(
    context_settings={'help_option_names': ['-h', '--help'], 'max_content_width': 100},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, message='%(version)s')
def cli() -> None:
    """Culmen: reinforcement learning in JAX."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command of the command line, and exits."""
    cli.main(None if arguments is None else list(arguments), prog_name='culmen')


# Training.


@cli.command(
    cls=FieldsCommand, short_help='Train an agent, or go on with a run.', epilog=EXIT_CODES
)
@click.argument('agent', required=False)
@click.option('--environment', metavar='NAME', help='A name (culmen list environments).')
@click.option('--steps', type=Count(), help='Environment steps of the whole run.')
@click.option('--learner-steps', type=Count(), help='Updates of the whole run.')
@click.option('--seed', type=Count(0), help='Of all that is drawn.  [default: 0]')
@click.option('--seeds', type=Count(), help='Runs of as many seeds, from --seed on.')
@click.option(
    '--sweep',
    multiple=True,
    metavar='FIELD=V1,V2,...',
    help='A run for each value of agent.FIELD or environment.FIELD; of several, for all combinations.',
)
@click.option(
    '--workdir',
    type=UserPath(path_type=Path),
    help='Of config, logs, checkpoints and result; a run in it goes on.  '
    '[default: runs/AGENT/ENVIRONMENT/seed-SEED]',
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
@click.option('--replay', type=click.Choice(['in_process', 'reverb']), help='[default: in_process]')
@click.option(
    '--launcher',
    type=click.Choice(['local', 'compiled', 'threads', 'processes', 'offline']),
    help='One process, one compiled program with an environment written in JAX, a program of nodes '
    'under Launchpad, or one process without actors, which learns from a recording.  '
    '[default: local]',
)
@click.option('--actors', type=Count(), help='Of a program, each with its own environments.')
@click.option(
    '--record',
    type=UserPath(path_type=Path),
    help='Write the streams of the run to this folder; with --seeds or --sweep to folders in it.',
)
@click.option('--preset', metavar='NAME', help="Settings of the agent's paper.")
@click.option('--until-return', type=float, help='End when an evaluation reaches this mean.')
@click.option(
    '--config',
    'config_file',
    type=UserPath(exists=True, dir_okay=False, path_type=Path),
    help="Fields in JSON, such as a run's config.json. Other options take precedence.",
)
@click.option(
    '--trust',
    is_flag=True,
    help='Import and call what files name as module:name, and go on with a run whose files somebody else '
    'may have written: both may run any code.',
)
@click.option('--tensorboard', is_flag=True, help='Write records for TensorBoard too.')
@click.option('--device', metavar='NAME', help='Where to learn: cpu, gpu:0, or gpu:0,gpu:1.')
@click.option('--actor-device', metavar='NAME', help='Where to act.')
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
@_command
def train(
    context: click.Context,
    *,
    as_json: bool,
    workdir: Path | None,
    seeds: int | None,
    sweep: Sequence[str],
    config_file: Path | None,
    trust: bool,
    tensorboard: bool,
    device: str | None,
    actor_device: str | None,
    on_non_finite: str,
    on_lost_rows: str,
    until_return: float | None,
    record: Path | None,
    **options: Any,
) -> None:
    """Train AGENT; the same command on the same workdir goes on where it stopped.

    Fields of the agent and arguments of the environment are options too: --agent.FIELD V and
    --environment.FIELD V (--agent.learning_rate 1e-3 --environment.frame_stack 4);
    --evaluation-environment.FIELD V is for evaluations alone. With AGENT before --help its fields
    are listed.
    """
    with refusing():
        config = _read_config(config_file)
        vouched: dict[str, Any] = {
            'trust': trust,
            'named': _named(options, context.meta['fields'], sweep),
        }
        _apply(config, options, context.meta['fields'], vouched)
        config.setdefault('seed', 0)
        _check_complete(config)

        # From here on JAX is needed.
        from culmen.launchers import configs

        experiments = {
            (values, seed): configs.from_json({**variant, 'seed': seed}, **vouched)
            for values, variant in _variants(config, sweep, vouched).items()
            for seed in range(config['seed'], config['seed'] + (seeds or 1))
        }
        many = seeds is not None or bool(sweep)
        folders = _folders(config, workdir, many, list(experiments))
        launcher, replay = config.get('launcher', 'local'), config.get('replay', 'in_process')
        num_actors = config.get('num_actors')
        for key, experiment in experiments.items():
            _check_folder(folders[key], configs.to_json(experiment, launcher, replay, num_actors))
        devices: dict[str, Any] = {
            'device': None if device is None else _devices('--device', device),
            'actor_device': None
            if actor_device is None
            else _devices('--actor-device', actor_device)[0],
        }
        _check_local(launcher, devices, record)
        sinks = {key: _sinks(folders[key], tensorboard) for key in experiments}
        options = {
            'on_non_finite': on_non_finite,
            'on_lost_rows': on_lost_rows,
            'until_return': until_return,
        }
        runs: list[Callable[[], list[Result]]] = []
        if launcher == 'compiled' and many:
            from culmen.launchers import compiled_many

            all_runs = list(experiments.values()), list(folders.values())
            loggers = list(sinks.values())
            runs.append(
                functools.partial(
                    compiled_many.run_many,
                    *all_runs,
                    loggers=loggers,
                    device=devices['device'],
                    **options,
                )
            )
            experiments = {}
        for key, experiment in experiments.items():
            if launcher == 'local':
                from culmen.launchers import local

                of_run = record
                if record is not None and many:
                    of_run = record.joinpath(*_folder_names(key))
                run = functools.partial(
                    local.run,
                    experiment,
                    folders[key],
                    replay=replay,
                    loggers=sinks[key],
                    record=of_run,
                    trust=trust,
                    **options,
                    **devices,
                )
            elif launcher == 'compiled':
                from culmen.launchers import compiled

                run = functools.partial(
                    compiled.run,
                    experiment,
                    folders[key],
                    loggers=sinks[key],
                    device=devices['device'],
                    **options,
                )
            elif launcher == 'offline':
                from culmen.launchers import offline

                run = functools.partial(
                    offline.run,
                    experiment,
                    folders[key],
                    loggers=sinks[key],
                    device=devices['device'],
                    **options,
                )
            else:
                from culmen.launchers import launchpad

                program = launchpad.make_program(
                    experiment,
                    folders[key],
                    num_actors=num_actors or 1,
                    loggers=sinks[key],
                    **options,
                )
                run = functools.partial(launchpad.launch, program, launcher)
            runs.append(functools.partial(_as_list, run))
    if workdir is None:
        click.echo(f'culmen: the workdir is {", ".join(map(str, folders.values()))}', err=True)

    results: list[Result] = []
    with _stdout_to_stderr(as_json):
        for run_some in runs:
            for result in run_some():
                results.append(result)
                if not as_json:
                    click.echo(str(result).partition('\n')[2])
            if not results or results[-1].interrupted:
                break
    summaries = [dict(result.summary) for result in results]
    if as_json:
        _print_json({'runs': summaries} if many else summaries[0])
    stopped = [result for result in results if result.interrupted]
    if stopped:
        sys.exit(128 + (stopped[0].signal or signal.SIGINT))


def _read_config(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Refused(f'{file} is no JSON: {error}.') from error
    if not isinstance(config, dict):
        raise Refused(f'{file} must hold a mapping of fields, got {config!r:.40}.')
    for kind in ('agent', 'environment'):
        if isinstance(config.get(kind), str):
            config[kind] = {'name': config[kind]}
        if not isinstance(config.setdefault(kind, {}), dict):
            raise Refused(f'{file}: {kind} must be a name or a mapping, got {config[kind]!r}.')
    return config


# Where the options go in a config.
_PATHS = {
    'steps': 'max_actor_steps',
    'learner_steps': 'max_learner_steps',
    'evaluate_every': 'evaluation.every',
    'evaluation_episodes': 'evaluation.episodes',
    'evaluation_max_steps': 'evaluation.max_steps',
    'checkpoint_every': 'checkpoint.every',
    'actors': 'num_actors',
}


def _named(
    options: Mapping[str, Any], fields: Sequence[tuple[str, str, str]], sweep: Sequence[str]
) -> set[str]:
    """What was typed, and so may be imported whatever file names it too."""
    names = {options['agent'], options['environment'], *(text for _, _, text in fields)} - {None}
    return names.union(*(_split_values(text.partition('=')[2]) for text in sweep))


def _apply(
    config: dict[str, Any],
    options: dict[str, Any],
    fields: Sequence[tuple[str, str, str]],
    vouched: Mapping[str, Any],
) -> None:
    """Writes the options into the config: the agent, its preset, then what was typed."""
    name, preset = options.pop('agent'), options.pop('preset')
    agent = config.setdefault('agent', {})
    if name is not None and agent.setdefault('name', name) != name:
        raise Refused(f'AGENT is {name}, but the config is for {agent["name"]}.')
    if preset is not None and 'name' in agent:
        from culmen.launchers import configs

        agent.update(configs.preset(agent['name'], preset, **vouched))
    environment = options.pop('environment')
    if environment is not None and config.get('environment', {}).get('name') != environment:
        config['environment'] = {'name': environment}
    for option, value in options.items():
        if value is not None:
            _put(config, _PATHS.get(option, option), value)
    _apply_launcher(config, options)
    # The shorter first: `base` names an agent before `base.learning_rate` changes it.
    for kind, field, text in sorted(fields, key=lambda each: each[1].count('.')):
        if field == 'name':
            raise Refused(f'--{kind}.name is no field: give the name as in culmen train --help.')
        _put(config, f'{kind.replace("-", ".")}.{field}', text)


def _apply_launcher(config: dict[str, Any], options: Mapping[str, Any]) -> None:
    """A launcher that was typed brings what goes with it, whatever the config was for."""
    if config.get('launcher', 'local') in ('local', 'compiled', 'offline'):
        if options['actors'] is not None:
            raise Refused('--actors is for --launcher threads or processes.')
        config.pop('num_actors', None)
        if config.get('launcher') == 'offline':
            if options['replay'] == 'reverb':
                raise Refused('--replay must be in_process with --launcher offline.')
            config['replay'] = 'in_process'
        elif config.get('launcher') == 'compiled':
            if options['replay'] is not None:
                raise Refused(
                    '--replay is not for --launcher compiled, which has tables of its own.'
                )
            config['replay'] = 'device'
        elif config.get('replay') == 'device':
            config['replay'] = 'in_process'
        return
    if options['replay'] == 'in_process':
        raise Refused(f'--replay must be reverb with --launcher {config["launcher"]}.')
    config['replay'] = 'reverb'
    config.setdefault('num_actors', 1)


def _put(config: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split('.')
    for parent in parents:
        if not isinstance(config.get(parent), dict):
            config[parent] = {'name': config[parent]} if config.get(parent) else {}
        config = config[parent]
    config[last] = value


def _check_local(launcher: str, devices: Mapping[str, Any], record: Path | None) -> None:
    """Refuses what goes with some launchers alone."""
    if launcher not in ('local', 'compiled', 'offline') and devices['device'] is not None:
        raise Refused(f'--device is for --launcher local, compiled or offline, got {launcher}.')
    if launcher != 'local' and devices['actor_device'] is not None:
        raise Refused(f'--actor-device is for --launcher local, got {launcher}.')
    if launcher != 'local' and record is not None:
        raise Refused(f'--record is for --launcher local, got {launcher}.')


def _check_complete(config: Mapping[str, Any]) -> None:
    if 'name' not in config['agent']:
        from culmen.agents import AGENTS

        raise Refused(f'AGENT is needed, one of {", ".join(sorted(AGENTS))}, or module:Class.')
    if 'name' not in config.get('environment', {}):
        raise Refused('--environment is needed: see culmen list environments.')
    if config.get('max_actor_steps') is None and config.get('max_learner_steps') is None:
        raise Refused('--steps or --learner-steps is needed.')
    launchers = ('local', 'compiled', 'threads', 'processes', 'offline')
    if config.get('launcher', 'local') not in launchers:
        raise Refused(f'the config must have a launcher of {", ".join(launchers)}.')
    if config.get('replay', 'in_process') not in ('in_process', 'reverb', 'device'):
        raise Refused("the config must have replay 'in_process', 'reverb' or 'device'.")
    if not isinstance(config['seed'], int) or isinstance(config['seed'], bool):
        raise Refused(f'seed must be an int, got {config["seed"]!r}.')


# A run among others: the values of swept fields, and the seed.
_Key: TypeAlias = tuple[tuple[str, ...], int]


def _as_list(run: Callable[[], Result]) -> list[Result]:
    return [run()]


def _variants(
    config: dict[str, Any], sweep: Sequence[str], vouched: Mapping[str, Any]
) -> dict[tuple[str, ...], dict[str, Any]]:
    """A config for each combination of swept values, by what it is called: ('learning_rate=0.001', ...)."""
    fields: dict[str, list[str]] = {}
    for text in sweep:
        match = re.fullmatch(r'((?:agent|environment)\.[^=]+)=(.+)', text)
        if match is None:
            raise Refused(
                f'--sweep must be agent.FIELD=V1,V2 or environment.FIELD=V1,V2, got {text}.'
            )
        field, values = match[1].replace('-', '_'), _split_values(match[2])
        if field in fields or field.endswith('.name') or len(set(values)) != len(values):
            raise Refused(f'--sweep takes a field once, and each value once, got {text}.')
        fields[field] = values
    variants: dict[tuple[str, ...], dict[str, Any]] = {}
    for texts in itertools.product(*fields.values()):
        variant = copy.deepcopy(config)
        for field, value in zip(fields, texts, strict=True):
            _put(variant, field, value)
        # Two ways to write a value are one run: it is called by what is read.
        names = [
            f'{field.partition(".")[2]}={value}'
            for field, value in zip(fields, _as_read(variant, fields, texts, vouched), strict=True)
        ]
        variants.setdefault(tuple(names), variant)
    return variants


def _split_values(text: str) -> list[str]:
    """The values of a sweep: at commas, but for those within brackets or quotes."""
    pieces = re.findall(r"""'[^']*'|"[^"]*"|.""", text)
    values, depth = [''], 0
    for piece in pieces:
        depth += (piece in '([{') - (piece in ')]}')
        if piece == ',' and depth <= 0:
            values.append('')
        else:
            values[-1] += piece
    return [value.strip() for value in values]


def _as_read(
    variant: Mapping[str, Any],
    fields: Iterable[str],
    texts: Iterable[str],
    vouched: Mapping[str, Any],
) -> Iterator[str]:
    """The values of swept fields in the one way that Culmen writes them."""
    from culmen.launchers import configs

    read = configs.to_json(configs.from_json(variant, **vouched), 'local', 'in_process')
    for field, text in zip(fields, texts, strict=True):
        value: Any = read
        for name in field.split('.'):
            value = value.get(name) if isinstance(value, dict) else None
        yield text if isinstance(value, dict) else _as_text(value)


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ','.join(map(_as_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _folder_names(key: _Key) -> list[str]:
    values, seed = key
    names = [','.join(values)] if values else []
    return [*(re.sub(r'[^\w.,=+-]+', '-', name) for name in names), f'seed-{seed}']


def _folders(
    config: Mapping[str, Any], workdir: Path | None, many: bool, runs: Sequence[_Key]
) -> dict[_Key, Path]:
    """The workdir of each run: of many a folder in the workdir, which then holds no run."""
    if workdir is not None and not many:
        return {runs[0]: workdir}
    if workdir is None:
        names = [config[kind]['name'] for kind in ('agent', 'environment')]
        workdir = Path('runs', *[re.sub(r'[^\w.]+', '-', name) for name in names])
    if (workdir / 'config.json').exists():
        raise Refused(
            f'{workdir} holds a run; with --seeds or --sweep it must be a folder of runs.'
        )
    folders = {run: workdir.joinpath(*_folder_names(run)) for run in runs}
    shared = [run for run, folder in folders.items() if list(folders.values()).count(folder) > 1]
    if shared:
        raise Refused(
            f'--sweep has values of one folder name, {folders[shared[0]]}: sweep them apart.'
        )
    return folders


def _check_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuses another experiment's workdir, or one that can't be made, before the first seed is run."""
    from culmen.components.files import check_writable
    from culmen.launchers import configs

    if not (folder / 'config.json').exists():
        check_writable('--workdir', folder)
        return
    old = _read_config(folder / 'config.json')
    different = configs.same_experiment(old, config)
    if different:
        raise Refused(
            f'{folder} holds another experiment: {", ".join(different)} differ; '
            'choose another --workdir.'
        )


def _sinks(folder: Path, tensorboard: bool) -> list[Any]:
    from culmen.components.loggers import TensorBoardLog

    return [TensorBoardLog(folder / 'tensorboard')] if tensorboard else []


def _devices(option: str, text: str) -> list[Any]:
    import jax

    found = []
    for name in text.split(','):
        platform, _, index = name.strip().partition(':')
        try:
            found.append(jax.devices(platform)[int(index or 0)])
        except (RuntimeError, ValueError, IndexError) as error:
            known = ', '.join(f'{each.platform}:{each.id}' for each in jax.devices())
            raise Refused(f'{option} {name!r} is not here; there are {known}.') from error
    return found


@contextlib.contextmanager
def _stdout_to_stderr(active: bool) -> Iterator[None]:
    """Sends what is printed inside to standard error, also what libraries write by themselves."""
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


def _print_json(value: Any) -> None:
    click.echo(json.dumps(_finite(value), allow_nan=False))


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# What has been trained.


@cli.command(epilog=EXIT_CODES)
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
@_command
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
    with _stdout_to_stderr(as_json):
        with refusing():
            loaded, summary = _load(workdir, trust)
            make_environment = None if video is None else _filmed(loaded.experiment, video)
        begin = time.monotonic()
        result = loaded.evaluate(episodes, make_environment=make_environment, max_steps=max_steps)
        seconds = time.monotonic() - begin

        from culmen.launchers.training import summarise

        summary['steps_per_second'] = float(result.lengths.sum()) / seconds
        summary['evaluation'] = summarise(result)
    if as_json:
        _print_json(summary)
    else:
        click.echo(str(Result(loaded.experiment, str(workdir), summary)).partition('\n')[2])


def _load(folder: Path, trust: bool) -> tuple[Any, dict[str, Any]]:
    """A run's variables, and the summary of the checkpoint that they are from."""
    from culmen.launchers import local
    from culmen.launchers import plots
    from culmen.launchers.restoring import refusing_checkpoints

    seeds = plots.seed_folders(folder)
    if seeds and not (folder / 'config.json').exists():
        raise Refused(f'{folder} is a folder of runs, name one: {", ".join(map(str, seeds))}.')
    with refusing_checkpoints():
        loaded = local.load(folder, trust=trust)
    return loaded, dict(loaded.summary)


def _filmed(experiment: Any, video: Path) -> Callable[[int], Any]:
    """Makes the experiment's environments; the first writes its first episode to a file."""
    from culmen.components import environments
    from culmen.launchers.building import evaluation_factory

    make = evaluation_factory(experiment)
    environments.VideoRecorder(_drawn(make(0)), str(video)).close()
    made = []

    def make_filmed(seed: int) -> Any:
        made.append(seed)
        environment = make(seed)
        if len(made) > 1:
            return environment
        return environments.VideoRecorder(environment, str(video))

    return make_filmed


def _drawn(environment: Any) -> Any:
    """An environment that can be drawn: whether it can is known before anything is played."""
    from culmen.components import environments

    environment.reset()
    environments.render(environment)
    return environment


@cli.command(epilog=EXIT_CODES)
@click.argument('workdirs', nargs=-1, required=True, type=UserPath(path_type=Path))
@click.option(
    '--out',
    type=UserPath(path_type=Path, dir_okay=False),
    default='curve.png',
    show_default=True,
    help='PNG, or what the ending says.',
)
@_command
def plot(*, as_json: bool, workdirs: tuple[Path, ...], out: Path) -> None:
    """Draw returns against steps, a line for each of WORKDIRS.

    A folder of seed-<s> runs is one line: their mean and spread.
    """
    with refusing():
        from culmen.launchers import plots

        curves = [plots.read_curve(workdir) for workdir in workdirs]
        plots.draw(curves, out)
    _print_json({'out': str(out)}) if as_json else click.echo(str(out))


@cli.command('list')
@click.argument('kind', type=click.Choice(['agents', 'environments']))
@_command
def list_command(*, as_json: bool, kind: str) -> None:
    """Show the names of agents or environments."""
    rows = _agents() if kind == 'agents' else _environments()
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        click.echo(row['name'])
        for key, value in row.items():
            if key != 'name' and value not in ('', [], {}):
                text = ', '.join(map(str, value)) if isinstance(value, list) else value
                click.echo(f'    {key}: {text}')


def _agents() -> list[dict[str, Any]]:
    from culmen.agents import AGENTS

    return [
        {'name': name, 'class': target, 'about': _first_line(target.partition(':')[0])}
        for name, target in sorted(AGENTS.items())
    ]


def _environments() -> list[dict[str, Any]]:
    from culmen.components import environments

    return [family.as_dict() for family in environments.families()]


def _first_line(module: str) -> str:
    """Of a module's docstring, read without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ''
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ''
    return docstring.partition('\n')[0]
