"""Devices by name, as the command line has them: 'cpu', 'gpu:0' or, for a learner, 'gpu:0,gpu:1'."""

import re
from typing import Any

_NAME = re.compile(r'[a-z]+(:\d+)?')


def check_device(what: str, text: str | None, *, several: bool = False) -> None:
    """Checks how a name of devices is written; whether they are here is only known where they are used.

    Args: what: names it in errors; text: None: whatever JAX chooses; several: whether it may name several.
    Raises: ValueError.
    """
    if text is None:
        return
    names = [each.strip() for each in text.split(',')] if isinstance(text, str) else []
    right = bool(names) and all(map(_NAME.fullmatch, names)) and len(set(names)) == len(names)
    if not right or (len(names) > 1 and not several):
        accepted = "'cpu', 'gpu:0'" + (" or 'gpu:0,gpu:1'" if several else '')
        raise ValueError(f'{what} must be a name such as {accepted}, got {text!r}.')


def is_cpu(text: str) -> bool:
    """Whether a name is of CPUs alone."""
    return all(each.strip().partition(':')[0] == 'cpu' for each in text.split(','))


def find_devices(what: str, text: str) -> list[Any]:
    """The devices of a name. Raises: ValueError that names those which are here."""
    import jax

    found = []
    for name in text.split(','):
        platform, _, index = name.strip().partition(':')
        try:
            found.append(jax.devices(platform)[int(index or 0)])
        except (RuntimeError, ValueError, IndexError) as error:
            known = ', '.join(f'{each.platform}:{each.id}' for each in jax.devices())
            raise ValueError(f'{what} {name!r} is not here; there are {known}.') from error
    return found
