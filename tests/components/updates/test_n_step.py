"""Bootstraps after several rewards, against the sum of Sutton and Barto's equation 7.1."""

import jax
import numpy as np
import pytest

from culmen.components import updates
from culmen.core.types import MID
from culmen.core.types import Steps


@pytest.mark.parametrize('n_step', [1, 2, 3, 9])
@pytest.mark.parametrize('rewards', [1, 2])
def test_each_step_earns_until_its_bootstrap(n_step, rewards):
    rng = np.random.default_rng(0)
    batch, length = 3, 5
    reward = rng.normal(size=(rewards, batch, length + 1)).astype(np.float32)
    discount = rng.uniform(0.5, 1.0, (batch, length + 1)).astype(np.float32)
    mask = np.ones((batch, length), bool)
    mask[1, 3:] = False  # the episode ends
    mask[2, 1:] = False
    discount[1, 3] = 0.0  # by a termination
    steps = Steps(
        step_type=np.full((batch, length + 1), MID, np.int32),
        reward=reward[0] if rewards == 1 else {'a': reward[0], 'b': reward[1]},
        discount=discount,
        observation=(),
        action=(),
        extras=(),
        mask=mask,
    )
    found = jax.jit(lambda steps: updates.n_step_parts(steps, 0.9, n_step))(steps)
    for b in range(batch):
        for t in range(length):
            if not mask[b, t]:
                continue
            total, factor, at = np.zeros(rewards), 1.0, t
            while at < min(t + n_step, length) and mask[b, at]:
                total += factor * reward[:, b, at + 1]
                factor *= 0.9 * discount[b, at + 1]
                at += 1
            np.testing.assert_allclose(found[0][b, t], total, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(found[1][b, t], factor, rtol=1e-5)
            assert found[2][b, t] == at
