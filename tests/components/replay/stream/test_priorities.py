"""Raw priorities: the one rule of all tables."""

import numpy as np
import pytest

from culmen.components.replay.stream.priorities import RawPriorities
from culmen.components.replay.stream.priorities import largest_allowed
from culmen.core import Replay
from culmen.core import Window


def make(exponent=0.5):
    return RawPriorities('experience', Replay(Window(), 10, 1, 2, 1.0, priority_exponent=exponent))


def test_new_items_have_the_largest_ever_given_and_at_least_one():
    raw = make()
    assert (raw.largest, raw.largest_weight) == (1.0, 1.0)
    raw.see(np.float32([0.25, 0.5]))
    assert (raw.largest, raw.largest_weight) == (1.0, 1.0)
    raw.see(np.float32([9.0, 4.0]))
    raw.see_one(2.0)
    raw.see(np.zeros(0, np.float32))
    assert (raw.largest, raw.largest_weight) == (9.0, 3.0)
    np.testing.assert_array_equal(raw.weights(np.float32([4.0, 0.0])), [2.0, 0.0])


@pytest.mark.parametrize('exponent', [0.1, 1.0, 3.0, 20.0])
def test_the_largest_priorities_that_are_allowed_can_be_summed(exponent):
    largest = make(exponent).check([0.99 * largest_allowed(exponent)], 1)
    weights = make(exponent).weights(np.repeat(largest, 1000))
    assert np.isfinite(weights.sum())
    on_device = np.float32(largest_allowed(exponent, in_float32=True))
    assert np.isfinite(np.full(1000, on_device**exponent, np.float32).sum(dtype=np.float32))
    with pytest.raises(ValueError, match='must be finite and at least 0'):
        make(exponent).check([1.01 * largest_allowed(exponent)], 1)
