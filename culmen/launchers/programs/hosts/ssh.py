"""SSH between hosts: it starts the agents of others, and carries calls through tunnels.

The key travels over SSH's standard input. With `tunnel = "ssh"` each port of the program is at every host's
own loopback; whoever opens the connection forwards those that the other side serves (-L), and offers the
others (-R). Needs a client that logs in without questions (an agent or a key), and a host key that is known.
"""

import collections
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from culmen.launchers.programs import entry
from culmen.launchers.programs.connections import Key
from culmen.launchers.programs.hosts.file import Host
from culmen.launchers.programs.hosts.file import Hosts

_ALIVE_SECONDS = 5  # between checks whether the other side is there
_AGAIN_SECONDS = 2.0  # until a tunnel that has ended is opened again
_END_SECONDS = 5.0
_LINES = 5  # of the output, for errors


class Shell:
    """One process of ssh. It ends with this process, however that ends."""

    def __init__(self, host: Host, arguments: Sequence[str], given: str, shown: str | None) -> None:
        """Starts it.

        Args:
            host: to which it connects.
            arguments: options, destination and command.
            given: on its standard input.
            shown: the name before each line of its output here; None: nothing is shown.
        """
        self._host = host
        self._shown = shown
        self._lines: collections.deque[str] = collections.deque(maxlen=_LINES)
        path = shutil.which('ssh')
        if path is None:
            raise ValueError('ssh is not on PATH: install an OpenSSH client (openssh-client).')
        self._process = subprocess.Popen(
            [sys.executable, '-I', '-S', entry.__file__, str(os.getpid()), path, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            start_new_session=True,  # Ctrl-C in the terminal is not its own
        )
        self._thread = threading.Thread(target=self._read, name='ssh', daemon=True)
        self._thread.start()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended already, and says why
            self._process.stdin.write(given)
            self._process.stdin.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip())
            if self._shown is not None:
                print(f'[{self._shown}] {line}', end='', file=sys.stderr, flush=True)

    def ended(self) -> str | None:
        """Why it has ended; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        self._thread.join(_END_SECONDS)
        said = ' '.join(self._lines) or f'code {code}'
        return f'ssh to host {self._host.name} has ended: {said}'

    def close(self, seconds: float = 0.0) -> None:
        """Ends it. Args: seconds: to end by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._process.kill()
        self._process.wait()
        self._thread.join(_END_SECONDS)


class Shells:
    """Starts the agents of all other hosts from the learner's."""

    def __init__(self, hosts: Hosts, key: Key, workdir: Path | None) -> None:
        """Starts them. Args: key: of the program; workdir: on each. Raises: ValueError without ssh."""
        self._hosts = hosts
        self._key = key
        self._workdir = workdir
        self._shells: dict[str, Shell] = {}
        for host in hosts.others:
            self.keep(host)

    def keep(self, host: Host) -> None:
        """Starts the agent of a host, unless the one that was started runs."""
        shell = self._shells.get(host.name)
        if shell is not None:
            if shell.ended() is None:
                return
            shell.close()
        given = {
            'hosts': self._hosts.text,
            'name': self._hosts.name,
            'host': host.name,
            'key': self._key.value.hex(),
            'workdir': None if self._workdir is None else str(self._workdir),
        }
        command = [host.python or sys.executable, '-m', 'culmen.launchers.hosts']
        self._shells[host.name] = Shell(
            host,
            [
                *_options(self._hosts, self._hosts.head, host),
                host.ssh or host.address,
                f'cd {shlex.quote(host.directory or os.getcwd())} && exec {shlex.join(command)}',
            ],
            json.dumps(given) + '\n',
            host.name,
        )

    def ended(self) -> str | None:
        """Why one has ended; None while all run."""
        return next((why for each in self._shells.values() if (why := each.ended())), None)

    def close(self) -> None:
        """Ends them, after the agents have heard of the end."""
        deadline = time.monotonic() + _END_SECONDS
        for shell in self._shells.values():
            shell.close(max(0.0, deadline - time.monotonic()))


class Tunnel:
    """Carries the calls of a host to the learner's, which it opens itself."""

    def __init__(self, hosts: Hosts, here: Host) -> None:
        """Opens it. Raises: ValueError without ssh."""
        self._hosts = hosts
        self._here = here
        self._opened_at = 0.0
        self._shell = self._open()

    def _open(self) -> Shell:
        self._opened_at = time.monotonic()
        head = self._hosts.head
        options = _options(self._hosts, self._here, head)
        return Shell(head, [*options, '-N', head.ssh or head.address], '', None)

    def ended(self) -> str | None:
        """Why it has ended; None while it is open."""
        return self._shell.ended()

    def keep(self) -> None:
        """Opens it again if it has ended: the network may have been away."""
        if self.ended() is not None and time.monotonic() - self._opened_at > _AGAIN_SECONDS:
            self._shell.close()
            self._shell = self._open()

    def close(self) -> None:
        """Closes it."""
        self._shell.close()


def _options(hosts: Hosts, here: Host, there: Host) -> list[str]:
    """The options of ssh from one host to another, with the ports that it forwards."""
    count = max(1, round(hosts.silence / _ALIVE_SECONDS))
    options = []
    for option in (
        'BatchMode=yes',  # nobody is there to answer
        'ExitOnForwardFailure=yes',
        f'ServerAliveInterval={_ALIVE_SECONDS}',
        f'ServerAliveCountMax={count}',
    ):
        options += ['-o', option]
    if hosts.tunnel == 'ssh':
        there_served = hosts.served_on(there)
        for port in range(hosts.port, hosts.port + len(hosts.addresses(here))):
            flag = '-L' if port in there_served.values() else '-R'
            options += [flag, f'127.0.0.1:{port}:127.0.0.1:{port}']
    return [*options, *there.ssh_options]
