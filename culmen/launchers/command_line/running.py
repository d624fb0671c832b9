"""Chooses and calls the launcher for the runs of a command."""

import functools
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from culmen.launchers.command_line.clusters import read_resources
from culmen.launchers.command_line.sweeps import RunKey
from culmen.launchers.command_line.sweeps import folder_names
from culmen.launchers.devices import find_devices
from culmen.launchers.results import Refused
from culmen.launchers.results import Result

PROGRAMS = ('threads', 'processes', 'hosts', 'ray')  # launchers whose runs are programs of nodes
_NAMED_PROGRAMS = 'threads, processes, hosts or ray'


def make_runs(
    config: Mapping[str, Any],
    experiments: Mapping[RunKey, Any],
    folders: Mapping[RunKey, Path],
    many: bool,
    placing: Mapping[str, Any],
    *,
    trust: bool,
    log: Sequence[str],
    device: str | None,
    actor_device: str | None,
    record: Path | None,
    of_programs: Mapping[str, Any],
    **options: Any,
) -> list[Callable[[], list[Result]]]:
    """The requested runs, checked and ready to be called one after another.

    Args:
        config: of the experiments; gives launcher, replay and number of actors.
        experiments: what is run.
        folders: the workdir of each.
        many: whether these are the runs of a sweep or of several seeds, even if there is only one.
        placing: options of --launcher hosts and --launcher ray.
        trust, log, device, actor_device, record: as typed.
        of_programs: options of programs alone, those that were typed.
        options: of every launcher.
    Raises: Refused, or an error that `refusing` turns into it, before anything is run.
    """
    launcher = config.get('launcher', 'local')
    is_program = launcher in PROGRAMS
    _check_launcher(launcher, actor_device, record, of_programs)
    learner_devices = actor = None
    if not is_program:  # the nodes of a program find theirs
        learner_devices = None if device is None else find_devices('--device', device)
        actor = None if actor_device is None else find_devices('--actor-device', actor_device)[0]
    loggers = {key: _sinks(log, folders[key], each, config) for key, each in experiments.items()}
    if launcher == 'compiled' and many:
        from culmen.launchers import compiled_many

        run_all = functools.partial(
            compiled_many.run_many,
            list(experiments.values()),
            list(folders.values()),
            loggers=list(loggers.values()),
            device=learner_devices,
            **options,
        )
        return [run_all]
    if launcher == 'ray' and many:
        given = {'device': device, 'actor_device': actor_device, **of_programs}
        options['trust'] = trust
        return [_many_under_ray(config, experiments, folders, loggers, placing, given, options)]
    if launcher == 'local':
        options.update(replay=config.get('replay', 'in_process'), trust=trust, actor_device=actor)
    if is_program:
        placed = {'device': device, 'actor_device': actor_device}
        options |= placed | _of_program(config, of_programs)
    else:
        options['device'] = learner_devices
    runs: list[Callable[[], list[Result]]] = []
    for key, experiment in experiments.items():
        if launcher == 'local':
            options['record'] = record
            if record is not None and many:
                options['record'] = record.joinpath(*folder_names(key))
        if launcher in ('hosts', 'ray'):
            options['how'] = placing
        run = _make_run(launcher, experiment, folders[key], loggers=loggers[key], **options)
        runs.append(functools.partial(_as_list, run))
    return runs


