"""What one `culmen train` makes: a run, the runs of a grid, here or in a pool, or a search."""

import functools
import signal
import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NamedTuple

import click

from culmen.launchers.command_line.pools import Pool
from culmen.launchers.command_line.pools import Task
from culmen.launchers.command_line.pools import run_command
from culmen.launchers.command_line.running import make_runs
from culmen.launchers.command_line.sweeps import RunKey
from culmen.launchers.command_line.sweeps import Variant
from culmen.launchers.command_line.sweeps import check_folder
from culmen.launchers.command_line.sweeps import default_workdir
from culmen.launchers.command_line.sweeps import folder_names
from culmen.launchers.command_line.sweeps import make_variants
from culmen.launchers.command_line.sweeps import run_folders
from culmen.launchers.command_line.tuning import Search
from culmen.launchers.results import Refused
from culmen.launchers.results import Result
from culmen.launchers.results import RunsFailed


class Plan(NamedTuple):
    """Runs that were checked and wait to be called, one after another."""

    calls: Sequence[Callable[[], list[Result]]]
    where: str  # the workdirs
    groups: Callable[
        [], Mapping[str, Sequence[Path]]
    ]  # workdirs that differ in their seeds, by name


class Given(NamedTuple):
    """The command, as far as all of its runs share it."""

    context: click.Context
    config: dict[str, Any]
    seeds: int | None
    jobs: int
    workdir: Path | None
    many: bool
    vouched: Mapping[str, Any]
    placing: Mapping[str, Any]
    how: Mapping[str, Any]  # options of the launcher

    def read(self, config: Mapping[str, Any]) -> Any:
        """The experiment of a config. JAX is imported here."""
        from culmen.launchers import configs

        return configs.from_json(config, **self.vouched)

    def write(self, experiment: Any) -> dict[str, Any]:
        """The config.json of an experiment of this command."""
        from culmen.launchers import configs

        launcher, replay = (
            self.config.get('launcher', 'local'),
            self.config.get('replay', 'in_process'),
        )
        num_actors = self.config.get('num_actors')
        if launcher == 'ray' and self.many:  # each run is one of one process
            launcher, num_actors = 'local', None
        return configs.to_json(experiment, launcher, replay, num_actors)


def check_jobs(config: Mapping[str, Any], jobs: int | None, many: bool) -> None:
    """Refuses --jobs where there is no pool to make."""
    if jobs is None:
        return
    if not many:
        raise Refused('--jobs is for many runs: --seeds, --sweep or --tune.')
    if config.get('launcher') == 'ray':
        raise Refused(
            '--jobs is not for --launcher ray, which makes many runs side by side by itself.'
        )


def plan_runs(
    given: Given, axes: Mapping[str, Sequence[str]], observers: Sequence[Any] = ()
) -> Plan:
    """The runs of a grid, or one run. Finished ones of many are passed over.

    Args: axes: swept values; observers: of a run that is one of a search.
    Raises: Refused, or an error that `refusing` turns into it, before anything is run.
    """
    variants = make_variants(given.config, axes, given.vouched)
    first = given.config['seed']
    experiments = {
        (values, seed): given.read({**variant.config, 'seed': seed})
        for values, variant in variants.items()
        for seed in range(first, first + (given.seeds or 1))
    }
    folders = run_folders(given.config, given.workdir, given.many, list(experiments))
    for key, experiment in experiments.items():
        check_folder(folders[key], given.write(experiment))
    passed = _finished(given, experiments, folders) if given.many else {}
    left = {key: each for key, each in experiments.items() if key not in passed}
    calls: list[Callable[[], list[Result]]] = []
    if passed:
        calls.append(functools.partial(_say_passed, list(passed.values())))
    mine = {key: folders[key] for key in left}
    if left:
        made = make_runs(
            given.config, left, mine, given.many, given.placing, **_watched(observers), **given.how
        )
        if given.jobs > 1:  # made above to be checked
            made = [functools.partial(_run_pool, given, variants, left, mine)]
        calls += made
    groups: dict[str, list[Path]] = {}
    for (values, _), folder in folders.items():
        groups.setdefault(', '.join(values) or given.config['agent']['name'], []).append(folder)
    return Plan(calls, ', '.join(map(str, folders.values())), lambda: groups)


