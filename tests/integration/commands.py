"""`culmen train` in a process of its own, as a user meets it: its signals, its nodes and what it leaves."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Command:
    """`culmen train ... --json` in a process of its own; who belongs to it is known by a mark."""

    def __init__(self, workdir, *arguments, temporary=None, module='culmen'):
        self.workdir = Path(workdir)
        self.mark = f'CULMEN_TEST={uuid.uuid4().hex}'
        name, _, value = self.mark.partition('=')
        command = [
            sys.executable,
            '-m',
            module,
            'train',
            *arguments,
            '--workdir',
            workdir,
            '--json',
        ]
        self.process = subprocess.Popen(
            [str(argument) for argument in command],
            cwd=ROOT,
            env={**os.environ, name: value, **({'TMPDIR': str(temporary)} if temporary else {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self):
        """(exit code, standard output, standard error), once it has ended by itself."""
        out, err = self.process.communicate()
        return self.process.returncode, out, err

    def ports(self):
        """The node that listens at each TCP port, by the port."""
        sockets = {}
        for path in ('/proc/net/tcp', '/proc/net/tcp6'):
            for line in Path(path).read_text().splitlines()[1:]:
                _, local, _, state, *_, inode = line.split()[:10]
                if state == '0A':
                    sockets[f'socket:[{inode}]'] = int(local.rpartition(':')[2], 16)
        found = {}
        for pid, line in self.left().items():
            for descriptor in Path(f'/proc/{pid}/fd').iterdir():
                try:
                    port = sockets.get(os.readlink(descriptor))
                except OSError:
                    continue
                if port is not None:
                    found[port] = line.rstrip('\0').rpartition('=')[2]
        return found

    def left(self):
        """The processes of this command that run, by their process ids."""
        found = {}
        for path in Path('/proc').glob('[0-9]*'):
            try:
                if self.mark.encode() in (path / 'environ').read_bytes():
                    found[int(path.name)] = (path / 'cmdline').read_bytes().decode()
            except OSError:
                continue
        return found

    def node(self, name):
        """The process id of a node."""
        return next(pid for pid, line in self.left().items() if line.endswith(f'={name}\0'))

    def wait_for_steps(self, steps):
        """Waits until the actors have written that they are so far."""
        while True:
            if self.process.poll() is not None:
                pytest.fail(f'ended early: {self.process.stderr.read()[-5000:]}')
            for path in self.workdir.glob('logs/actor-*.csv'):
                rows = path.read_text().splitlines()
                if len(rows) > 2 and int(rows[-2].split(',')[0]) >= steps:
                    return
            time.sleep(0.02)
