"""How much of the targets leaves a support, beside a loop, and when that is worth a warning."""

import numpy as np
import pytest

from culmen.components import updates

ATOMS = np.linspace(-1.0, 1.0, 5)
RNG = np.random.default_rng(0)
PROBS = RNG.dirichlet(np.ones(5), size=4)
R_T = np.array([0.0, 1.0, -3.0, 0.3])
DISCOUNT_T = np.array([0.9, 0.5, 0.0, 1.0])


def test_the_mass_that_is_moved_to_the_ends():
    of_rows = [
        sum(p for z, p in zip(ATOMS, probs, strict=True) if abs(r + d * z) > 1.25)
        for probs, r, d in zip(PROBS, R_T, DISCOUNT_T, strict=True)
    ]
    # All of the third, the greatest atoms of the second and of the fourth.
    assert of_rows[0] == 0
    assert of_rows[2] == pytest.approx(1)
    assert 0 < of_rows[3] < 1
    given = updates.mass_outside(*(x.astype(np.float32) for x in (ATOMS, PROBS, R_T, DISCOUNT_T)))
    assert given == pytest.approx(np.mean(of_rows), rel=1e-5)


def test_much_of_it_is_worth_a_warning():
    assert updates.support_warning({'loss': 1.0}) is None
    assert updates.support_warning({updates.OUTSIDE: 0.2}) is None
    text = updates.support_warning({updates.OUTSIDE: 0.31})
    assert text.startswith('31% of the returns that are learned lie outside of v_min and v_max')
