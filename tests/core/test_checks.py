"""Checks of settings: what passes, what is refused, and in what words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from typing import Literal

import jax
import numpy as np
import pytest

from culmen.core import checks


@dataclass(frozen=True)
class Config:
    """One field of each kind."""

    integer: int = 1
    number: float = 1.0
    flag: bool = False
    text: str = 'a'
    maybe: float | None = None
    sizes: tuple[int, ...] = (1, 2)
    choice: Literal['a', 'b'] = 'a'
    function: Callable[[int], int] | None = None

    def __post_init__(self) -> None:
        checks.check_types(self)
        checks.check_range('number', self.number, 0, 2)


@dataclass(frozen=True)
class Ranged:
    """One range of each kind, all said by annotations."""

    share: Annotated[float, checks.Range(0, 1)] = 0.5
    rate: Annotated[float | None, checks.POSITIVE] = None
    sizes: Annotated[tuple[int, ...], checks.Range(1)] = (1, 2)
    capacity: Annotated[int, checks.Range(1)] = 10
    least: Annotated[int, checks.Range(0, 'capacity')] = 5
    free: float = 0.0

    def __post_init__(self) -> None:
        checks.check_fields(self, 'Ranged.')


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'share': 1.5}, r'^Ranged\.share must be in \[0, 1\], got 1.5'),
        ({'rate': 0.0}, 'rate must be above 0, got 0.0'),
        ({'sizes': (3, 0)}, 'sizes must be at least 1, got 0'),
        ({'least': 11}, r'least must be in \[0, 10\], got 11'),
        ({'least': 5, 'capacity': 4}, r'least must be in \[0, 4\], got 5'),
        ({'share': 1.5, 'capacity': 'x'}, r'Ranged\.capacity must be an int'),  # types come first
    ],
)
def test_annotations_say_what_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Ranged(**settings)


def test_fields_within_their_ranges_are_accepted():
    Ranged(share=1.0, rate=None, sizes=(), least=10, free=-5.0)
    assert set(checks.field_ranges(Ranged)) == {'share', 'rate', 'sizes', 'capacity', 'least'}


def test_a_traced_bound_refuses_nothing():
    assert jax.jit(lambda capacity: Ranged(capacity=capacity, least=11).capacity + 1)(3) == 4


@pytest.mark.parametrize(
    ('field', 'value', 'accepted'),
    [
        ('integer', 1.5, 'an int'),
        ('integer', True, 'an int'),
        ('number', 'x', 'a float'),
        ('number', True, 'a float'),
        ('flag', 1, 'a bool'),
        ('text', 1, 'a str'),
        ('maybe', 'x', 'a float or None'),
        ('sizes', (1, 'x'), r'a tuple of \(an int, \.\.\.\)'),
        ('sizes', [1, 2], r'a tuple of \(an int, \.\.\.\)'),
        ('choice', 'c', "one of 'a', 'b'"),
        ('function', 3, 'a callable or None'),
    ],
)
def test_a_wrong_type_is_refused_by_name(field, value, accepted):
    with pytest.raises(TypeError, match=rf'Config\.{field} must be {accepted}, got'):
        Config(**{field: value})


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('integer', np.int32(3)),
        ('number', 2),
        ('number', np.float32(0.5)),
        ('maybe', 0.5),
        ('sizes', ()),
        ('choice', 'b'),
        ('function', len),
    ],
)
def test_what_fits_is_accepted(field, value):
    assert getattr(Config(**{field: value}), field) == value


@pytest.mark.parametrize(
    ('kwargs', 'value', 'words'),
    [
        ({'low': 1}, 0, 'at least 1, got 0'),
        ({'low': 0, 'open_low': True}, 0, 'above 0, got 0'),
        ({'high': 1}, 2, 'at most 1, got 2'),
        ({'low': 0, 'high': 1}, 2, r'in \[0, 1\], got 2'),
        ({'low': 0, 'high': 1, 'open_high': True}, 1, r'in \[0, 1\), got 1'),
        ({'low': 0, 'high': 1}, float('nan'), r'in \[0, 1\], got nan'),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(kwargs, value, words):
    with pytest.raises(ValueError, match=f'rate must be {words}'):
        checks.check_range('rate', value, **kwargs)


def test_what_is_no_number_is_in_no_range():
    with pytest.raises(checks.SettingTypeError, match="rate must be a number, got 'four'"):
        checks.check_range('rate', 'four', 0)


def test_bounds_are_in_range_and_none_passes():
    checks.check_range('rate', 0, 0, 1)
    checks.check_range('rate', 1, 0, 1)
    checks.check_range('rate', None, 0, 1)


def test_traced_settings_pass_every_check():
    def traced(number):
        return Config(number=number).number * 2

    # 5 is out of range: a tracer can't be known to be.
    assert jax.jit(traced)(5.0) == 10.0


@pytest.mark.parametrize(
    ('annotation', 'text', 'value'),
    [
        (int, '4', 4),
        (int, '1e4', 10_000),
        (float, '1', 1.0),
        (float, '1e-3', 1e-3),
        (float | None, 'none', None),
        (bool, 'True', True),
        (bool, 'false', False),
        (str, '4', '4'),
        (tuple[int, ...], '64,32', (64, 32)),
        (tuple[int, ...], '(64,)', (64,)),
        (tuple[int, ...], '64', (64,)),
        (tuple[int, ...], [64, 32], (64, 32)),
        (Literal['adam', 'rmsprop'], 'rmsprop', 'rmsprop'),
    ],
)
def test_text_is_read_as_its_annotation_asks(annotation, text, value):
    parsed = checks.parse('field', annotation, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ('annotation', 'text'), [(int, '1.5'), (int, 'x'), (bool, '1'), (float, 'a')]
)
def test_text_that_does_not_fit_is_refused_by_name(annotation, text):
    with pytest.raises(ValueError, match=f'field must be .*, got {text!r}'):
        checks.parse('field', annotation, text)


def test_an_unknown_name_comes_with_the_nearest():
    assert 'dqn' in checks.unknown_name('agent', 'dqm', ['ppo', 'dqn'])
