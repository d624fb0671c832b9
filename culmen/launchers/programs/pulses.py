"""Signs of life: when a node last made progress, in a small file that its supervisor reads.

A node makes progress whenever it looks whether it should stop (`remote.Stop`), which all its loops and waits
do. A thread writes this down a few times a second. The thread counts it as progress, too, that some thread of
the process imports modules, traces or compiles for JAX, or saves a checkpoint, which may take minutes. It
stops with its process, so a process that is suspended shows no progress.
"""

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PERIOD_SECONDS = 0.25  # between two writes
_BYTES = 64  # of a file
# Code that may take long while nothing is wrong: parts of the paths of its files.
_LONG = tuple(
    each.replace('/', os.sep)
    for each in (
        'importlib._bootstrap',
        '/jax/_src/xla_bridge.py',  # finds devices
        '/jax/_src/compiler.py',
        '/jax/_src/interpreters/mlir.py',
        '/jax/_src/interpreters/partial_eval.py',
        '/culmen/components/checkpointing/',
    )
)


class Pulse(NamedTuple):
    """What is known of a node's progress."""

    seconds: float  # since the last
    calls: str | None = None  # the node whose answer it waits for


class Heart:
    """Writes down the progress of one node, in its process."""

    def __init__(self, path: Path) -> None:
        """Begins. Args: path: of the file, which is made."""
        self._at = time.monotonic()
        self._has_ended = False
        self._calls: str | None = None
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        self._ended = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._run, name='pulse', daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """The node makes progress."""
        self._at = time.monotonic()

    def calls(self, label: str | None) -> None:
        """The node waits for the answer of another node. Args: label: of that node; None: no longer."""
        self._calls = label

    def _run(self) -> None:
        while not self._ended.wait(PERIOD_SECONDS):
            if time.monotonic() - self._at > PERIOD_SECONDS and is_at_long_work():
                self.beat()
            self._write()

    def _write(self) -> None:
        at = math.inf if self._has_ended else self._at  # who has ended is not silent
        text = f'{at:.3f} {self._calls or ""}'
        with contextlib.suppress(OSError):  # a full disk: the supervisor then knows less
            os.pwrite(self._file, text.encode()[:_BYTES].ljust(_BYTES), 0)

    def stop(self) -> None:
        """Ends the thread. A second call does nothing."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            self._has_ended = True
            self._write()
            os.close(self._file)


def is_at_long_work() -> bool:
    """Whether a thread of this process imports, traces, compiles or saves a checkpoint."""
    for frame in sys._current_frames().values():
        at = frame
        while at is not None:
            if any(part in at.f_code.co_filename for part in _LONG):
                return True
            at = at.f_back  # type: ignore[assignment]
    return False


def read(path: Path) -> Pulse | None:
    """Reads the file of a node on this machine. Returns: None if it has not begun."""
    try:
        at, _, calls = path.read_text().partition(' ')
        return Pulse(max(time.monotonic() - float(at), 0.0), calls.strip() or None)
    except (OSError, ValueError):
        return None


def read_all(paths: Sequence[Path]) -> Pulse | None:
    """The pulse of nodes that share a process: of the one that is silent longest.

    Returns: None if there is none, or one of them has not begun.
    """
    found = [read(path) for path in paths]
    known = [each for each in found if each is not None]
    return max(known, key=lambda each: each.seconds) if known and len(known) == len(found) else None
