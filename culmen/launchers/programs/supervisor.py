"""Starts the nodes of a program on this machine as threads or as processes, and watches them.

All nodes end: they are asked to, asked again, and killed. Those in separate processes end with this process,
however it ends. Their output goes to files, and is shown here line by line. Which nodes are started again is
decided in culmen.launchers.programs.faults.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from typing import NamedTuple
from typing import Protocol

from culmen.launchers.programs import entry
from culmen.launchers.programs import pulses
from culmen.launchers.programs.pulses import Pulse
from culmen.launchers.programs.stops import ASK
from culmen.launchers.programs.stops import HANDED
from culmen.launchers.programs.stops import LAUNCHER
from culmen.launchers.programs.stops import Stop
from culmen.launchers.programs.stops import Stopped

_ASK_SECONDS = 1.0  # between requests to end
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 2.0  # after a node has ended, for the news that it was meant to
_TAIL_LINES = 60  # of a node's output, shown if it failed

# Lines that the C++ code of Reverb, TensorFlow and Abseil prints at every start.
_NOISE = re.compile(
    r'^\[reverb/|^INFO:|^WARNING: All log messages before absl|^[IW]\d{4} |'
    r'^\d{4}-\d\d-\d\d [\d:.]+: [IW] (external|tensorflow)/|^To enable the following instructions'
)


class NodeFailure(RuntimeError):
    """A node of a program failed; the message names it and why."""


class Failure(NamedTuple):
    """What is known of a node that failed."""

    name: str
    reason: str
    error: BaseException | None = None  # for a node in this process
    output: Sequence[str] = ()  # its last lines, with the traceback


class Node(Protocol):
    """A node that was started."""

    name: str

    @property
    def pid(self) -> int | None:
        """Of its process; None for a thread, and where it is not known."""
        ...

    @property
    def host(self) -> str | None:
        """The name of its machine; None: this one."""
        ...

    def is_running(self) -> bool:
        """Whether it is still running."""
        ...

    def failure(self) -> Failure | None:
        """Why it failed, once it has ended; None if it did not fail."""
        ...

    def ask(self) -> None:
        """Asks it to end."""
        ...

    def kill(self) -> None:
        """Kills it, if that is possible."""
        ...

    def show(self) -> None:
        """Shows what it has written since the last call."""
        ...

    def pulse(self) -> Pulse | None:
        """Its progress; None if it has not begun, or if nobody asked for it."""
        ...


class ThreadNode:
    """A node in a thread. It shares the output of this process, and can't be killed."""

    pid: int | None = None
    host: str | None = None

    def __init__(
        self, name: str, function: Callable[[], None], stop: Stop, pulse: Sequence[Path] = ()
    ) -> None:
        """Args: name: of the node; function: runs it; stop: that it obeys; pulse: its files of progress."""
        self.name = name
        self._stop = stop
        self._pulse = pulse
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function,), name=name, daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Stopped:
            pass
        except BaseException as error:
            self._error = error

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def failure(self) -> Failure | None:
        if self._error is None:
            return None
        lines = traceback.format_exception(self._error)
        print(''.join(f'[{self.name}] {line}\n' for line in ''.join(lines).splitlines()),
              end='', file=sys.stderr, flush=True)  # fmt: skip
        return Failure(self.name, _last_line(lines), self._error, ''.join(lines).splitlines())

    def ask(self) -> None:
        self._stop.set()

    def kill(self) -> None:
        pass

    def show(self) -> None:
        pass

    def pulse(self) -> Pulse | None:
        return pulses.read_all(self._pulse)


class ProcessNode:
    """A node in a process of its own, with its output in a file."""

    host: str | None = None

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        handed: bytes = b'',
        pulse: Sequence[Path] = (),
    ) -> None:
        """Starts it.

        Args:
            name: of the node.
            command: runs it, by an absolute path.
            environment: of the process.
            output: its file.
            handed: a secret for this process, which is in no file (`remote.take_handed`).
            pulse: its files of progress.
        """
        self.name = name
        self._pulse = pulse
        self._path = output
        self._read = 0
        inherited, given = os.pipe()
        os.write(given, handed)
        os.close(given)
        launcher = str(os.getpid())
        try:
            with open(output, 'ab') as file:
                self._read = file.tell()
                self._begin = self._read
                # A session of its own: only this process handles Ctrl-C in the terminal.
                self._process = subprocess.Popen(
                    [sys.executable, '-I', '-S', entry.__file__, launcher, *command],
                    env={**environment, LAUNCHER: launcher, HANDED: str(inherited)},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=[inherited],
                )
        finally:
            os.close(inherited)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def failure(self) -> Failure | None:
        code = self._process.poll()
        if not code:
            return None
        self.show()
        if code < 0:
            return Failure(self.name, f'it was ended by {signal.Signals(-code).name}')
        lines = self._text(self._begin).splitlines()[-_TAIL_LINES:]
        return Failure(self.name, _last_line(lines) or f'it exited with code {code}', output=lines)

    def ask(self) -> None:
        if self.is_running():
            self._process.send_signal(ASK)

    def kill(self) -> None:
        if self._process.poll() != 0:
            # The whole session: an environment may have started processes, which outlive a node that fails.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _text(self, begin: int) -> str:
        with open(self._path, 'rb') as file:
            file.seek(begin)
            return file.read().decode(errors='replace')

    def show(self) -> None:
        text = self._text(self._read)
        text = text[: text.rfind('\n') + 1]
        self._read += len(text.encode())
        for line in text.splitlines():
            if line.strip() and not _NOISE.match(line):
                print(f'[{self.name}] {line}', file=sys.stderr, flush=True)

    def pulse(self) -> Pulse | None:
        return pulses.read_all(self._pulse)


