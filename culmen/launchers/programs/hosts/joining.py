"""The agent of a host: joins the learner's host, and starts, asks and kills the nodes that it wants.

It asks the learner's host several times a second what is wanted (`gathering`), so a network that breaks for a
while loses nothing. If there is no answer for long, it ends its nodes and itself.
"""

import contextlib
import os
import pickle
import platform
import secrets
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NamedTuple

from culmen.components.files import read_json
from culmen.components.files.scratch import Scratch
from culmen.launchers.options import signals_to
from culmen.launchers.programs import supervisor
from culmen.launchers.programs.connections import Key
from culmen.launchers.programs.connections import KeyRefused
from culmen.launchers.programs.connections import Line
from culmen.launchers.programs.connections import text_of
from culmen.launchers.programs.hosts.file import GATHERING
from culmen.launchers.programs.hosts.file import Host
from culmen.launchers.programs.hosts.file import Hosts
from culmen.launchers.programs.hosts.gathering import ASK
from culmen.launchers.programs.hosts.gathering import KILL
from culmen.launchers.programs.hosts.gathering import RUN
from culmen.launchers.programs.hosts.gathering import End
from culmen.launchers.programs.hosts.gathering import Orders
from culmen.launchers.programs.hosts.gathering import Report
from culmen.launchers.programs.hosts.gathering import find_versions
from culmen.launchers.programs.hosts.ssh import Tunnel
from culmen.launchers.programs.hosts.tables import with_tables
from culmen.launchers.programs.launching import Engine
from culmen.launchers.programs.launching import Job
from culmen.launchers.programs.outputs import send_outputs
from culmen.launchers.programs.pieces import copy
from culmen.launchers.programs.remote import RemoteError
from culmen.launchers.programs.remote import call_once
from culmen.launchers.programs.running import Care
from culmen.launchers.programs.stops import Stop
from culmen.launchers.programs.supervisor import NodeFailure
from culmen.launchers.programs.topology import REPLAY
from culmen.launchers.results import Refused
from culmen.launchers.workdir import CHECKPOINTS
from culmen.launchers.workdir import CONFIG
from culmen.launchers.workdir import LOGS
from culmen.launchers.workdir import write_json

# In the workdir of a host without the learner: where the learner was.
JOINED = 'joined.json'
_FOLLOW_SECONDS = 0.2
_ANSWER_SECONDS = 5.0
_JOIN_SECONDS = 0.5  # between two attempts
_ASK_SECONDS = 1.0  # between requests to end
_END_SECONDS = 4.0  # for nodes that were asked to end


class _Started(NamedTuple):
    number: int
    node: supervisor.Node | None  # None: it could not be started
    reason: str | None = None
    output: Sequence[str] = ()


