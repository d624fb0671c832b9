"""Checks of settings: every error names the field, the value and what is accepted.

The annotation of a field says its type and its range, `Annotated[float, Range(0, 1)]`, and config
dataclasses call `check_fields(self)` in `__post_init__`. Numbers may be traced (seeds and sweeps vmap
over a config), so tracers pass every check here. `parse` turns the text of a command line or a JSON
value into the type of an annotation. It reads annotations as `check_types` does, so `check_types`
accepts its results.
"""

import ast
import collections.abc
import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Annotated
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
import numpy as np

from culmen.core.errors import SettingError
from culmen.core.errors import SettingTypeError


def is_traced(value: Any) -> bool:
    """Whether a value is known only inside a JAX transformation."""
    return isinstance(value, jax.core.Tracer)


class Range(NamedTuple):
    """The interval that a field or an argument accepts: `Annotated[float, Range(0, 1)]`.

    The range of a tuple holds for each of its items. A bound may name another field of the dataclass:
    `Range(0, 'replay_capacity')` ends at the value of that field.
    """

    low: float | str | None = None
    high: float | str | None = None
    open_low: bool = False  # whether `low` itself is outside
    open_high: bool = False

    def __str__(self) -> str:
        """The range in words: 'at least 1', 'in [0, 1)', 'finite'."""
        if self.high == math.inf and self.open_high:
            of_low = '' if self.low == -math.inf else f' and {self._replace(high=None)}'
            return f'finite{of_low}'
        if self.high is None:
            return f'{"above" if self.open_low else "at least"} {self.low}'
        if self.low is None:
            return f'{"below" if self.open_high else "at most"} {self.high}'
        begin, end = '(' if self.open_low else '[', ')' if self.open_high else ']'
        return f'in {begin}{self.low}, {self.high}{end}'

    def check(self, name: str, value: Any, instance: Any = None) -> None:
        """Checks a value as `check_range` does.

        Args: instance: has the fields that the bounds name. If such a field is traced, all values pass.
        """
        low, high = (
            getattr(instance, bound) if isinstance(bound, str) else bound
            for bound in (self.low, self.high)
        )
        if not is_traced(low) and not is_traced(high):
            open_ends = {'open_low': self.open_low, 'open_high': self.open_high}
            check_range(name, value, low, high, **open_ends)


POSITIVE = Range(0, open_low=True)
FINITE = Range(-math.inf, math.inf, open_low=True, open_high=True)


def above(low: float | str) -> Range:
    """Finite numbers above a number, or above another field."""
    return Range(low, math.inf, open_low=True, open_high=True)


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
        SettingTypeError if the value is not a number.
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
    raise SettingError(f'{name} must be {Range(low, high, open_low, open_high)}, got {value}.')


def check_fields(instance: Any, prefix: str = '') -> None:
    """Checks the fields of a dataclass instance against the types and the ranges of their annotations.

    Args: prefix: put before the field's name in errors about its range: 'Window.'.
    Raises: SettingTypeError and SettingError, as `check_types` and `check_range` do. Types are checked first.
    """
    check_types(instance)
    for name, limits in field_ranges(type(instance)).items():
        value = getattr(instance, name)
        for each in value if isinstance(value, tuple) else (value,):
            limits.check(f'{prefix}{name}', each, instance)


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


def field_types(cls: type) -> dict[str, Any]:
    """The annotations of a dataclass's fields, resolved and without ranges."""
    return _read_fields(typing.cast(Hashable, cls))[0]


def field_ranges(cls: type) -> dict[str, Range]:
    """The ranges of those fields of a dataclass that have one."""
    return _read_fields(typing.cast(Hashable, cls))[1]


@functools.cache
def _read_fields(cls: Any) -> tuple[dict[str, Any], dict[str, Range]]:
    hints = typing.get_type_hints(cls)
    annotations = typing.get_type_hints(cls, include_extras=True)
    names = [field.name for field in dataclasses.fields(cls)]
    ranges = {name: range_of(annotations[name]) for name in names}
    return (
        {name: hints[name] for name in names},
        {name: limits for name, limits in ranges.items() if limits is not None},
    )


def range_of(annotation: Any) -> Range | None:
    """The Range of an annotation; None without one."""
    # Where an argument's default is None, Python 3.10 wraps its annotation in an Optional.
    for part in (annotation, *typing.get_args(annotation)):
        if typing.get_origin(part) is Annotated:
            return next((each for each in part.__metadata__ if isinstance(each, Range)), None)
    return None


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
    """Converts text or a JSON value to the type of an annotation.

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
