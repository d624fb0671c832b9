"""Runs as commands of their own, several at a time: `culmen train --jobs N`."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

import click

from culmen.launchers.outcomes import Outcome
from culmen.launchers.results import Refused
from culmen.launchers.results import Result

if TYPE_CHECKING:
    from culmen.launchers.options import Interruption

LOGS = 'output'  # in the folder of many runs: what each run of a pool said
_POLL_SECONDS = 0.1
# Options that say which of many runs there are, which each of them is told otherwise.
_OF_MANY = (
    'agent', 'seed', 'seeds', 'sweep', 'workdir', 'record', 'jobs', 'tune', 'trials', 'sampler',
    'pruner', 'storage', 'as_json',
)  # fmt: skip


def run_command(
    context: click.Context,
    fields: Mapping[str, str],
    seed: int,
    folder: Path,
    options: Iterable[str] = (),
) -> list[str]:
    """The command of one of many runs, as it could be typed.

    Args:
        context: of the command of all runs.
        fields: swept values, by 'agent.FIELD'.
        seed, folder: of the run.
        options: further ones.
    """
    arguments = [sys.executable, '-m', 'culmen', 'train']
    arguments += [context.params['agent']] * (context.params['agent'] is not None)
    for parameter in context.command.params:
        name, value = parameter.name or '', context.params.get(parameter.name or '')
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if name in _OF_MANY or not given or not isinstance(parameter, click.Option):
            continue
        if parameter.is_flag:
            arguments += [parameter.opts[-1]] * bool(value)
            continue
        several = list(value or ()) if parameter.multiple else [value]
        arguments += [f'{parameter.opts[-1]}={each}' for each in several]
    typed = [(f'{kind}.{name}', text) for kind, name, text in context.meta['fields']]
    arguments += [f'--{name}={text}' for name, text in (*typed, *fields.items())]
    return [*arguments, f'--seed={seed}', f'--workdir={folder}', *options, '--json']


class Task(NamedTuple):
    """A run, to be made in this process or by a command of its own."""

    name: str
    command: Sequence[str]
    make: Callable[[], Result] | None = None  # None: it is for a Pool alone


class Inline:
    """Makes runs in this process, one after another, with the interface of a `Pool`."""

    def __init__(self) -> None:
        self._task: Task | None = None

    def __enter__(self) -> 'Inline':
        return self

    def __exit__(self, *_: Any) -> None:
        self._task = None

    @property
    def has_room(self) -> bool:
        """Whether a run can be started now."""
        return self._task is None

    @property
    def is_empty(self) -> bool:
        """Whether there is no run."""
        return self._task is None

    def start(self, task: Task) -> None:
        """Keeps the run for `wait`."""
        self._task = task

    def wait(self) -> tuple[str, Outcome]:
        """Makes the run. Returns: its name, and how it ended."""
        assert self._task is not None
        task, self._task = self._task, None
        assert task.make is not None
        try:
            result = task.make()
        except Exception as error:
            if not isinstance(error, Refused):
                traceback.print_exc()
            text = f'{type(error).__name__}: {error}'
            return task.name, Outcome(None, None, text, isinstance(error, Refused))
        number = (result.signal or signal.SIGINT) if result.interrupted else None
        return task.name, Outcome(result.summary, number)


class _Running(NamedTuple):
    process: 'subprocess.Popen[str]'
    log: IO[str]


class Pool:
    """Makes runs in processes of their own, as many at a time as there are jobs.

    Each is in a session of its own, so that a signal from the terminal reaches this process alone, which
    passes it on: all runs save and end. As a context manager it ends those that an error leaves behind.
    """

    def __init__(self, jobs: int, folder: Path, interruption: 'Interruption') -> None:
        """Args: folder: of all runs; interruption: asks them to end."""
        from culmen.components.dispatch import usable_cores
        from culmen.launchers.programs.supervisor import node_environment

        self._jobs = jobs
        self._logs = folder / LOGS
        self._interruption = interruption
        self._running: dict[str, _Running] = {}
        self._told = False
        small = jobs > 1 and len(usable_cores()) <= 2 * jobs
        self._environment = {**os.environ, **node_environment('learner', small)}

    def __enter__(self) -> 'Pool':
        return self

    def __exit__(self, *_: Any) -> None:
        for each in self._running.values():
            each.process.kill()
            each.process.communicate()
            each.log.close()

    @property
    def has_room(self) -> bool:
        """Whether a run can be started now."""
        return len(self._running) < self._jobs

    @property
    def is_empty(self) -> bool:
        """Whether no run is under way."""
        return not self._running

    def start(self, task: Task) -> None:
        """Starts the command of a run; what it says goes to a file of its own."""
        path = self.log_of(task.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        log = open(path, 'a')
        process = subprocess.Popen(
            task.command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        self._running[task.name] = _Running(process, log)

    def log_of(self, name: str) -> Path:
        """The file of what a run said."""
        return self._logs / (re.sub(r'[^\w.,=+-]+', '-', name) + '.log')

    def wait(self) -> tuple[str, Outcome]:
        """Waits until a run ends. Returns: its name, and how it ended."""
        while True:
            if self._interruption.is_asked() and not self._told:
                self._told = True
                for each in self._running.values():
                    each.process.terminate()
            for name, each in self._running.items():
                if each.process.poll() is not None:
                    del self._running[name]
                    return name, self._outcome(name, each)
            time.sleep(_POLL_SECONDS)

    def _outcome(self, name: str, ended: _Running) -> Outcome:
        out, _ = ended.process.communicate()
        ended.log.close()
        code = ended.process.returncode
        if self._told and code == -signal.SIGTERM:
            return Outcome(None, signal.SIGTERM)  # it had not begun
        if code in (0, 130, 143):
            try:
                return Outcome(json.loads(out.splitlines()[-1]), code - 128 if code else None)
            except (ValueError, IndexError):
                if code:
                    return Outcome(None, code - 128)
        said = re.findall(r'^culmen: error: (.*)$', self.log_of(name).read_text(), re.MULTILINE)
        text = said[-1] if said else f'it ended with code {code}'
        return Outcome(None, None, f'{text} ({self.log_of(name)})', code == 2)
