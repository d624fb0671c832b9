"""The compiled launcher: environments written in JAX, acting, replay and learning as one program.

The host starts the program again and again, some tenths of a second at a time, and hears then what happened
at each tick; rows of the logs, evaluations and checkpoints fall on the same counted steps as in one process.
"""

import dataclasses
import os
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import Literal
from typing import NamedTuple
from typing import Protocol

import jax
import numpy as np

from culmen.components.checkpointing import from_paths
from culmen.components.checkpointing import to_paths
from culmen.components.counts import fold_seed
from culmen.components.counts import wide
from culmen.components.dispatch import distinct
from culmen.components.environments.functional import DmEnvironment
from culmen.components.environments.functional import are_alike
from culmen.components.environments.functional import lane_keys
from culmen.components.files import OnLostRows
from culmen.components.files import expanded
from culmen.components.learners import NonFiniteLossError
from culmen.components.loggers import Sink
from culmen.components.replay.device import saving
from culmen.core.agent import Parts
from culmen.core.environments import JaxEnvironment
from culmen.core.errors import AgentFailure
from culmen.core.experience import recorded
from culmen.core.experience import table_label
from culmen.core.experiment import Experiment
from culmen.core.types import Params
from culmen.environment_loops.compiled import Carry
from culmen.environment_loops.compiled import CompiledEvaluator
from culmen.environment_loops.compiled import CompiledLoop
from culmen.environment_loops.compiled import Report
from culmen.environment_loops.compiled import Settings
from culmen.environment_loops.evaluation import MAX_LANES
from culmen.launchers import configs
from culmen.launchers.building import Built
from culmen.launchers.building import build
from culmen.launchers.building import build_agent
from culmen.launchers.building import trace
from culmen.launchers.local import ON_LOST_ROWS
from culmen.launchers.local import check_choice
from culmen.launchers.local import claim_workdir
from culmen.launchers.locking import Locks
from culmen.launchers.results import Result
from culmen.launchers.results import refusing
from culmen.launchers.training import LEARNER_LOG_PERIOD
from culmen.launchers.training import Run
from culmen.launchers.training import next_multiple

_CALL_SECONDS = 0.2  # after which the host wants to hear


class Program(NamedTuple):
    """What is compiled of an experiment, for any of its seeds and values of its swept settings."""

    built: Built
    loop: CompiledLoop
    evaluator: CompiledEvaluator
    environment: JaxEnvironment
    evaluation: JaxEnvironment  # of evaluations
    swept: tuple[str, ...] = ()  # traced fields of the agent: 'learning_rate', 'base.discount'

    def settings_of(self, experiment: Experiment) -> dict[str, Any]:
        """The values of the swept fields, by name."""
        return {name: get_field(experiment.agent, name) for name in self.swept}

    def compile(self, experiment: Experiment) -> None:
        """Compiles before runs begin at once in several threads. Args: experiment: one of them."""
        settings = self.settings_of(experiment)
        carry, _ = self.loop.run(self.loop.begin(experiment.seed, settings), 0)
        self.evaluator.of(experiment.seed, settings=settings).compile(self.loop.variables(carry))


def make_program(
    experiment: Experiment, swept: Sequence[str] = (), devices: Sequence[jax.Device] = ()
) -> Program:
    """Checks an experiment and plans its program; nothing is compiled or computed yet.

    Args:
        experiment: what is run.
        swept: numbers in the agent's config, by name, that are traced and not compiled in, so that the
            program is that of any of their values.
        devices: to run on; (): JAX's default.
    Raises: Refused (a ValueError) that names what can't be compiled and what to use instead, or swept.
    """
    with refusing():
        for name, accepted in (('lag', (0, 1)), ('updates_per_call', (1,))):
            if getattr(experiment, name) not in accepted:
                raise ValueError(
                    f'{name} must be {" or ".join(map(str, accepted))} in a compiled program, where '
                    f'every update is handed on at once, got {getattr(experiment, name)}.'
                )
        built = build(experiment)
        built.close()
        environment = _as_jax(built.environments[0], experiment)
        evaluated = built.make_evaluation(fold_seed(experiment.seed, 'evaluator', 0, 0))
        evaluated.close()
        evaluation = _as_jax(evaluated, experiment)
        check_environments(experiment, built, environment, evaluation)
        for name in recorded(built.parts.experience):
            where = table_label(name)
            raise ValueError(
                f'{where} is a Dataset, which the host reads and no program can; use the local '
                f'launcher, or the offline one where there is nothing else.'
            )

        def rebuild(settings: Settings) -> Parts:
            return build_agent(with_fields(experiment.agent, settings), built.spec)

        trace(built.parts, built.spec, built.lanes)
        loop = CompiledLoop(environment, built.parts, built.lanes, rebuild, devices)
        evaluator = CompiledEvaluator(
            built.parts.evaluator,
            evaluation,
            experiment.evaluation.episodes,
            lambda settings: rebuild(settings).evaluator,
            experiment.evaluation.max_steps,
        )
        program = Program(built, loop, evaluator, environment, evaluation, tuple(swept))
        for name in swept:
            check_traceable(program, experiment, name)
        return program