def _watched(observers: Sequence[Any]) -> dict[str, Any]:
    """The option of `culmen.run` for observers, which other launchers have not; {} where there are none."""
    return {'observers': observers} if observers else {}


def _finished(
    given: Given, experiments: Mapping[RunKey, Any], folders: Mapping[RunKey, Path]
) -> dict[RunKey, Result]:
    """The Results of runs that have nothing left to do, without parameters."""
    from culmen.launchers.options import Ends
    from culmen.launchers.workdir import finished_summary

    ends = Ends(given.how['until_return'])
    found = {}
    for key, experiment in experiments.items():
        summary = finished_summary(folders[key], experiment, given.write(experiment), ends)
        if summary is not None:
            found[key] = Result(experiment, str(folders[key]), summary)
    return found


def _say_passed(results: list[Result]) -> list[Result]:
    print(f'culmen: {len(results)} runs are finished and passed over', file=sys.stderr)
    return results


def _run_pool(
    given: Given,
    variants: Mapping[tuple[str, ...], Variant],
    experiments: Mapping[RunKey, Any],
    folders: Mapping[RunKey, Path],
) -> list[Result]:
    """Makes runs as commands of their own. If one fails, the others go on.

    Raises: RunsFailed; Refused if all were.
    """
    from culmen.launchers.options import Interruption

    def task(key: RunKey) -> Task:
        values, seed = key
        options = []
        if given.how['record'] is not None:
            options.append(f'--record={given.how["record"].joinpath(*folder_names(key))}')
        command = run_command(given.context, variants[values].fields, seed, folders[key], options)
        return Task(names[key], command)

    names = {key: '/'.join(folder_names(key)) for key in experiments}
    keys = {name: key for key, name in names.items()}
    left = list(experiments)
    root = folders[left[0]].parents[len(folder_names(left[0])) - 1]
    interruption = Interruption()
    outcomes = {}
    with interruption.by_signals(), Pool(given.jobs, root, interruption) as pool:
        while True:
            while left and pool.has_room and not interruption.is_asked():
                pool.start(task(left.pop(0)))
            if pool.is_empty:
                break
            name, outcome = pool.wait()
            print(f'culmen: {name}: {outcome.state}', file=sys.stderr, flush=True)
            outcomes[keys[name]] = outcome
    results = [
        outcomes[key].result(experiments[key], folders[key], interruption.signal)
        for key in experiments
        if key in outcomes and outcomes[key].summary is not None
    ]
    failed = {str(folders[key]): each.error for key, each in outcomes.items() if each.error}
    if failed and len(failed) == len(experiments) and all(e.refused for e in outcomes.values()):
        raise Refused(next(iter(failed.values())))
    if failed:
        raise RunsFailed(failed, results)
    if interruption.signal is not None and not any(each.interrupted for each in results):
        signal.raise_signal(interruption.signal)  # no Result can report it
    return results


def plan_search(given: Given, file: Any, tuning: Mapping[str, Any]) -> Plan:
    """A search by Optuna. Raises: as `plan_runs`."""
    if given.how['record'] is not None:
        raise Refused('--record is not for --tune: its trials differ.')
    workdir = default_workdir(given.config) if given.workdir is None else given.workdir

    def make_run(experiment: Any, folder: Path, observers: Sequence[Any]) -> Result:
        key: RunKey = ((), experiment.seed)
        call, *_ = make_runs(
            given.config, {key: experiment}, {key: folder}, False, given.placing,
            **_watched(observers), **given.how,
        )  # fmt: skip
        (result,) = call()
        return result

    search = Search(
        given.context,
        given.config,
        file,
        workdir,
        given.seeds or 1,
        given.jobs,
        given.read,
        given.write,
        make_run,
        tuning,
    )
    return Plan([search.run], str(workdir), search.groups)
