"""Runs a program to its end on any engine: starts its nodes, watches them, and collects the result."""

import contextlib
import signal
import sys
import time
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NamedTuple
from typing import Protocol

from culmen.components.files.scratch import Scratch
from culmen.components.loggers import LogFiles
from culmen.components.loggers import make_progress
from culmen.launchers import configs
from culmen.launchers import status as statuses
from culmen.launchers.loading import load
from culmen.launchers.loading import stored_result
from culmen.launchers.options import signals_to
from culmen.launchers.programs import supervisor
from culmen.launchers.programs.beginning import check_initial
from culmen.launchers.programs.beginning import stored_items
from culmen.launchers.programs.board import Board
from culmen.launchers.programs.connections import Address
from culmen.launchers.programs.connections import Key
from culmen.launchers.programs.connections import Line
from culmen.launchers.programs.keeper import Hooks
from culmen.launchers.programs.keeper import Keeper
from culmen.launchers.programs.nodes.counter import FINISHED
from culmen.launchers.programs.nodes.replay import REVERB
from culmen.launchers.programs.program import PROGRAM
from culmen.launchers.programs.program import Program
from culmen.launchers.programs.program import check_tables
from culmen.launchers.programs.program import describe_tables
from culmen.launchers.programs.remote import NO_ARGUMENTS
from culmen.launchers.programs.remote import Asking
from culmen.launchers.programs.remote import Channel
from culmen.launchers.programs.remote import ask
from culmen.launchers.programs.remote import dumps
from culmen.launchers.programs.running import Care
from culmen.launchers.programs.stops import SWITCH_SECONDS
from culmen.launchers.programs.stops import Stop
from culmen.launchers.programs.supervisor import NodeFailure
from culmen.launchers.programs.topology import COUNTER
from culmen.launchers.programs.topology import EVALUATOR
from culmen.launchers.programs.topology import REPLAY
from culmen.launchers.programs.topology import SERVED
from culmen.launchers.programs.topology import TABLES
from culmen.launchers.programs.topology import NodePlan
from culmen.launchers.programs.topology import kind_of
from culmen.launchers.programs.topology import plan_nodes
from culmen.launchers.programs.topology import restarted_with
from culmen.launchers.restoring import tell_losses
from culmen.launchers.results import Refused
from culmen.launchers.results import Result
from culmen.launchers.results import refusing
from culmen.launchers.rows import NO_EVALUATION
from culmen.launchers.rows import say_endless
from culmen.launchers.schedule import Counts
from culmen.launchers.workdir import LOGS
from culmen.launchers.workdir import Restored
from culmen.launchers.workdir import Workdir
from culmen.launchers.workdir import make_summary
from culmen.launchers.workdir import write_json

TIMINGS = 'nodes.json'  # in the logs' folder: how each node spent its time
_POLL_SECONDS = 0.05
_STATUS_SECONDS, _FACTS_SECONDS = 0.2, 1.0
_LEAVE_SECONDS = 5.0  # for nodes to end by themselves once all is saved
_END_SECONDS = 4.0  # for nodes that were asked to end


class Job(NamedTuple):
    """What an engine starts."""

    nodes: Sequence[NodePlan]
    addresses: Mapping[str, Address]  # by label: of nodes that are served, and of TABLES
    stop: Stop  # for nodes in this process; in another it unpickles to that of its process
    key: Key  # not in its pickle: it is handed to a process (supervisor.ProcessNode)
    scratch: Path  # a folder for this launch alone
    logs: Path
    processes: int  # of the nodes on this machine
    care: Care = Care()


class Engine(Protocol):
    """Starts the nodes of programs."""

    launcher: str  # its name, as in --launcher
    in_threads: bool  # whether nodes are threads of this process, which can't be killed

    def find_addresses(self, scratch: Path) -> Mapping[str, Address]:
        """Where the nodes that are served listen, by label; under TABLES, if it is fixed, Reverb's."""
        ...

    def gather(self, home: Workdir, signals: list[int]) -> None:
        """Waits until the other machines of the program are there, or until there is a signal.

        Args: home: of the run; signals: of this launch, to which those of other machines are added.
        Raises: Refused that names those that did not come.
        """
        ...

    def make_key(self) -> Key:
        """The program's key."""
        ...

    def count_here(self, plans: Sequence[NodePlan]) -> int:
        """How many of the nodes run on this machine."""
        ...

    def tell_open(self, replay: str) -> str:
        """What others can reach while the program runs, as sentences. Args: replay: as of the program."""
        ...

    def start_node(self, job: Job, plan: NodePlan) -> supervisor.Node:
        """Starts one node of the job to run `run_node`: at the beginning, or again."""
        ...

    def close(self, outcome: Result | BaseException) -> None:
        """Ends what the engine holds, after all nodes. Args: outcome: what the launch gives or raises."""
        ...


