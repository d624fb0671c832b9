"""Many runs of one compiled program: seeds of an experiment, and values of the numbers in its agent's config.

All of them side by side in one program (`jax.vmap` over the runs), or one after another with one
compilation, as many at once as there are cores: whichever is faster where they run. A run is the same run
either way, with its own workdir, logs, evaluations and checkpoints.
"""

import concurrent.futures
import dataclasses
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components.dispatch import usable_cores
from culmen.components.files import OnLostRows
from culmen.components.files import expanded
from culmen.components.loggers import Sink
from culmen.components.loggers import make_progress
from culmen.core.experiment import Experiment
from culmen.core.types import Params
from culmen.environment_loops.compiled import Carry
from culmen.environment_loops.compiled import EvaluationRequest
from culmen.environment_loops.compiled import Report
from culmen.environment_loops.evaluation import EvaluationResult
from culmen.launchers import configs
from culmen.launchers.compiled import Alone
from culmen.launchers.compiled import CompiledTraining
from culmen.launchers.compiled import Glance
from culmen.launchers.compiled import Program
from culmen.launchers.compiled import Seat
from culmen.launchers.compiled import as_devices
from culmen.launchers.compiled import check_environments
from culmen.launchers.compiled import check_shares
from culmen.launchers.compiled import check_traceable
from culmen.launchers.compiled import get_field
from culmen.launchers.compiled import make_program
from culmen.launchers.compiled import with_fields
from culmen.launchers.local import ON_LOST_ROWS
from culmen.launchers.local import check_choice
from culmen.launchers.local import claim_workdir
from culmen.launchers.locking import Locks
from culmen.launchers.results import Result
from culmen.launchers.results import exits_fail
from culmen.launchers.results import refusing
from culmen.launchers.training import signals_to

_POLL_SECONDS = 0.1


class Group(NamedTuple):
    """Runs of one program."""

    program: Program
    runs: list[int]  # their places among all


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
    """Trains many runs, each as `compiled.run` does. Where one fails the others go on to their ends.

    Runs that differ in their seeds and in numbers of their agents' configs, but for shapes and the like,
    share a program; what else differs is compiled for itself.

    Args:
        experiments: what to run.
        workdirs: one each; None: nothing is written.
        as_one: whether runs of a program are one, side by side, or go one after another, as many at once as
            there are cores; None: one on an accelerator and on several devices, and not on a CPU, whose
            time it does not save (docs/results/compiled.md).
        loggers: of each run.
        device: where to run; of several each takes its share of the runs that are one, and of the
            environments of others. None: JAX's default.
        progress, on_non_finite, until_return, on_lost_rows: as of `compiled.run`.
    Returns: the Results, in order; where it is interrupted, of the runs that had begun.
    Raises: as `compiled.run`, for all runs before any compute; the first failure, once all have ended.
    """
    locks = Locks()
    with refusing(), locks.released_on_error():
        check_choice('on_non_finite', on_non_finite, ('stop', 'log'))
        check_choice('on_lost_rows', on_lost_rows, ON_LOST_ROWS)
        if not experiments:
            raise ValueError('experiments must hold one at least, got none.')
        folders = [
            None if each is None else expanded(each)
            for each in workdirs or [None] * len(experiments)
        ]
        written = [folder for folder in folders if folder is not None]
        if len(folders) != len(experiments) or len(set(written)) != len(written):
            raise ValueError(
                f'workdirs must be one of its own for each of {len(experiments)} experiments, '
                f'got {[str(folder) for folder in folders]}.'
            )
        all_configs = [
            configs.to_json(each, launcher='compiled', replay='device') for each in experiments
        ]
        results: dict[int, Result] = {}
        for i, folder in enumerate(folders):
            if folder is not None:
                stored = claim_workdir(locks, folder, experiments[i], all_configs[i])
                if stored is not None:
                    results[i] = stored
        devices = as_devices(device)
        platform = devices[0].platform if devices else jax.default_backend()
        one = (platform != 'cpu' or len(devices) > 1) if as_one is None else as_one
        for each in () if one else experiments:
            check_shares(each, devices)
        groups = plan(experiments, devices)
    crew = _Crew(progress, experiments)
    with locks, signals_to(crew.stop), exits_fail():
        for group in groups:
            todo = [i for i in group.runs if i not in results]
            if not todo or crew.stopped:
                continue
            at_once = len(todo) if one else _at_once(len(todo), platform)
            crew.say(len(todo), one, at_once, platform if as_one is None else None)
            of_group = [experiments[i] for i in group.runs]
            party = Party(group.program, of_group, devices) if one else None

            def make(
                i: int, group: Group = group, party: 'Party | None' = party
            ) -> CompiledTraining:
                seat: Seat
                if party is None:
                    seat = Alone(group.program, experiments[i])
                else:
                    seat = party.seat(group.runs.index(i))
                return CompiledTraining(
                    experiments[i],
                    group.program,
                    seat,
                    folders[i],
                    all_configs[i],
                    sinks=loggers[i] if loggers else (),
                    progress=False,
                    stop_on_non_finite=on_non_finite == 'stop',
                    until_return=until_return,
                    on_lost_rows=on_lost_rows,
                )

            jobs: dict[int, Callable[[], Result | None]]
            if party is None:
                group.program.compile(experiments[todo[0]])
                jobs = {
                    i: functools.partial(crew.take_turn, functools.partial(make, i)) for i in todo
                }
            else:
                # All are seated before one asks: the program is that of all.
                jobs = {i: crew.register(make(i)).run for i in todo}
            results |= crew.run(jobs, at_once)
        if crew.failures:
            raise crew.failures[0]
    if crew.stopped and len(results) < len(experiments):
        if not any(result.interrupted for result in results.values()):
            # It came before a run had begun that could tell of it.
            signal.raise_signal(crew.stopped)
    return [results[i] for i in sorted(results)]


