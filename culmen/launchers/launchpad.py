"""The launcher of programs: the nodes of a run as threads or processes, carried by Launchpad.

    program = culmen.launchers.launchpad.make_program(experiment, 'runs/catch', num_actors=4)
    result = culmen.launchers.launchpad.launch(program, backend='processes')

The only module that knows Launchpad: its nodes, its addresses and the commands that run them. How nodes are
started and watched is the supervisor's, how they call each other that of connections, what they do is theirs.
Launchpad is imported when a program is launched, never before.
"""

import contextlib
import functools
import importlib.util
import os
import signal
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Literal

from culmen.components.checkpointing import Checkpointer
from culmen.components.checkpointing import Saved
from culmen.components.dispatch import usable_cores
from culmen.components.files import OnLostRows
from culmen.components.files import Scratch
from culmen.components.files import expanded
from culmen.components.files import read_json
from culmen.components.files import reading
from culmen.components.learners import metric_names
from culmen.components.loggers import LogFiles
from culmen.components.loggers import Sink
from culmen.components.loggers import make_progress
from culmen.components.replay import reverb as reverb_replay
from culmen.components.replay import sample_spec
from culmen.components.replay.reverb.server import check_tables
from culmen.components.replay.reverb.server import lead_of
from culmen.core.checks import check_range
from culmen.core.experience import Experience
from culmen.core.experience import Replay
from culmen.core.experience import tables
from culmen.core.experiment import Experiment
from culmen.core.specs import EnvironmentSpec
from culmen.environment_loops.batched import reward_names
from culmen.launchers import configs
from culmen.launchers import nodes
from culmen.launchers import supervisor
from culmen.launchers.building import build
from culmen.launchers.building import trace
from culmen.launchers.connections import Key
from culmen.launchers.connections import Line
from culmen.launchers.connections import Service
from culmen.launchers.local import ON_LOST_ROWS
from culmen.launchers.local import check_choice
from culmen.launchers.local import claim_workdir
from culmen.launchers.local import load
from culmen.launchers.locking import Locks
from culmen.launchers.nodes.actor import MAX_CLAIM
from culmen.launchers.nodes.counter import FINISHED
from culmen.launchers.remote import NO_ARGUMENTS
from culmen.launchers.remote import SWITCH_SECONDS
from culmen.launchers.remote import Asking
from culmen.launchers.remote import Channel
from culmen.launchers.remote import Remote
from culmen.launchers.remote import Server
from culmen.launchers.remote import Stop
from culmen.launchers.remote import Stopped
from culmen.launchers.restoring import fitting
from culmen.launchers.restoring import refusing_checkpoints
from culmen.launchers.restoring import tell_losses
from culmen.launchers.results import Result
from culmen.launchers.results import exits_fail
from culmen.launchers.results import refusing
from culmen.launchers.supervisor import NodeFailure
from culmen.launchers.training import CHECKPOINTS
from culmen.launchers.training import CONFIG
from culmen.launchers.training import LOGS
from culmen.launchers.training import NO_EVALUATION
from culmen.launchers.training import RESULT
from culmen.launchers.training import make_summary
from culmen.launchers.training import say_endless
from culmen.launchers.training import signals_to
from culmen.launchers.training import write_json

Backend = Literal['threads', 'processes']
PROGRAM = 'program.json'  # what of a program is no part of its experiment and can't change
BACKENDS: tuple[Backend, ...] = ('threads', 'processes')

_SERVED = ('counter', 'replay', 'learner')  # nodes that others call
TIMINGS = 'nodes.json'  # in the folder of logs: how each node spent its time
_POLL_SECONDS = 0.05
_STATUS_SECONDS = 0.2
_LEAVE_SECONDS = 5.0  # for nodes to end by themselves once all is saved
_END_SECONDS = 4.0  # for nodes that were asked to end
_SAVE_SECONDS = 9.0  # from a signal to the checkpoint
_INSTALL = (
    "programs need Launchpad and Reverb: pip install 'culmen[launchpad]', on Python 3.10 and Linux "
    'x86-64, for which alone they have wheels. One process (launcher local) needs neither.'
)


