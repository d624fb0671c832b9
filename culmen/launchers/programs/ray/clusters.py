"""A Ray cluster as a program or many runs need it: joined or started, checked, and left again."""

import contextlib
import importlib.metadata
import importlib.util
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from culmen.launchers.programs.placement import KINDS
from culmen.launchers.results import Refused

Resources = Mapping[
    str, Mapping[str, float]
]  # by kind of node: of each by name; cpu, gpu or one's own

_STORE_BYTES = 256 << 20  # of a cluster for one run: only the plans of nodes go through it
_REACH_SECONDS = 3.0
_STARTS = 3  # of a cluster for one run, at most
_RAY_NAMES = {'cpu': 'CPU', 'gpu': 'GPU'}


def require() -> None:
    """Raises: ImportError that says what to install, if Ray is missing or can't start here."""
    if importlib.util.find_spec('ray') is None:
        raise ImportError("ray can not be imported: pip install 'culmen[ray]'.")
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        version = importlib.metadata.version('pydantic')
        if int(version.partition('.')[0]) < 2:
            raise ImportError(
                f'ray needs pydantic 2 or none, got {version}: its daemons end as they start. The extras '
                "'logging' and 'launchpad' together bring the old one: leave one of them out."
            )


def check_resources(resources: Resources) -> None:
    """Checks what nodes are to have. Raises: ValueError that names what is not accepted."""
    for kind, of_kind in resources.items():
        if kind not in KINDS:
            raise ValueError(f'resources must be of the nodes {", ".join(KINDS)}, got {kind!r}.')
        check_amounts(kind, of_kind)


def check_amounts(kind: str, of_kind: Mapping[str, float]) -> None:
    """Checks what a node or run is to have. Raises: ValueError that names what is not accepted."""
    for name, amount in of_kind.items():
        if not name or isinstance(amount, bool) or not 0 <= amount < math.inf:
            raise ValueError(
                f'resources[{kind!r}] must be numbers from 0 on by name, got {name!r}: {amount!r}.'
            )


