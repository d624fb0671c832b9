"""Runs a node of a program in its process or thread: what an engine calls there."""

import contextlib
import threading
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from culmen.launchers.programs.connections import Address
from culmen.launchers.programs.connections import Key
from culmen.launchers.programs.connections import Line
from culmen.launchers.programs.connections import Service
from culmen.launchers.programs.remote import Remote
from culmen.launchers.programs.remote import Server
from culmen.launchers.programs.remote import Stop
from culmen.launchers.programs.remote import Stopped
from culmen.launchers.programs.topology import NodePlan
from culmen.launchers.results import exits_fail

_POLL_SECONDS = 0.05


def run_node(plan: NodePlan, stop: Stop, key: Key, addresses: Mapping[str, Address]) -> None:
    """Makes the node of a plan and runs it to its end.

    Args:
        plan: of the node.
        stop: ends the node.
        key: of the program.
        addresses: by label: of the nodes that it calls, and its own if it is served.
    """
    stop.install()
    lines = {label: Line(addresses[label], key) for label in plan.calls}
    if len(plan.makes) > 1:
        _run_all(plan, stop, lines)
        return
    server = Server()
    with contextlib.ExitStack() as stack:
        if plan.is_served:
            # The service listens before the node exists, so callers wait for an answer and need not retry.
            service = Service(server, addresses[plan.label], key)
            stack.callback(service.close)
        _run(plan.makes[0], stop, lines, server)


def _run(
    make: Callable[..., Any], stop: Stop, lines: Mapping[str, Line], server: Server | None = None
) -> None:
    with contextlib.suppress(Stopped), exits_fail():
        node = make(
            stop=stop, **{label: Remote(label, line, stop) for label, line in lines.items()}
        )
        if server is not None:
            server.open(node)
        node.run()


def _run_all(plan: NodePlan, stop: Stop, lines: Mapping[str, Line]) -> None:
    """Runs several nodes in threads of one process; the first that fails ends the others."""
    errors: list[BaseException] = []

    def run(make: Callable[..., Any]) -> None:
        try:
            _run(make, stop, lines)
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=run, args=(make,), daemon=True) for make in plan.makes]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_POLL_SECONDS)  # so that signals are handled in between
    if errors:
        raise errors[0]
