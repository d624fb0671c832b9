"""Names of the form `module:name`, which stand for classes and functions in a config.

A config may come from another user, and importing a module runs its code. So such a name is imported only
if `trust` is set, or if the caller has given the same name itself.
"""

import collections.abc
import functools
import importlib
import re
import sys
import types
import typing
from collections.abc import Collection
from pathlib import Path
from typing import Any
from typing import NamedTuple

from culmen.core import checks
from culmen.core.errors import failing_at

MODULE_NAME = re.compile(r'[A-Za-z_][\w.]*:[A-Za-z_][\w./-]*')


class Trust(NamedTuple):
    """Which names of a config may be imported."""

    everything: bool = False
    named: Collection[str] = ()  # names that the caller gave itself

    def check(self, path: str, name: str) -> None:
        """Raises: ValueError for a name that would be imported without trust."""
        if ':' in name and not self.everything and name not in self.named:
            raise ValueError(
                f'{path} names {name!r}, which a file can have imported and called only with --trust '
                '(trust=True in Python), or where you name the same thing yourself.'
            )


def is_code(annotation: Any, text: str) -> bool:
    """Whether a text stands for a function. If the field accepts folders too, an existing folder wins."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    options = typing.get_args(annotation) if union else (annotation,)
    functions = (collections.abc.Callable, type)
    if not any((typing.get_origin(option) or option) in functions for option in options):
        return False
    is_folder = checks.accepts(annotation, text) and Path(text).exists()
    return MODULE_NAME.fullmatch(text) is not None and not is_folder


def whereabouts(thing: Any) -> tuple[str, str | None]:
    """The `module:name` of a class or function; or its name, and why it can't be imported by name."""
    module = getattr(thing, '__module__', None)
    name = getattr(thing, '__qualname__', None)
    if module is None or name is None:
        return type(thing).__name__, 'it is an object, not a class or a function of a module'
    if module == '__main__':
        return name, 'it was defined in a notebook or a script'
    found = sys.modules.get(module)
    for part in name.split('.'):
        found = getattr(found, part, None)
    if found is not thing:
        return name, 'it was defined inside a function'
    return f'{module}:{name}', None


def resolve(path: str, target: str) -> Any:
    """Imports what a name stands for. Raises: ValueError that names `path` and the name."""
    module, _, name = target.partition(':')
    try:
        if not all(part.isidentifier() for part in module.split('.')):
            raise ImportError(f'{module!r} is no name of a module')
        with failing_at(f'importing {module} raised', ImportError):
            found = importlib.import_module(module)
        return functools.reduce(getattr, name.split('.'), found)
    except (ImportError, AttributeError) as error:
        raise ValueError(f'{path}: {target!r} can not be imported: {error}.') from error


def resolve_or_none(target: str) -> Any:
    """Imports what a name stands for; None if it can't be imported."""
    try:
        return resolve('', target)
    except ValueError:
        return None