class Agent:
    """One host of a program, which is not the learner's."""

    def __init__(
        self,
        hosts: Hosts,
        here: Host,
        key: Key,
        engine: Engine,
        *,
        config: Mapping[str, Any] | None,
        workdir: Path | None,
        tunnel: Tunnel | None = None,
    ) -> None:
        """Prepares to join.

        Args:
            hosts: of the program.
            here: this one.
            key: of the program.
            engine: starts nodes on one machine.
            config: of the run, which the learner's host compares; None: that host started this one.
            workdir: for logs of nodes; None: nothing is kept.
            tunnel: carries the calls; None: the network does, or what the learner's host has opened.
        """
        self._hosts = hosts
        self._here = here
        self._key = key
        self._engine = engine
        self._config = config
        self._workdir = None if workdir is None else workdir.absolute()
        self._tunnel = tunnel
        self._addresses = hosts.addresses(here)
        self._head = Line(self._addresses[GATHERING], key)
        self._session = ''
        self._started: dict[str, _Started] = {}
        self._signals: list[int] = []
        self._asked_at: dict[str, float] = {}

    def run(self) -> End:
        """Joins, and does what is wanted to the end of the program.

        Returns: how the program ended.
        Raises: Refused if the learner's host can't be joined; NodeFailure if it does not answer any more.
        """
        self._scratch = Scratch('program')
        with contextlib.closing(self._scratch), signals_to(self._signals.append):
            end = self._join()
            if end is not None:
                return end
            try:
                end = self._follow()
            finally:
                nodes = [each.node for each in self._started.values() if each.node is not None]
                supervisor.end(nodes, _END_SECONDS)
            self._leave()
            return end

    def _leave(self) -> None:
        """Sends what the nodes wrote to the learner's host, and tells it that nothing runs here any more."""
        with contextlib.suppress(
            ConnectionError, RemoteError
        ):  # it may be gone; the files are here too
            if self._started:
                send_outputs(
                    self._make_logs(),
                    self._here.name,
                    lambda _, file, begin, data: self._ask_for('take_output', file, begin, data),
                )
            self._ask_for('leave')

    def _join(self) -> End | None:
        """Joins. Returns: how it ended, if a signal came first."""
        head, deadline = self._hosts.head, time.monotonic() + self._hosts.wait
        where = text_of((head.address, self._hosts.port))
        self._session = secrets.token_hex(8)
        machine = f'pid {os.getpid()} on {platform.node()}'
        arguments = (
            *(self._here.name, self._session, machine, find_versions()),
            *(self._config, self._find_checkpoint()),
        )
        print(
            f'culmen: host {self._here.name} joins {head.name} at {where}.',
            file=sys.stderr,
            flush=True,
        )
        while not self._signals:
            try:
                refusal = call_once(self._head, 'join', arguments, _ANSWER_SECONDS)
            except KeyRefused:
                raise Refused(
                    f'host {head.name} does not accept the key of {self._here.name}: every host has to '
                    f'have the same one.'
                ) from None
            except ConnectionError as error:
                why = f'{error}'
            else:
                if refusal is not None:
                    raise Refused(refusal)
                return None
            ended = None if self._tunnel is None else self._tunnel.ended()
            if ended is not None:
                raise Refused(ended)
            if time.monotonic() > deadline:
                raise Refused(
                    f'host {head.name} can not be joined at {where} within '
                    f'{self._hosts.wait:g} seconds (wait in {self._hosts.name}): {why}'
                )
            time.sleep(_JOIN_SECONDS)
        return End(signal=self._signals[0])

    def _find_checkpoint(self) -> str | None:
        """The newest checkpoint of this experiment in the workdir."""
        if self._workdir is None or not (self._workdir / CHECKPOINTS).is_dir():
            return None
        names = sorted(path.name for path in (self._workdir / CHECKPOINTS).glob('[0-9]*'))
        return names[-1] if names else None

    def _follow(self) -> End:
        heard = time.monotonic()
        while True:
            try:
                orders: Orders | None = call_once(
                    self._head,
                    'follow',
                    (self._here.name, self._session, self._report(), tuple(self._signals)),
                    _ANSWER_SECONDS,
                )
            except ConnectionError as error:
                self._check_silence(heard, error)
            else:
                heard = time.monotonic()
                if orders is None:
                    raise NodeFailure(
                        f'host {self._hosts.head.name} has given host {self._here.name} up, of which it '
                        f'did not hear for {self._hosts.silence:g} seconds; start it again.'
                    )
                if orders.end is not None:
                    return orders.end
                self._obey(orders.wanted)
            if self._tunnel is not None:
                self._tunnel.keep()
            for started in self._started.values():
                if started.node is not None:
                    started.node.show()
            if self._signals.count(signal.SIGINT) > 1:
                return End(signal=signal.SIGINT)
            time.sleep(_FOLLOW_SECONDS)

    def _check_silence(self, heard: float, error: ConnectionError) -> None:
        """Raises: NodeFailure if the learner's host has been silent for too long, or a signal has come."""
        silent = time.monotonic() - heard
        if self._signals or silent > self._hosts.silence:
            raise NodeFailure(
                f'host {self._hosts.head.name} has not answered for {silent:.0f} seconds: {error}'
            ) from None

    def _report(self) -> dict[str, Report]:
        return {label: self._report_node(each) for label, each in self._started.items()}

    def _report_node(self, started: _Started) -> Report:
        node = started.node
        if node is None:
            return Report(started.number, False, None, started.reason, started.output)
        if node.is_running():
            return Report(started.number, True, node.pid, pulse=node.pulse())
        failure = node.failure()
        if failure is None:
            return Report(started.number, False, node.pid)
        return Report(started.number, False, node.pid, failure.reason, failure.output)

    def _obey(self, wanted: Mapping[str, tuple[int, str]]) -> None:
        for label, (number, what) in wanted.items():
            started = self._started.get(label)
            if started is None or started.number < number:
                if started is not None and started.node is not None:
                    supervisor.end([started.node], _END_SECONDS)
                self._started[label] = self._start(label, number, what)
            elif started.node is None:
                continue
            elif what == KILL:
                started.node.kill()
            elif what == ASK and time.monotonic() > self._asked_at.get(label, 0.0):
                self._asked_at[label] = time.monotonic() + _ASK_SECONDS
                started.node.ask()

    def _start(self, label: str, number: int, what: str) -> _Started:
        if what != RUN:
            return _Started(number, None)
        try:
            plan, patient, shows = pickle.loads(self._ask_for('get_plan', label))
            if label == REPLAY:
                plan = with_tables(plan, self._fetch_tables(number))
            return _Started(number, self._engine.start_node(self._make_job(patient, shows), plan))
        except ConnectionError:  # later, then
            return self._started.get(label) or _Started(number - 1, None)
        except Exception as error:
            trace = traceback.format_exc()
            print(trace, file=sys.stderr, flush=True)
            return _Started(number, None, f'it could not be started: {error!r}', trace.splitlines())

    def _ask_for(self, method: str, *arguments: Any) -> Any:
        return call_once(
            self._head, method, (self._here.name, self._session, *arguments), _ANSWER_SECONDS
        )

    def _fetch_tables(self, number: int) -> Path | None:
        """Copies the tables that the replay restores from the learner's host. Returns: their folder."""
        files = self._ask_for('get_tables')
        if files is None:
            return None
        folder = self._scratch.path / f'tables-{number}'
        shutil.rmtree(folder, ignore_errors=True)
        copy(files, lambda name, offset: self._ask_for('read_tables', name, offset), folder)
        return folder

    def _make_job(self, patient: bool, shows: bool) -> Job:
        pulses = self._scratch.path / 'pulses' if shows else None
        if pulses is not None:
            pulses.mkdir(exist_ok=True)
        return Job(
            (),
            self._addresses,
            Stop(),
            self._key,
            self._scratch.path,
            self._make_logs(),
            self._here.actors + len(self._here.nodes),
            Care(pulses, patient),
        )

    def _make_logs(self) -> Path:
        """The folder of the logs. A workdir also says whose it is, and where the learner was."""
        folder = self._workdir
        logs = (folder or self._scratch.path) / LOGS
        logs.mkdir(parents=True, exist_ok=True)
        if folder is not None and self._config is not None and not (folder / CONFIG).exists():
            write_json(folder / CONFIG, dict(self._config))
            write_json(folder / JOINED, {'learner': self._hosts.head.name})
        return logs


def check_moved(folder: Path | None, here: Host, has_checkpoint: bool) -> None:
    """Refuses to begin anew where this host has joined a run of which another host has the checkpoints.

    Args:
        folder: the workdir.
        here: the learner's host, this one.
        has_checkpoint: whether the workdir has one.
    Raises: ValueError that says what the learner needs here.
    """
    if folder is None or has_checkpoint or not (folder / JOINED).exists():
        return
    old = str(read_json(folder / JOINED).get('learner'))
    if old != here.name:
        raise ValueError(
            f'the learner of the run in {folder} was on host {old:.80} and is now on {here.name}, which has '
            f'no checkpoint of it. A learner that moves needs the old workdir: copy config.json, '
            f'program.json, checkpoints and logs from {old:.80} to {folder}, or choose another workdir.'
        )
