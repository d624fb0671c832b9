"""Arguments of environments by their typed signatures: names, types and ranges in one place.

The signatures of a family's `make` and of `wrappers.wrap` say what they take. This module reads
them, and checks and parses arguments without building anything. Foreign signatures (constructors of
gymnasium, functions of users) may be unannotated: such an argument takes the type of its default, or
anything.
"""

import contextlib
import dataclasses
import importlib
import inspect
import io
import sys
import types
import typing
import warnings
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from culmen.core import checks
from culmen.core.checks import Range
from culmen.core.errors import SettingTypeError


@dataclasses.dataclass(frozen=True)
class Argument:
    """One argument of an environment."""

    name: str
    annotation: Any
    range: Range | None = None

    def read(self, environment: str, value: Any) -> Any:
        """Parses text and JSON into the annotated type and checks the range.

        Raises: ValueError that names the environment, the argument and the accepted type or range.
        """
        label = f'{environment}: argument {self.name}'
        value = checks.parse(label, self.annotation, value)
        if self.range is not None:
            self.range.check(label, value)
        return value


class MissingPackage(ImportError, ValueError):
    """An environment whose package is not installed: the command that asked for it is refused."""


def signature_arguments(function: Callable[..., Any]) -> dict[str, Argument]:
    """The keyword-only arguments of one of Culmen's own functions, fully annotated."""
    types_of = typing.get_type_hints(function)
    annotations = typing.get_type_hints(function, include_extras=True)
    return {
        name: Argument(name, types_of[name], checks.range_of(annotations[name]))
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def foreign_arguments(
    function: Callable[..., Any], skip: Iterable[str] = ()
) -> tuple[dict[str, Argument], bool]:
    """The arguments of a foreign callable, and whether it takes others besides (`**kwargs`).

    For a class that passes `**kwargs` up, the base classes are read too, so that a misspelt name is
    still found.
    """
    result: dict[str, Argument] = {}
    functions = [function]
    if isinstance(function, type):
        functions = [
            cls.__dict__['__init__'] for cls in function.__mro__ if '__init__' in cls.__dict__
        ]
    is_open = False
    for each in functions:
        is_open = False
        try:
            parameters = inspect.signature(each).parameters
        except (TypeError, ValueError):  # builtins and `object.__init__` have no signature
            break
        hints = _hints(each)
        for name, parameter in parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                is_open = True
            elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL and name not in (
                *skip,
                'self',
            ):
                annotation = hints.get(name, _of_default(parameter.default))
                result.setdefault(name, Argument(name, annotation))
        if not is_open:
            break
    return result, is_open and not isinstance(function, type)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # an annotation that this interpreter can't resolve is no reason to refuse
        return {}
    known = (bool, int, float, str, tuple, type(None))
    return {name: hint for name, hint in hints.items() if _consists_of(hint, known)}


def _consists_of(annotation: Any, known: tuple[type, ...]) -> bool:
    if annotation in known or annotation is ...:
        return True
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return True
    return origin in (typing.Union, types.UnionType, tuple) and all(
        _consists_of(a, known) for a in args
    )


def _of_default(default: Any) -> Any:
    if default is inspect.Parameter.empty or default is None:
        return Any
    if type(default) in (int, float):
        return int | float
    return type(default) if type(default) in (bool, str) else Any


def read_arguments(
    environment: str,
    arguments: Mapping[str, Any],
    known: Mapping[str, Argument],
    is_open: bool = False,
) -> dict[str, Any]:
    """Checks names, types and ranges; text and JSON lists become what the signature asks for.

    Raises: ValueError that names the argument, and the nearest valid ones where it is unknown.
    """
    result = {}
    for name, value in arguments.items():
        if name in known:
            result[name] = known[name].read(environment, value)
        elif is_open:
            result[name] = value
        else:
            raise ValueError(f'{environment}: {checks.unknown_name("argument", name, known)}')
    return result


def check_seed(seed: Any) -> int:
    """Checks that a seed is an int in [0, 2**31), which every family's generator can take."""
    if not checks.accepts(int, seed):
        raise SettingTypeError(
            f'seed must be an int in [0, 2**31), got {seed!r} ({type(seed).__name__}).'
        )
    if not 0 <= int(seed) < 2**31:
        raise ValueError(f'seed must be an int in [0, 2**31), got {seed}.')
    return int(seed)


def check_name(
    family: str,
    identity: str,
    known: Collection[str],
    left_out: Mapping[str, str] = types.MappingProxyType({}),
) -> None:
    """Checks the name of an environment within its family.

    Args:
        known: the names that the family has, without its own.
        left_out: names that its package has and Culmen has not, with the reasons.
    Raises: ValueError with the reason, or with the nearest names.
    """
    if identity in left_out:
        raise ValueError(f'{family}/{identity} is left out: {left_out[identity]}.')
    if identity not in known:
        full = [f'{family}/{each}' for each in known]
        raise ValueError(checks.unknown_name('environment', f'{family}/{identity}', full))


# Packages that there are not for every Python: whether for this one, and for which.
_PYTHONS: dict[str, tuple[bool, str]] = {
    'dm_control': (
        sys.version_info < (3, 13),
        '3.12 or older: labmaze, on which it depends, has no wheel for newer ones',
    ),
    'gym_super_mario_bros': (
        sys.version_info >= (3, 13),
        '3.13 or newer: earlier versions are made for gym, which gymnasium has replaced',
    ),
}


def load(
    module: str,
    environment: str,
    package: str | None = None,
    extra: str = 'culmen[environments]',
    *,
    banner: bool = False,
) -> types.ModuleType:
    """Imports a module of an environment's package.

    The package's own deprecations are silenced while it loads (Box2D's SWIG types crash the
    interpreter where warnings are errors).

    Args: package: what pip calls it, if not as the module; extra: what pip installs it with; banner:
        whether it prints text while it loads, which is then left out.
    Raises: MissingPackage that names the package and what installs it.
    """
    root = module.partition('.')[0]
    try:
        nowhere = io.StringIO()
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(nowhere if banner else sys.stdout),
            contextlib.redirect_stderr(nowhere if banner else sys.stderr),
        ):
            for category in (DeprecationWarning, SyntaxWarning, FutureWarning):
                warnings.simplefilter('ignore', category)
            # Without a display glfw warns, and dm_control tries the next backend.
            warnings.filterwarnings('ignore', module='glfw')
            return importlib.import_module(module)
    except ImportError as error:
        missing = (error.name or root).partition('.')[0]
        is_there, pythons = _PYTHONS.get(missing, (True, ''))
        package = package if package and missing == root else missing
        if not is_there:
            raise MissingPackage(
                f'{environment} needs the package {package}, which needs Python {pythons}.'
            ) from error
        raise MissingPackage(
            f"{environment} needs the package {package}, which can't be imported here ({error}): "
            f"pip install '{extra}'"
        ) from error