class Cluster:
    """A cluster that this process has joined, or has started for itself."""

    def __init__(self, address: str | None, namespace: str) -> None:
        """Joins or starts it.

        Args:
            address: of its head, 'host:port', or 'auto'; None: a new one on this machine.
            namespace: of the names of nodes.
        Raises: Refused that says what is wrong with the cluster.
        """
        import ray

        self.address = address
        self._is_ours = not ray.is_initialized()
        options: dict[str, Any] = {'namespace': namespace, 'log_to_driver': False}
        if address is None:
            os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
            options |= {'include_dashboard': False, 'object_store_memory': _STORE_BYTES}
        else:
            _check_reachable(address)
            options['address'] = address
        if self._is_ours:
            with _own_signals():
                self._join(options)
        self.here: str = ray.get_runtime_context().get_node_id()

    def _join(self, options: dict[str, Any]) -> None:
        import ray

        for _ in range(_STARTS - 1 if self.address is None else 0):
            # On a machine that is busy Ray's daemons give each other up, and the next start goes well.
            try:
                ray.init(logging_level=logging.ERROR, **options)
                return
            except Exception:
                ray.shutdown()
        try:
            ray.init(logging_level=logging.ERROR, **options)
        except Exception as error:  # Ray raises all kinds
            text = ' '.join(str(error).split())
            where = 'here' if self.address is None else f'at {self.address}'
            if 'Version mismatch' in text:
                raise Refused(
                    f'the Ray cluster {where} runs other versions of Ray or Python than this command, '
                    f'and all have to run the same: {text.partition("Version mismatch: ")[2]}'
                ) from error
            if isinstance(error, ConnectionError):
                raise Refused(f'there is no Ray cluster {where}: {text}') from error
            raise Refused(f'the Ray cluster {where} can not be used: {text}') from error

    def machines(self) -> list[dict[str, Any]]:
        """Ray's nodes that are alive."""
        import ray

        return [each for each in ray.nodes() if each['Alive']]

    @property
    def addresses(self) -> list[str]:
        """The addresses of all machines, each once."""
        return list(dict.fromkeys(each['NodeManagerAddress'] for each in self.machines()))

    def has(self, name: str) -> bool:
        """Whether a machine has a resource. Args: name: cpu, gpu, or one's own."""
        return any(each['Resources'].get(as_ray(name), 0) > 0 for each in self.machines())

    def check(self, wanted: Mapping[str, Mapping[str, float]]) -> None:
        """Refuses what the cluster can't hold at once. Args: wanted: by node, of each resource.

        Raises: Refused that names it.
        """
        sums: dict[str, float] = {}
        for label, of_node in wanted.items():
            self.check_each(f'node {label}', of_node)
            for name, amount in of_node.items():
                sums[name] = sums.get(name, 0) + amount
        for name, amount in sums.items():
            there = sum(each['Resources'].get(as_ray(name), 0) for each in self.machines())
            if amount > there:
                raise Refused(
                    f'the nodes need {name}={amount:g} at once, and the Ray cluster has {there:g}: give '
                    f'them less by --resources (resources=...).'
                )

    def check_each(self, label: str, of_node: Mapping[str, float]) -> None:
        """Refuses what no machine has. Args: label: who wants it. Raises: Refused."""
        machines = [each['Resources'] for each in self.machines()]
        if not any(
            all(each.get(as_ray(name), 0) >= amount for name, amount in of_node.items())
            for each in machines
        ):
            text = ', '.join(f'{name}={amount:g}' for name, amount in of_node.items())
            raise Refused(
                f'no machine of the Ray cluster has {text} for {label}; they have '
                f'{"; ".join(map(_describe, machines))}.'
            )

    def tell_open(self) -> str:
        """What others can reach because of Ray, as a sentence."""
        import ray

        where = ', '.join(self.addresses)
        if os.environ.get('RAY_AUTH_MODE', '').lower() == 'token':
            return f"Ray {ray.__version__} listens at {where} and asks for the cluster's token."
        return (
            f'Ray {ray.__version__} listens at {where} and asks for no password: whoever reaches its ports '
            'can run code. Run it on trusted networks.'
        )

    def leave(self) -> None:
        """Leaves it; one that was started here ends."""
        import ray

        if self._is_ours:
            with _own_signals():
                ray.shutdown()


def as_ray(name: str) -> str:
    """Ray's name for a resource."""
    return _RAY_NAMES.get(name, name)


def as_options(of_node: Mapping[str, float]) -> dict[str, Any]:
    """What a task or actor of Ray asks for. Args: of_node: of each resource."""
    others = {name: amount for name, amount in of_node.items() if name not in _RAY_NAMES}
    return {
        'num_cpus': of_node.get('cpu', 0),
        'num_gpus': of_node.get('gpu', 0),
        'resources': others or None,
    }


def _describe(resources: Mapping[str, float]) -> str:
    own = {
        name: amount
        for name, amount in resources.items()
        if name not in ('memory', 'object_store_memory') and not name.startswith('node:')
    }
    return ', '.join(f'{name}={amount:g}' for name, amount in sorted(own.items())) or 'nothing'


def _check_reachable(address: str) -> None:
    """Refuses an address at which nobody listens: Ray itself would try for long. Raises: Refused."""
    if address == 'auto':
        return
    host, colon, port = address.rpartition(':')
    if '://' in address or not colon or not port.isdecimal():
        raise Refused(
            f'--address must be HOST:PORT of the head of a Ray cluster that this machine is in, or auto, '
            f'got {address!r}.'
        )
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_SECONDS).close()
    except OSError as error:
        raise Refused(
            f'there is no Ray cluster at {address}: {error.strerror or error}.'
        ) from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keeps the handlers of signals, which Ray would replace by its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
