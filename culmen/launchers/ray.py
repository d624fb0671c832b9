"""The engine Ray, which runs the nodes of a program as Ray's actors, on one machine or on a cluster.

    program = culmen.launchers.ray.make_program(experiment, 'runs/catch', num_actors=4)
    result = culmen.launchers.ray.launch(program)                       # or address='head:6379'

Ray starts processes, places them by resources and says where they are. Nodes call each other as under every
engine (culmen.launchers.programs.connections), and the replay's node keeps the tables, so no observation goes
through Ray's object store. Which nodes are started again, and from what, is culmen's keeper's to say, so Ray
restarts none by itself: it would give a node its first plan again instead of the newest checkpoint.
"""

import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cloudpickle

from culmen.components.dispatch import usable_cores
from culmen.core.experiment import Experiment
from culmen.launchers.devices import is_cpu
from culmen.launchers.programs import launching
from culmen.launchers.programs import program as programs
from culmen.launchers.programs import supervisor
from culmen.launchers.programs.connections import Address
from culmen.launchers.programs.launching import Job
from culmen.launchers.programs.program import Program
from culmen.launchers.programs.ray.actors import Directory
from culmen.launchers.programs.ray.actors import Host
from culmen.launchers.programs.ray.clusters import Cluster
from culmen.launchers.programs.ray.clusters import Resources
from culmen.launchers.programs.ray.clusters import as_options
from culmen.launchers.programs.ray.clusters import check_resources
from culmen.launchers.programs.ray.clusters import require
from culmen.launchers.programs.ray.nodes import RayNode
from culmen.launchers.programs.supervisor import NodeFailure
from culmen.launchers.programs.topology import COUNTER
from culmen.launchers.programs.topology import SERVED
from culmen.launchers.programs.topology import NodePlan
from culmen.launchers.programs.topology import kind_of
from culmen.launchers.results import Result
from culmen.launchers.results import refusing
from culmen.launchers.workdir import Workdir

LAUNCHER = 'ray'
_NAME_SECONDS = 10.0  # for the name of a node that has ended to be free


def make_program(
    experiment: Experiment, workdir: str | os.PathLike[str] | None = None, **options: Any
) -> Program:
    """As `culmen.launchers.launchpad.make_program`, with the tables in the replay's node.

    Raises: Refused that names what is wrong.
    """
    with refusing():
        require()
        if options.setdefault('replay', 'in_process') != 'in_process':
            raise ValueError(
                f"replay must be 'in_process' under Ray, got {options['replay']!r}: Reverb's server "
                'has no password and no way to follow a node that is placed anew.'
            )
    return programs.make_program(experiment, workdir, **options)


def launch(
    program: Program,
    address: str | None = None,
    *,
    resources: Resources = MappingProxyType({}),
    progress: bool | None = None,
) -> Result:
    """Runs a program on a Ray cluster to its end, and evaluates the final variables.

    All else is as for `culmen.launchers.launchpad.launch`. The counter runs on this machine; learner and
    replay do, too, unless `resources` place them elsewhere, where they have to see the workdir.

    Args:
        program: the result of `make_program`.
        address: of the head of a cluster that this machine is in, 'host:port' or 'auto'; None: Ray is
            started here for this run.
        resources: that each node of a kind takes, by name: {'learner': {'gpu': 1}}. None without it, but a
            learner takes a GPU where the cluster has one, unless the program's `device` is the CPU.
        progress: whether to show progress; None: depends on what standard error is.
    Returns: the Result.
    Raises: Refused for what is wrong before anything is computed; NodeFailure that names the node that
        failed, with its traceback on standard error.
    """
    with refusing():
        require()
        check_resources(resources)
    return launching.launch(program, Ray(program, address, resources), progress)