@dataclass(frozen=True)
class Program:
    """An experiment with the places of its nodes; `launch` runs it. Made by `make_program`."""

    experiment: Experiment
    workdir: Path | None
    num_actors: int
    actors_per_process: int
    lead: float
    variables_every: int
    loggers: tuple[Sink, ...]
    on_non_finite: Literal['stop', 'log']
    until_return: float | None
    on_lost_rows: OnLostRows
    spec: EnvironmentSpec
    experience: Experience

    @property
    def num_lanes(self) -> int:
        """Environments of all actors."""
        return self.num_actors * self.experiment.num_environments


def require() -> None:
    """Raises: ImportError that says what to install, where Launchpad or Reverb is missing."""
    missing = [name for name in ('launchpad', 'reverb') if not _is_installed(name)]
    if missing:
        raise ImportError(f'{" and ".join(missing)} can not be imported: {_INSTALL}')


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def make_program(
    experiment: Experiment,
    workdir: str | os.PathLike[str] | None = None,
    *,
    num_actors: int = 1,
    actors_per_process: int = 1,
    lead: float | None = None,
    variables_every: int = 4,
    loggers: Sequence[Sink] = (),
    on_non_finite: Literal['stop', 'log'] = 'stop',
    until_return: float | None = None,
    on_lost_rows: OnLostRows = 'drop',
) -> Program:
    """Checks an experiment and how it is spread. Writes nothing and starts nothing.

    Args:
        experiment: what to run; each actor has `num_environments` lanes.
        workdir: of config, logs, checkpoints and the result; None: nothing is kept.
        num_actors: that act side by side.
        actors_per_process: that share a process, as threads.
        lead: samples that the actors may be ahead of the learner by (inserted items times
            samples_per_insert, less those drawn); beyond it they wait. At least a batch and
            samples_per_insert; None: for a claim of steps of every lane, and two batches.
        variables_every: ticks between an actor's looks for new parameters.
        loggers: take every row of the logs too; they must pickle.
        on_non_finite: what a loss that is not finite does: 'stop' the run, or 'log' it and go on.
        until_return: an evaluation with this mean return ends the run.
        on_lost_rows: what damage to the tables of a checkpoint does, where all else of it is whole:
            'drop' their items and go on, or 'refuse'.
    Returns: what `launch` takes.
    Raises: Refused (a ValueError) that names what is wrong, or says what to install.
    """
    with refusing():
        require()
        check_choice('on_non_finite', on_non_finite, ('stop', 'log'))
        check_choice('on_lost_rows', on_lost_rows, ON_LOST_ROWS)
        check_range('num_actors', num_actors, 1)
        check_range('actors_per_process', actors_per_process, 1)
        check_range('variables_every', variables_every, 1)
        built = build(experiment, 0, num_actors)
        built.close()
        experience = built.parts.experience
        shapes = trace(built.parts, built.spec, built.lanes)
        lanes = num_actors * experiment.num_environments
        metric_names(
            built.parts.learner,
            sample_spec(experience, shapes.row_spec, lanes),
        )
        check_tables(experience)
        replays = [table for table in tables(experience).values() if isinstance(table, Replay)]
        if lead is None:
            lead = max([0.0, *(_default_lead(table, lanes) for table in replays)])
        for table in replays:
            lead_of(table, lead)
        return Program(
            experiment=experiment,
            workdir=None if workdir is None else expanded(workdir),
            num_actors=num_actors,
            actors_per_process=actors_per_process,
            lead=float(lead),
            variables_every=variables_every,
            loggers=tuple(loggers),
            on_non_finite=on_non_finite,
            until_return=until_return,
            on_lost_rows=on_lost_rows,
            spec=built.spec,
            experience=experience,
        )


def _default_lead(table: Replay, num_lanes: int) -> float:
    """So much that an actor waits for the learner because it is ahead, not because of its claims."""
    least = 2 * table.batch_size + table.samples_per_insert
    return float(max(least, 2 * MAX_CLAIM * num_lanes * table.samples_per_insert))


