"""Initial priorities from the values that acted, against sums in NumPy."""

import numpy as np

from culmen.components import policies
from culmen.components import updates
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import Steps


def windows():
    """Three transitions each: whole; terminated after two and padded; truncated after one and padded."""
    step_type = np.array([[MID] * 4, [MID, MID, LAST, LAST], [MID, LAST, LAST, LAST]])
    reward = np.array([[9, 1, 2, 3], [9, 1, 2, 0], [9, 4, 0, 0]], np.float32)
    discount = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]], np.float32)
    mask = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]], bool)
    extras = {
        'q': np.array([[5, 6, 7], [1, 2, 0], [3, 0, 0]], np.float32),
        'best_q': np.array([[8, 9, 10], [3, 4, 0], [6, 0, 0]], np.float32),
    }
    return Steps(step_type, reward, discount, np.zeros((3, 2, 1)), np.zeros((3, 3)), extras, mask)


def test_errors_of_the_first_step():
    # The last value of a window is not known: that of the observation before stands for it.
    errors = [
        1 + 0.5 * 2 + 0.25 * 3 + 0.125 * 10 - 5,
        1 + 0.5 * 2 - 1,
        4 + 0.5 * 6 - 3,
    ]
    priority = updates.ErrorThatActed(discount=0.5)
    np.testing.assert_allclose(priority(windows()), np.abs(errors), rtol=1e-6)
    assert priority == updates.ErrorThatActed(discount=0.5)  # compiled programs are found by it


def test_errors_of_every_step_with_one_reward():
    expected = [[1 + 0.5 * 9 - 5, 2 + 0.5 * 10 - 6, 3 + 0.5 * 10 - 7], [1 + 0.5 * 4 - 1, 2 - 2]]
    errors = np.asarray(updates.errors_that_acted(windows(), 0.5, n_step=1))
    np.testing.assert_allclose(errors[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(errors[1, :2], expected[1], rtol=1e-6)


def test_a_policy_keeps_the_values_that_acted():
    values = np.array([[1.0, 5.0, 3.0], [4.0, 2.0, 0.0]], np.float32)
    best, action = np.array([1, 0]), np.array([2, 0])
    kept = policies.values_that_acted(values, best, action)
    assert {name: leaf.tolist() for name, leaf in kept.items()} == {
        'best_q': [5.0, 4.0], 'q': [3.0, 4.0],
    }  # fmt: skip
