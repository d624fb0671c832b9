"""The file of hosts: which machines a program runs on, and which nodes run where.

    key = "~/.culmen/key"          # a file that only you can read; make_key in `key` says how to make it

    [hosts.big]                    # the learner's host keeps the workdir, and the counter
    address = "10.0.0.1"
    nodes = ["learner", "replay", "evaluator"]

    [hosts.small]
    address = "10.0.0.2"
    actors = 8

A node that no host names runs beside the learner. TOML, since Python reads it, and refuses a table that is
given twice.
"""

import ipaddress
import sys
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Literal

from culmen.core import checks
from culmen.core.checks import Range
from culmen.core.checks import check_fields
from culmen.core.checks import unknown_name
from culmen.launchers.programs.connections import Address
from culmen.launchers.programs.topology import COUNTER
from culmen.launchers.programs.topology import EVALUATOR
from culmen.launchers.programs.topology import LEARNER
from culmen.launchers.programs.topology import REPLAY
from culmen.launchers.programs.topology import TABLES
from culmen.launchers.programs.topology import NodePlan

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GATHERING = 'gathering'  # the service of the learner's host that the others join
_PORTS = (GATHERING, COUNTER, LEARNER, REPLAY, TABLES)  # in this order from `Hosts.port` on
_SINGLE = (LEARNER, COUNTER, REPLAY)
_LOOPBACK = '127.0.0.1'


@dataclass(frozen=True)
class Host:
    """One machine of a program."""

    name: str
    address: str  # by which the others reach it: a name or an IP address
    nodes: tuple[str, ...] = ()  # that run here beside the actors
    actors: Annotated[int, Range(0)] = 0  # how many run here
    listen: str | None = (
        None  # where its nodes listen, if that is not the address: 0.0.0.0 in a container
    )
    ssh: str | None = None  # the destination for ssh; None: the address
    ssh_options: tuple[str, ...] = ()  # of the command ssh, such as ("-p", "2222")
    python: str | None = (
        None  # that has Culmen, on this host; None: the path of the one that starts it
    )
    directory: str | None = None  # in which it runs, if it is started over SSH; None: this one's

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ('address', 'listen'):
            value = getattr(self, name)
            if value is not None and (not value or ':' in value and not _is_ipv6(value)):
                raise ValueError(
                    f'{name} must be a name or an IP address, without a port and without brackets, '
                    f'got {value!r}.'
                )
        for node in self.nodes:
            if node not in (*_SINGLE, EVALUATOR) and not node.startswith(f'{EVALUATOR}-'):
                raise ValueError(
                    unknown_name('node', node, (*_SINGLE, EVALUATOR))
                    + ' Actors are given as a number: actors = 8.'
                )