class Ray(launching.OneMachine):
    """Starts nodes as Ray's actors (culmen.launchers.programs.launching.Engine)."""

    launcher = LAUNCHER
    in_threads = False

    def __init__(
        self,
        program: Program,
        address: str | None = None,
        resources: Resources = MappingProxyType({}),
    ) -> None:
        """Starts nothing yet. Args: as for `launch`."""
        self._program = program
        self._address = address
        self._resources: dict[str, Mapping[str, float]] = dict(resources)
        self._namespace = f'culmen-{secrets.token_hex(4)}'
        self._cluster: Cluster | None = None
        self._directory: Directory | None = None  # where served nodes are, on several machines

    def gather(self, home: Workdir, signals: list[int]) -> None:
        """Joins the cluster, or starts it, and checks that it has what the nodes need."""
        program = self._program
        self._cluster = Cluster(self._address, self._namespace)
        on_cpu = program.device is not None and is_cpu(program.device)
        if not on_cpu and self._cluster.has('gpu'):
            self._resources.setdefault('learner', {'gpu': 1})
        processes = -(-program.num_actors // program.actors_per_process)
        counts = {'actor': processes, 'evaluator': 1 + len(program.evaluators)}
        self._cluster.check(
            {
                kind if number == 0 else f'{kind}-{number}': of_kind
                for kind, of_kind in self._resources.items()
                for number in range(counts.get(kind, 1))
            }
        )
        if len(self._cluster.addresses) > 1:
            self._directory = Directory(self._namespace)

    def find_addresses(self, scratch: Path) -> Mapping[str, Address]:
        """Unix sockets on one machine; on several, what Ray answers each time."""
        if self._directory is None:
            return super().find_addresses(scratch)
        # A Line takes what gives an address, too.
        found: dict[str, Any] = {label: self._directory.of(label) for label in SERVED}
        return found

    def tell_open(self, replay: str) -> str:
        """What Ray opens, and the ports of nodes on several machines."""
        assert self._cluster is not None
        if self._directory is None:
            return f'{self._cluster.tell_open()} {super().tell_open(replay)}'
        return (
            f'{self._cluster.tell_open()} Counter, learner and replay listen at a port each on their '
            "machine; their calls are authenticated with the program's key and not encrypted."
        )

    def start_node(self, job: Job, plan: NodePlan) -> supervisor.Node:
        """Starts one node as an actor with its name."""
        import ray
        from ray.exceptions import RayError

        assert self._cluster is not None
        small = len(usable_cores()) <= job.processes
        variables = supervisor.node_environment(plan.label, small, plan.variables)
        actor = self._make_actor(plan, variables)
        given = cloudpickle.dumps((plan._replace(variables={}), dict(job.addresses)))
        how = job.care.pulses is not None, job.care.patient, str(job.logs.parent)
        try:
            ended = actor.run.remote(
                ray.put(given), job.key.value, how, self._directory is not None
            )
        except RayError as error:
            raise NodeFailure(
                f'node {plan.label} can not be started: its plan of {len(given):,} bytes does not go into '
                f"Ray's object store: {str(error).splitlines()[0]}"
            ) from error
        return RayNode(plan.label, actor, ended, job.logs / f'{plan.label}.log', self._directory)

    def _make_actor(self, plan: NodePlan, variables: Mapping[str, str]) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        assert self._cluster is not None
        kind = kind_of(plan.label)
        where: Any = 'SPREAD'
        if plan.is_served:
            stays = plan.label == COUNTER or kind not in self._resources
            where = NodeAffinitySchedulingStrategy(self._cluster.here, soft=not stays)
        make = ray.remote(Host).options(
            name=plan.label,
            max_restarts=0,
            max_concurrency=8,
            scheduling_strategy=where,
            runtime_env={'env_vars': dict(variables)},
            **as_options(self._resources.get(kind, {})),
        )
        deadline = time.monotonic() + _NAME_SECONDS
        while True:
            try:
                return make.remote(plan.label)
            except ValueError:  # the one before has this name for a moment longer
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def close(self, outcome: Result | BaseException) -> None:
        """Leaves the cluster."""
        if self._cluster is not None:
            self._cluster.leave()
