"""Keeps the nodes of a program running: finds those that failed or hang, and starts them again or gives up.

The launching process looks after its nodes here, many times a second. What is restarted with what is in
`faults`. Without restarts the first failure is the program's.
"""

import collections
import json
import re
import sys
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from typing import NamedTuple

from culmen.launchers.programs import faults
from culmen.launchers.programs import supervisor
from culmen.launchers.programs.faults import Restart
from culmen.launchers.programs.supervisor import Away
from culmen.launchers.programs.supervisor import Failure
from culmen.launchers.programs.supervisor import NodeFailure
from culmen.launchers.programs.topology import COUNTER
from culmen.launchers.programs.topology import EVALUATOR
from culmen.launchers.programs.topology import LEARNER
from culmen.launchers.programs.topology import REPLAY
from culmen.launchers.programs.topology import SERVED
from culmen.launchers.programs.topology import NodePlan

RESTARTS = 'restarts.jsonl'  # in the logs' folder: a line for each
_BEGIN_SECONDS = (
    120.0  # at least, for a node to import what it needs and to show its first progress
)
_SILENT_SECONDS = (
    3.0  # without progress: whoever fails meanwhile in a call of that node is not to blame
)
_THREAD_SECONDS = 5.0  # for a thread that was asked to end
_QUIET = 'ended before the run was over, and gave no reason: something in it ended its process or thread.'
# Errors that are decisions of the run: another try would come to the same.
_FINAL = re.compile('NonFiniteLossError')


class Hooks(NamedTuple):
    """What a Keeper needs to know of a program, and to do to it."""

    settings: faults.Faults
    together: Callable[
        [str], Sequence[str]
    ]  # the nodes that are restarted with a label, itself included
    start: Callable[[NodePlan], supervisor.Node]
    plan_again: Callable[[], Sequence[NodePlan]]  # from the newest checkpoint
    tell_lost: Callable[[int], object]  # tells the counter that an actor has ended
    count_inserted: Callable[[], int | None]  # items ever, asked of replay; None: no answer
    folder: Path  # of the logs