@dataclass(frozen=True)
class Hosts:
    """What the file says. Each setting is a field of it."""

    hosts: tuple[Host, ...]
    key: str | None = None  # the file of the program's key, the same on every host
    port: Annotated[int, Range(1024, 65_531)] = 47_100  # the first of five
    tunnel: Literal['none', 'ssh'] = 'none'  # what carries the traffic between hosts
    wait: Annotated[float, Range(0, open_low=True)] = 600.0  # seconds for all hosts to join
    silence: Annotated[float, Range(1)] = (
        60.0  # seconds without an answer until a host counts as lost
    )
    name: str = field(default='the file of hosts', compare=False)  # of the file, for errors
    text: str = field(default='', compare=False, repr=False)  # of the file

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.hosts:
            raise ValueError('[hosts.NAME] is needed: a table for each machine.')
        for node in sorted({node for host in self.hosts for node in host.nodes}):
            where = [host.name for host in self.hosts if node in host.nodes]
            if len(where) > 1 or sum(host.nodes.count(node) for host in self.hosts) > 1:
                raise ValueError(
                    f'a program has one {node}, but hosts {" and ".join(where)} have it.'
                    if len(where) > 1
                    else f'a program has one {node}, but host {where[0]} names it twice.'
                )
        if not any(LEARNER in host.nodes for host in self.hosts):
            raise ValueError(
                f'no host has the learner; give one of {", ".join(self.names)} nodes = ["learner"].'
            )
        if COUNTER not in self.head.nodes and any(COUNTER in host.nodes for host in self.hosts):
            raise ValueError(
                'the counter has to run on the host of the learner, since the logs that it writes and '
                f'the checkpoints of the learner are one workdir; name it at host {self.head.name}.'
            )
        if self.num_actors == 0:
            raise ValueError('no host has actors; give one of them actors = 1 or more.')
        if self.tunnel == 'none':
            taken: dict[str, str] = {}
            for host in self.hosts:
                other = taken.setdefault(host.address, host.name)
                if other != host.name:
                    raise ValueError(
                        f'hosts {other} and {host.name} have the same address {host.address}.'
                    )

    @property
    def names(self) -> list[str]:
        """Of all hosts."""
        return [host.name for host in self.hosts]

    @property
    def head(self) -> Host:
        """The host of the learner, which keeps the workdir, and which the others join."""
        return next(host for host in self.hosts if LEARNER in host.nodes)

    @property
    def others(self) -> list[Host]:
        """All but the learner's host."""
        return [host for host in self.hosts if host is not self.head]

    @property
    def num_actors(self) -> int:
        """Of the program."""
        return sum(host.actors for host in self.hosts)

    def find(self, name: str) -> Host:
        """A host by its name. Raises: ValueError that names the nearest ones."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise ValueError(f'{self.name}: {unknown_name("host", name, self.names)}')

    def host_of(self, label: str) -> Host:
        """The host of a node that is no actor."""
        for host in self.hosts:
            if label in host.nodes:
                return host
        if label.startswith(f'{EVALUATOR}-'):
            return self.host_of(EVALUATOR)
        return self.head

    def place(self, plan: NodePlan) -> Host:
        """The host of a node. Actors are numbered in the order of the file."""
        if not plan.label.startswith('actor'):
            return self.host_of(plan.label)
        assert plan.reports is not None
        of_actor = [host for host in self.hosts for _ in range(host.actors)]
        return of_actor[int(plan.reports[0].rpartition('-')[2])]

    def check_processes(self, actors_per_process: int) -> None:
        """Raises: ValueError for a process of actors that would be on two hosts."""
        for host in self.hosts[:-1]:
            if host.actors % actors_per_process:
                raise ValueError(
                    f'{self.name}: actors of host {host.name} must be a multiple of actors_per_process '
                    f'({actors_per_process}), got {host.actors}: a process is on one host.'
                )

    def addresses(self, here: Host) -> dict[str, Address]:
        """Where a host reaches the services, and where those of its own listen.

        Through tunnels every port is at each host's own loopback.
        """
        found: dict[str, Address] = {}
        for i, label in enumerate(_PORTS):
            host = self.host_of(REPLAY if label == TABLES else label)
            listens = host.listen or host.address if host is here else host.address
            found[label] = (_LOOPBACK if self.tunnel == 'ssh' else listens, self.port + i)
        return found

    def served_on(self, host: Host) -> dict[str, int]:
        """The ports at which services of a host listen, by label."""
        labels = {label: self.host_of(REPLAY if label == TABLES else label) for label in _PORTS}
        return {label: self.port + i for i, label in enumerate(_PORTS) if labels[label] is host}


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def read_hosts(path: Path) -> Hosts:
    """Reads a file of hosts. Raises: ValueError that names the file, the field, and what is accepted."""
    try:
        text = path.read_text(encoding='utf-8')
    except FileNotFoundError:
        raise ValueError(f'the file of hosts {path} does not exist.') from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f'the file of hosts {path} can not be read: {error}.') from error
    return parse_hosts(text, str(path))


def parse_hosts(text: str, name: str) -> Hosts:
    """Reads the text of such a file. Args: name: of the file, for errors. Raises: as `read_hosts`."""
    try:
        data = tomllib.loads(text)
        tables = data.pop('hosts', {})
        if not isinstance(tables, dict) or not all(
            isinstance(each, dict) for each in tables.values()
        ):
            raise ValueError('hosts must be tables [hosts.NAME], one for each machine.')
        hosts = tuple(_make_host(each, table) for each, table in tables.items())
        return _make(Hosts, data, hosts=hosts, name=name, text=text)
    except ValueError as error:  # that of the parser too
        raise ValueError(f'{name}: {error}') from error


def _make_host(name: str, table: Mapping[str, Any]) -> Host:
    try:
        if 'address' not in table:
            raise ValueError('address is needed: a name or an IP address.')
        return _make(Host, table, name=name)
    except ValueError as error:
        raise ValueError(f'host {name}: {error}') from error


def _make(make: Callable[..., Any], table: Mapping[str, Any], **given: Any) -> Any:
    """Makes a dataclass from a table. Raises: ValueError that names a field."""
    known = checks.field_types(make)  # type: ignore[arg-type]
    values = {}
    for name, value in table.items():
        if name not in known or name in given or name == 'name':
            names = [each for each in known if each not in (*given, 'name')]  # type: ignore[arg-type]
            raise ValueError(unknown_name('field', name, names))
        if isinstance(value, list):
            value = tuple(value)
        if not checks.accepts(known[name], value):
            raise ValueError(f'{name} must be {checks.describe(known[name])}, got {value!r}.')
        values[name] = value
    return make(**values, **given)
