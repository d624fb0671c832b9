"""Checks of settings: one clear error that names the field, what was given and what is accepted.

Config dataclasses call `check_types(self)` and `check_range(...)` in `__post_init__`. Numbers may be
traced (seeds and sweeps vmap over a config), so tracers pass every check here. `parse` turns the text
of a command line or a JSON value into what an annotation asks for; it is the same reading of
annotations, so what `check_types` accepts is what `parse` gives.
"""

import ast
import collections.abc
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Literal

import jax
import numpy as np

from culmen.core.errors import SettingError
from culmen.core.errors import SettingTypeError


def is_traced(value: Any) -> bool:
    """Whether a value is known only inside a JAX transformation."""
    return isinstance(value, jax.core.Tracer)


def check_range(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Checks that low <= value <= high (strictly where open). None and tracers pass.

    Raises: SettingError (a ValueError) that names the field, the value and the accepted interval;
        SettingTypeError for what is no number.
    """
    if value is None or is_traced(value):
        return
    try:
        below = low is not None and (value <= low if open_low else value < low)
        above = high is not None and (value >= high if open_high else value > high)
    except TypeError as error:
        raise SettingTypeError(f'{name} must be a number, got {value!r}.') from error
    if not below and not above and value == value:  # a NaN is in no range
        return
    if high is None:
        accepted = f'{"above" if open_low else "at least"} {low}'
    elif low is None:
        accepted = f'{"below" if open_high else "at most"} {high}'
    else:
        accepted = f'in {"(" if open_low else "["}{low}, {high}{")" if open_high else "]"}'
    raise SettingError(f'{name} must be {accepted}, got {value}.')


def check_types(instance: Any) -> None:
    """Checks the fields of a dataclass instance against their annotations.

    Raises: SettingTypeError (a TypeError and a ValueError) that names the class and the field, the
        accepted type and the value.
    """
    cls = type(instance)
    hints = field_types(cls)
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if not accepts(hints[field.name], value):
            raise SettingTypeError(
                f'{cls.__name__}.{field.name} must be {describe(hints[field.name])}, '
                f'got {value!r} ({type(value).__name__}).'
            )


_HINTS: dict[type, dict[str, Any]] = {}


def field_types(cls: type) -> dict[str, Any]:
    """The annotations of a dataclass's fields, resolved."""
    if cls not in _HINTS:
        hints = typing.get_type_hints(cls)
        _HINTS[cls] = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return _HINTS[cls]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that is not known, with the nearest valid ones."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
    return f'unknown {kind} {name!r}; the nearest valid ones: {", ".join(near)}.'


def describe(annotation: Any) -> str:
    """An annotation in words, for an error."""
    origin = typing.get_origin(annotation)
    args = typing.get_args(annotation)
    if annotation is type(None):
        return 'None'
    if origin in (typing.Union, types.UnionType):
        return ' or '.join(describe(arg) for arg in args)
    if origin is Literal:
        return 'one of ' + ', '.join(repr(arg) for arg in args)
    if origin is tuple:
        inner = ', '.join('...' if arg is ... else describe(arg) for arg in args)
        return f'a tuple of ({inner})'
    if origin is collections.abc.Callable or annotation is collections.abc.Callable:
        return 'a callable'
    if isinstance(annotation, type):
        return {'int': 'an int', 'float': 'a float', 'bool': 'a bool', 'str': 'a str'}.get(
            annotation.__name__, annotation.__name__
        )
    return str(annotation)


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a value fits an annotation. An int fits float; a bool fits neither int nor float."""
    origin = typing.get_origin(annotation)
    args = typing.get_args(annotation)
    if annotation is Any or is_traced(value):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(accepts(arg, value) for arg in args)
    if origin is Literal:
        return any(value == arg and type(value) is type(arg) for arg in args)
    if annotation is None or annotation is type(None):
        return value is None
    if annotation is bool:
        return isinstance(value, (bool, np.bool_))
    if annotation is int:
        return (
            isinstance(value, (int, np.integer))
            and not isinstance(value, bool)
            or _scalar(value, 'iu')
        )
    if annotation is float:
        number = isinstance(value, (int, float, np.integer, np.floating))
        return number and not isinstance(value, bool) or _scalar(value, 'iuf')
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(args) == 2 and args[1] is ...:
            return all(accepts(args[0], item) for item in value)
        return len(value) == len(args) and all(map(accepts, args, value))
    if origin in (dict, collections.abc.Mapping):
        return isinstance(value, Mapping)
    if origin is collections.abc.Callable or annotation is collections.abc.Callable:
        return callable(value)
    if getattr(annotation, '_is_protocol', False):
        return isinstance(value, annotation) if _is_runtime_protocol(annotation) else True
    if isinstance(origin or annotation, type):
        return isinstance(value, origin or annotation)
    return True


def _is_runtime_protocol(annotation: Any) -> bool:
    return bool(getattr(annotation, '_is_runtime_protocol', False))


def _scalar(value: Any, kinds: str) -> bool:
    return (
        isinstance(value, (jax.Array, np.ndarray)) and value.ndim == 0 and value.dtype.kind in kinds
    )


def parse(name: str, annotation: Any, value: Any) -> Any:
    """Reads a value from text or JSON as what an annotation asks for.

    Text is read as Python literals are ('4', '1e-3', '(64, 64)'), with 'true', 'false' and 'none' in
    any case; '64,64' is a tuple. JSON lists become tuples.

    Raises: SettingError (a ValueError) that names the field, the accepted type and the text.
    """
    if isinstance(value, list):
        value = _tuples(value)
    candidates = [value]
    if isinstance(value, str):
        candidates = [*_literals(value), value]
    for candidate in candidates:
        if accepts(annotation, candidate):
            # 1e4 is a fine way to write an int.
            return float(candidate) if _wants_float(annotation, candidate) else candidate
        if (
            isinstance(candidate, float)
            and candidate.is_integer()
            and accepts(annotation, int(candidate))
        ):
            return int(candidate)
        if not isinstance(candidate, (tuple, str)) and accepts(annotation, (candidate,)):
            return (candidate,)
    raise SettingError(f'{name} must be {describe(annotation)}, got {value!r}.')


def _literals(text: str) -> list[Any]:
    words = {'true': True, 'false': False, 'none': None, 'null': None, 'inf': math.inf}
    if text.lower() in words:
        return [words[text.lower()]]
    try:
        return [_tuples(ast.literal_eval(text))]
    except (ValueError, SyntaxError):
        return []


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value


def _wants_float(annotation: Any, value: Any) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    options = typing.get_args(annotation) or (annotation,)
    return float in options and int not in options
