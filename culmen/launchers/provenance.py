"""What ran a run, where and when: WORKDIR/provenance.json. Imports no JAX until a run begins.

    {'version': 1, 'commands': [{'at': '2026-01-31T12:00:00+00:00', 'command': ['culmen', 'train', 'dqn'],
      'folder': '/home/ann/project', 'git': {'commit': '1f2e...', 'changed': false}, 'python': '3.12.4',
      'packages': {'jax': '0.4.30', ...}, 'host': 'gpu1', 'platform': 'Linux-6.1-x86_64',
      'cpu': 'AMD EPYC', 'cores': 32, 'memory': 135000000000, 'devices': ['NVIDIA H200']}, ...]}

The first command began the run; each later one went on with it. A resumed run may differ in all of this from
the first, so it is no part of config.json, by which a run is known again.
"""

import contextlib
import contextvars
import datetime
import functools
import importlib.metadata
import os
import platform
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from culmen.components.files import DamagedError
from culmen.components.files import read_json
from culmen.components.files import reading
from culmen.launchers.folders import PROVENANCE
from culmen.launchers.folders import write_json

VERSION = 1  # of provenance.json
_GIT_SECONDS = 5.0
_HIDDEN = '...'  # in place of the value of an environment variable

# The command on another machine that a task of this process works for.
_behind: contextvars.ContextVar[Mapping[str, Any] | None] = contextvars.ContextVar(
    'behind', default=None
)


def note(folder: Path) -> None:
    """Adds the command of this process to the provenance of a run. Raises: OSError that names the file."""
    try:
        before = read(folder)
    except DamagedError as error:
        warnings.warn(f'{error} It is begun anew.', stacklevel=2)
        before = []
    commands = [*before, {**(_behind.get() or find_command()), **_find_machine()}]
    write_json(folder / PROVENANCE, {'version': VERSION, 'commands': commands})


def read(folder: Path) -> list[dict[str, Any]]:
    """The commands that have run a run, the first one first; [] if an earlier version of Culmen ran it.

    Raises: DamagedError that names the file.
    """
    path = folder / PROVENANCE
    if not path.exists():
        return []
    found = read_json(path)
    with reading(path):
        if found['version'] != VERSION:
            raise DamagedError(
                f'{path} has version {found["version"]!r:.20}; this version of Culmen reads {VERSION}.'
            )
        commands = found['commands']
        for command in commands:
            for name in ('command', 'devices'):
                if not all(isinstance(each, str) for each in command[name]):
                    raise ValueError(f'{name} must be texts, got {command[name]!r:.40}')
            if not isinstance(command['packages'], dict) or not isinstance(command['at'], str):
                raise ValueError(f'{command!r:.80} is no command')
            git = command['git']
            if git is not None and not isinstance(git['commit'], str | None):
                raise ValueError(f'git must be a commit, got {git!r:.40}')
    return list(commands)


def find_command() -> dict[str, Any]:
    """What this process was started with: its command, when and where, and the project's commit."""
    return {
        'at': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'command': without_values([Path(sys.argv[0]).name, *sys.argv[1:]]),
        'folder': os.getcwd(),
        'git': find_git(_project()),
    }


@contextlib.contextmanager
def working_for(command: Mapping[str, Any]) -> Iterator[None]:
    """Runs inside are those of a command on another machine. Args: command: its `find_command`."""
    token = _behind.set(command)
    try:
        yield
    finally:
        _behind.reset(token)


def without_values(command: Sequence[str]) -> list[str]:
    """A command without the values of --variables KIND.NAME=VALUE, which may be secret."""
    shown, is_variable = [], False
    for each in command:
        option = '--variables=' if each.startswith('--variables=') else ''
        if option or is_variable:
            name, equals, _ = each[len(option) :].partition('=')
            each = option + name + (equals and equals + _HIDDEN)
        is_variable = each == '--variables'
        shown.append(each)
    return shown


def find_git(folder: Path) -> dict[str, Any] | None:
    """The commit of the project in a folder, and whether files that git knows have been changed since.

    Returns: {'commit', 'changed'}; the commit is None before the first. None: it is no project of git's, or
        git is missing or too slow.
    """
    command = ['git', '-c', 'core.fsmonitor=false', 'status', '--porcelain=v2', '--branch']
    try:
        said = subprocess.run(
            [*command, '--untracked-files=no'],
            cwd=folder,
            env={**os.environ, 'GIT_OPTIONAL_LOCKS': '0', 'LC_ALL': 'C'},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = said.stdout.decode(errors='replace').splitlines()
    oid = next((line.split()[-1] for line in lines if line.startswith('# branch.oid ')), None)
    commit = oid if oid is not None and re.fullmatch('[0-9a-f]+', oid) else None
    return {'commit': commit, 'changed': any(not line.startswith('#') for line in lines)}


def _project() -> Path:
    """The folder of the script that runs; of an installed command or a notebook, the current folder."""
    script = getattr(sys.modules['__main__'], '__file__', None)
    if script is not None:
        path = Path(script).absolute()
        installed = Path(sys.prefix).absolute(), Path(__file__).absolute().parents[1]
        if path.exists() and not any(path.is_relative_to(each) for each in installed):
            return path.parent
    return Path.cwd()


def _find_machine() -> dict[str, Any]:
    import jax

    return {
        'python': platform.python_version(),
        'packages': _find_packages(),
        'host': socket.gethostname(),
        'platform': platform.platform(),
        'cpu': _find_cpu(),
        'cores': os.cpu_count(),
        'memory': _find_memory(),
        'devices': [each.device_kind for each in jax.devices()],
    }


@functools.cache
def _find_packages() -> dict[str, str]:
    """The versions of Culmen and of all that it names as its dependencies, those of extras too."""
    names = {'culmen', 'jax', 'jaxlib', 'numpy'}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        needed = importlib.metadata.requires('culmen') or []
        names |= {re.match(r'[\w.-]+', each).group() for each in needed}  # type: ignore[union-attr]
    found = {}
    for name in sorted(names):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@functools.cache
def _find_cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text(errors='replace').splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def _find_memory() -> int | None:
    """Bytes of memory; None where the system doesn't say."""
    try:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, OSError, ValueError):
        return None


def describe(commands: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is told of the commands of a run: two lines of the first, and one of the last."""
    if not commands:
        return []
    first, last = commands[0], commands[-1]
    known = [name for name in ('culmen', 'jax', 'numpy') if name in first['packages']]
    versions = ', '.join(f'{name} {first["packages"][name]}' for name in known)
    devices = ', '.join(dict.fromkeys(first['devices']))
    lines = [
        f'begun {_what(first)}',
        f'  Python {first["python"]}, {versions}; {first["cpu"]}; {devices}',
    ]
    if len(commands) > 1:
        many = len(commands) - 1
        later = 'command' if many == 1 else 'commands'
        lines.append(f'and by {many} later {later}, the last {_what(last)}')
    return lines


def _what(command: Mapping[str, Any]) -> str:
    git, where = command['git'], ''
    if git is not None and git['commit'] is not None:
        where = f' at commit {git["commit"][:10]}{", changed" if git["changed"] else ""}'
    return f'{command["at"]}{where}: {" ".join(command["command"])}'
