"""Runs a node of a program in its process or thread: what an engine calls there."""

import contextlib
import threading
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NamedTuple

from culmen.launchers.programs.connections import Address
from culmen.launchers.programs.connections import Key
from culmen.launchers.programs.connections import Line
from culmen.launchers.programs.connections import Service
from culmen.launchers.programs.connections import text_of
from culmen.launchers.programs.faults import Faults
from culmen.launchers.programs.leaving import ends_process
from culmen.launchers.programs.pulses import Heart
from culmen.launchers.programs.remote import Remote
from culmen.launchers.programs.remote import Server
from culmen.launchers.programs.stops import Stop
from culmen.launchers.programs.stops import Stopped
from culmen.launchers.programs.topology import REPLAY
from culmen.launchers.programs.topology import TABLES
from culmen.launchers.programs.topology import NodePlan
from culmen.launchers.results import exits_fail

_POLL_SECONDS = 0.05


class Care(NamedTuple):
    """What a program does against faults, as far as its nodes take part in it."""

    pulses: Path | None = (
        None  # a folder of this machine, where they show their progress; None: nowhere
    )
    patient: bool = False  # whether they wait for others that are started again

    @classmethod
    def of(cls, settings: Faults, scratch: Path) -> 'Care':
        """What the settings of a program ask for. Args: scratch: a folder of this launch alone."""
        if not settings.survives and settings.hang_after is None:
            return cls()
        pulses = scratch / 'pulses'
        pulses.mkdir(exist_ok=True)
        return cls(pulses, settings.survives)

    def files(self, plan: NodePlan) -> Sequence[Path]:
        """The files of progress of the nodes of a plan."""
        if self.pulses is None:
            return ()
        return [self.pulses / f'{plan.label}-{plan.life}-{i}' for i in range(len(plan.makes))]


def run_node(
    plan: NodePlan,
    stop: Stop,
    key: Key,
    addresses: Mapping[str, Address],
    care: Care = Care(),  # noqa: B008 (of no state)
) -> None:
    """Makes the node of a plan and runs it to its end. A process of its own ends with it.

    Args:
        plan: of the node.
        stop: ends the node.
        key: of the program.
        addresses: by label: of the nodes that it calls, its own if it is served, and of Reverb's server
            (TABLES) if that is fixed.
        care: against faults.
    """
    stop.install()
    with ends_process() if stop.has_process else contextlib.nullcontext():
        _run_plan(plan, stop, key, addresses, care)


def _run_plan(
    plan: NodePlan, stop: Stop, key: Key, addresses: Mapping[str, Address], care: Care
) -> None:
    lines = {label: Line(addresses[label], key) for label in plan.calls}
    tables = addresses.get(TABLES)
    with contextlib.ExitStack() as stack:
        stops = [stop] * len(plan.makes)
        for place, path in enumerate(care.files(plan)):
            heart = Heart(path)
            stack.callback(heart.stop)
            stops[place] = stop.with_heart(heart)
        if len(plan.makes) > 1:
            _run_all(plan, stop, stops, lines, tables, care)
            return
        server = Server()
        if plan.is_served:
            # The service listens before the node exists, so callers wait for an answer and need not retry.
            service = Service(server, addresses[plan.label], key)
            stack.callback(service.close)
        _run(plan.makes[0], stops[0], lines, tables, care, server)


def _run(
    make: Callable[..., Any],
    stop: Stop,
    lines: Mapping[str, Line],
    tables: Address | None,
    care: Care,
    server: Server | None = None,
) -> None:
    with contextlib.suppress(Stopped), exits_fail():
        remotes = {
            label: Remote(label, line, stop, patient=care.patient) for label, line in lines.items()
        }
        if REPLAY in lines and tables is not None:
            remotes[REPLAY] = _Replay(tables, lines[REPLAY], stop, care)
        node = make(stop=stop, **remotes)
        if server is not None:
            server.open(node)
        node.run()
    stop.leave()


class _Replay(Remote):
    """A replay whose server has a fixed address, by which this host reaches it."""

    def __init__(self, tables: Address, line: Line, stop: Stop, care: Care) -> None:
        super().__init__(REPLAY, line, stop, patient=care.patient)
        self._tables = tables

    def get_address(self) -> str:
        self._call('get_address', ())  # so that the server is there
        assert not isinstance(self._tables, str), 'a path is no address of Reverb'
        return text_of(self._tables)


def _run_all(
    plan: NodePlan,
    stop: Stop,
    stops: Sequence[Stop],
    lines: Mapping[str, Line],
    tables: Address | None,
    care: Care,
) -> None:
    """Runs several nodes in threads of one process; the first that fails ends the others."""
    errors: list[BaseException] = []

    def run(make: Callable[..., Any], own: Stop) -> None:
        try:
            _run(make, own, lines, tables, care)
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [
        threading.Thread(target=run, args=(make, own), daemon=True)
        for make, own in zip(plan.makes, stops, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_POLL_SECONDS)  # so that signals are handled in between
    if errors:
        raise errors[0]
