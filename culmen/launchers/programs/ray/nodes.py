"""A node in a process of Ray's, as the launching process sees it. It never waits for Ray."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from culmen.launchers.programs.pulses import Pulse
from culmen.launchers.programs.ray.actors import Directory
from culmen.launchers.programs.ray.actors import Look
from culmen.launchers.programs.supervisor import Failure

_LOOK_SECONDS = 0.25  # between questions how a node is
_TAIL_LINES = 60  # of a node's output, shown if it failed


class RayNode:
    """A node in a process of Ray's (culmen.launchers.programs.supervisor.Node)."""

    def __init__(
        self, label: str, actor: Any, ended: Any, output: Path, directory: Directory | None
    ) -> None:
        """Args: actor: a handle; ended: the future of its end; output: the file for what it writes."""
        self.name = label
        self.host: str | None = None
        self.pid: int | None = None
        self._actor = actor
        self._ended = ended
        self._output = output
        output.touch()
        self._directory = directory
        self._looking: Any = None
        self._next = 0.0
        self._look: Look | None = None
        self._read = 0
        self._new: list[str] = []
        self._failure: Failure | None = None
        self._is_running = True

    def is_running(self) -> bool:
        now = time.monotonic()
        if self._is_running and now >= self._next:
            self._next = now + _LOOK_SECONDS
            self._poll()
        return self._is_running

    def _poll(self) -> None:
        import ray
        from ray.exceptions import RayError

        if self._looking is None:
            self._looking = self._actor.look.remote(self._read)
        done, _ = ray.wait([self._ended, self._looking], num_returns=2, timeout=0)
        try:
            if self._looking in done:
                looking, self._looking = self._looking, None
                self._take(ray.get(looking))
            if self._ended in done:
                reason, last = ray.get(self._ended)
                self._take(Look(self.pid or 0, self.host, None, None, last[self._read :]))
                self._end(reason, self._new[-_TAIL_LINES:])
        except RayError as error:
            where = '' if self.host is None else f' on {self.host}'
            reason = f'it was ended by something outside of it: its process{where} is gone'
            self._end(reason, str(error).splitlines())

    def _take(self, look: Look) -> None:
        self._look, self.pid, self.host = look, look.pid, look.host
        if self._directory is not None and look.address is not None:
            self._directory.found[self.name] = look.address
        self._read += len(look.output)
        if look.output:
            with open(self._output, 'ab') as file:
                file.write(look.output)
            self._new += look.output.decode(errors='replace').splitlines()

    def _end(self, reason: str | None, lines: Sequence[str]) -> None:
        import ray

        self._is_running = False
        self._failure = None if reason is None else Failure(self.name, reason, output=lines)
        ray.kill(self._actor, no_restart=True)

    def failure(self) -> Failure | None:
        self.show()
        return self._failure

    def ask(self) -> None:
        if self._is_running:
            self._actor.ask.remote()

    def kill(self) -> None:
        if self._is_running:
            self._end(None, ())

    def show(self) -> None:
        lines, self._new = self._new, []
        for line in lines:
            if line.strip():
                print(f'[{self.name}] {line}', file=sys.stderr, flush=True)

    def pulse(self) -> Pulse | None:
        return None if self._look is None else self._look.pulse