class OneMachine:
    """What an engine of one machine needs beside `start_node`."""

    def find_addresses(self, scratch: Path) -> Mapping[str, Address]:
        """Unix sockets in the launch's own folder."""
        return {label: str(scratch / label) for label in SERVED}

    def gather(self, home: Workdir, signals: list[int]) -> None:
        """There is nobody to wait for."""

    def make_key(self) -> Key:
        """A new one."""
        return Key()

    def count_here(self, plans: Sequence[NodePlan]) -> int:
        """All of them."""
        return len(plans)

    def tell_open(self, replay: str) -> str:
        """Reverb's port alone."""
        if replay != REVERB:
            return 'No port is open: nodes call each other over sockets in a folder of this user.'
        return (
            'Reverb listens on all interfaces and asks for no password: whoever reaches its port can '
            'read, alter and empty the tables, and run no code. Run programs on trusted networks.'
        )

    def close(self, outcome: Result | BaseException) -> None:
        """There is nothing to end."""


def launch(program: Program, engine: Engine, progress: bool | None = None) -> Result:
    """Runs a program on this machine to its end, and evaluates the final variables.

    The same program on the same workdir resumes where it stopped. SIGINT and SIGTERM end it after a
    checkpoint, and the Result so far is returned. No thread or process is left when this returns or raises.

    Args:
        program: the result of `make_program`.
        engine: starts the nodes.
        progress: whether to show progress; None: depends on what standard error is.
    Returns: the Result.
    Raises: Refused for what is wrong before anything is computed; NodeFailure that names the node that
        failed, with its traceback on standard error.
    """
    with refusing():
        if engine.in_threads and program.variables:
            raise ValueError(
                f'variables are of processes, and all threads have those of this one; got '
                f'{dict(program.variables)}.'
            )
        config = configs.to_json(
            program.experiment,
            launcher=engine.launcher,
            replay=program.replay,
            num_actors=program.num_actors,
        )
        home = Workdir(program.workdir, program.experiment, config, ends=program.options.ends)
    if home.summary is not None:
        return stored_result(home, program.experiment)
    with home:
        with refusing():
            if home.folder is not None:
                check_tables(home.folder, program)
            check_initial(program, home)
        # For sockets and for what nodes run; other users can't read it.
        scratch = Scratch('program', longest_name=max(map(len, SERVED)))
        with contextlib.closing(scratch):
            if home.folder is None:
                home = Workdir(scratch.path / 'run', program.experiment, config)
            with home:
                return _Launch(program, engine, home, scratch.path, progress).run()