def _of_program(config: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """The options that programs alone have. Args: config: gives actors and tables. Raises: Refused."""
    options = {'num_actors': config.get('num_actors') or 1, 'replay': config['replay'], **typed}
    if 'variables' in typed:
        options['variables'] = _read_variables(typed['variables'])
    return options


def _make_run(launcher: str, experiment: Any, folder: Path, **options: Any) -> Callable[[], Result]:
    """One run of a launcher; imports only this launcher."""
    if launcher == 'local':
        from culmen.launchers import local

        return functools.partial(local.run, experiment, folder, **options)
    if launcher == 'compiled':
        from culmen.launchers import compiled

        return functools.partial(compiled.run, experiment, folder, **options)
    if launcher == 'offline':
        from culmen.launchers import offline

        return functools.partial(offline.run, experiment, folder, **options)
    if launcher == 'hosts':
        from culmen.launchers.command_line.hosting import make_host_run

        return make_host_run(experiment, folder, **options)
    if launcher == 'ray':
        from culmen.launchers import ray

        how = options.pop('how')
        resources = read_resources(how['resources'])
        program = ray.make_program(experiment, folder, **options)
        return functools.partial(ray.launch, program, how['address'], resources=resources)
    from culmen.launchers import launchpad

    program = launchpad.make_program(experiment, folder, **options)
    return functools.partial(launchpad.launch, program, launcher)


def _many_under_ray(
    config: Mapping[str, Any],
    experiments: Mapping[RunKey, Any],
    folders: Mapping[RunKey, Path],
    loggers: Mapping[RunKey, Any],
    how: Mapping[str, Any],
    of_programs: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Callable[[], list[Result]]:
    """Runs of one process each, side by side on a cluster. Raises: Refused for options of programs."""
    typed = {'actors': how['actors'], **of_programs}
    given = [name for name, value in typed.items() if value is not None]
    if given:
        raise Refused(
            f'--{given[0].replace("_", "-")} is for a program, and with --seeds or --sweep under '
            f'--launcher ray each run has one process.'
        )
    resources = read_resources(how['resources'])
    if set(resources) - {'run'}:
        raise Refused(
            f'--resources must be of run with --seeds or --sweep, got {min(set(resources) - {"run"})}.'
        )
    from culmen.launchers import ray_runs

    return functools.partial(
        ray_runs.run_many,
        list(experiments.values()),
        list(folders.values()),
        address=how['address'],
        each=[{'loggers': loggers[key]} for key in experiments],
        replay=config.get('replay', 'in_process'),
        **({'resources': resources['run']} if resources else {}),
        **options,
    )


def _as_list(run: Callable[[], Result]) -> list[Result]:
    return [run()]


def _sinks(
    names: Sequence[str], folder: Path, experiment: Any, config: Mapping[str, Any]
) -> list[Any]:
    """The sinks of --log, each in a folder of the workdir. Raises: ImportError, ValueError."""
    if not names:
        return []
    from culmen.components import loggers
    from culmen.launchers import configs

    launcher, replay = config.get('launcher', 'local'), config.get('replay', 'in_process')
    told = configs.to_json(experiment, launcher, replay, config.get('num_actors'))
    makers: dict[str, Callable[[], Any]] = {
        'jsonl': lambda: loggers.JsonlLog(folder / 'rows.jsonl'),
        'tensorboard': lambda: loggers.TensorBoardLog(folder / 'tensorboard'),
        'wandb': lambda: loggers.WandbLog(folder / 'wandb', told),
        'mlflow': lambda: loggers.MlflowLog(folder / 'mlflow', told),
    }
    return [makers[name]() for name in dict.fromkeys(names)]


def _read_variables(typed: Sequence[str]) -> dict[str, dict[str, str]]:
    """Environment variables by kind of node. Args: typed: KIND.NAME=VALUE. Raises: Refused."""
    found: dict[str, dict[str, str]] = {}
    for text in typed:
        name, equals, value = text.partition('=')
        kind, dot, name = name.partition('.')
        if not (equals and dot):
            raise Refused(f'--variables must be KIND.NAME=VALUE, got {text!r}.')
        found.setdefault(kind, {})[name] = value
    return found


def _check_launcher(
    launcher: str,
    actor_device: str | None,
    record: Path | None,
    of_programs: Mapping[str, Any],
) -> None:
    """Refuses options that the launcher does not have."""
    if of_programs and launcher not in PROGRAMS:
        option = next(iter(of_programs)).replace('_', '-')
        raise Refused(f'--{option} is for programs, --launcher {_NAMED_PROGRAMS}, got {launcher}.')
    if actor_device is not None and launcher != 'local' and launcher not in PROGRAMS:
        raise Refused(f'--actor-device is for --launcher local, {_NAMED_PROGRAMS}, got {launcher}.')
    if launcher != 'local' and record is not None:
        raise Refused(f'--record is for --launcher local, got {launcher}.')
