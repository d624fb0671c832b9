"""When a node should end, and what its process is told by the launcher and by nobody else.

A node that asks whether to end shows that it makes progress (`pulses`).
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from culmen.launchers.programs.pulses import Heart

_LOOK_SECONDS = 0.2  # between signs of progress during a wait
_PARENT_SECONDS = 0.5
# Environment variables of a node's process, set by its launcher: the launcher's process id, and a descriptor
# for the secret that it hands over, which no file may hold.
LAUNCHER, HANDED = 'CULMEN_LAUNCHER', 'CULMEN_HANDED'
_HANDED_BYTES = 4096  # at most
ASK = signal.SIGUSR1  # asks a node's process to end
# Python's switch interval between threads: a call to a busy learner waits that long several times.
SWITCH_SECONDS = 5e-4


class Stopped(Exception):
    """A wait has ended because the program ends."""


class Stop:
    """Whether a node should end. In a separate process the launcher's signal sets it.

    A node that asks this, or waits for it, shows that it makes progress (`pulses`).
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._of_process = False
        self._heart: Heart | None = None

    @property
    def has_process(self) -> bool:
        """Whether the node has a process of its own, which a launcher started."""
        return self._of_process

    def __call__(self) -> bool:
        if self._heart is not None:
            self._heart.beat()
        return self._event.is_set()

    def is_set(self) -> bool:
        """Whether the end is requested. To ask this shows no progress: for calls that may never return."""
        return self._event.is_set()

    def set(self) -> None:
        """Asks for the end."""
        self._event.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Waits this long, or until the end is requested. Returns: whether it is requested."""
        if self._heart is None:
            return self._event.wait(seconds)
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            self._heart.beat()
            left = _LOOK_SECONDS if until is None else until - time.monotonic()
            if self._event.wait(max(min(left, _LOOK_SECONDS), 0.0)):
                return True
            if until is not None and time.monotonic() >= until:
                return False

    def sleep(self, seconds: float) -> None:
        """Waits this long. Raises: Stopped, if the end is requested."""
        if self.wait(seconds):
            raise Stopped

    @contextlib.contextmanager
    def calling(self, label: str) -> Iterator[None]:
        """Within it the node waits for the answer of another."""
        if self._heart is not None:
            self._heart.beat()
            self._heart.calls(label)
        try:
            yield
        finally:
            if self._heart is not None:
                self._heart.calls(None)

    def leave(self) -> None:
        """The node has ended, so that no further progress is expected of it."""
        if self._heart is not None:
            self._heart.stop()

    def with_heart(self, heart: Heart) -> 'Stop':
        """The same request, for one node, which shows its progress."""
        stop = Stop()
        stop._event, stop._of_process, stop._heart = self._event, self._of_process, heart
        return stop

    def install(self) -> None:
        """Makes a process that a launcher started obey only the launcher; elsewhere does nothing.

        ASK comes from the launcher and sets the stop. SIGINT and SIGTERM are ignored: a terminal and a
        scheduler send them to all processes, and the launcher handles them. When the launcher is gone, the
        process ends at once.
        """
        if not self._of_process:
            return
        sys.setswitchinterval(SWITCH_SECONDS)
        signal.signal(ASK, lambda number, frame: self.set())
        # A handler, since what an environment starts would inherit that a signal is ignored.
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        launcher = int(os.environ[LAUNCHER])

        def watch() -> None:
            while os.getppid() == launcher:
                time.sleep(_PARENT_SECONDS)
            os._exit(1)

        threading.Thread(target=watch, name='parent', daemon=True).start()

    def __reduce__(self) -> Any:
        return _stop_of_process, ()


_OF_PROCESS: list[Stop] = []


def _stop_of_process() -> Stop:
    if not _OF_PROCESS:
        stop = Stop()
        stop._of_process = True
        _OF_PROCESS.append(stop)
    return _OF_PROCESS[0]


_TAKEN: list[bytes] = []


def take_handed() -> bytes:
    """What the launcher handed to this process. The descriptor is read once and closed."""
    if not _TAKEN:
        descriptor = int(os.environ.pop(HANDED))
        _TAKEN.append(os.read(descriptor, _HANDED_BYTES))
        os.close(descriptor)
    return _TAKEN[0]
