"""Many runs on a Ray cluster: each is a task of Ray's that runs in one process, as `culmen.run` does.

    results = culmen.launchers.ray_runs.run_many(experiments, workdirs, address='head:6379')

A run goes on from its workdir, so one that was interrupted, or whose machine was lost, is not begun anew: Ray
itself starts the task again in the second case. A run that fails does not end the others.
"""

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cloudpickle

from culmen.components.files import expanded
from culmen.core.experiment import Experiment
from culmen.launchers import provenance
from culmen.launchers.options import Interruption
from culmen.launchers.outcomes import Outcome
from culmen.launchers.programs import supervisor
from culmen.launchers.programs.ray.clusters import Cluster
from culmen.launchers.programs.ray.clusters import as_options
from culmen.launchers.programs.ray.clusters import check_amounts
from culmen.launchers.programs.ray.clusters import require
from culmen.launchers.results import Refused
from culmen.launchers.results import Result
from culmen.launchers.results import RunsFailed
from culmen.launchers.results import refusing

_LOST_TIMES = 5  # that a run is started again because its machine was lost
_WAIT_SECONDS = 0.2  # between looks for signals
_ONE_CORE: Mapping[str, float] = MappingProxyType({'cpu': 1})


def run_many(
    experiments: Sequence[Experiment],
    workdirs: Sequence[str | os.PathLike[str]],
    *,
    address: str | None = None,
    resources: Mapping[str, float] = _ONE_CORE,
    each: Sequence[Mapping[str, Any]] | None = None,
    **options: Any,
) -> list[Result]:
    """Makes runs side by side on a cluster, as many at a time as its resources allow.

    SIGINT and SIGTERM end all after a checkpoint. At the end a table of the runs goes to standard error.

    Args:
        experiments: what to run.
        workdirs: of each, on a disk that all machines share.
        address: as for `culmen.launchers.ray.launch`.
        resources: that each run takes, by name.
        each: options of `culmen.run` for each run alone; options: for all.
    Returns: the Result of each, without parameters.
    Raises: Refused for what is wrong with the cluster; RunsFailed that names the runs that failed and
        holds the results of the others.
    """
    with refusing():
        require()
        check_amounts('run', resources)
    folders = [expanded(workdir).absolute() for workdir in workdirs]
    interruption = Interruption()
    with interruption.by_signals():
        cluster = Cluster(address, 'culmen-runs')
        try:
            cluster.check_each('run', resources)
            tasks = _start(cluster, experiments, folders, resources, each, options)
            outcomes = _wait(tasks, folders, interruption)
        finally:
            cluster.leave()
    _print_table(folders, outcomes)
    results = [
        outcome.result(experiment, folder, interruption.signal)
        for experiment, folder, outcome in zip(experiments, folders, outcomes, strict=True)
        if outcome.summary is not None
    ]
    failed = {
        str(folder): outcome.error
        for folder, outcome in zip(folders, outcomes, strict=True)
        if outcome.error
    }
    if failed:
        if all(outcome.refused for outcome in outcomes):
            raise Refused(next(iter(failed.values())))
        raise RunsFailed(failed, results)
    return results


def _start(
    cluster: Cluster,
    experiments: Sequence[Experiment],
    folders: Sequence[Path],
    resources: Mapping[str, float],
    each: Sequence[Mapping[str, Any]] | None,
    options: Mapping[str, Any],
) -> list[Any]:
    import ray

    on_gpu = bool(resources.get('gpu'))
    variables = {} if on_gpu else {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': '-1'}
    environment = supervisor.node_environment('learner', True, variables)
    task = ray.remote(run_one)
    command = provenance.find_command()
    how = {
        'max_retries': _LOST_TIMES,
        'scheduling_strategy': 'SPREAD',
        'runtime_env': {'env_vars': environment},
        **as_options(resources),
    }
    return [
        task.options(name=_name(folders, folder), **how).remote(
            cloudpickle.dumps(
                (experiment, folder, {**options, **(each[place] if each else {})}, command)
            )
        )
        for place, (experiment, folder) in enumerate(zip(experiments, folders, strict=True))
    ]


def run_one(given: bytes) -> Outcome:
    """Makes one run: what a task does. Args: given: experiment, workdir, options and the
    command (`provenance.find_command`), pickled.
    """
    from culmen.launchers import local

    experiment, folder, options, command = pickle.loads(given)
    try:
        with provenance.working_for(command):
            result = local.run(experiment, folder, progress=False, **options)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        return Outcome(None, None, f'{type(error).__name__}: {error}', isinstance(error, Refused))
    return Outcome(dict(result.summary), result.signal if result.interrupted else None)


def _wait(
    tasks: Sequence[Any], folders: Sequence[Path], interruption: Interruption
) -> list[Outcome]:
    """Waits for all runs, and says how each ends."""
    import ray

    found: dict[Any, Outcome] = {}
    told = False
    while len(found) < len(tasks):
        left = [task for task in tasks if task not in found]
        if interruption.is_asked() and not told:
            told = True
            for task in left:
                ray.cancel(task, force=False)
        for task in ray.wait(left, timeout=_WAIT_SECONDS)[0]:
            found[task] = outcome = _outcome(task, told)
            folder = folders[tasks.index(task)]
            print(f'culmen: {_name(folders, folder)}: {outcome.state}', file=sys.stderr, flush=True)
    return [found[task] for task in tasks]


def _outcome(task: Any, told: bool) -> Outcome:
    import ray
    from ray.exceptions import RayError
    from ray.exceptions import TaskCancelledError

    try:
        outcome: Outcome = ray.get(task)
    except (TaskCancelledError, KeyboardInterrupt):
        return Outcome(None, signal.SIGINT)  # it had not begun
    except RayError as error:
        if told:
            return Outcome(None, signal.SIGINT)
        return Outcome(None, None, f'its process was lost: {str(error).splitlines()[0]}')
    return outcome


def _name(folders: Sequence[Path], folder: Path) -> str:
    """A run's name: its workdir below the folder that all have in common."""
    if len(folders) == 1:
        return folder.name
    return str(folder.relative_to(os.path.commonpath(folders)))


def _print_table(folders: Sequence[Path], outcomes: Sequence[Outcome]) -> None:
    rows = [('run', 'actor steps', 'updates', 'return', 'state')]
    for folder, outcome in zip(folders, outcomes, strict=True):
        summary = outcome.summary or {}
        mean = (summary.get('evaluation') or {}).get('return_mean')
        rows.append(
            (
                _name(folders, folder),
                f'{summary["actor_steps"]:,}' if summary else '',
                f'{summary["learner_steps"]:,}' if summary else '',
                '' if mean is None else f'{mean:.4g}',
                outcome.state,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for name, *numbers, state in rows:
        texts = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        print(f'{name.ljust(widths[0])}  {"  ".join(texts)}  {state}', file=sys.stderr)
