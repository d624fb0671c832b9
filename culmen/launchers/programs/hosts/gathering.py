"""The host of the learner, as the other hosts see it: they join, do what it wants, and tell how that goes.

The agent of each host (`joining`) calls all methods of `Gathering` that take a `session`. It asks several
times a second what is wanted, so whatever a broken network swallows is asked for again. To the launching
process a node of another host is a `HostNode`, like any node.
"""

import sys
import threading
import time
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NamedTuple

import cloudpickle

from culmen.launchers import configs
from culmen.launchers.programs.hosts.file import Host
from culmen.launchers.programs.hosts.file import Hosts
from culmen.launchers.programs.hosts.tables import restored_tables
from culmen.launchers.programs.hosts.tables import with_tables
from culmen.launchers.programs.outputs import Outputs
from culmen.launchers.programs.pieces import read_piece
from culmen.launchers.programs.pieces import sizes
from culmen.launchers.programs.pulses import Pulse
from culmen.launchers.programs.running import Care
from culmen.launchers.programs.supervisor import Failure
from culmen.launchers.programs.topology import REPLAY
from culmen.launchers.programs.topology import NodePlan

RUN, ASK, KILL = 'run', 'ask', 'kill'  # what is wanted of a node
_ALIVE_SECONDS = 5.0  # since an agent was heard, until another may take its place
_DEAF_SECONDS = 2.0  # without a question of an agent, which then can't be told to end a node
_FAREWELL_SECONDS = 5.0  # without a word of an agent, after the end


class Report(NamedTuple):
    """How a node is, as its agent tells."""

    number: int  # of the start that this is about
    is_running: bool
    pid: int | None = None
    reason: str | None = None  # why it failed
    output: Sequence[str] = ()  # the last lines that it wrote, if it failed
    pulse: Pulse | None = None  # its progress, if that is asked for


class End(NamedTuple):
    """How the program ended, for the other hosts."""

    summary: Mapping[str, Any] | None = None  # of the Result
    signal: int | None = None  # that ended it
    error: str | None = None


class Orders(NamedTuple):
    """What the learner's host wants of another."""

    wanted: Mapping[str, tuple[int, str]]  # by label: the number of the start, and RUN, ASK or KILL
    end: End | None = None