class Keeper:
    """Looks after the nodes of one launch."""

    def __init__(
        self, hooks: Hooks, plans: Sequence[NodePlan], running: list[supervisor.Node]
    ) -> None:
        """Args: running: the nodes of `plans`. One that is started again takes the place of the other."""
        self._hooks = hooks
        self._settings = hooks.settings
        self._plans = {plan.label: plan for plan in plans}
        self._running = running
        self._quiet = supervisor.QuietEnds({plan.label: plan.reports for plan in plans}.get)
        now = time.monotonic()
        self._started = dict.fromkeys(self._plans, now)
        self._due: dict[str, float] = {}  # when nodes that are away are started
        self._lives: collections.Counter[str] = collections.Counter()
        self._failures: collections.deque[tuple[float, Failure]] = collections.deque()
        self._inserted: int | None = None  # items ever, before the tables went back
        self.restarts: list[Restart] = []

    def restarts_of(self, name: str) -> Sequence[Restart]:
        """The restarts of a node so far."""
        return [each for each in self.restarts if each.node == name]

    def state_of(self, name: str) -> str:
        """'running', 'waiting' for its restart, 'ended' or 'failed'."""
        (node,) = (node for node in self._running if node.name == name)
        if isinstance(node, Away):
            return 'waiting' if name in self._due else 'failed'
        return 'running' if node.is_running() else 'ended'

    @property
    def can_save(self) -> bool:
        """Whether all nodes run that a checkpoint needs."""
        return not any(isinstance(self._node(label), Away) for label in SERVED)

    def look(self, status: Mapping[str, Any] | None, stopping: bool) -> None:
        """Finds failures, and starts nodes again that are due.

        Args:
            status: the counter's newest.
            stopping: whether the program saves and then ends: nobody is started then, and the others save
                without the actors and evaluators that fail.
        Raises: NodeFailure that names the node that failed first, if the program can't go on.
        """
        for failure in self._find_failures(status):
            node = self._node(failure.name)
            if isinstance(node, Away):
                continue  # ended with another that failed
            if not self._settings.survives or _FINAL.match(failure.reason):
                raise NodeFailure(_sentence(failure)) from failure.error
            if not stopping:
                self._handle(failure)
            elif failure.name not in SERVED:
                self._put_away(failure.name)
            else:
                raise NodeFailure(_sentence(failure)) from failure.error
        if not stopping:
            self._start_due()

    # Failures.

    def _find_failures(self, status: Mapping[str, Any] | None) -> list[Failure]:
        if not self._settings.survives:
            failure = supervisor.find_failure(self._running)
            if failure is not None:
                return [failure]
        found = [
            failure
            for node in self._running
            if not node.is_running() and (failure := node.failure()) is not None
        ]
        gone = self._quiet.look(self._running, status)
        if gone is not None:
            found.append(Failure(gone, _QUIET))
        found += self._find_hangs()
        # A failure of one that others call explains theirs.
        return sorted(found, key=lambda each: _place(each.name))

    def _find_hangs(self) -> list[Failure]:
        limit = self._settings.hang_after
        if limit is None:
            return []
        found = []
        for node in self._running:
            if not node.is_running():
                continue
            pulse = node.pulse()
            if pulse is None:
                seconds, limit_here = self._age(node.name), max(limit, _BEGIN_SECONDS)
            else:
                seconds, limit_here = pulse.seconds, limit
            if seconds <= limit_here:
                continue
            called = None if pulse is None else pulse.calls
            if called is not None and self._keeps_waiting(called, limit):
                continue
            where = '' if called is None else f', in a call of node {called}'
            found.append(Failure(node.name, f'it made no progress for {seconds:.0f} s{where}'))
        return found

    def _keeps_waiting(self, label: str, limit: float) -> bool:
        """Whether a node is known to be down, new or without progress itself, so that callers wait."""
        node = self._node(label)
        if not node.is_running() or self._age(label) < limit:
            return True
        pulse = node.pulse()
        return pulse is None or pulse.seconds > limit / 2

    def _age(self, label: str) -> float:
        return time.monotonic() - self._started[label]

    def _node(self, label: str) -> supervisor.Node:
        return next(node for node in self._running if node.name == label)

    def _cause(self, label: str) -> str | None:
        """Another node whose silence explains a failure."""
        for other in self._plans[label].calls:
            node = self._node(other)
            pulse = node.pulse() if node.is_running() else None
            if pulse is not None and pulse.seconds > _SILENT_SECONDS:
                return other
        return None

    # Restarts.

    def _handle(self, failure: Failure) -> None:
        """Plans the restart of a node, and ends those that are restarted with it. Raises: NodeFailure."""
        label = failure.name
        node = self._node(label)
        cause = self._cause(label)
        failures = 1
        if cause is None:
            failures = self._count(failure)
        seconds = faults.delay(failures)
        scope = self._hooks.together(label)
        if REPLAY in scope and label != REPLAY and self._node(REPLAY).is_running():
            self._inserted = self._hooks.count_inserted()
        if node.is_running():
            self._end(node)
        for name in scope:
            self._record(name, failure, cause if name == label else label)
            self._put_away(name)
            self._due[name] = time.monotonic() + seconds
        others = (
            ''
            if len(scope) == 1
            else f', with {", ".join(each for each in scope if each != label)}'
        )
        _say(f'{_sentence(failure).rstrip(".")}. It is started again in {seconds:g} s{others}.')

    def _count(self, failure: Failure) -> int:
        """Counts a failure. Returns: its node's in the window. Raises: NodeFailure for one too many."""
        now, window = time.monotonic(), self._settings.restart_window
        self._failures.append((now, failure))
        while self._failures[0][0] < now - window:
            self._failures.popleft()
        known = [each for _, each in self._failures]
        if len(known) > self._settings.restarts:
            first = known[0]
            for line in first.output:
                print(f'[{first.name}] {line}', file=sys.stderr)
            raise NodeFailure(
                f'{_sentence(first).rstrip(".")}; nodes failed {len(known)} times in {window:g} s '
                f'({", ".join(each.name for each in known)}), and restarts is '
                f'{self._settings.restarts}.'
            ) from first.error
        return sum(each.name == failure.name for each in known)

    def _record(self, name: str, failure: Failure, caused_by: str | None) -> None:
        reason = failure.reason if name == failure.name else f'node {failure.name} failed'
        restart = Restart(time.time(), name, self._lives[name] + 1, reason, caused_by)
        self.restarts.append(restart)
        with open(self._hooks.folder / RESTARTS, 'a') as file:
            file.write(json.dumps(faults.as_json(restart)) + '\n')

    def _put_away(self, name: str) -> None:
        """Ends a node, and tells the counter of an actor."""
        place = next(i for i, node in enumerate(self._running) if node.name == name)
        node = self._running[place]
        if node.is_running():
            self._end(node)
        node.show()
        self._running[place] = Away(name, node.host)
        if name not in SERVED and not name.startswith(EVALUATOR):
            for report in self._plans[name].reports or ():
                self._hooks.tell_lost(int(report.rpartition('-')[2]))

    def _end(self, node: supervisor.Node) -> None:
        node.ask()
        node.kill()
        until = time.monotonic() + _THREAD_SECONDS
        while node.is_running() and time.monotonic() < until:
            time.sleep(0.02)
        if node.is_running():
            raise NodeFailure(
                f'node {node.name} has to be restarted, and a thread can not be killed.'
            )

    def _start_due(self) -> None:
        now = time.monotonic()
        names = [label for label in self._plans if self._due.get(label, now + 1) <= now]
        if not names:
            return
        if {COUNTER, REPLAY, LEARNER}.intersection(names):
            self._plans = {plan.label: plan for plan in self._hooks.plan_again()}
        for label in names:
            del self._due[label]
            self._lives[label] += 1
            plan = self._reborn(self._plans[label], names)
            place = next(i for i, node in enumerate(self._running) if node.name == label)
            self._running[place] = self._hooks.start(plan)
            self._started[label] = time.monotonic()
        self._inserted = None

    def _reborn(self, plan: NodePlan, names: Sequence[str]) -> NodePlan:
        """The plan of a node that is started again. Args: names: of all that are, now."""
        life = self._lives[plan.label]
        changes: dict[str, Any] = {}
        if plan.label == REPLAY:
            changes = {'before': self._inserted}
        elif plan.label == LEARNER:
            # Tables that did not go back have counted draws since the checkpoint.
            changes = {'life': life, **({} if REPLAY in names else {'lost_table': True})}
        elif plan.label != COUNTER and not plan.label.startswith(EVALUATOR):
            changes = {'life': life}
        makes = tuple(partial(make, **changes) for make in plan.makes)
        return plan._replace(makes=makes, life=life)


def _place(label: str) -> int:
    order = (COUNTER, REPLAY, LEARNER)
    return order.index(label) if label in order else len(order)


def _sentence(failure: Failure) -> str:
    if failure.reason == _QUIET:
        return f'node {failure.name} {_QUIET}'
    return f'node {failure.name} failed: {failure.reason}'


def _say(text: str) -> None:
    print(f'culmen: {text}', file=sys.stderr, flush=True)