def _as_jax(environment: Any, experiment: Experiment) -> JaxEnvironment:
    """What is compiled of an environment. Raises: ValueError where it is not written in JAX."""
    if isinstance(environment, DmEnvironment):
        return environment.functions
    raise ValueError(
        f'environment must be written in JAX to be compiled (gymnax/<id>, brax/<environment>, '
        f'jax/<environment>, or a function that makes a DmEnvironment, without wrappers), got '
        f'{_name(experiment)}; use the local launcher, which takes any.'
    )


def check_environments(
    experiment: Experiment, built: Built, environment: JaxEnvironment, evaluation: JaxEnvironment
) -> None:
    """Refuses a function that makes other environments for other seeds: all lanes are one program.

    Args:
        experiment: what is run.
        built: of it, or of another with the same environment.
        environment, evaluation: what is compiled, for training and for evaluations.
    Raises: ValueError that names the lane.
    """
    named = experiment.environment
    name = named if isinstance(named, str) else getattr(named, 'name', '')
    if not callable(named) and ':' not in name:
        return  # the families know one for all seeds
    seed = experiment.seed
    of_evaluation = range(min(experiment.evaluation.episodes, MAX_LANES))
    seeds = {
        f'lane {lane}': (fold_seed(seed, 'environment', int(lane)), built.make_environment)
        for lane in built.lanes.index
    } | {
        f'lane {lane} of evaluations': (
            fold_seed(seed, 'evaluator', lane, 0),
            built.make_evaluation,
        )
        for lane in of_evaluation
    }
    for where, (of_lane, make) in seeds.items():
        made = make(of_lane)
        made.close()
        wanted = environment if make is built.make_environment else evaluation
        if not isinstance(made, DmEnvironment) or not are_alike(made.functions, wanted):
            raise ValueError(
                f'environment must be the same JAX environment for every seed to be compiled, got '
                f'another one for {where} (seed {of_lane}) of {_name(experiment)}; use the local launcher.'
            )
        if not np.array_equal(made.first_key, lane_keys([of_lane])[0]):
            raise ValueError(
                f'environment must make a DmEnvironment of the seed that it is given to be compiled, got '
                f'another seed for {where} (seed {of_lane}) of {_name(experiment)}; use the local launcher.'
            )


def as_devices(device: jax.Device | Sequence[jax.Device] | None) -> list[jax.Device]:
    """Devices as they are given to a run."""
    if device is None:
        return []
    return list(device) if isinstance(device, Sequence) else [device]


def check_shares(experiment: Experiment, devices: Sequence[jax.Device]) -> None:
    """Refuses environments that devices can't share. Raises: ValueError."""
    if experiment.num_environments % max(len(devices), 1):
        raise ValueError(
            f'num_environments must be a multiple of the {len(devices)} devices, '
            f'got {experiment.num_environments}.'
        )


def check_traceable(program: Program, experiment: Experiment, name: str) -> None:
    """Refuses a field of the agent that the experiment's program can't trace. Raises: ValueError."""
    value = get_field(experiment.agent, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f'agent.{name} must be a number to be swept, got {value!r}.')
    try:
        program.loop.check({name: value})
    except (AgentFailure, jax.errors.JAXTypeError, TypeError, ValueError) as error:
        raise ValueError(
            f'agent.{name} can not be swept in one program: a shape, a size or a choice depends on it.'
        ) from error


def get_field(agent: Any, name: str) -> Any:
    """A field of an agent, or of the agent within ('base.learning_rate'). Raises: ValueError."""
    head, _, rest = name.partition('.')
    if not dataclasses.is_dataclass(agent) or head not in {
        f.name for f in dataclasses.fields(agent)
    }:
        raise ValueError(f'agent has no field {name!r} to sweep.')
    value = getattr(agent, head)
    return get_field(value, rest) if rest else value


