"""The engine Launchpad, which runs the nodes of a program as threads or processes.

    program = culmen.launchers.launchpad.make_program(experiment, 'runs/catch', num_actors=4)
    result = culmen.launchers.launchpad.launch(program, backend='processes')

Only this module depends on Launchpad: its nodes, its addresses and the commands that run them. What nodes do,
how they call each other, and how they are started, watched and ended is in culmen.launchers.programs.
Launchpad is imported only when a program is launched.
"""

import contextlib
import functools
import importlib.util
import os
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import Literal

from culmen.components.dispatch import usable_cores
from culmen.launchers.options import check_choice
from culmen.launchers.programs import launching
from culmen.launchers.programs import program as programs
from culmen.launchers.programs import supervisor
from culmen.launchers.programs.evaluators import FurtherEvaluator as FurtherEvaluator
from culmen.launchers.programs.launching import Job
from culmen.launchers.programs.nodes.replay import REVERB
from culmen.launchers.programs.nodes.replay import prepare
from culmen.launchers.programs.program import Program as Program
from culmen.launchers.programs.running import run_node
from culmen.launchers.programs.stops import Stop
from culmen.launchers.programs.supervisor import NodeFailure as NodeFailure
from culmen.launchers.programs.topology import NodePlan
from culmen.launchers.results import Result
from culmen.launchers.results import refusing

Backend = Literal['threads', 'processes']
BACKENDS: tuple[Backend, ...] = ('threads', 'processes')
_INSTALL = (
    "programs need Launchpad and Reverb: pip install 'culmen[launchpad]', on Python 3.10 and Linux "
    'x86-64, for which alone they have wheels. One process (launcher local) needs neither, and Ray '
    '(launcher ray) carries the same programs on every Python.'
)


def require(replay: str = REVERB) -> None:
    """Raises: ImportError that says what to install, if Launchpad or Reverb is missing.

    Args: replay: what keeps the tables.
    """
    wanted = ('launchpad', 'reverb') if replay == REVERB else ('launchpad',)
    missing = [name for name in wanted if not _is_installed(name)]
    if missing:
        raise ImportError(f'{" and ".join(missing)} can not be imported: {_INSTALL}')


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


@functools.wraps(programs.make_program)
def make_program(*args: Any, **options: Any) -> Program:
    with refusing():
        require(options.get('replay', REVERB))
    return programs.make_program(*args, **options)


def launch(
    program: Program, backend: Backend = 'processes', *, progress: bool | None = None
) -> Result:
    """Runs a program on this machine to its end, and evaluates the final variables.

    The same program on the same workdir resumes where it stopped. SIGINT and SIGTERM end it after a
    checkpoint, and the Result so far is returned. No thread or process is left when this returns or raises.

    Args:
        program: the result of `make_program`.
        backend: whether nodes are 'threads' of this process, or 'processes'.
        progress: whether to show progress; None: depends on what standard error is.
    Returns: the Result.
    Raises: Refused for what is wrong before anything is computed; NodeFailure that names the node that
        failed, with its traceback on standard error.
    """
    with refusing():
        check_choice('backend', backend, BACKENDS)
        require(program.replay)
        if backend == 'threads':
            prepare(program.replay)  # once, before several threads import it
    return launching.launch(program, Launchpad(backend), progress)


class Launchpad(launching.OneMachine):
    """Starts nodes as Launchpad does (culmen.launchers.programs.launching.Engine)."""

    def __init__(self, backend: Backend) -> None:
        """Args: backend: as for `launch`."""
        self.launcher: str = backend
        self.in_threads = backend == 'threads'

    def start_node(self, job: Job, plan: NodePlan) -> supervisor.Node:
        """Starts one node."""
        # Threads end one by one, too; in a process the stop is that of the process.
        stop, pulse = Stop() if self.in_threads else job.stop, job.care.files(plan)
        program = _program(job, plan, stop)
        (group,) = program.groups.values()
        if self.in_threads:
            return supervisor.ThreadNode(plan.label, group[0].function, stop, pulse)
        small = len(usable_cores()) <= job.processes
        with _launchpad_writes_to(job.scratch):
            (command,) = group[0].to_executables(group, plan.label, group[0].launch_context)
        arguments = [each for each in command.command_as_list if each != '--pdb_post_mortem']
        # So that a list of processes names the nodes.
        arguments.append(f'--lp_job_name={plan.label}')
        environment = {
            **os.environ,
            **supervisor.node_environment(plan.label, small, plan.variables),
            **command.env_overrides,
        }
        output = job.logs / f'{plan.label}.log'
        return supervisor.ProcessNode(
            plan.label, arguments, environment, output, job.key.value, pulse
        )


def _program(job: Job, plan: NodePlan, stop: Stop) -> Any:
    """The node as a Launchpad program. It uses none of its addresses: those of nodes are fixed."""
    import launchpad as lp
    from absl import flags
    from launchpad import context

    program = lp.Program('culmen')
    run = functools.partial(run_node, plan, stop, job.key, job.addresses, job.care)
    program.add_node(lp.PyNode(run), plan.label)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Launchpad reads its own flags; the command line is not absl's
    for node in program.get_all_nodes():
        node._initialize_context(context.LaunchType.LOCAL_MULTI_PROCESSING, launch_config=None)
    return program


@contextlib.contextmanager
def _launchpad_writes_to(folder: Path) -> Iterator[None]:
    """Makes Launchpad write what nodes run to this folder: one of its own would be left after a kill."""
    from launchpad.nodes.python import local_multi_processing as module

    mkdtemp = functools.partial(tempfile.mkdtemp, dir=folder)
    module.tempfile = types.SimpleNamespace(mkdtemp=mkdtemp)
    try:
        yield
    finally:
        module.tempfile = tempfile
