"""Hosts on one machine: network namespaces with addresses of their own, joined by a bridge."""

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Namespaces:
    """Some hosts, each with a loopback and an address of its own."""

    def __init__(self, number):
        self.mark = uuid.uuid4().hex[:6]
        self.names = [f'culmen{self.mark}{i}' for i in range(number)]
        self.addresses = [f'10.213.7.{i + 1}' for i in range(number)]
        self.ipv6 = [f'fd00:213:7::{i + 1}' for i in range(number)]
        self._bridge = f'culmen{self.mark}b'

    def make(self):
        self._ip('netns', 'add', self._bridge)
        self._ip('-n', self._bridge, 'link', 'add', 'bridge', 'type', 'bridge')
        self._ip('-n', self._bridge, 'link', 'set', 'bridge', 'up')
        addresses = zip(self.names, self.addresses, self.ipv6, strict=True)
        for i, (name, address, ipv6) in enumerate(addresses):
            self._ip('netns', 'add', name)
            self._ip('-n', self._bridge, 'link', 'add', f'port{i}', 'type', 'veth',
                     'peer', 'name', 'wire', 'netns', name)  # fmt: skip
            self._ip('-n', self._bridge, 'link', 'set', f'port{i}', 'master', 'bridge', 'up')
            self._ip('-n', name, 'link', 'set', 'lo', 'up')
            self._ip('-n', name, 'addr', 'add', f'{address}/24', 'dev', 'wire')
            with contextlib.suppress(subprocess.CalledProcessError):  # of a kernel without IPv6
                self._ip('-n', name, 'addr', 'add', f'{ipv6}/64', 'dev', 'wire', 'nodad')
            self._ip('-n', name, 'link', 'set', 'wire', 'up')

    def cut(self, i, away=True):
        """Takes a host from the network, or gives it back."""
        self._ip('-n', self._bridge, 'link', 'set', f'port{i}', 'down' if away else 'up')

    def remove(self):
        for name in (*self.names, self._bridge):
            subprocess.run(['ip', 'netns', 'del', name], capture_output=True)

    def _ip(self, *arguments):
        subprocess.run(['ip', *arguments], check=True, capture_output=True, text=True)

    def start(self, i, *command, **options):
        """A process on a host. Its standard output and error are files beside `output`."""
        output = options.pop('output')
        name, _, value = f'CULMEN_TEST={self.mark}'.partition('=')
        with open(f'{output}.out', 'wb') as out, open(f'{output}.err', 'wb') as err:
            return subprocess.Popen(
                ['ip', 'netns', 'exec', self.names[i], *map(str, command)],
                cwd=ROOT,
                env={**os.environ, name: value, **options.pop('env', {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                **options,
            )

    def train(self, i, *arguments, output):
        """`culmen train ... --json` on a host."""
        command = (sys.executable, '-m', 'culmen', 'train', *arguments, '--json')
        return self.start(i, *command, output=output)

    def left(self):
        """The processes of these hosts that run, by their process ids."""
        found = {}
        for path in Path('/proc').glob('[0-9]*'):
            with contextlib.suppress(OSError):
                if f'CULMEN_TEST={self.mark}'.encode() in (path / 'environ').read_bytes():
                    found[int(path.name)] = (path / 'cmdline').read_bytes().decode()
        return found


@contextlib.contextmanager
def namespaces(number):
    """Some hosts; the test is skipped with the reason where they can't be made."""
    if sys.platform != 'linux' or shutil.which('ip') is None:
        pytest.skip('network namespaces need Linux and the command ip (iproute2)')
    if os.geteuid() != 0:
        pytest.skip('only root may make network namespaces')
    made = Namespaces(number)
    try:
        try:
            made.make()
        except subprocess.CalledProcessError as error:
            pytest.skip(f'network namespaces can not be made here: {error.stderr.strip()}')
        yield made
    finally:
        for pid in made.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        made.remove()
