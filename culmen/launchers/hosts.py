"""Programs over several machines: the engine that places nodes on hosts, each of which runs one command.

    program = culmen.launchers.hosts.make_program(experiment, 'hosts.toml', 'runs/catch')
    result = culmen.launchers.hosts.launch(program, 'hosts.toml')               # on the host of the learner
    result = culmen.launchers.hosts.join(experiment, 'hosts.toml', 'small')     # on every other host

On each host Launchpad's nodes and executables run the nodes, as in `culmen.launchers.launchpad`; what joins
the hosts is in culmen.launchers.programs.hosts. Calls go over connections that are authenticated with the
program's key and not encrypted, so a network has to be declared trusted, or SSH carries them.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from culmen.components.files import expanded
from culmen.core.experiment import Experiment
from culmen.launchers import configs
from culmen.launchers import launchpad
from culmen.launchers.programs import launching
from culmen.launchers.programs import supervisor
from culmen.launchers.programs.connections import Address
from culmen.launchers.programs.connections import Key
from culmen.launchers.programs.connections import Service
from culmen.launchers.programs.hosts.file import GATHERING
from culmen.launchers.programs.hosts.file import Host
from culmen.launchers.programs.hosts.file import Hosts
from culmen.launchers.programs.hosts.file import parse_hosts
from culmen.launchers.programs.hosts.file import read_hosts
from culmen.launchers.programs.hosts.gathering import End
from culmen.launchers.programs.hosts.gathering import Gathering
from culmen.launchers.programs.hosts.joining import Agent
from culmen.launchers.programs.hosts.joining import check_moved
from culmen.launchers.programs.hosts.key import read_key
from culmen.launchers.programs.hosts.ssh import Shells
from culmen.launchers.programs.hosts.ssh import Tunnel
from culmen.launchers.programs.hosts.tables import with_far_tables
from culmen.launchers.programs.launching import Job
from culmen.launchers.programs.program import Program
from culmen.launchers.programs.remote import Server
from culmen.launchers.programs.supervisor import NodeFailure
from culmen.launchers.programs.topology import LEARNER
from culmen.launchers.programs.topology import REPLAY
from culmen.launchers.programs.topology import TABLES
from culmen.launchers.programs.topology import NodePlan
from culmen.launchers.results import Refused
from culmen.launchers.results import Result
from culmen.launchers.results import refusing
from culmen.launchers.workdir import LOGS
from culmen.launchers.workdir import Workdir

LAUNCHER = 'hosts'
# Of IPv4 and IPv6. Reverb listens at both.
_FIREWALLS = ('iptables -I INPUT -p tcp', 'ip6tables -I INPUT -p tcp')
_LOOK_SECONDS = 0.1  # at the hosts that are missing
_TELL_SECONDS = 10.0  # between lines that name them


def make_program(
    experiment: Experiment,
    hosts: str | os.PathLike[str],
    workdir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Program:
    """As `culmen.launchers.launchpad.make_program`, with as many actors as the file of hosts has.

    Args:
        experiment: what to run.
        hosts: the file of hosts (culmen.launchers.programs.hosts.file).
        workdir: on this machine.
        options: others of `launchpad.make_program`.
    Raises: Refused that names what is wrong.
    """
    with refusing():
        found = read_hosts(expanded(hosts))
        asked = options.pop('num_actors', None)
        if asked not in (None, found.num_actors):
            raise ValueError(
                f'num_actors must be {found.num_actors}, as many as {found.name} has, got {asked}.'
            )
        if options.get('replay', 'reverb') != 'reverb':
            raise ValueError(f"replay must be 'reverb' over hosts, got {options['replay']!r}.")
        found.check_processes(options.get('actors_per_process', 1))
    return launchpad.make_program(experiment, workdir, num_actors=found.num_actors, **options)


def launch(
    program: Program,
    hosts: str | os.PathLike[str],
    *,
    trusted_network: bool = False,
    key: str | os.PathLike[str] | None = None,
    over_ssh: bool = False,
    progress: bool | None = None,
) -> Result:
    """Runs a program over several machines to its end, from the host of the learner, which is this one.

    Checkpoints, logs and the result are in the workdir of this
    machine; no disk is shared. All else is as for `culmen.launchers.launchpad.launch`.

    Args:
        program: the result of `make_program`.
        hosts: the file of hosts.
        trusted_network: whether everybody who can reach these hosts may read and alter the traffic between
            them. Needed without `tunnel = "ssh"` in the file.
        key: the file of the program's key; None: the one that the file of hosts names, or a new key if
            over_ssh.
        over_ssh: whether to start the other hosts over SSH, which hands them the key; their `workdir` is
            that of the program, on their own disks. Otherwise it waits for them to `join`.
        progress: whether to show progress; None: depends on what standard error is.
    Returns: the Result.
    Raises: Refused for what is wrong before anything is computed; NodeFailure that names the node or host
        that failed.
    """
    with refusing():
        launchpad.require()
        found = read_hosts(expanded(hosts))
        if program.num_actors != found.num_actors:
            raise ValueError(
                f'the program has {program.num_actors} actors and {found.name} has {found.num_actors}.'
            )
        check_trusted(found, trusted_network)
        is_new = over_ssh and key is None and found.key is None
        program_key = Key() if is_new else _find_key(found, key)
        engine = OverHosts(found, program_key, program.workdir if over_ssh else None, over_ssh)
    return launching.launch(program, engine, progress)


def join(
    experiment: Experiment,
    hosts: str | os.PathLike[str],
    host: str,
    workdir: str | os.PathLike[str] | None = None,
    *,
    trusted_network: bool = False,
    key: str | os.PathLike[str] | None = None,
) -> Result:
    """Joins the program of `launch` from another host, and runs this host's nodes to its end.

    Args:
        experiment: the same as there.
        hosts: a file of hosts with the same content.
        host: the name of this one.
        workdir: on this machine, for the output of its nodes; None: nothing is kept.
        trusted_network, key: as for `launch`.
    Returns: the Result, without parameters.
    Raises: Refused if the learner's host can't be joined, or refuses; NodeFailure if the program fails.
    """
    with refusing():
        launchpad.require()
        found = read_hosts(expanded(hosts))
        here = found.find(host)
        if here is found.head:
            raise ValueError(f'host {host} has the learner, which the others join: launch it.')
        check_trusted(found, trusted_network)
        folder = None if workdir is None else expanded(workdir)
        secret = _find_key(found, key)
        config = configs.to_json(experiment, LAUNCHER, 'reverb', found.num_actors)
        check_ports(found, found.served_on(here))
        tunnel = Tunnel(found, here) if found.tunnel == 'ssh' else None
    with contextlib.closing(tunnel) if tunnel else contextlib.nullcontext():
        end = _run_agent(found, here, secret, config=config, workdir=folder, tunnel=tunnel)
    kept = None if folder is None else str(folder)
    return Result(
        experiment=experiment,
        workdir=kept,
        summary={**(end.summary or {}), 'workdir': kept},
        interrupted=end.signal is not None,
        signal=end.signal,
        params=None,
        logs=None,
        make_policy=None,
    )


def _run_agent(hosts: Hosts, here: Host, key: Key, **options: Any) -> End:
    """Runs the nodes of a host. Raises: as `join`."""
    end = Agent(hosts, here, key, launchpad.Launchpad('processes'), **options).run()
    if end.error is not None:
        raise NodeFailure(f'the program has failed on host {hosts.head.name}: {end.error}')
    return end


def check_trusted(hosts: Hosts, trusted_network: bool) -> None:
    """Refuses a program whose traffic others may read. Raises: ValueError that says what is needed."""
    if not trusted_network and hosts.tunnel == 'none':
        raise ValueError(
            'calls between hosts are authenticated and not encrypted, and Reverb asks for no password: '
            'give --trusted-network (trusted_network=True) if only people whom you trust can reach these '
            f'hosts, or tunnel = "ssh" in {hosts.name}.'
        )


def check_ports(hosts: Hosts, ports: Mapping[str, int]) -> None:
    """Refuses ports of this machine that are taken. Raises: ValueError that names the port and its use."""
    for label, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(('', port))
            except OSError as error:
                raise ValueError(
                    f'port {port}, which {hosts.name} gives to the {label}, can not be used here: '
                    f'{error.strerror}; choose another port in {hosts.name}.'
                ) from error


def _find_key(hosts: Hosts, path: str | os.PathLike[str] | None) -> Key:
    if path is None and hosts.key is None:
        raise ValueError(
            f'a key is needed: name its file as --key-file (key=...), or as key in {hosts.name}.'
        )
    return read_key(path or str(hosts.key))


class OverHosts:
    """Starts nodes on several machines (culmen.launchers.programs.launching.Engine)."""

    launcher = LAUNCHER
    in_threads = False

    def __init__(
        self, hosts: Hosts, key: Key, workdir: Path | None = None, over_ssh: bool = False
    ) -> None:
        """Starts nothing yet.

        Args:
            hosts: of the program, whose learner is on this machine.
            key: of the program.
            workdir: of the other hosts, if they are started over SSH.
            over_ssh: whether they are.
        """
        self._hosts = hosts
        self._key = key
        self._workdir = workdir
        self._over_ssh = over_ssh
        self._shells: Shells | None = None
        self._here = launchpad.Launchpad('processes')
        self._gathering: Gathering | None = None
        self._service: Service | None = None

    def find_addresses(self, scratch: Path) -> Mapping[str, Address]:
        """Those of the file."""
        return self._hosts.addresses(self._hosts.head)

    def make_key(self) -> Key:
        """The one that all hosts have."""
        return self._key

    def count_here(self, plans: Sequence[NodePlan]) -> int:
        """How many nodes are on the learner's host."""
        return sum(self._hosts.place(plan) is self._hosts.head for plan in plans)

    def gather(self, home: Workdir, signals: list[int]) -> None:
        """Waits for the other hosts."""
        hosts = self._hosts
        with refusing():
            check_moved(home.folder, hosts.head, home.has_checkpoint)
            check_ports(hosts, hosts.served_on(hosts.head))
            assert home.folder is not None, 'a launch has a folder, if only for itself'
            self._gathering = Gathering(
                hosts, home.config, signals, home.has_checkpoint, home.folder / LOGS
            )
            server = Server()
            server.open(self._gathering)
            address = hosts.addresses(hosts.head)[GATHERING]
            try:
                self._service = Service(server, address, self._key)
            except OSError as error:
                raise ValueError(
                    f'host {hosts.head.name} can not listen at {address[0]}: {error.strerror or error}; '
                    'is that an address of this machine? If not, give listen = "0.0.0.0" (or "::") in '
                    f'{hosts.name}.'
                ) from error
            if self._over_ssh:
                self._shells = Shells(hosts, self._key, self._workdir)
        self._wait(signals)

    def _wait(self, signals: list[int]) -> None:
        assert self._gathering is not None
        hosts, begin, told = self._hosts, time.monotonic(), 0.0
        while not signals:
            missing = self._gathering.missing()
            if self._gathering.refusal is not None:
                raise Refused(self._gathering.refusal)
            if not missing:
                return
            ended = None if self._shells is None else self._shells.ended()
            if ended is not None:
                raise Refused(ended)
            waited = time.monotonic() - begin
            names = ', '.join(f'{name} ({hosts.find(name).address})' for name in missing)
            if waited > hosts.wait:
                raise Refused(
                    f'these hosts did not join within {hosts.wait:g} seconds (wait in {hosts.name}): '
                    f'{names}. Run there the same command with --host NAME.'
                )
            if waited >= told:
                told += _TELL_SECONDS
                print(f'culmen: waiting for hosts: {names}.', file=sys.stderr, flush=True)
            time.sleep(_LOOK_SECONDS)

    def tell_open(self, replay: str) -> str:
        """The ports that stay open, and what closes them to others."""
        return tell_open(self._hosts)

    def start_node(self, job: Job, plan: NodePlan) -> supervisor.Node:
        """Starts a node on its host."""
        host = self._hosts.place(plan)
        if plan.label == LEARNER and self._hosts.host_of(REPLAY) is not host:
            plan = with_far_tables(plan)
        if host is self._hosts.head:
            return self._here.start_node(job, plan)
        assert self._gathering is not None
        if self._shells is not None:
            self._shells.keep(host)
        return self._gathering.start(host, plan, job.care)

    def close(self, outcome: Result | BaseException) -> None:
        """Tells the other hosts how the program ended."""
        if self._gathering is not None:
            self._gathering.finish(_make_end(outcome))
        if self._shells is not None:
            self._shells.close()
        if self._service is not None:
            self._service.close()


