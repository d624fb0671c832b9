"""Seeds by role and counts."""

from culmen.components.counts import fold_seed


def test_seeds_are_folded_by_role_and_count():
    seeds = {fold_seed(0, 'environment', lane) for lane in range(100)} | {
        fold_seed(0, 'evaluator', 0)
    }
    assert len(seeds) == 101
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert fold_seed(5, 'table') == fold_seed(5, 'table')