def _at_once(runs: int, platform: str) -> int:
    """Runs that go at the same time where each is a program of its own."""
    if platform != 'cpu':
        return 1
    return min(runs, len(usable_cores()))


def plan(experiments: Sequence[Experiment], devices: Sequence[jax.Device] = ()) -> list[Group]:
    """The fewest programs for some runs, and which runs are of each.

    Raises: Refused, as `make_program`.
    """
    first = experiments[0]
    names = dict.fromkeys(
        name for each in experiments for name in differing_numbers(first.agent, each.agent)
    )
    program = make_program(first, (), devices)
    swept = [name for name in names if _can_be_swept(program, first, name)]
    groups: list[tuple[Experiment, Group]] = []
    for i, each in enumerate(experiments):
        shape = dataclasses.replace(
            each,
            seed=0,
            max_actor_steps=1,
            max_learner_steps=None,
            evaluation=dataclasses.replace(each.evaluation, every=None),
            checkpoint=first.checkpoint,
        )
        ours = [name for name in swept if _has_number(each.agent, name)]
        values = {name: get_field(first.agent, name) for name in ours}
        shape = dataclasses.replace(shape, agent=with_fields(each.agent, values))
        for other, group in groups:
            if shape == other:
                built = group.program.built
                check_environments(each, built, group.program.environment, group.program.evaluation)
                group.runs.append(i)
                break
        else:
            if groups:
                program = make_program(each, ours, devices)
            else:  # it is of the first, and what it can trace is known
                program = program._replace(swept=tuple(ours))
            groups.append((shape, Group(program, [i])))
    return [group for _, group in groups]


def differing_numbers(a: Any, b: Any) -> list[str]:
    """The fields in which two agents' configs hold different numbers, by name; of agents within too."""
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


def _can_be_swept(program: Program, experiment: Experiment, name: str) -> bool:
    """Whether a number can be traced: no shape, size or choice of the program depends on it."""
    try:
        check_traceable(program, experiment, name)
    except ValueError:
        return False
    return True