class _Launch:
    """One launch of a program."""

    def __init__(
        self,
        program: Program,
        engine: Engine,
        home: Workdir,
        scratch: Path,
        progress: bool | None,
    ) -> None:
        assert home.folder is not None
        self._program = program
        self._engine = engine
        self._home = home
        self._folder = home.folder
        self._scratch = scratch
        self._progress = make_progress(progress, program.experiment.max_actor_steps)
        self._signals: list[int] = []
        self._board = Board(self._folder)

    def run(self) -> Result:
        """Starts the nodes, watches them to the end, and collects the result."""
        restored = self._home.restore(on_lost_rows=self._program.options.on_lost_rows)
        if restored is not None:
            tell_losses(restored.path, restored.saved, stored_items(restored))
        try:
            with signals_to(self._signals.append):
                self._engine.gather(self._home, self._signals)
                status = None if self._signals else self._run_nodes(restored)
            result = self._result(status, restored)
        except BaseException as error:
            self._board.end(statuses.FAILED, f'{type(error).__name__}: {error}', None)
            self._engine.close(error)
            raise
        self._engine.close(result)
        return result

    def _run_nodes(self, restored: Restored | None) -> dict[str, Any] | None:
        """Starts the nodes, watches them, and ends them. Returns: the last status."""
        self._home.begin()
        write_json(self._folder / PROGRAM, describe_tables(self._program))
        (self._folder / LOGS).mkdir(exist_ok=True)
        print(
            f'culmen: {self._program.num_actors} actors as {self._engine.launcher}. '
            f'{self._engine.tell_open(self._program.replay)}',
            file=sys.stderr,
            flush=True,
        )
        addresses = self._engine.find_addresses(self._scratch)
        plans = plan_nodes(self._program, self._folder, restored, addresses.get(TABLES))
        job = Job(
            plans,
            addresses,
            Stop(),
            self._engine.make_key(),
            self._scratch,
            self._folder / LOGS,
            self._engine.count_here(plans),
            Care.of(self._program.faults, self._scratch),
        )
        running: list[supervisor.Node] = []
        interval = sys.getswitchinterval()
        try:
            if self._engine.in_threads:
                sys.setswitchinterval(min(SWITCH_SECONDS, interval))
            for plan in job.nodes:
                running.append(self._engine.start_node(job, plan))
            channel = Line(job.addresses[COUNTER], job.key)
            asking = Asking('get_status', channel, _STATUS_SECONDS)
            facts = Asking('get_facts', channel, _FACTS_SECONDS)
            keeper = Keeper(self._hooks(job, channel), job.nodes, running)
            self._board.begin(job.nodes, keeper.restarts_of, keeper.state_of)
            status = self._watch(running, keeper, asking, facts, channel)
        finally:
            late = supervisor.end(running, _END_SECONDS)
            self._progress.close()
            sys.setswitchinterval(interval)
        if late and self._engine.in_threads:
            raise NodeFailure(f'nodes {", ".join(late)} did not end when they were asked to.')
        return status

    def _hooks(self, job: Job, channel: Channel) -> Hooks:
        """What is restarted with what, and how. Args: channel: to the counter."""
        program, labels = self._program, [plan.label for plan in job.nodes]
        replay = Line(job.addresses[REPLAY], job.key)

        def plan_again() -> Sequence[NodePlan]:
            try:
                restored = self._home.restore(on_lost_rows=program.options.on_lost_rows)
            except Refused as error:
                raise NodeFailure(f'the run can not go back to a checkpoint: {error}') from error
            return plan_nodes(program, self._folder, restored, job.addresses.get(TABLES))

        return Hooks(
            program.faults,
            lambda label: restarted_with(label, labels, program.experience, program.num_lanes),
            lambda plan: self._engine.start_node(job, plan),
            plan_again,
            lambda actor: channel.start('lost', dumps((actor,))),
            lambda: ask(replay, 'get_inserted'),
            job.logs,
        )

    def _watch(
        self,
        running: list[supervisor.Node],
        keeper: Keeper,
        asking: Asking,
        facts: Asking,
        channel: Channel,
    ) -> dict[str, Any] | None:
        """Watches until the run is over or a signal has ended it, and returns the last status."""
        deadline: float | None = None
        status: dict[str, Any] | None = None
        while True:
            for node in running:
                node.show()
            keeper.look(status, stopping=deadline is not None)
            status = asking.poll()
            self._board.tell(running, status, facts.poll())
            if status is not None:
                self._show(status)
                if status['outcome'] is not None:
                    self._let_leave(running)
                    return status
            if self._signals:
                if deadline is None:
                    if status is None or not status['begun'] or not keeper.can_save:
                        return status  # there is nothing to save, or nobody who could
                    deadline = time.monotonic() + self._program.faults.grace
                    channel.start('stop', NO_ARGUMENTS)
                if time.monotonic() >= deadline or self._signals.count(signal.SIGINT) > 1:
                    return status
            time.sleep(_POLL_SECONDS)

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
        """After all is saved, waits for nodes that end by themselves, before the others are asked to end."""
        deadline = time.monotonic() + _LEAVE_SECONDS
        leaving = [node for node in running if node.name not in (COUNTER, REPLAY)]
        if self._signals:
            leaving = [node for node in leaving if kind_of(node.name) != EVALUATOR]
        while any(node.is_running() for node in leaving) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _result(self, status: Mapping[str, Any] | None, restored: Restored | None) -> Result:
        experiment, kept = self._program.experiment, self._program.workdir
        finished = status is not None and status['outcome'] == FINISHED
        counts: Mapping[str, Any] = status or ({} if restored is None else restored.state.counter)
        summary = make_summary(
            self._home.config,
            None if kept is None else str(kept),
            Counts(counts.get('actor_steps', 0), counts.get('learner_steps', 0)),
            counts.get('episodes', 0),
            resumed_at=0 if restored is None else restored.state.counts.actor_steps,
            steps_per_second=counts.get('steps_per_second', 0.0),
            evaluation=counts.get('evaluation') or NO_EVALUATION,
        )
        if status is not None:
            lost = {COUNTER: {'lost': status['lost']}} if any(status['lost'].values()) else {}
            write_json(self._folder / LOGS / TIMINGS, {**status['timings'], **lost})
        if finished:
            say_endless(summary)
            self._home.finish(summary)
        self._board.end(statuses.FINISHED if finished else statuses.STOPPED, None, status)
        params, make_policy = None, None
        if self._home.has_checkpoint:
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
