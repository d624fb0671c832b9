"""Returns of batches of windows against sums in NumPy, with padding, terminations and truncations."""

import jax
import numpy as np
import pytest

from culmen.components import updates
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import Steps

GAMMA = 0.9


def windows():
    """Five transitions each: within an episode; terminated and padded; truncated and going on after FIRST."""
    step_type = np.array(
        [
            [FIRST, MID, MID, MID, MID, MID],
            [MID, MID, LAST, LAST, LAST, LAST],
            [MID, MID, LAST, FIRST, MID, MID],
        ]
    )
    reward = np.arange(1.0, 19.0, dtype=np.float32).reshape(3, 6)
    discount = np.ones((3, 6), np.float32)
    discount[1, 2] = 0.0
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 0, 1, 1]], bool)
    value = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    return Steps(step_type, reward, discount, (), (), (), mask), value


def by_hand(lambda_, gamma, values):
    """Backwards, one transition at a time."""
    steps, _ = windows()
    returns = np.zeros(steps.mask.shape)
    for b in range(len(returns)):
        for t in reversed(range(returns.shape[1])):
            if not steps.mask[b, t]:
                continue
            goes_on = t + 1 < returns.shape[1] and steps.mask[b, t + 1]
            later = returns[b, t + 1] if goes_on else values[b, t + 1]
            mixed = (1 - lambda_) * values[b, t + 1] + lambda_ * later
            returns[b, t] = steps.reward[b, t + 1] + gamma * steps.discount[b, t + 1] * mixed
    return returns


@pytest.mark.parametrize('lambda_', [0.0, 0.7, 1.0])
def test_lambda_returns_and_advantages(lambda_):
    steps, value = windows()
    expected = by_hand(lambda_, GAMMA, value)
    given = updates.lambda_returns(steps, value, GAMMA, lambda_)
    np.testing.assert_allclose(given, expected, rtol=1e-5)
    advantages = updates.generalised_advantages(steps, value, GAMMA, lambda_)
    advantage = np.where(steps.mask, expected - value[:, :-1], 0)
    np.testing.assert_allclose(advantages, advantage, rtol=1e-5, atol=1e-5)


def test_returns_to_go():
    steps, value = windows()
    np.testing.assert_array_equal(
        updates.returns_to_go(steps),
        [[20, 18, 15, 11, 6], [8 + 9, 9, 0, 0, 0], [14 + 15, 15, 0, 17 + 18, 18]],
    )
    given = updates.returns_to_go(steps, GAMMA, value)
    np.testing.assert_allclose(given, by_hand(1.0, GAMMA, value), rtol=1e-5)


def test_no_gradient_reaches_returns():
    steps, value = windows()
    for function in (
        lambda value: updates.lambda_returns(steps, value, GAMMA, 0.5),
        lambda value: updates.returns_to_go(steps, GAMMA, value),
    ):
        assert not np.any(jax.grad(lambda value: function(value).sum())(value))  # noqa: B023