class Away:
    """Takes the place of a node until it is started again."""

    pid: int | None = None

    def __init__(self, name: str, host: str | None = None) -> None:
        """Args: name: of the node; host: its machine."""
        self.name = name
        self.host = host

    def is_running(self) -> bool:
        return False

    def failure(self) -> Failure | None:
        return None

    def ask(self) -> None:
        pass

    def kill(self) -> None:
        pass

    def show(self) -> None:
        pass

    def pulse(self) -> Pulse | None:
        return None


def node_environment(
    label: str, small: bool, own: Mapping[str, str | None] = MappingProxyType({})
) -> dict[str, str]:
    """The environment variables of a node's process, for its imports, devices and threads.

    Args:
        label: of the node.
        small: whether there are fewer cores than processes, so that each has to use only one.
        own: of the node, `NodePlan.variables`: over the others; None: as this process has it.
    """
    # A node must find the same modules as this process, since classes are pickled by name.
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
    return {name: value for name, value in {**found, **own}.items() if value is not None}


def _last_line(lines: Sequence[str]) -> str:
    """The line with the error: the last one that is not indented."""
    flat = [line for line in ''.join(f'{line}\n' for line in lines).splitlines() if line.strip()]
    whole = [line for line in flat if not line.startswith((' ', '\t'))]
    return re.sub(r'^[\w.]+\.(?=\w+: )', '', (whole or flat or [''])[-1])


def find_failure(nodes: Sequence[Node]) -> Failure | None:
    """The first node that failed. Nodes that were killed come before those that report an error."""
    failures = [each for node in nodes if not node.is_running() and (each := node.failure())]
    if not failures:
        return None
    return min(failures, key=lambda each: not each.reason.startswith('it was ended by'))


class QuietEnds:
    """Finds nodes that ended too early without a failure: an environment may end its whole process."""

    def __init__(self, reports: Callable[[str], Sequence[str] | None]) -> None:
        """Args: reports: maps a node to what it tells the counter before it may end; None: it may not end."""
        self._reports = reports
        self._since: dict[
            str, tuple[float, int]
        ] = {}  # when it was first seen, after how much news
        self._status: Mapping[str, Any] | None = None
        self._news = 0

    def look(self, nodes: Sequence[Node], status: Mapping[str, Any] | None) -> str | None:
        """Args: status: the counter's newest. Returns: the name of a node that ended too early, or None."""
        if status is not self._status:
            self._status, self._news = status, self._news + 1
        now = time.monotonic()
        for node in nodes:
            if node.is_running():
                self._since.pop(node.name, None)  # it has been started again
            if node.is_running() or isinstance(node, Away):
                continue
            reports = self._reports(node.name)
            timings = {} if status is None else status['timings']
            if reports is not None and all(report in timings for report in reports):
                continue
            since, news = self._since.setdefault(node.name, (now, self._news))
            # News may have been on its way when the node ended; the one after has its last report.
            told = reports is None or self._news >= news + 2
            if told and now - since > _GRACE_SECONDS:
                return node.name
        return None


def end(nodes: Sequence[Node], seconds: float) -> list[str]:
    """Ends nodes: asks them again and again, and after some time kills those that still run.

    Returns: the names of those that had to be killed.
    """
    deadline = time.monotonic() + seconds
    ask_at = 0.0
    while any(node.is_running() for node in nodes) and time.monotonic() < deadline:
        if time.monotonic() >= ask_at:
            ask_at = time.monotonic() + _ASK_SECONDS
            for node in nodes:
                node.ask()
        time.sleep(_POLL_SECONDS)
    late = [node.name for node in nodes if node.is_running()]
    for node in nodes:
        node.kill()
        node.show()
    return late
