"""Many compiled runs at once: seeds of an experiment, and values of the numbers in its agent's config.

The runs go side by side in one compiled call (`jax.vmap` over the runs), or each on its own with one
compilation for all and as many at once as there are cores; the faster way for the hardware is chosen. Either
way each run has its own workdir, logs, evaluations and checkpoints, and gives the same results.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
import numpy as np

from culmen.components.dispatch import usable_cores
from culmen.components.files import OnLostRows
from culmen.components.files import expanded
from culmen.components.loggers import Sink
from culmen.components.loggers import make_progress
from culmen.core.experiment import Experiment
from culmen.launchers import configs
from culmen.launchers.compiled import CompiledEngine
from culmen.launchers.compiled_plan import CompiledPlan
from culmen.launchers.compiled_plan import as_devices
from culmen.launchers.compiled_plan import check_environments
from culmen.launchers.compiled_plan import check_shares
from culmen.launchers.compiled_plan import check_traceable
from culmen.launchers.compiled_plan import get_field
from culmen.launchers.compiled_plan import make_plan
from culmen.launchers.compiled_plan import with_fields
from culmen.launchers.initial import read_initial
from culmen.launchers.loading import stored_result
from culmen.launchers.locking import Locks
from culmen.launchers.options import Ends
from culmen.launchers.options import Interruption
from culmen.launchers.options import RunOptions
from culmen.launchers.options import signals_to
from culmen.launchers.results import Result
from culmen.launchers.results import exits_fail
from culmen.launchers.results import refusing
from culmen.launchers.run import Run
from culmen.launchers.run import drive
from culmen.launchers.stacking import StackedRuns
from culmen.launchers.workdir import Workdir

_POLL_SECONDS = 0.1


class Group(NamedTuple):
    """The runs that share a plan."""

    plan: CompiledPlan
    runs: list[int]  # their indices among all runs


def run_many(
    experiments: Sequence[Experiment],
    workdirs: Sequence[str | os.PathLike[str] | None] | None = None,
    *,
    as_one: bool | None = None,
    loggers: Sequence[Sequence[Sink]] = (),
    device: jax.Device | Sequence[jax.Device] | None = None,
    progress: bool | None = None,
    on_non_finite: Literal['stop', 'log'] = 'stop',
    until_return: float | None = None,
    on_lost_rows: OnLostRows = 'drop',
) -> list[Result]:
    """Trains many runs, each as `compiled.run` does. If one fails, the others still run to their ends.

    Runs share a compilation if they differ only in their seeds and in numbers of their agents' configs that
    can be traced (shapes and sizes can't). Other runs are compiled separately.

    Args:
        experiments: what to run.
        workdirs: one for each run; None: nothing is written.
        as_one: whether runs that share a compilation go side by side in one call; otherwise each goes on its
            own, as many at once as there are cores. None: True on an accelerator and on several devices,
            False on a CPU, where it saves no time (docs/results/compiled.md).
        loggers: for each run.
        device: where to run; several devices share the runs that go side by side, or the environments of a
            run on its own. None: JAX's default.
        progress, on_non_finite, until_return, on_lost_rows: as for `compiled.run`.
    Returns: the Results, in order; after an interruption, those of the runs that had begun.
    Raises: as `compiled.run`, for all runs before any computation; the first failure, once all have ended.
    """
    locks = Locks()
    with refusing(), locks.released_on_error():
        options = RunOptions(
            progress=False,
            on_non_finite=on_non_finite,
            until_return=until_return,
            on_lost_rows=on_lost_rows,
        )
        homes = _claim(experiments, workdirs, locks, options.ends)
        results = {
            i: stored_result(home, experiments[i])
            for i, home in enumerate(homes)
            if home.summary is not None
        }
        devices = as_devices(device)
        platform = devices[0].platform if devices else jax.default_backend()
        one = (platform != 'cpu' or len(devices) > 1) if as_one is None else as_one
        for each in () if one else experiments:
            check_shares(each, devices)
        groups = plan(experiments, devices, on_lost_rows)
        _check_initial(groups, experiments, homes)
    runs = _Runs(experiments, homes, loggers, options, progress)
    with locks, signals_to(runs.interruption.ask), exits_fail():
        for group in groups:
            todo = [i for i in group.runs if i not in results]
            if not todo or runs.interruption.is_asked():
                continue
            at_once = len(todo) if one else _at_once(len(todo), platform)
            runs.say(len(todo), one, at_once, platform if as_one is None else None)
            if one:
                results |= runs.drive_stacked(group, todo, devices)
            else:
                results |= runs.drive_in_turns(group, todo, at_once)
        if runs.failures:
            raise runs.failures[0]
    stopped, told = runs.interruption.signal, any(each.interrupted for each in results.values())
    if stopped is not None and len(results) < len(experiments) and not told:
        # The signal came before any run had begun, so no Result can report it.
        signal.raise_signal(stopped)
    return [results[i] for i in sorted(results)]


def _check_initial(
    groups: Sequence[Group], experiments: Sequence[Experiment], homes: Sequence[Workdir]
) -> None:
    """Reads what the runs begin with. Raises: ValueError that names what does not fit."""
    for group in groups:
        for i in group.runs:
            learner = group.plan.built.parts.learner
            read_initial(experiments[i], learner, resumed=homes[i].has_checkpoint)


def _claim(
    experiments: Sequence[Experiment],
    workdirs: Sequence[str | os.PathLike[str] | None] | None,
    locks: Locks,
    ends: Ends,
) -> list[Workdir]:
    """Claims the workdirs of all runs. Raises: ValueError unless each run has one of its own."""
    if not experiments:
        raise ValueError('experiments must hold one at least, got none.')
    folders = [
        None if each is None else expanded(each) for each in workdirs or [None] * len(experiments)
    ]
    written = [folder for folder in folders if folder is not None]
    if len(folders) != len(experiments) or len(set(written)) != len(written):
        raise ValueError(
            f'workdirs must be one of its own for each of {len(experiments)} experiments, '
            f'got {[str(folder) for folder in folders]}.'
        )
    configurations = [
        configs.to_json(each, launcher='compiled', replay='device') for each in experiments
    ]
    return [
        Workdir(folder, each, config, locks, ends=ends)
        for folder, each, config in zip(folders, experiments, configurations, strict=True)
    ]


class _Runs:
    """Many runs with a common progress line, a common interruption and a list of failures."""

    def __init__(
        self,
        experiments: Sequence[Experiment],
        homes: Sequence[Workdir],
        loggers: Sequence[Sequence[Sink]],
        options: RunOptions,
        progress: bool | None,
    ) -> None:
        self.interruption = Interruption()
        self.failures: list[BaseException] = []
        self._experiments = experiments
        self._homes = homes
        self._loggers = loggers
        self._options = options
        self._show = progress

    def say(self, runs: int, one: bool, at_once: int, platform: str | None) -> None:
        """Prints how the runs of a plan go, and why. Args: platform: decided it; None: the user decided."""
        if self._show is False or runs == 1:
            return
        how = 'side by side in one program' if one else 'one after another'
        if not one and at_once > 1:
            how += f', {at_once} at once'
        why = f', which is faster on a {platform}' if platform else ''
        print(f'culmen: {runs} runs of one compilation, {how}{why}', file=sys.stderr)

    def _make(self, plan: CompiledPlan, i: int) -> Run[CompiledEngine]:
        engine = CompiledEngine(
            plan,
            self._experiments[i],
            self._options.stop_on_non_finite,
            resumed=self._homes[i].has_checkpoint,
        )
        loggers = self._loggers[i] if self._loggers else ()
        options = dataclasses.replace(self._options, loggers=loggers)
        return Run(
            self._experiments[i], plan.built, engine, self._homes[i], options, self.interruption
        )

    @contextlib.contextmanager
    def _shown(
        self, todo: Sequence[int]
    ) -> Generator[Callable[[Sequence[Run[Any]]], None], None, None]:
        """Makes a function that shows the progress of all runs together."""
        budgets = [self._experiments[i].max_actor_steps for i in todo]
        total = sum(budget or 0 for budget in budgets) if all(budgets) else None

        def show(runs: Sequence[Run[Any]]) -> None:
            returns = [each.last_return for each in runs if each.last_return is not None]
            bar.update(
                sum(each.counts.actor_steps for each in runs),
                sum(each.counts.learner_steps for each in runs),
                sum(each.rate for each in runs),
                None,
                float(np.mean(returns)) if returns else None,
                next((each.evaluating for each in runs if each.evaluating), None),
            )

        with contextlib.closing(make_progress(self._show, total)) as bar:
            yield show

    def drive_in_turns(self, group: Group, todo: Sequence[int], at_once: int) -> dict[int, Result]:
        """Runs each on its own, `at_once` at a time, in threads. Keeps failures; the others continue."""
        group.plan.compile(self._experiments[todo[0]])
        begun: list[Run[Any]] = []
        making = threading.Lock()

        def job(i: int) -> Result | None:
            if self.interruption.is_asked():
                return None
            with making:
                run = self._make(group.plan, i)
            begun.append(run)
            return drive(run)

        results = {}
        with self._shown(todo) as show, concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            futures = {i: pool.submit(job, i) for i in todo}
            left = set(futures.values())
            while left:
                _, left = concurrent.futures.wait(left, _POLL_SECONDS)
                show(list(begun))
        for i, future in futures.items():
            error = future.exception()
            if error is not None:
                self.failures.append(error)
            elif (result := future.result()) is not None:
                results[i] = result
        return results

    def drive_stacked(
        self, group: Group, todo: Sequence[int], devices: Sequence[jax.Device]
    ) -> dict[int, Result]:
        """Runs all side by side in one compiled call. Keeps failures; the others continue."""
        places = {group.runs.index(i): i for i in todo}
        runs = {place: self._make(group.plan, i) for place, i in places.items()}
        stacked = StackedRuns(group.plan, runs, len(group.runs), devices)
        with self._shown(todo) as show:
            stacked.drive(lambda: show(list(runs.values())))
        self.failures += stacked.failures
        return {places[place]: result for place, result in stacked.results.items()}


def _at_once(runs: int, platform: str) -> int:
    """How many runs go at the same time if each goes on its own."""
    if platform != 'cpu':
        return 1
    return min(runs, len(usable_cores()))


def plan(
    experiments: Sequence[Experiment],
    devices: Sequence[jax.Device] = (),
    on_lost_rows: OnLostRows = 'drop',
) -> list[Group]:
    """Groups runs into as few plans as possible.

    Raises: Refused, as `make_plan`.
    """
    first = experiments[0]
    names = dict.fromkeys(
        name for each in experiments for name in differing_numbers(first.agent, each.agent)
    )
    compiled = make_plan(first, (), devices, on_lost_rows)
    swept = [name for name in names if _can_be_swept(compiled, first, name)]
    groups: list[tuple[Experiment, Group]] = []
    for i, each in enumerate(experiments):
        shape = dataclasses.replace(
            each,
            seed=0,
            max_actor_steps=1,
            max_learner_steps=None,
            evaluation=dataclasses.replace(each.evaluation, every=None),
            checkpoint=first.checkpoint,
            initial=None,
        )
        ours = [name for name in swept if _has_number(each.agent, name)]
        values = {name: get_field(first.agent, name) for name in ours}
        shape = dataclasses.replace(shape, agent=with_fields(each.agent, values))
        for other, group in groups:
            if shape == other:
                built = group.plan.built
                check_environments(each, built, group.plan.environments, group.plan.evaluations)
                group.runs.append(i)
                break
        else:
            if groups:
                compiled = make_plan(each, ours, devices, on_lost_rows)
            else:  # the plan belongs to the first run, and what it can trace is known
                compiled = compiled._replace(swept=tuple(ours))
            groups.append((shape, Group(compiled, [i])))
    return [group for _, group in groups]


def differing_numbers(a: Any, b: Any) -> list[str]:
    """The names of fields, of nested agents too, in which two agents' configs hold different numbers."""
    if type(a) is not type(b) or not dataclasses.is_dataclass(a):
        return []
    names = []
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        names += [f'{field.name}.{name}' for name in differing_numbers(x, y)]
        if _is_number(x) and _is_number(y) and x != y:
            names.append(field.name)
    return names


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _has_number(agent: Any, name: str) -> bool:
    try:
        return _is_number(get_field(agent, name))
    except ValueError:
        return False


def _can_be_swept(plan: CompiledPlan, experiment: Experiment, name: str) -> bool:
    """Whether a number can be traced: no shape, size or choice of the program depends on it."""
    try:
        check_traceable(plan, experiment, name)
    except ValueError:
        return False
    return True
