"""Reads the file of a sweep (TOML): fixed options, axes of a grid, ranges of a search.

    [options]                       # of culmen train; what is typed takes precedence
    agent = "dqn"
    environment = "bsuite/catch/0"
    steps = 20000
    seeds = 3
    "agent.double" = true           # a field; in quotes beside the name of the agent

    [axes]                          # a run for each combination
    agent.learning_rate = [1e-3, 1e-4]

    [ranges]                        # of --tune, in place of axes
    agent.learning_rate = { low = 1e-5, high = 1e-2, log = true }
    agent.batch_size = { low = 16, high = 128, step = 16 }
    agent.hidden_sizes = { choices = [[64], [64, 64]] }

Nothing in it is imported or run because it stands there: a name as module:name needs --trust.
"""

import json
import sys
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import NamedTuple

from culmen.launchers.results import Refused

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TABLES = ('options', 'axes', 'ranges')
_RANGE = ('low', 'high', 'log', 'step', 'choices')
_KINDS = ('agent', 'environment')


class Range(NamedTuple):
    """The values that a search may give a field: numbers from low to high, or one of some texts."""

    low: float = 0.0  # an int where both ends are
    high: float = 0.0
    log: bool = False  # whether it is drawn on a logarithmic scale
    step: float | None = None
    choices: tuple[str, ...] = ()  # as typed; then the others mean nothing

    def ends(self) -> tuple[str, ...]:
        """The ends or the choices, as typed."""
        return self.choices or (str(self.low), str(self.high))


class SweepFile(NamedTuple):
    """What a file holds."""

    path: Path
    options: Mapping[str, Any]  # by name: 'evaluate-every', 'agent.double'
    axes: Mapping[str, list[str]]  # values as typed
    ranges: Mapping[str, Range]

    def names(self) -> set[str]:
        """All texts in it that may be names to import."""
        found = {text for value in self.options.values() for text in _texts(value)}
        found.update(*self.axes.values(), *(each.choices for each in self.ranges.values()))
        return found.union(*(text.split(',') for text in found))


def read_sweep_file(path: Path) -> SweepFile:
    """Reads the file of a sweep. Raises: Refused that names what is wrong in it."""
    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        raise Refused(f'--sweep {path} can not be read: {error.strerror}.') from error
    except (ValueError, RecursionError) as error:
        raise Refused(f'--sweep {path} is no TOML: {error}.') from error
    for name, table in data.items():
        if name not in _TABLES:
            raise Refused(f'{path}: {_unknown("table", name, _TABLES)}')
        if not isinstance(table, dict):
            raise Refused(f'{path}: {name} must be a table, got {table!r:.40}.')
    axes = {
        name: _read_axis(path, name, value) for name, value in _fields(path, data.get('axes', {}))
    }
    ranges = {
        name: _read_range(path, name, value)
        for name, value in _fields(path, data.get('ranges', {}), until=_RANGE)
    }
    both = sorted(set(axes) & set(ranges))
    if both:
        raise Refused(f'{path}: {both[0]} has an axis and a range; it takes one of them.')
    return SweepFile(path, dict(_flat(data.get('options', {}))), axes, ranges)


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    from culmen.core.checks import unknown_name  # imports JAX

    return unknown_name(kind, name, known)


def _flat(
    table: Mapping[str, Any], prefix: str = '', until: tuple[str, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """The values of nested tables by their paths. Args: until: keys of tables that are values."""
    for key, value in table.items():
        name = f'{prefix}{key}'
        if isinstance(value, dict) and not (until and set(value) & set(until)):
            if not value and until:
                raise Refused(f'{name} must have low and high, or choices, got an empty table.')
            yield from _flat(value, f'{name}.', until)
        else:
            yield name, value


def _fields(
    path: Path, table: Mapping[str, Any], until: tuple[str, ...] = ()
) -> Iterator[tuple[str, Any]]:
    for name, value in _flat(table, until=until):
        kind, dot, field = name.partition('.')
        if kind not in _KINDS or not field or field == 'name':
            raise Refused(f'{path}: {name} must be agent.FIELD or environment.FIELD.')
        yield name.replace('-', '_'), value


def _read_axis(path: Path, name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise Refused(f'{path}: {name} must be a list of values, got {value!r:.60}.')
    texts = [as_typed(each) for each in value]
    if len(set(texts)) != len(texts):
        raise Refused(f'{path}: {name} must have each value once, got {", ".join(texts)}.')
    return texts


def _read_range(path: Path, name: str, value: Any) -> Range:
    where = f'{path}: {name}'
    if not isinstance(value, dict):
        raise Refused(
            f'{where} must be a range, as {{ low = 0.1, high = 1.0 }}, got {value!r:.60}.'
        )
    for key in value:
        if key not in _RANGE:
            raise Refused(f'{where}: {_unknown("key", key, _RANGE)}')
    if 'choices' in value:
        if len(value) > 1:
            raise Refused(f'{where} has choices, which go with nothing else, got {sorted(value)}.')
        return Range(choices=tuple(_read_axis(path, name, value['choices'])))
    for key in ('low', 'high', *(['step'] * ('step' in value))):
        number = value.get(key)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise Refused(f'{where}: {key} must be a number, got {number!r:.40}.')
    found = Range(value['low'], value['high'], value.get('log', False), value.get('step'))
    if not isinstance(found.log, bool):
        raise Refused(f'{where}: log must be true or false, got {found.log!r:.40}.')
    if not found.low < found.high < float('inf') or found.low == -float('inf'):
        raise Refused(
            f'{where}: high must be above low, and both finite, got {found.low} to {found.high}.'
        )
    if found.log and (found.low <= 0 or found.step is not None):
        raise Refused(f'{where}: log needs low above 0 and no step, got {value}.')
    if found.step is not None and not 0 < found.step <= found.high - found.low:
        raise Refused(
            f'{where}: step must be above 0 and at most {found.high - found.low}, got {found.step}.'
        )
    whole = isinstance(found.low, int) and isinstance(found.high, int)
    if whole and not isinstance(found.step, int | None):
        raise Refused(f'{where}: step must be an int between ints, got {found.step}.')
    return found


def as_typed(value: Any) -> str:
    """A value as a user would type it after --agent.FIELD."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, list) else str(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    else:
        yield as_typed(value)
