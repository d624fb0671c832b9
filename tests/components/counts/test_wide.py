"""Counts of 64 bits of two words of 32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components.counts import wide
from culmen.core.types import MAX_COUNT


@pytest.mark.parametrize('number', [0, 7, MAX_COUNT - 1, MAX_COUNT, 2**32 - 2, 2**32 + 5, 2**40])
@pytest.mark.parametrize('more', [0, 1, 3, 2**31 - 1])
def test_counts_add_carry_and_saturate(number, more):
    count = jax.jit(wide.add)(wide.wide(number), jnp.int32(more))
    assert wide.as_int(count) == number + more
    assert int(wide.saturated(count)) == min(number + more, MAX_COUNT)
    assert wide.saturated(count).dtype == np.int32


def test_each_count_has_a_key_of_its_own():
    base = jax.random.key(0)
    numbers = (0, 1, 2**32 - 1, 2**32, 2**32 + 1)
    keys = [jax.random.key_data(wide.fold(base, wide.wide(number))) for number in numbers]
    assert len({tuple(np.asarray(key).tolist()) for key in keys}) == len(numbers)