def with_fields(agent: Any, values: Mapping[str, Any]) -> Any:
    """An agent with other values of some fields, by name as of `get_field`."""
    for name, value in values.items():
        head, _, rest = name.partition('.')
        if rest:
            value = with_fields(getattr(agent, head), {rest: value})
        agent = dataclasses.replace(agent, **{head: value})
    return agent


def _name(experiment: Experiment) -> str:
    config = configs.to_json(experiment, launcher='compiled', replay='device')['environment']
    arguments = ', '.join(f'{key}={value!r}' for key, value in config.items() if key != 'name')
    return f'{config["name"]!r}{f" with {arguments}" if arguments else ""}'


def run(
    experiment: Experiment,
    workdir: str | os.PathLike[str] | None = None,
    *,
    program: Program | None = None,
    loggers: Sequence[Sink] = (),
    device: jax.Device | Sequence[jax.Device] | None = None,
    progress: bool | None = None,
    on_non_finite: Literal['stop', 'log'] = 'stop',
    until_return: float | None = None,
    on_lost_rows: OnLostRows = 'drop',
) -> Result:
    """Trains in one compiled program, and evaluates the final variables.

    The agent is the same as in every launcher. The environment has to be written in JAX, and hand-offs are
    those of lag 0. The same experiment on the same workdir goes on where it stopped, to the bit. SIGINT and
    SIGTERM end a run after a checkpoint; the Result so far is returned.

    Args:
        experiment: what to run.
        workdir: of config, logs, checkpoints and the result; None: nothing is written.
        program: of `make_program`, of an experiment that differs in its seed, its swept settings, its
            budgets and when it is evaluated and saved at most: such runs are compiled once. None: made
            here.
        loggers: take every row of the logs too.
        device: where to run; of several each takes its share of the environments and of every batch.
            None: JAX's default. Not with `program`, which has its own.
        progress: whether to show it; None: by what standard error is.
        on_non_finite: what a loss that is not finite does: 'stop' the run after a checkpoint kept
            apart, or 'log' it and go on.
        until_return: an evaluation with this mean return ends the run.
        on_lost_rows: what damaged files of rows do, where all else of a checkpoint is whole: 'drop' the
            items that need them and go on, or 'refuse'.
    Returns: the Result.
    Raises: Refused (a ValueError) for what is wrong before any compute; NonFiniteLossError;
        EnvironmentFailure and ActionFailure that name the lane; OSError that names a file.
    """
    locks = Locks()
    with refusing(), locks.released_on_error():
        check_choice('on_non_finite', on_non_finite, ('stop', 'log'))
        check_choice('on_lost_rows', on_lost_rows, ON_LOST_ROWS)
        if program is not None and device is not None:
            raise ValueError(
                f'device must be None with a program, which has its own, got {device}.'
            )
        folder = None if workdir is None else expanded(workdir)
        config = configs.to_json(experiment, launcher='compiled', replay='device')
        stored = claim_workdir(locks, folder, experiment, config)
        if stored is not None:
            return stored
        if program is None:
            devices = as_devices(device)
            check_shares(experiment, devices)
            program = make_program(experiment, devices=devices)
        else:
            check_environments(experiment, program.built, program.environment, program.evaluation)
        training = CompiledTraining(
            experiment,
            program,
            Alone(program, experiment),
            folder,
            config,
            sinks=loggers,
            progress=progress,
            stop_on_non_finite=on_non_finite == 'stop',
            until_return=until_return,
            on_lost_rows=on_lost_rows,
        )
    with locks:
        return training.run()


class Glance(NamedTuple):
    """What of a run the host looks at after every call."""

    metrics: dict[str, float]  # of the last update
    non_finite: int  # the first update whose loss was not finite; 0: none
    faults: list[bool]  # as of `DeviceTables.faults`

    @classmethod
    def of(cls, looked: Any) -> 'Glance':
        """From what `CompiledLoop.status` gave, on the host."""
        metrics, non_finite, faults = looked
        values = {name: float(value) for name, value in metrics.items()}
        return cls(values, int(non_finite), faults.tolist())


class Seat(Protocol):
    """Where a run sits: on the device alone, or among others in one program."""

    def run(self, ticks: int, actor_steps: int | None, updates: int | None) -> Report:
        """Runs the program up to a limit."""
        ...

    @property
    def carry(self) -> Carry:
        """All of the run."""
        ...

    @carry.setter
    def carry(self, carry: Carry) -> None: ...

    @property
    def variables(self) -> Params:
        """What evaluators read; after `close` too."""
        ...

    def glance(self) -> Glance:
        """What is looked at after every call."""
        ...

    def evaluator(self, stop: Callable[[], bool], tell: Callable[[str], None]) -> Any:
        """What evaluates the run; `stop` is asked, True raises Interrupted; `tell` hears how far it is."""
        ...

    def close(self) -> None:
        """Ends it."""
        ...