class _Crew:
    """Runs in threads: what is shown of all, what stops them all, and what failed."""

    def __init__(self, progress: bool | None, experiments: Sequence[Experiment]) -> None:
        self._show = progress
        self._experiments = experiments
        self._trainings: list[CompiledTraining] = []
        self._making = threading.Lock()
        self.failures: list[BaseException] = []
        self.stopped = 0  # the number of the signal that did; 0: none

    def say(self, runs: int, one: bool, at_once: int, platform: str | None) -> None:
        """Tells how runs of a program go, and why. Args: platform: it was chosen for; None: asked for."""
        if self._show is False or runs == 1:
            return
        how = 'side by side in one program' if one else 'one after another'
        if not one and at_once > 1:
            how += f', {at_once} at once'
        why = f', which is faster on a {platform}' if platform else ''
        print(f'culmen: {runs} runs of one compilation, {how}{why}', file=sys.stderr)

    def run(self, jobs: dict[int, Callable[[], Result | None]], at_once: int) -> dict[int, Result]:
        """Does them, so many at once; a failure is kept and the others go on. None: it has not begun."""
        budgets = [self._experiments[i].max_actor_steps for i in jobs]
        total = sum(budget or 0 for budget in budgets) if all(budgets) else None
        shown = make_progress(self._show, total)
        results = {}
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            futures = {pool.submit(job): i for i, job in jobs.items()}
            left = set(futures)
            while left:
                _, left = concurrent.futures.wait(left, _POLL_SECONDS)
                trainings = list(self._trainings)
                returns = [each.last_return for each in trainings if each.last_return is not None]
                shown.update(
                    sum(each.actor_steps for each in trainings),
                    sum(each.learner_steps for each in trainings),
                    sum(each.rate for each in trainings),
                    None,
                    float(np.mean(returns)) if returns else None,
                    next((each.evaluating for each in trainings if each.evaluating), None),
                )
            shown.close()
        for future, i in futures.items():
            error = future.exception()
            if error is not None:
                self.failures.append(error)
                continue
            result = future.result()
            if result is not None:
                results[i] = result
        self._trainings.clear()
        return results

    def take_turn(self, make: Callable[[], CompiledTraining]) -> Result | None:
        """Makes a run and runs it, unless all have been asked to stop."""
        if self.stopped:
            return None
        with self._making:
            training = make()
        return self.register(training).run()

    def register(self, training: CompiledTraining) -> CompiledTraining:
        """From now on the run is shown, and stopped with the others. Returns it."""
        self._trainings.append(training)
        if self.stopped:
            training.ask_to_stop(self.stopped)
        return training

    def stop(self, number: int) -> None:
        """Asks all runs for a stop, for the signal of this number."""
        self.stopped = number
        for training in list(self._trainings):
            training.ask_to_stop(number)


class RunRequest(NamedTuple):
    """A run asks for ticks."""

    ticks: int
    actor_steps: int | None
    updates: int | None


