"""Which numbers pass: what a cast would change, and what JAX would wrap, is refused by name."""

import jax.numpy as jnp
import numpy as np
import pytest

from culmen.core import ranges
from culmen.core.ranges import SpecError

HELD = [
    np.array([2**31 - 1, -(2**31)], np.int64),
    np.array([2**31 - 1, 0], np.uint32),
    np.array([2**31 - 1, 0], np.uint64),
    np.array([255, 0], np.uint8),
    np.array([True, False]),
    np.array([3e38, -3e38], np.float64),
    np.array([6e4], np.float16),
    np.asarray(jnp.array([3e38], jnp.bfloat16)),
    np.zeros(0, np.float32),
]
NOT_HELD = [
    (np.array([0, 2**31], np.int64), r'x must be within int32, as JAX .*, got 2147483648 at \[1\]'),
    (np.array(-(2**31) - 1, np.int64), r'within int32.* got -2147483649\.'),
    (np.array([2**31], np.uint32), 'within int32.* got 2147483648'),
    (np.array([2**64 - 1], np.uint64), 'within int32.* got 18446744073709551615'),
    (np.array([[1.0, np.nan]], np.float32), r'x must be finite, got nan at \[0, 1\]'),
    (np.array([-np.inf], np.float64), 'finite, got -inf'),
    (np.array([1e39], np.float64), 'within float32, as JAX holds floats, got 1e\\+39'),
    (np.asarray(jnp.array([jnp.nan], jnp.bfloat16)), 'finite, got nan'),
    (np.array([np.inf], np.float16), 'finite, got inf'),
]


@pytest.mark.parametrize('values', HELD, ids=lambda each: str(each.dtype))
def test_what_jax_holds_passes(values):
    ranges.check_values('x', values)


@pytest.mark.parametrize(('values', 'words'), NOT_HELD)
def test_what_jax_does_not_hold_is_refused_with_its_place(values, words):
    with pytest.raises(SpecError, match=words):
        ranges.check_values('x', values)


@pytest.mark.parametrize(
    ('value', 'dtype'),
    [
        (3, np.uint8),
        ([2.0, 255.0], np.uint8),
        (np.int64(7), np.int32),
        (True, np.int8),
        ([0, 1], bool),
        (0.1, np.float32),  # rounded
        (2**24 + 1, np.float32),
        (np.nan, np.float32),
    ],
)
def test_casts_that_change_nothing_but_a_float(value, dtype):
    cast = ranges.cast_exactly('x', value, dtype)
    assert cast.dtype == dtype
    np.testing.assert_array_equal(cast, np.asarray(value).astype(dtype))


@pytest.mark.parametrize(
    ('value', 'dtype', 'words'),
    [
        ([1.0, 0.5], np.uint8, r'x must be uint8, as its spec has it, .* not hold 0.5 at \[1\]'),
        (256, np.uint8, 'not hold 256'),
        (-1, np.uint64, 'not hold -1'),
        (np.uint64(2**63), np.int64, 'not hold 9223372036854775808'),
        (2**31, np.int32, 'not hold 2147483648'),
        (np.nan, np.int32, 'not hold nan'),
        (np.inf, np.int64, 'not hold inf'),
        (2, bool, 'not hold 2'),
        (1e39, np.float32, 'not hold 1e\\+39'),
        (2**70, np.int64, 'x must be int64, got 1180591620717411303424'),
        ('a', np.float32, "x must be float32, got 'a'"),
        (None, np.float32, 'x must be float32, got None'),
        ([[1], [1, 2]], np.float32, 'x must be'),
    ],
)
def test_casts_that_would_change_something_are_refused(value, dtype, words):
    with pytest.raises(SpecError, match=words):
        ranges.cast_exactly('x', value, dtype)


def test_a_cast_array_is_its_own():
    value = np.zeros(2, np.float32)
    assert not np.shares_memory(ranges.cast_exactly('x', value, np.float32), value)


@pytest.mark.parametrize(
    'value', [True, np.bool_(1), np.int8(1), 1, 1.0, np.float64(1), np.array(1), np.array(1.0)]
)
def test_rewards_of_any_type_are_float32(value):
    assert type(ranges.as_float32('reward', value)) is np.float32
    assert ranges.as_float32('reward', np.array([value, 0])).dtype == np.float32


@pytest.mark.parametrize(
    ('value', 'words'),
    [
        (np.nan, 'reward must be finite, got nan'),
        (1e39, 'reward must be within float32'),
        (np.float64('-inf'), 'reward must be finite, got -inf'),
        (None, 'reward must be a number, got None'),
        ('1', "reward must be a number, got '1'"),
        (1j, 'reward must be a number'),
        (10**400, 'reward must be a number'),
        (np.array([0.0, np.inf]), r'finite, got inf at \[1\]'),
    ],
)
def test_what_is_no_reward_is_refused(value, words):
    with pytest.raises(SpecError, match=words):
        ranges.as_float32('reward', value)
