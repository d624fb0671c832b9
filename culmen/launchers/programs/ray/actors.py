"""What runs in a process of Ray's: a node, and the answers of where and how it is."""

import contextlib
import os
import pickle
import socket
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any
from typing import NamedTuple

from culmen.launchers.programs import pulses
from culmen.launchers.programs.connections import Address
from culmen.launchers.programs.connections import Key
from culmen.launchers.programs.pulses import Pulse
from culmen.launchers.programs.stops import SWITCH_SECONDS
from culmen.launchers.programs.stops import Stop
from culmen.launchers.programs.topology import LEARNER
from culmen.launchers.programs.topology import REPLAY
from culmen.launchers.programs.topology import NodePlan

_FIND_SECONDS = 2.0  # for a node to say where it is
_PIECE_BYTES = 1 << 20  # of output in an answer
_WITH_WORKDIR = (LEARNER, REPLAY)  # which may be on other machines than the command


class Look(NamedTuple):
    """How a node is."""

    pid: int
    host: str | None  # its machine, if it is not that of the command
    address: Address | None  # where it listens
    pulse: Pulse | None
    output: bytes  # what it has written since the last look


class Host:
    """An actor that holds one node."""

    def __init__(self, label: str) -> None:
        """Args: label: of the node, by which Ray's dashboard and its lists name the actor."""
        self._label = label
        self._stop = Stop()
        self._output = tempfile.TemporaryFile()
        self._address: Address | None = None
        self._pulses: list[Path] = []

    def __repr__(self) -> str:
        return self._label

    def run(
        self, given: bytes, key: bytes, how: tuple[bool, bool, str], over_network: bool
    ) -> tuple[str | None, bytes]:
        """Runs the node to its end.

        Args:
            given: a NodePlan and the addresses of nodes, pickled by the launching process.
            key: of the program.
            how: whether to show progress, whether to be patient, and the workdir.
            over_network: whether the node listens at a port, or at its address in the folder of the launch.
        Returns: (why it failed, or None; all that it has written).
        """
        for descriptor in (1, 2):
            os.dup2(self._output.fileno(), descriptor)
        sys.setswitchinterval(SWITCH_SECONDS)
        reason = None
        try:
            self._run(given, Key(key), how, over_network)
        except BaseException as error:
            traceback.print_exc()
            reason = traceback.format_exception_only(type(error), error)[-1].strip()
            reason = reason.rpartition('.')[2] if ':' not in reason else _plain(reason)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        return reason, self._read(0, None)

    def _run(self, given: bytes, key: Key, how: tuple[bool, bool, str], over_network: bool) -> None:
        from culmen.launchers.programs.running import Care
        from culmen.launchers.programs.running import run_node

        plan: NodePlan
        plan, addresses = pickle.loads(given)
        shows, patient, workdir = how
        if plan.label in _WITH_WORKDIR and not (Path(workdir) / 'config.json').exists():
            raise FileNotFoundError(
                f'the workdir {workdir} is not to be seen on {_machine()}, where Ray has placed node '
                f'{plan.label}: share the disk, or leave its resources out so that it stays with the command.'
            )
        care = Care(Path(tempfile.mkdtemp(prefix='culmen-pulses-')) if shows else None, patient)
        self._pulses = list(care.files(plan))
        if plan.is_served:
            if over_network:
                addresses[plan.label] = (_machine(), _free_port())
            self._address = addresses[plan.label]
        run_node(plan, self._stop, key, addresses, care)

    def look(self, offset: int) -> Look:
        """How the node is. Args: offset: of what it has written, in bytes, from which on to tell it."""
        pulse = pulses.read_all(self._pulses) if self._pulses else None
        return Look(os.getpid(), _machine(), self._address, pulse, self._read(offset, _PIECE_BYTES))

    def find_address(self) -> Address | None:
        """Where the node listens; None: nowhere yet."""
        return self._address

    def ask(self) -> None:
        """Asks the node to end."""
        self._stop.set()

    def _read(self, offset: int, most: int | None) -> bytes:
        size = os.fstat(self._output.fileno()).st_size - offset
        return os.pread(self._output.fileno(), size if most is None else min(size, most), offset)


class Directory:
    """Where the nodes of a program are that others call, on several machines."""

    def __init__(self, namespace: str) -> None:
        """Args: namespace: of the names of the nodes."""
        self._namespace = namespace
        self.found: dict[str, Address] = {}  # as the launching process has last heard

    def of(self, label: str) -> 'Found':
        """The address of a node, whenever it is asked."""
        return Found(self, self._namespace, label)


class Found:
    """An address that is asked for at each connection, since a node may be started again elsewhere."""

    def __init__(self, directory: Directory | None, namespace: str, label: str) -> None:
        """Args: directory: of this process; None: Ray is asked."""
        self._directory, self._namespace, self._label = directory, namespace, label

    def __call__(self) -> Address:
        """The address. Raises: ConnectionError while it is not known."""
        address = self._ask() if self._directory is None else self._directory.found.get(self._label)
        if address is None:
            raise ConnectionError(f'node {self._label} does not listen yet.')
        return address

    def _ask(self) -> Address | None:
        import ray
        from ray.exceptions import RayError

        try:
            actor = ray.get_actor(self._label, self._namespace)
            address: Address | None = ray.get(actor.find_address.remote(), timeout=_FIND_SECONDS)
        except (RayError, ValueError):  # it is not there
            return None
        return address

    def __reduce__(self) -> Any:
        return Found, (None, self._namespace, self._label)


def _machine() -> str:
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_machine(), 0))
        return int(probe.getsockname()[1])


def _plain(text: str) -> str:
    """An error without the module of its class."""
    name, colon, rest = text.partition(':')
    return f'{name.rpartition(".")[2]}{colon}{rest}'