def launch(
    program: Program, backend: Backend = 'processes', *, progress: bool | None = None
) -> Result:
    """Runs a program on this machine to its end, and evaluates the final variables.

    The same program on the same workdir goes on where it stopped. SIGINT and SIGTERM end it after a
    checkpoint; the Result so far is returned. No thread or process is left when this returns or raises.

    Args:
        program: of `make_program`.
        backend: 'threads' of this process, or 'processes' of their own.
        progress: whether to show it; None: by what standard error is.
    Returns: the Result.
    Raises: Refused for what is wrong before any compute; NodeFailure that names the node that failed,
        with its traceback on standard error.
    """
    locks = Locks()
    with refusing(), locks.released_on_error():
        check_choice('backend', backend, BACKENDS)
        require()
        config = configs.to_json(
            program.experiment, launcher=backend, replay='reverb', num_actors=program.num_actors
        )
        stored = claim_workdir(locks, program.workdir, program.experiment, config)
        if stored is not None:
            return stored
        if program.workdir is not None:
            _check_lead(program.workdir, program.lead)
    # Of sockets and of what nodes run; a stranger can't look into it.
    scratch = Scratch('program', longest_name=max(map(len, _SERVED)))
    with locks, contextlib.closing(scratch):
        return _Launch(program, backend, config, scratch.path, progress).run()


def _check_lead(folder: Path, lead: float) -> None:
    """Refuses another lead than that of the tables in a workdir, which keep theirs."""
    if not (folder / PROGRAM).exists():
        return
    with reading(folder / PROGRAM):
        old = float(read_json(folder / PROGRAM)['lead'])
    if old != lead:
        raise ValueError(
            f'lead must be {old:g} in {folder}, whose tables were made with it, got {lead:g}; '
            f'choose another workdir.'
        )