class Alone:
    """A run that has the device for itself."""

    def __init__(self, program: Program, experiment: Experiment) -> None:
        """Begins the run: its first time step is observed."""
        self._program = program
        self._seed, self._settings = experiment.seed, program.settings_of(experiment)
        self.carry: Carry = program.loop.begin(self._seed, self._settings)

    def run(self, ticks: int, actor_steps: int | None, updates: int | None) -> Report:
        """Runs the program up to a limit."""
        self.carry, heard = self._program.loop.run(self.carry, ticks, actor_steps, updates)
        return heard

    @property
    def variables(self) -> Params:
        """What evaluators read."""
        return self._program.loop.variables(self.carry)

    def glance(self) -> Glance:
        """What is looked at after every call."""
        return Glance.of(jax.device_get(self._program.loop.status(self.carry)))

    def evaluator(self, stop: Callable[[], bool], tell: Callable[[str], None]) -> CompiledEvaluator:
        """What evaluates the run."""
        return self._program.evaluator.of(self._seed, stop, self._settings, tell)

    def close(self) -> None:
        """Nothing: the state goes with the run."""


class CompiledLearner:
    """The state of a run on the device, and what a run asks of its learner."""

    def __init__(self, loop: CompiledLoop, seat: Seat, stop_on_non_finite: bool) -> None:
        """Args: seat: of a run that has begun."""
        self._loop = loop
        self._seat = seat
        self._stop_on_non_finite = stop_on_non_finite
        self.actor_steps = 0
        self.learner_steps = 0

    def run(self, ticks: int, actor_steps: int | None, updates: int | None) -> Report:
        """Runs the program up to a limit, and counts."""
        heard = self._seat.run(ticks, actor_steps, updates)
        self.actor_steps += heard.actor_steps
        self.learner_steps += heard.updates
        return heard

    def run_rest(self) -> None:
        """Nothing: no update that is due is left out at a tick."""

    @property
    def newest_variables(self) -> Any:
        """What evaluators read."""
        return self._seat.variables

    @property
    def metrics(self) -> dict[str, float]:
        """The last update's metrics; empty before the first."""
        if not self.learner_steps:
            return {}
        return self._seat.glance().metrics

    def check_finite(self) -> None:
        """Looks for a loss that was not finite, and for what a table refuses.

        Raises: NonFiniteLossError that names the first such update, unless told to go on; ValueError.
        """
        metrics, update, faults = self._seat.glance()
        if update and self._stop_on_non_finite:
            raise NonFiniteLossError(
                f'the loss of update {update} was not finite (metrics: {metrics}).'
            )
        for complaint, fault in zip(self._loop.tables.complaints, faults, strict=True):
            if fault:
                raise ValueError(complaint)

    def get_state(self) -> dict[str, Any]:
        """The variables and the count of updates, where every launcher has them, and all but closed rows."""
        carry = self._seat.carry
        carry = carry._replace(tables=saving.open_rows(carry.tables), settings={})
        return {
            'newest': to_paths(self.newest_variables),
            'updates': self.learner_steps,
            'carry': to_paths(carry),
        }

    def set_state(
        self, state: Mapping[str, Any], rows: Any, lost: Sequence[tuple[int, int]] = ()
    ) -> int:
        """Goes on from `get_state` and the closed rows, those of `lost` ticks [start, stop) apart.

        Returns: how many items are dropped since they need lost rows.
        Raises: ValueError that names a leaf that does not fit.
        """
        begun = self._seat.carry
        empty = jax.eval_shape(lambda carry: carry, begun)
        template = empty._replace(
            tables=jax.eval_shape(saving.open_rows, empty.tables), settings={}
        )
        carry = from_paths('carry', template, state['carry'])
        ticks = wide.as_int(carry.ticks)
        tables = saving.with_rows(empty.tables, carry.tables, ticks, rows, lost)
        tables, dropped = self._loop.tables.drop(tables, ticks, lost)
        self._seat.carry = distinct(carry._replace(tables=tables, settings=begun.settings))
        self.actor_steps = wide.as_int(carry.actor_steps)
        self.learner_steps = wide.as_int(carry.learner_steps)
        return dropped

    @property
    def rows(self) -> saving.SavedRows:
        """The closed rows, for a checkpoint."""
        carry = self._seat.carry
        return saving.SavedRows(carry.tables, wide.as_int(carry.ticks))


