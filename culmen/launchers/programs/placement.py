"""On which devices the nodes of a program compute, and the environment variables of their processes.

Without a word the learner's process sees all devices, and those of the other nodes the CPU alone
(`supervisor.node_environment`).
"""

import difflib
import re
from collections.abc import Mapping

from culmen.core.errors import SettingTypeError
from culmen.launchers.devices import check_device
from culmen.launchers.devices import is_cpu

KINDS = ('counter', 'replay', 'learner', 'actor', 'evaluator')
Variables = Mapping[str, Mapping[str, str]]  # by kind of node

_ON_CPU = {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': '-1'}
# As the launching process has them. Several actors may share a GPU, so none takes most of its memory.
_ON_ANY = {
    'JAX_PLATFORMS': None,
    'CUDA_VISIBLE_DEVICES': None,
    'XLA_PYTHON_CLIENT_PREALLOCATE': 'false',
}
_OWN = 'CULMEN_'  # before the names of variables that a launcher sets itself


def check_placement(device: str | None, actor_device: str | None, variables: Variables) -> None:
    """Checks the options of `make_program`. Raises: ValueError that names one."""
    check_device('device', device, several=True)
    check_device('actor_device', actor_device)
    for kind, of_kind in variables.items():
        if kind not in KINDS:
            near = difflib.get_close_matches(str(kind), KINDS, 1)
            hint = f'; the nearest is {near[0]!r}' if near else ''
            raise ValueError(
                f'variables must be of the nodes {", ".join(KINDS)}, got {kind!r}{hint}.'
            )
        if not isinstance(of_kind, Mapping):
            raise SettingTypeError(
                f'variables[{kind!r}] must be a mapping of names, got {of_kind!r}.'
            )
        for name, value in of_kind.items():
            if not isinstance(name, str) or not re.fullmatch(r'[A-Za-z_]\w*', name, re.ASCII):
                raise ValueError(f'variables[{kind!r}] must have names of variables, got {name!r}.')
            if name.startswith(_OWN):
                raise ValueError(
                    f'variables[{kind!r}] must leave {_OWN}... to Culmen, got {name!r}.'
                )
            if not isinstance(value, str) or '\0' in value:
                raise SettingTypeError(
                    f'variables[{kind!r}][{name!r}] must be a text, got {value!r}.'
                )


def variables_of(
    kind: str, device: str | None, actor_device: str | None, variables: Variables
) -> dict[str, str | None]:
    """What a node's process has over the defaults; None: a variable as the launching process has it."""
    own: dict[str, str | None] = {}
    if kind == 'learner' and device is not None and is_cpu(device):
        own.update(_ON_CPU)
    if kind == 'actor' and actor_device is not None and not is_cpu(actor_device):
        own.update(_ON_ANY)
    return {**own, **variables.get(kind, {})}
