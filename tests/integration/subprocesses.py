"""An engine of programs that is not Launchpad: each node is a plain Python process."""

import os
import pathlib
import sys

import cloudpickle

from culmen.components.dispatch import usable_cores
from culmen.launchers.programs import launching
from culmen.launchers.programs import supervisor
from culmen.launchers.programs.running import run_node

_RUN = 'import pickle, sys; pickle.load(open(sys.argv[1], "rb"))()'


class _Node:
    """What a process does: made here, called there."""

    def __init__(self, *arguments):
        self._arguments = arguments

    def __call__(self):
        run_node(*self._arguments)


class Subprocesses(launching.OneMachine):
    launcher = 'processes'
    in_threads = False

    def start_node(self, job, plan):
        small = len(usable_cores()) <= job.processes
        path = pathlib.Path(job.scratch) / f'{plan.label}.pickle'
        path.write_bytes(cloudpickle.dumps(_Node(plan, job.stop, job.key, job.addresses, job.care)))
        environment = {
            **os.environ,
            **supervisor.node_environment(plan.label, small, plan.variables),
        }
        return supervisor.ProcessNode(
            plan.label,
            [sys.executable, '-c', _RUN, str(path), f'--node={plan.label}'],
            environment,
            job.logs / f'{plan.label}.log',
            job.key.value,
            job.care.files(plan),
        )


if __name__ == '__main__':
    # The command line, whose programs this engine carries.
    from culmen.launchers import command_line
    from culmen.launchers import launchpad

    launchpad.Launchpad = lambda backend: Subprocesses()
    command_line.main(sys.argv[1:])
