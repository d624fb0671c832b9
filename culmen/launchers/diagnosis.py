"""What this machine and this Python have of what Culmen and its optional parts need."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from culmen import __version__

_LEAST_FREE = 0.2  # gigabytes below which a run may not be able to save
_NAMED = ('jax', 'jaxlib', 'dm-haiku', 'optax', 'numpy', 'pandas')
# What programs of nodes import, and for how long that may take.
_OF_LAUNCHERS = {
    'launchpad': ('launchpad',),
    'launchpad with reverb': ('launchpad', 'reverb'),
    'ray': ('ray',),
}
_SECONDS = 120.0


def examine() -> dict[str, Any]:
    """Looks at packages, devices and disks, and imports what programs need, each in a process of its own.

    Returns: plain data. `extras`, `launchers` and `environments` have a list of what is missing for each
        name, which is empty where all is there. `problems` says why Culmen can't train here.
    """
    extras, required = _requirements()
    devices, fault = _devices()
    problems = [*required, *fault]
    free = {}
    for path in dict.fromkeys((os.getcwd(), tempfile.gettempdir(), '/dev/shm')):
        if not Path(path).is_dir():
            continue
        free[path] = shutil.disk_usage(path).free / 1e9
        if free[path] < _LEAST_FREE and path != '/dev/shm':
            problems.append(f'{path} has {free[path]:.2f} GB free, and a run writes checkpoints')
    for path in (os.getcwd(), tempfile.gettempdir()):
        if not os.access(path, os.W_OK):
            problems.append(f'{path} can not be written')
    return {
        'culmen': __version__,
        'python': platform.python_version(),
        'platform': platform.platform(),
        'cores': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
        'versions': {name: version for name in _NAMED if (version := _version(name))},
        'devices': devices,
        'free_gigabytes': free,
        'extras': extras,
        'launchers': _launchers(),
        'environments': _environments(),
        'problems': problems,
    }  # fmt: skip


def _requirements() -> tuple[dict[str, list[str]], list[str]]:
    """What each extra lacks, and what Culmen itself lacks."""
    try:
        metadata = importlib.metadata.metadata('culmen')
    except importlib.metadata.PackageNotFoundError:
        return {}, ['culmen is not installed (pip install -e .): what it needs is not known']
    extras: dict[str, list[str]] = {name: [] for name in metadata.get_all('Provides-Extra') or []}
    required: list[str] = []
    for text in metadata.get_all('Requires-Dist') or []:
        requirement = Requirement(text)
        if _holds(requirement, ''):
            required += _lacking(requirement)
            continue
        for extra in extras:
            if _holds(requirement, extra):
                extras[extra] += _lacking(requirement)
    return extras, required


def _holds(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement is one of this machine, with an extra."""
    return requirement.marker is None or requirement.marker.evaluate({'extra': extra})


def _lacking(requirement: Requirement) -> list[str]:
    """What is wrong with what is installed of a requirement, and of what its own extras bring."""
    version = _version(requirement.name)
    if version is None:
        return [f'{requirement.name} is not installed']
    if not requirement.specifier.contains(version, prereleases=True):
        return [f'{requirement.name} {version} is installed, and {requirement.specifier} is needed']
    brought = map(Requirement, importlib.metadata.requires(requirement.name) or [])
    return [
        lacking
        for each in brought
        if not _holds(each, '') and any(_holds(each, extra) for extra in requirement.extras)
        for lacking in _lacking(each)
    ]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> tuple[list[str], list[str]]:
    """The devices of JAX, and why there are none."""
    try:
        import jax

        return [f'{each.platform}:{each.id} ({each.device_kind})' for each in jax.devices()], []
    except Exception as error:  # backends fail by errors of many kinds
        return [], [f'JAX finds no device: {type(error).__name__}: {" ".join(str(error).split())}']


def _launchers() -> dict[str, list[str]]:
    """What programs of nodes lack here, by what carries them."""
    started = {name: _start(modules) for name, modules in _OF_LAUNCHERS.items()}
    return {name: list(_told(of_name)) for name, of_name in started.items()}


def _start(modules: tuple[str, ...]) -> 'str | subprocess.Popen[str]':
    """Imports modules in a process of its own, since a broken one may end it. Returns: the first missing."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            return f'{name} is not installed'
    return subprocess.Popen(
        [sys.executable, '-c', f'import {", ".join(modules)}'],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _told(started: 'str | subprocess.Popen[str]') -> Iterator[str]:
    if isinstance(started, str):
        yield started
        return
    try:
        _, told = started.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        started.kill()
        started.communicate()
        yield f'its import takes more than {_SECONDS:.0f} s'
        return
    if started.returncode:
        lines = told.strip().splitlines()
        yield f'its import fails: {lines[-1] if lines else f"exit code {started.returncode}"}'


def _environments() -> dict[str, list[str]]:
    """The packages that each family of environments lacks."""
    from culmen.components import environments

    return {
        family.name: list(family.missing)
        for family in environments.families()
        if family.name != 'function'
    }