def _make_end(outcome: Result | BaseException) -> End:
    if isinstance(outcome, Result):
        number = outcome.signal or signal.SIGINT
        return End(dict(outcome.summary), number if outcome.interrupted else None)
    return End(error=str(outcome) or type(outcome).__name__)


def tell_open(hosts: Hosts) -> str:
    """What others can reach on the hosts of a program, and the lines of a firewall that close it."""
    tables = hosts.host_of(REPLAY)
    port = hosts.addresses(tables)[TABLES][1]
    reverb = (
        f'Reverb listens on all interfaces of host {tables.name} at port {port} and asks for no password: '
        'whoever reaches it can read, alter and empty the tables, and run no code. '
    )
    if hosts.tunnel == 'ssh':
        return f'SSH carries all calls. {reverb}To close it on {tables.name}: ' + '; '.join(
            f'{each} --dport {port} ! -i lo -j DROP' for each in _FIREWALLS
        )
    ports = f'{hosts.port}:{port}'
    drop = ' '.join(f'{each} --dport {ports} -j DROP;' for each in _FIREWALLS)
    allow = ' '.join(
        f'{_FIREWALLS[":" in host.address]} -s {host.address} --dport {ports} -j ACCEPT;'
        for host in hosts.hosts
    )
    return (
        f'Calls between hosts are authenticated and not encrypted, at ports {hosts.port} to {port}. {reverb}'
        f'To close them to others: {drop} {allow}'
    )


def main() -> None:
    """Joins as standard input says: the process that `ssh.Shells` starts on another host."""
    given = json.loads(sys.stdin.readline())
    try:
        found = parse_hosts(given['hosts'], given['name'])
        here, workdir = found.find(given['host']), given['workdir']
        with refusing():
            launchpad.require()
            check_ports(found, found.served_on(here))
        _run_agent(
            found,
            here,
            Key(bytes.fromhex(given['key'])),
            config=None,
            workdir=None if workdir is None else Path(workdir),
        )
    except (Refused, NodeFailure) as error:
        print(f'culmen: error: {error}', file=sys.stderr, flush=True)
        sys.exit(2 if isinstance(error, Refused) else 1)


if __name__ == '__main__':
    main()
