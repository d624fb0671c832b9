"""Writes WORKDIR/status.json while a program runs, for `culmen status` (culmen.launchers.status).

The launching process calls it: it sees the nodes, and gets counts and facts from the counter. A disk that
can't be written to ends no program, but leaves an old status.
"""

import collections
import contextlib
import os
import socket
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from culmen.launchers import status as statuses
from culmen.launchers.folders import STATUS
from culmen.launchers.folders import write_json
from culmen.launchers.programs.faults import Restart
from culmen.launchers.programs.supervisor import Node
from culmen.launchers.programs.topology import NodePlan

_WRITE_SECONDS = 1.0
_RATE_LOOKS = 10  # writes over which rates are taken


class Board:
    """The status of one launch."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: of the run."""
        self._folder = folder
        self._plans: list[NodePlan] = []
        self._next = 0.0
        self._rates: dict[str, collections.deque[tuple[float, int]]] = {}
        self._last: dict[str, Any] = {}
        self._nodes: Sequence[Node] = ()
        self._facts: Mapping[str, Any] = {}

    def begin(
        self,
        plans: Sequence[NodePlan],
        restarts_of: Callable[[str], Sequence[Restart]],
        state_of: Callable[[str], str],
    ) -> None:
        """Begins. Args: plans: of all nodes; restarts_of, state_of: of a node by label."""
        self._plans = list(plans)
        self._restarts_of = restarts_of
        self._state_of = state_of

    def tell(
        self,
        nodes: Sequence[Node],
        status: Mapping[str, Any] | None,
        facts: Mapping[str, Any] | None,
    ) -> None:
        """Writes what is known now, if a second has passed since the last time.

        Args: nodes: that were started; status, facts: the counter's newest, None before the first.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _WRITE_SECONDS
        self._nodes, self._facts = nodes, facts or {}
        self._write(statuses.RUNNING, None, status)

    def end(self, state: str, reason: str | None, status: Mapping[str, Any] | None) -> None:
        """Writes the last status, once all nodes have ended; nothing, if none was started.

        Args: state: one of culmen.launchers.status; reason: of a failure; status: the counter's last.
        """
        if self._plans:
            self._write(state, reason, status)

    def _write(self, state: str, reason: str | None, status: Mapping[str, Any] | None) -> None:
        if status is not None:
            self._last = {name: status.get(name) for name in statuses.FIELDS}
            for rate, count in (('steps', 'actor_steps'), ('updates', 'learner_steps')):
                if state == statuses.RUNNING:
                    self._last[f'{rate}_per_second'] = self._rate(count, status[count])
        nodes = [self._node(plan) for plan in self._plans]
        content = {
            'version': statuses.VERSION,
            'state': state,
            'reason': reason,
            'host': socket.gethostname(),
            'pid': os.getpid(),
            'written': time.time(),
            **dict.fromkeys(statuses.FIELDS),
            **self._last,
            'tables': self._facts.get('tables', {}),
            'nodes': nodes,
            'restarts': sum(len(node['restarts']) for node in nodes),
        }
        with contextlib.suppress(OSError):
            write_json(self._folder / STATUS, content)

    def _rate(self, name: str, count: int) -> float | None:
        """The recent growth of a count, a second; None at the first look."""
        looks = self._rates.setdefault(name, collections.deque(maxlen=_RATE_LOOKS + 1))
        looks.append((time.monotonic(), count))
        (begin, before), (end, after) = looks[0], looks[-1]
        return max(after - before, 0) / (end - begin) if end > begin else None

    def _node(self, plan: NodePlan) -> dict[str, Any]:
        """What is known of a node; its actors, if several share it, are taken together."""
        node = next((each for each in self._nodes if each.name == plan.label), None)
        own = self._facts.get('nodes', {})
        parts = [own[name] for name in plan.reports or (plan.label,) if name in own]
        steps = [each['actor_steps'] for each in parts if 'actor_steps' in each]
        return {
            'name': plan.label,
            'host': getattr(node, 'host', None) or socket.gethostname(),
            'pid': getattr(node, 'pid', None),
            'state': self._state_of(plan.label),
            'doing': ', '.join(sorted({each['doing'] for each in parts if each['doing']})) or None,
            'silent': max((each['silent'] for each in parts), default=None),
            'actor_steps': sum(steps) if steps else None,
            'steps_per_second': self._rate(plan.label, sum(steps)) if steps else None,
            'restarts': [
                {'at': each.at, 'reason': each.reason, 'caused_by': each.caused_by}
                for each in self._restarts_of(plan.label)
            ],
        }