class _Member:
    """A host that joins."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.session: str | None = None  # of the agent that has joined
        self.machine = ''
        self.heard = 0.0
        self.ended = False  # has left after the end
        self.lost: str | None = None  # why its nodes of this session are gone
        self.lost_at = 0.0
        self.signals = 0  # told so far
        self.numbers = 0  # starts so far
        self.plans: dict[str, bytes] = {}
        self.tables: Path | None = None  # that the replay there restores
        self.wanted: dict[str, tuple[int, str]] = {}
        self.reports: dict[str, Report] = {}
        self.gone: dict[int, str] = {}  # starts that ended with their agent, and why


class Gathering:
    """Keeps which hosts have joined, what is wanted of each, and what they tell. Thread-safe."""

    def __init__(
        self,
        hosts: Hosts,
        config: Mapping[str, Any],
        signals: list[int],
        has_checkpoint: bool,
        logs: Path,
    ) -> None:
        """Waits for hosts.

        Args:
            hosts: of the program.
            config: of the run; the others have to have the same.
            signals: receives those that other hosts got.
            has_checkpoint: whether the run goes on from one of this host.
            logs: the folder of the run's logs, which receives the output of nodes of other hosts.
        """
        self._outputs = Outputs(logs)
        self._hosts = hosts
        self._config = dict(config)
        self._signals = signals
        self._has_checkpoint = has_checkpoint
        self._lock = threading.RLock()
        self._members = {host.name: _Member(host) for host in hosts.others}
        self._end: End | None = None
        self.refusal: str | None = None  # why the program can't begin

    # The agents of the other hosts.

    def join(
        self,
        name: str,
        session: str,
        machine: str,
        versions: Mapping[str, str],
        config: Mapping[str, Any] | None,
        checkpoint: str | None,
    ) -> str | None:
        """An agent joins.

        Args:
            name: of its host.
            session: chosen by the agent, another one each time it starts.
            machine: and process, in words.
            versions: as from `find_versions`.
            config: of its run; None: it was started by this host.
            checkpoint: the newest one in its workdir.
        Returns: why it is refused, or None.
        """
        refusal = self._check(name, session, versions, config)
        if refusal is None and checkpoint is not None and not self._has_checkpoint:
            refusal = self.refusal = (
                f'host {name} has checkpoint {checkpoint} of this run, and {self._hosts.head.name}, '
                f'where the learner now is, has none. A learner that moves needs the workdir of the '
                f'old host: copy config.json, program.json, checkpoints and logs, or choose another '
                f'workdir on each host.'
            )
        if refusal is not None:
            print(f'culmen: host {name} was refused: {refusal}', file=sys.stderr, flush=True)
            return refusal
        with self._lock:
            member = self._members[name]
            if member.lost is None and member.session not in (None, session):
                self._lose(member, f'its host {name} was started anew')
            member.session, member.machine, member.lost = session, machine, None
            member.signals = 0
            member.heard = time.monotonic()
        return None

    def _check(
        self,
        name: str,
        session: str,
        versions: Mapping[str, str],
        config: Mapping[str, Any] | None,
    ) -> str | None:
        member = self._members.get(name)
        if member is None:
            return f'{name} is no other host of {self._hosts.name}, which has {self._names()}.'
        here = find_versions()
        for package in here:
            if versions.get(package) != here[package]:
                return (
                    f'{package} is {versions.get(package)} on host {name} and {here[package]} on '
                    f'{self._hosts.head.name}; install the same version on both.'
                )
        different = () if config is None else configs.same_experiment(config, self._config)
        if different:
            return (
                f'host {name} was started for another experiment: {", ".join(different)} differ from '
                f'those of {self._hosts.head.name}; give both the same command.'
            )
        is_new = member.session not in (None, session) and member.lost is None
        if is_new and time.monotonic() - member.heard < _ALIVE_SECONDS:
            return f'host {name} has joined already, from {member.machine}.'
        return None

    def _names(self) -> str:
        return ', '.join(self._members) or 'none'

    def follow(
        self, name: str, session: str, reports: Mapping[str, Report], signals: Sequence[int]
    ) -> Orders | None:
        """An agent tells how its nodes are, and asks what is wanted.

        Args:
            reports: by label.
            signals: all that it got.
        Returns: None if the agent has been given up, and has to end its nodes.
        """
        with self._lock:
            member = self._members[name]
            if member.session != session or member.lost is not None:
                return None
            member.heard = time.monotonic()
            member.reports = dict(reports)
            self._signals.extend(signals[member.signals :])
            member.signals = len(signals)
            return Orders(dict(member.wanted), self._end)

    def get_plan(self, name: str, session: str, label: str) -> bytes:
        """Pickled: the plan of a node that is wanted, whether it is patient, and shows its progress."""
        with self._lock:
            self._members[name].heard = time.monotonic()
            return self._members[name].plans[label]

    def get_tables(self, name: str, session: str) -> dict[str, int] | None:
        """The bytes of each file of the tables that the replay there restores; None: it restores none."""
        folder = self._members[name].tables
        return None if folder is None else sizes(folder)

    def read_tables(self, name: str, session: str, file: str, offset: int) -> bytes:
        """A piece of such a file."""
        member = self._members[name]
        member.heard = time.monotonic()  # large tables take long
        folder = member.tables
        assert folder is not None, 'no tables are restored'
        return read_piece(folder, file, offset)

    def take_output(self, name: str, session: str, file: str, begin: int, data: bytes) -> None:
        """Receives what a node there wrote, as `outputs.Outputs.take`."""
        self._members[name].heard = time.monotonic()
        self._outputs.take(name, file, begin, data)

    def leave(self, name: str, session: str) -> None:
        """An agent has heard of the end, and has ended its nodes."""
        with self._lock:
            self._members[name].ended = True

    # The launching process.

    def missing(self) -> list[str]:
        """The names of hosts that have not joined."""
        with self._lock:
            return [each.host.name for each in self._members.values() if each.session is None]

    def machines(self) -> dict[str, str]:
        """The machine and process of each host that has joined, by name."""
        with self._lock:
            return {name: each.machine for name, each in self._members.items() if each.session}

    def start(self, host: Host, plan: NodePlan, care: Care) -> 'HostNode':
        """Has a host start a node. Args: care: against faults, with a folder of this host."""
        with self._lock:
            member = self._members[host.name]
            member.numbers += 1
            if plan.label == REPLAY:
                member.tables, plan = restored_tables(plan), with_tables(plan, None)
            what = (plan, care.patient, care.pulses is not None)
            member.plans[plan.label] = cloudpickle.dumps(what)
            member.wanted[plan.label] = (member.numbers, RUN)
            return HostNode(self, host.name, plan.label, member.numbers)

    def want(self, name: str, label: str, number: int, what: str) -> None:
        """Changes what is wanted of a node, unless it has been started again since."""
        with self._lock:
            member = self._members[name]
            now = member.wanted.get(label, (0, KILL))
            if now[0] == number and now[1] != KILL:
                member.wanted[label] = (number, what)

    def look(self, name: str, label: str, number: int) -> Report:
        """How a node is, as far as is known."""
        with self._lock:
            member = self._members[name]
            silent = time.monotonic() - member.heard
            has_joined = member.session is not None and member.lost is None
            if has_joined and silent > self._hosts.silence:
                self._lose(
                    member,
                    f'its host {name} ({member.host.address}) has not answered for '
                    f'{self._hosts.silence:g} seconds',
                )
            absent = time.monotonic() - member.lost_at
            if member.lost is not None and absent > self._hosts.wait:
                member.gone.setdefault(number, f'{member.lost}, and it did not join again')
            if number in member.gone:
                return Report(number, False, reason=member.gone[number])
            if member.wanted.get(label) == (number, KILL) and silent > _DEAF_SECONDS:
                return Report(number, False)  # it is ended before another takes its place
            report = member.reports.get(label)
            if report is None or report.number < number:
                return Report(number, True)  # about to start
            return report

    def _lose(self, member: _Member, why: str) -> None:
        """Gives up the nodes of a host, of which nothing more will be heard."""
        member.lost, member.lost_at = why, time.monotonic()
        for label, (number, _) in member.wanted.items():
            report = member.reports.get(label)
            if report is None or report.number < number or report.is_running:
                member.gone.setdefault(number, why)
        member.wanted = {}

    def finish(self, end: End) -> None:
        """Tells the other hosts that the program has ended, and waits until they have left or are silent."""
        with self._lock:
            self._end = end
        begin = time.monotonic()
        while True:
            with self._lock:
                since = time.monotonic() - _FAREWELL_SECONDS
                staying = [
                    each
                    for each in self._members.values()
                    if each.session and not (each.ended or each.lost)
                ]
                if all(max(each.heard, begin) < since for each in staying):
                    return
            time.sleep(0.02)


class HostNode:
    """A node on another host (culmen.launchers.programs.supervisor.Node). What it writes is shown there."""

    def __init__(self, gathering: Gathering, host: str, label: str, number: int) -> None:
        """Args: gathering: knows how it is; host: its name; label: of the node; number: of this start."""
        self.name = label
        self.host: str | None = host
        self._gathering = gathering
        self._number = number

    def _look(self) -> Report:
        assert self.host is not None
        return self._gathering.look(self.host, self.name, self._number)

    @property
    def pid(self) -> int | None:
        """Its process id on its host, once that is known."""
        return self._look().pid

    def is_running(self) -> bool:
        return self._look().is_running

    def failure(self) -> Failure | None:
        report = self._look()
        if report.reason is None:
            return None
        for line in report.output:
            print(f'[{self.host}: {self.name}] {line}', file=sys.stderr, flush=True)
        return Failure(self.name, report.reason, output=report.output)

    def _want(self, what: str) -> None:
        assert self.host is not None
        self._gathering.want(self.host, self.name, self._number, what)

    def ask(self) -> None:
        self._want(ASK)

    def kill(self) -> None:
        self._want(KILL)

    def show(self) -> None:
        pass

    def pulse(self) -> Pulse | None:
        return self._look().pulse


def find_versions() -> dict[str, str]:
    """What has to be the same on all hosts: nodes pickle for each other."""
    import jax

    import culmen

    major, minor, *_ = sys.version_info
    return {'Culmen': culmen.__version__, 'JAX': jax.__version__, 'Python': f'{major}.{minor}'}