class Party:
    """Runs that meet at every call of the one program of all: it is called when all of them wait for it.

    Where some wait to be evaluated, the others go on to their own next evaluation first.
    """

    def __init__(
        self, program: Program, experiments: Sequence[Experiment], devices: Sequence[jax.Device]
    ) -> None:
        """Plans.

        Args:
            experiments: of the runs, also of those that have ended before: the program is of so many.
            devices: those of the program; there are places for a multiple of them.
        """
        self._device = devices[0] if devices else None
        num_devices = max(len(devices), 1)
        self._places = range(-(-len(experiments) // num_devices) * num_devices)
        self.program = program
        self._experiments = experiments
        self._changed = threading.Condition()
        self._waiting: dict[int, Any] = {}
        self._answers: dict[int, Any] = {}
        self._seated: dict[int, Member] = {}
        self._begun: dict[int, Carry] = {}
        self._carry: Carry | None = None
        self._failure: BaseException | None = None
        self._glance: Any = None
        self._look = jax.jit(jax.vmap(program.loop.status))
        self._slice = jax.jit(lambda tree, run: jax.tree_util.tree_map(lambda x: x[run], tree))

    def seat(self, run: int) -> 'Member':
        """Begins a run and seats it."""
        experiment = self._experiments[run]
        settings = self.program.settings_of(experiment)
        self._begun[run] = self.program.loop.begin(experiment.seed, settings)
        self._seated[run] = Member(self, run, experiment)
        return self._seated[run]

    def leave(self, run: int) -> None:
        """A run that asks no more."""
        with self._changed:
            del self._seated[run]
            self._serve()

    def ask(self, run: int, request: Any) -> Any:
        """Waits for the answer to a request; raises what the program raised."""
        with self._changed:
            self._waiting[run] = request
            self._serve()
            while run not in self._answers:
                self._changed.wait()
            answer = self._answers.pop(run)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _serve(self) -> None:
        if not self._seated or set(self._seated) != set(self._waiting):
            return
        runs = {run for run, asked in self._waiting.items() if isinstance(asked, RunRequest)}
        served = runs or set(self._waiting)
        try:
            answers = self._call(runs) if runs else self._evaluate()
        except BaseException as error:
            answers = dict.fromkeys(served, error)
            self._failure = error if runs else None  # then the state of all is gone with the call
        for run in served:
            del self._waiting[run]
        self._answers |= answers
        self._changed.notify_all()

    def _call(self, runs: set[int]) -> dict[int, Any]:
        requests = {run: self._waiting[run] for run in runs}
        limits = [requests[run][1:] if run in runs else (0, 0) for run in self._places]
        ticks = min(request.ticks for request in requests.values())
        carry, self._carry, self._glance = self._stacked(), None, None
        self._carry, heard = self.program.loop.run_all(carry, ticks, limits)
        return {run: heard[run] for run in runs}

    def _stacked(self) -> Carry:
        if self._failure is not None:
            raise self._failure
        if self._carry is not None:
            return self._carry
        some = next(iter(self._begun.values()))
        # Whoever has ended before still has a place: the bits of the others may hang on how many there are.
        begun = [self._begun.get(run, some) for run in self._places]
        self._begun = {}
        stacked: Carry = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *begun)
        return stacked

    def _evaluate(self) -> dict[int, Any]:
        some = next(iter(self._waiting.values()))
        evaluations = [self._waiting.get(run, some) for run in self._places]
        stops = [member.stop for member in self._seated.values()]
        tellers = [self._seated[run].tell for run in self._waiting]

        def tell(text: str) -> None:
            for each in tellers:
                each(text)

        evaluator = self.program.evaluator.of(0, lambda: any(stop() for stop in stops), tell=tell)
        results = evaluator.evaluate_all(evaluations)
        return {run: results[run] for run in self._waiting}

    def carry_of(self, run: int) -> Carry:
        """All of a run, in memory of its own."""
        return self._take(run, lambda carry: carry)

    def small_carry_of(self, run: int) -> Carry:
        """A run without its tables."""
        return self._take(run, lambda carry: carry._replace(tables=None))

    def _take(self, run: int, part: Callable[[Any], Any]) -> Any:
        # Programs of several devices that two threads begin at once can wait for each other for ever.
        with self._changed:
            if self._failure is not None:
                raise self._failure
            if self._carry is None:
                return part(self._begun[run])
            taken = self._slice(part(self._carry), run)
            return jax.block_until_ready(jax.device_put(taken, self._device))

    def put(self, run: int, carry: Carry) -> None:
        """Another state for a run that has not run yet."""
        self._begun[run] = carry

    def glance_of(self, run: int) -> Glance:
        """What a run's host looks at, fetched once for all."""
        with self._changed:
            if self._glance is None:
                if self._carry is None:
                    return Glance.of(jax.device_get(self.program.loop.status(self._begun[run])))
                self._glance = jax.device_get(self._look(self._carry))
            return Glance.of(jax.tree_util.tree_map(lambda leaf: leaf[run], self._glance))


class Member:
    """A run's seat in a Party (culmen.launchers.compiled.Seat)."""

    def __init__(self, party: Party, run: int, experiment: Experiment) -> None:
        self._party = party
        self._run = run
        self._experiment = experiment
        self._last: Params = None
        self.stop: Callable[[], bool] = lambda: False
        self.tell: Callable[[str], None] = lambda text: None

    def run(self, ticks: int, actor_steps: int | None, updates: int | None) -> Report:
        """Runs the program of all up to a limit of this run."""
        heard: Report = self._party.ask(self._run, RunRequest(ticks, actor_steps, updates))
        return heard

    @property
    def carry(self) -> Carry:
        """All of the run."""
        return self._party.carry_of(self._run)

    @carry.setter
    def carry(self, carry: Carry) -> None:
        self._party.put(self._run, carry)

    @property
    def variables(self) -> Params:
        """What evaluators read; after `close` too."""
        if self._last is not None:
            return self._last
        return self._party.program.loop.variables(self._party.small_carry_of(self._run))

    def glance(self) -> Glance:
        """What is looked at after every call."""
        return self._party.glance_of(self._run)

    def evaluator(self, stop: Callable[[], bool], tell: Callable[[str], None]) -> 'Member':
        """What evaluates the run."""
        self.stop, self.tell = stop, tell
        return self

    def evaluate(
        self, params: Params, number: int, actor_steps: int = 0, learner_steps: int = 0
    ) -> EvaluationResult:
        """Plays the episodes, with the others'."""
        settings = self._party.program.settings_of(self._experiment)
        seed = self._experiment.seed
        asked = EvaluationRequest(params, number, actor_steps, learner_steps, seed, settings)
        result: EvaluationResult = self._party.ask(self._run, asked)
        return result

    def close(self) -> None:
        """Leaves, with the last variables."""
        try:
            self._last = self.variables
        finally:
            self._party.leave(self._run)
