"""Blocks of random fractions: the same numbers and states as those of draws made one by one."""

import numpy as np
import pytest

from culmen.components.replay.in_process.fractions import Fractions


def sequence():
    return np.random.SeedSequence((7, 3))


@pytest.mark.parametrize('batch_size', [1, 96, 5_000])  # of which 5,000 is more than a block
def test_numbers_and_states_are_those_of_draws_one_by_one(batch_size):
    generator = np.random.Generator(np.random.PCG64(sequence()))
    fractions = Fractions(sequence(), batch_size)
    for _ in range(100):
        assert fractions.get_state() == generator.bit_generator.state
        np.testing.assert_array_equal(fractions.draw(), generator.random(batch_size))


def test_a_restored_state_goes_on_with_the_same_numbers():
    first, second = Fractions(sequence(), 96), Fractions(sequence(), 96)
    for _ in range(50):
        first.draw()
    second.draw()  # what is left of its block is dropped
    second.set_state(first.get_state())
    for _ in range(50):
        np.testing.assert_array_equal(second.draw(), first.draw())