class _Launch:
    """One launch of a program."""

    def __init__(
        self,
        program: Program,
        backend: Backend,
        config: Mapping[str, Any],
        scratch: Path,
        progress: bool | None,
    ) -> None:
        self._program = program
        self._backend = backend
        self._config = config
        self._scratch = scratch
        self._folder = program.workdir or scratch / 'run'
        self._progress = make_progress(progress, program.experiment.max_actor_steps)
        self._signals: list[int] = []

    def run(self) -> Result:
        """Starts the nodes, watches them to the end, and collects the result."""
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        saved, resumed_at = self._restore()
        write_json(folder / CONFIG, self._config)
        write_json(folder / PROGRAM, {'lead': self._program.lead})
        (folder / LOGS).mkdir(exist_ok=True)
        print(
            f'culmen: {self._program.num_actors} actors as {self._backend}. Reverb listens on all '
            'interfaces and asks for no password: whoever reaches its port can read, alter and empty '
            'the tables, and run no code. Run programs on trusted networks.',
            file=sys.stderr,
            flush=True,
        )
        running: list[supervisor.Node] = []
        interval = sys.getswitchinterval()
        with signals_to(self._signals.append):
            try:
                if self._backend == 'threads':
                    sys.setswitchinterval(min(SWITCH_SECONDS, interval))
                stop = Stop()
                key = Key()
                program, channel = _build(
                    self._program, folder, self._scratch, saved, resumed_at, stop, key
                )
                if self._backend == 'threads':
                    _start_threads(program, stop, running)
                else:
                    _start_processes(program, key, self._scratch, folder / LOGS, running)
                status = self._watch(
                    running, Asking('get_status', channel, _STATUS_SECONDS), channel
                )
            finally:
                late = supervisor.end(running, _END_SECONDS)
                self._progress.close()
                sys.setswitchinterval(interval)
        if late and self._backend == 'threads':
            raise NodeFailure(f'nodes {", ".join(late)} did not end when they were asked to.')
        return self._result(status, resumed_at, {} if saved is None else saved.state['counter'])

    def _restore(self) -> tuple[Saved | None, int]:
        """(the checkpoint to go on from, actor steps at it)."""
        keep = self._program.experiment.checkpoint.keep
        checkpoints = self._folder / CHECKPOINTS
        with refusing_checkpoints():
            saved = Checkpointer(checkpoints, keep).restore(
                python=False, on_lost_rows=self._program.on_lost_rows
            )
            if saved is None:
                return None, 0
            with fitting(checkpoints / saved.name):
                state = saved.state
                for name in ('counter', 'logs', 'actors', 'events', 'learner'):
                    if not isinstance(state[name], dict):
                        raise ValueError(f'{name} must be a mapping')
                stored = sum(int(each.get('stored', 0)) for each in state['table'].values())
                steps = int(state['loop']['actor_steps'])
        tell_losses(checkpoints / saved.name, saved, stored)
        return saved, steps

    def _watch(
        self, running: list[supervisor.Node], asking: Asking, channel: Channel
    ) -> dict[str, Any] | None:
        """Returns the last status, when the run is over or a signal has ended it."""
        deadline: float | None = None
        quiet = supervisor.QuietEnds(self._reports_of)
        while True:
            for node in running:
                node.show()
            failure = supervisor.find_failure(running)
            if failure is not None:
                raise NodeFailure(
                    f'node {failure.name} failed: {failure.reason}'
                ) from failure.error
            status: dict[str, Any] | None = asking.poll()
            if status is not None:
                self._show(status)
                if status['outcome'] is not None:
                    self._let_leave(running)
                    return status
            if self._signals:
                if deadline is None:
                    if status is None or not status['begun']:
                        return status  # there is nothing to save
                    deadline = time.monotonic() + _SAVE_SECONDS
                    channel.start('stop', NO_ARGUMENTS)
                if time.monotonic() >= deadline or self._signals.count(signal.SIGINT) > 1:
                    return status
            gone = quiet.look(running, status)
            if gone is not None:
                raise NodeFailure(
                    f'node {gone} ended before the run was over, and gave no reason: something in it '
                    f'ended its process or thread.'
                )
            time.sleep(_POLL_SECONDS)

    def _reports_of(self, label: str) -> list[str] | None:
        """What a node reports before it may end; None: it serves the others to the end of the run."""
        if label in ('counter', 'replay', 'learner'):
            return None
        if not label.startswith('actors-'):
            return [label]
        share = self._program.actors_per_process
        first = int(label.removeprefix('actors-')) * share
        actors = range(first, min(first + share, self._program.num_actors))
        return [f'actor-{actor}' for actor in actors]

    def _show(self, status: Mapping[str, Any]) -> None:
        evaluation = status['evaluation']
        self._progress.update(
            status['actor_steps'],
            status['learner_steps'],
            status['steps_per_second'],
            status['episode_return'],
            None if evaluation is None else evaluation['return_mean'],
            status['evaluating'],
        )

    def _let_leave(self, running: list[supervisor.Node]) -> None:
        """All is saved: waits for those that end by themselves, before the others are asked to."""
        deadline = time.monotonic() + _LEAVE_SECONDS
        leaving = [node for node in running if node.name not in ('counter', 'replay')]
        if self._signals:
            leaving = [node for node in leaving if node.name != 'evaluator']
        while any(node.is_running() for node in leaving) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _result(
        self, status: Mapping[str, Any] | None, resumed_at: int, saved: Mapping[str, int]
    ) -> Result:
        experiment, kept = self._program.experiment, self._program.workdir
        finished = status is not None and status['outcome'] == FINISHED
        counts: Mapping[str, Any] = status or saved
        summary = make_summary(
            self._config,
            kept,
            counts.get('actor_steps', 0),
            counts.get('learner_steps', 0),
            counts.get('episodes', 0),
            resumed_at=resumed_at,
            steps_per_second=counts.get('steps_per_second', 0.0),
            evaluation=counts.get('evaluation') or NO_EVALUATION,
        )
        if status is not None:
            write_json(self._folder / LOGS / TIMINGS, status['timings'])
        if finished:
            say_endless(summary)
            write_json(self._folder / RESULT, summary)
        params, make_policy = None, None
        if any((self._folder / CHECKPOINTS).glob('0*')):
            loaded = load(self._folder, experiment.agent, experiment.environment)
            params, make_policy = loaded.params, loaded.make_policy
        logs = None if kept is not None else dict(LogFiles(self._folder / LOGS))
        return Result(
            experiment=experiment,
            workdir=None if kept is None else str(kept),
            summary=summary,
            interrupted=not finished,
            signal=self._signals[0] if self._signals else None,
            params=params,
            logs=logs,
            make_policy=make_policy,
        )