class CompiledTraining(Run):
    """A run whose ticks are calls of a compiled program."""

    _evaluator: Any
    _learner: Any

    def __init__(
        self,
        experiment: Experiment,
        program: Program,
        seat: Seat,
        folder: Path | None,
        config: Mapping[str, Any],
        *,
        sinks: Sequence[Sink],
        progress: bool | None,
        stop_on_non_finite: bool,
        until_return: float | None,
        on_lost_rows: OnLostRows = 'drop',
    ) -> None:
        super().__init__(
            experiment,
            program.built,
            folder,
            config,
            sinks=sinks,
            progress=progress,
            until_return=until_return,
            on_lost_rows=on_lost_rows,
        )
        self._loop = program.loop
        self._seat = seat
        self._metric_names = program.loop.metric_names
        self._evaluator = seat.evaluator(lambda: self._stop_asked, self._tell)
        self._learner = CompiledLearner(self._loop, seat, stop_on_non_finite)

    def _close(self) -> None:
        self._seat.close()

    @property
    def actor_steps(self) -> int:
        """Steps of the environments so far."""
        return int(self._learner.actor_steps)

    @property
    def steps(self) -> int:
        """Actor steps: events fall between two ticks."""
        return self.actor_steps

    @property
    def learner_steps(self) -> int:
        """Updates so far."""
        return int(self._learner.learner_steps)

    @property
    def rate(self) -> float:
        """Actor steps per second, of late."""
        return self._rate

    @property
    def last_return(self) -> float | None:
        """The mean return of the last evaluation."""
        return None if self._last_evaluation is None else self._last_evaluation['return_mean']

    @property
    def _budget(self) -> int | None:
        return self._experiment.max_actor_steps

    @property
    def _table_to_save(self) -> saving.SavedRows:
        rows: saving.SavedRows = self._learner.rows
        return rows

    def _train(self) -> None:
        ticks, timed = 16, False
        while not self._is_over():
            begin = time.perf_counter()
            self._hear(self._learner.run(ticks, *self._left()))
            seconds = time.perf_counter() - begin
            # The first call compiles, and tells nothing of the next.
            if timed:
                factor = min(max(_CALL_SECONDS / max(seconds, 1e-3), 0.5), 4.0)
                ticks = min(max(int(ticks * factor), 1), self._loop.max_ticks())
            timed = True

    def _left(self) -> tuple[int | None, int | None]:
        """Actor steps and updates until something falls due."""
        saved = None if self._checkpointer is None else self._next_checkpoint
        events = (self._experiment.max_actor_steps, self._next_evaluation, saved)
        due = [event - self.steps for event in events if event is not None]
        updates = self._experiment.max_learner_steps
        return min(
            due, default=None
        ), None if updates is None else updates - self._learner.learner_steps

    def _hear(self, heard: Report) -> None:
        """Writes the rows of the ticks of a call. Raises: as `run`."""
        self._loop.faults.check(heard.faults())
        self._learner.check_finite()
        new_steps, new_updates = heard.actor_steps_by_tick(), heard.updates_by_tick()
        actor_steps = self._learner.actor_steps - heard.actor_steps
        learner_steps = self._learner.learner_steps - heard.updates
        episodes = 0
        for tick, episode in heard.episodes():
            episodes += 1
            self._episode_return = float(np.sum(episode.episode_return))
            self._logs.write(
                'actor',
                {
                    'actor_steps': actor_steps + int(new_steps[tick]),
                    'learner_steps': learner_steps + int(new_updates[tick]),
                    'episode_return': self._episode_return,
                    'episode_length': episode.episode_length,
                    'steps_per_second': self._rate,
                },
            )
        self._counter.increment(actor_steps=heard.actor_steps, episodes=episodes)
        while self._next_learner_row <= self._learner.actor_steps:
            tick = int(np.searchsorted(new_steps, self._next_learner_row - actor_steps))
            at, updates = actor_steps + int(new_steps[tick]), learner_steps + int(new_updates[tick])
            if updates > self._logged_updates:
                self._logged_updates = updates
                values = dict(
                    zip(self._loop.metric_names, heard.metrics(tick).tolist(), strict=True)
                )
                self._logs.write('learner', {'actor_steps': at, 'learner_steps': updates, **values})
            self._next_learner_row = next_multiple(at, LEARNER_LOG_PERIOD)

    def _set_learner_state(self, saved: Any) -> int:
        return self._learner.set_state(saved.state['learner'], saved.rows, saved.lost)
