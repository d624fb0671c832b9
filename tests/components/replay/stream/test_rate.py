"""The rate formula, exactly."""

from fractions import Fraction

import pytest

from culmen.components.replay import Rate


@pytest.mark.parametrize(
    ('samples_per_insert', 'exact'),
    [
        (0.25, '1/4'),
        (0.1, '1/10'),
        (0.3, '3/10'),
        (1 / 3, '1/3'),
        (2 / 7, '2/7'),
        (8.0, '8'),
        (2.5, '5/2'),
    ],
)
@pytest.mark.parametrize('batch_size', [1, 3, 32])
def test_updates_are_those_of_the_formula(
    samples_per_insert: float, exact: str, batch_size: int
) -> None:
    rate = Rate(11, samples_per_insert, batch_size)
    for items in [*range(200), 10**6, 10**9 + 11]:
        updates = max(items - 11, 0) * Fraction(exact) // batch_size
        assert rate.updates(items) == updates
        assert not rate.due(items, updates + 1)
        assert updates == 0 or rate.due(items, updates)


def test_rates_that_stand_for_no_simple_fraction_are_taken_as_they_are() -> None:
    assert Rate(0, 1e-7, 1).updates(10**7 + 10) == 1
    assert Rate(0, 1e-7, 1).updates(10**7 - 10) == 0
    number = 0.123456789012345
    assert Rate(0, number, 1).updates(10**15) == int(Fraction(number) * 10**15)


def test_actors_may_lead_by_so_many_samples() -> None:
    rate = Rate(10, 0.5, 4)
    # 30 items allow (30 - 10) / 2 = 10 samples; two updates have drawn 8.
    assert rate.may_insert(30, 2, lead=2.0)
    assert not rate.may_insert(30, 2, lead=1.5)
    assert rate.may_insert(5, 0, lead=0.0)


@pytest.mark.parametrize('samples_per_insert', [0.1, 0.3, 1 / 3, 2 / 7, 1.0, 2.5, 8.0])
@pytest.mark.parametrize('min_size', [0, 7])
def test_a_limiter_between_these_limits_keeps_to_the_formula(
    samples_per_insert: float, min_size: int
) -> None:
    # Sample by sample, as a limiter counts, against the formula in whole numbers.
    rate, lead = Rate(min_size, samples_per_insert, 1), 2 * samples_per_insert + 1
    smallest, largest = rate.limits(lead)
    for items in [*range(60), 10**6 + 1]:
        allowed = rate.updates(items)
        for samples in range(max(allowed - 3, 0), allowed + 3):
            difference = items * samples_per_insert - samples
            if items > min_size:
                assert (difference >= smallest) == rate.due(items, samples)
            assert (difference <= largest) == rate.may_insert(items, samples, lead)