# Launchpad.


class _SocketPath:
    """The address of a node on this machine, for Launchpad: the path of a socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def build(self) -> str:
        return str(self._path)


def _line(address: Any, key: Key) -> Line:
    return Line(address.resolve(), key)


def _serve(make: Callable[..., Any], stop: Stop, key: Key, address: Any, **lines: Line) -> None:
    """Makes a node once its address is served, and runs it."""
    server = Server()
    service = Service(server, address.resolve(), key)
    try:
        _run(make, stop, server, **lines)
    finally:
        service.close()


def _run(
    make: Callable[..., Any],
    stop: Stop,
    server: Server | None = None,
    **lines: Line,
) -> None:
    """Runs one node, in its process or thread."""
    stop.install()
    with contextlib.suppress(Stopped), exits_fail():
        node = make(stop=stop, **{name: Remote(name, line, stop) for name, line in lines.items()})
        if server is not None:
            server.open(node)
        node.run()


def _run_all(makes: Sequence[Callable[..., Any]], stop: Stop, **lines: Line) -> None:
    """Runs several nodes in threads of one process; the first that fails ends the others."""
    stop.install()
    errors: list[BaseException] = []

    def run(make: Callable[..., Any]) -> None:
        try:
            _run(make, stop, None, **lines)
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=run, args=(make,), daemon=True) for make in makes]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_POLL_SECONDS)  # so that signals are handled in between
    if errors:
        raise errors[0]


def _build(
    program: Program,
    folder: Path,
    scratch: Path,
    saved: Saved | None,
    resumed_at: int,
    stop: Stop,
    key: Key,
) -> tuple[Any, Line]:
    """The program for Launchpad, and the way to its counter."""
    import launchpad as lp
    from launchpad.nodes.dereference import Deferred

    experiment, folder = program.experiment, folder.absolute()
    state = {} if saved is None else saved.state
    result = lp.Program('culmen')

    def serve(label: str, make: Callable[..., Any], **handles: Any) -> Any:
        address = lp.Address()
        node = lp.PyNode(_serve, make, stop, key, address, **handles)
        address.assign(node)
        result.add_node(node, label)
        return Deferred(_line, address, key)

    counter = serve(
        'counter',
        functools.partial(
            nodes.CounterNode,
            num_actors=program.num_actors,
            max_actor_steps=experiment.max_actor_steps,
            logs=folder / LOGS,
            sinks=program.loggers,
            until_return=program.until_return,
            reward_names=reward_names(program.spec),
            state=None
            if saved is None
            else {
                'counter': state['counter'],
                'actors': state['actors'],
                'evaluation': state['events']['last_evaluation'],
                'logs': state['logs'],
            },
        ),
    )
    replay = serve(
        'replay',
        functools.partial(
            nodes.ReplayNode,
            experience=program.experience,
            num_lanes=program.num_lanes,
            lead=program.lead,
            restore=None if saved is None or saved.table is None else saved.table.absolute(),
        ),
    )
    learner = serve(
        'learner',
        functools.partial(
            nodes.LearnerNode,
            experiment,
            program.spec,
            num_lanes=program.num_lanes,
            lead=program.lead,
            checkpoints=folder / CHECKPOINTS,
            restore=None if saved is None else saved.name,
            lost_table=saved is not None and saved.table is None,
            stop_on_non_finite=program.on_non_finite == 'stop',
        ),
        counter=counter,
        replay=replay,
    )
    makes = [
        functools.partial(
            nodes.ActorNode,
            experiment,
            i,
            program.num_actors,
            variables_every=program.variables_every,
            state=state.get('actors', {}).get(str(i)),
            resumed_at=resumed_at,
        )
        for i in range(program.num_actors)
    ]
    handles = {'counter': counter, 'learner': learner, 'replay': replay}
    share = program.actors_per_process
    for first in range(0, program.num_actors, share):
        label = f'actor-{first}' if share == 1 else f'actors-{first // share}'
        group = _Together(makes[first : first + share])
        result.add_node(lp.PyNode(group, stop, **handles), label)
    evaluator = functools.partial(nodes.EvaluatorNode, experiment, program.spec)
    result.add_node(lp.PyNode(_run, evaluator, stop, counter=counter, learner=learner), 'evaluator')
    _bind(result, scratch)
    return result, counter.dereference()


class _Together:
    """Runs nodes in one process. (A function with a list of them would have it taken apart.)"""

    def __init__(self, makes: Sequence[Callable[..., Any]]) -> None:
        self._makes = list(makes)

    def __call__(self, stop: Stop, **lines: Line) -> None:
        if len(self._makes) == 1:
            _run(self._makes[0], stop, None, **lines)
        else:
            _run_all(self._makes, stop, **lines)


def _bind(program: Any, folder: Path) -> None:
    """Settles where the nodes listen, and who hears of it: what Launchpad does before it launches."""
    from absl import flags
    from launchpad import context

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Launchpad reads its own; the command line is not absl's
    kind = context.LaunchType.LOCAL_MULTI_PROCESSING
    for node in program.get_all_nodes():
        node._initialize_context(kind, launch_config=None)
    for label, group in program.groups.items():
        for node in group:
            for handle in node.input_handles:
                handle.connect(node, label)
    for label, group in program.groups.items():
        for address in group[0].addresses:
            address.bind(_SocketPath(folder / label))


def _start_threads(program: Any, stop: Stop, running: list[supervisor.Node]) -> None:
    reverb_replay.require_reverb()  # once, before several threads import it
    for label, group in program.groups.items():
        running.append(supervisor.ThreadNode(label, group[0].function, stop))


def _start_processes(
    program: Any, key: Key, scratch: Path, logs: Path, running: list[supervisor.Node]
) -> None:
    small = len(usable_cores()) <= len(program.groups)
    for label, group in program.groups.items():
        with _launchpad_writes_to(scratch):
            (command,) = group[0].to_executables(group, label, group[0].launch_context)
        arguments = [each for each in command.command_as_list if each != '--pdb_post_mortem']
        arguments.append(f'--lp_job_name={label}')  # so that a list of processes tells who is who
        environment = {**os.environ, **_environment(label, small), **command.env_overrides}
        output = logs / f'{label}.log'
        running.append(
            supervisor.ProcessNode(label, arguments, environment, output, handed=key.value)
        )


@contextlib.contextmanager
def _launchpad_writes_to(folder: Path) -> Iterator[None]:
    """What a node runs Launchpad writes to a folder of its own, which nobody removes after a kill."""
    from launchpad.nodes.python import local_multi_processing as module

    mkdtemp = functools.partial(tempfile.mkdtemp, dir=folder)
    module.tempfile = types.SimpleNamespace(mkdtemp=mkdtemp)
    try:
        yield
    finally:
        module.tempfile = tempfile


def _environment(label: str, small: bool) -> dict[str, str]:
    """What a node's process is told of devices and threads.

    Args:
        label: of the node.
        small: whether there are fewer cores than processes, so that each has to do with one.
    """
    # Where this process finds a module, a node must: classes travel by their names.
    found = {'PYTHONPATH': os.pathsep.join(path or os.getcwd() for path in sys.path)}
    found['PYTHONUNBUFFERED'] = '1'  # what is printed is shown at once
    found['TF_CPP_MIN_LOG_LEVEL'] = '3'
    if label != 'learner':
        found['JAX_PLATFORMS'] = 'cpu'
        found['CUDA_VISIBLE_DEVICES'] = '-1'
    if small or label != 'learner':
        found['XLA_FLAGS'] = (
            os.environ.get('XLA_FLAGS', '') + ' --xla_cpu_multi_thread_eigen=false'
        ).strip()
        found['NPROC'] = '1'  # threads of JAX's pool
        for name in ('OMP', 'OPENBLAS', 'MKL'):
            found[f'{name}_NUM_THREADS'] = '1'
        found['TF_NUM_INTRAOP_THREADS'] = found['TF_NUM_INTEROP_THREADS'] = '1'
    return found
