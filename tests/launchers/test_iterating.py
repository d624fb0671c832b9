"""The loop of a run in its user's hands."""

import jax
import numpy as np
import pytest

import culmen
from tests.integration import runs


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A run that nobody touches, and its experiment."""
    experiment = runs.experiment('bsuite/catch/0', 160)
    return experiment, culmen.run(experiment, tmp_path_factory.mktemp('whole'), progress=False)


def test_a_loop_in_hand_has_the_numbers_of_a_run(whole, tmp_path):
    experiment, expected = whole
    updates = culmen.iterate(experiment, tmp_path, progress=False)
    seen = []
    for update in updates:
        leaves = jax.tree_util.tree_leaves(update.variables)
        assert np.isfinite([update.metrics['loss'], *map(np.sum, leaves)]).all()
        seen.append(update)
    steps = [update.learner_steps for update in seen]
    assert len(steps) > 50
    assert steps == sorted(set(steps))
    returns = expected.logs['evaluator']['episode_return']
    evaluations = [update.evaluation['return_mean'] for update in (seen[0], seen[-1])]
    assert evaluations == [returns.iloc[0], returns.iloc[-2]]
    assert seen[-1].episodes > 10
    runs.assert_same(updates.result, expected)
    with pytest.raises(RuntimeError, match='metrics of update 1 are asked for before'):
        _ = seen[0].metrics
    again = culmen.iterate(experiment, tmp_path, progress=False)
    assert list(again) == []  # it is finished
    assert again.result.summary['resumed_at'] == 160


@pytest.mark.parametrize('way', ['break', 'raise', 'close'])
def test_a_loop_that_is_left_goes_on_where_it_was(whole, tmp_path, way):
    experiment, expected = whole
    if way == 'break':
        with culmen.iterate(experiment, tmp_path, progress=False) as updates:
            for update in updates:
                if update.learner_steps == 30:
                    break
        assert (updates.result.interrupted, updates.result.signal) == (True, None)
        assert updates.result.summary['learner_steps'] == 30
    elif way == 'raise':
        with pytest.raises(ZeroDivisionError):
            for update in culmen.iterate(experiment, tmp_path, progress=False):
                1 / (update.learner_steps - 30)
    else:
        updates = culmen.iterate(experiment, tmp_path, progress=False)
        with pytest.raises(RuntimeError, match='no result yet'):
            _ = updates.result
        updates.close()
        assert list(updates) == []
    resumed = culmen.run(experiment, tmp_path, progress=False)
    assert resumed.summary['resumed_at'] == (0 if way == 'close' else 81)
    runs.assert_same(resumed, expected)


def test_arrays_of_a_curve_and_a_comparison(whole):
    pytest.importorskip('rliable')
    _, result = whole
    steps, returns = result.curve()
    assert steps.tolist() == [40.0, 80.0, 120.0, 160.0]
    assert returns.tolist() == result.logs['evaluator']['episode_return'].tolist()
    assert result.curve(training=True).steps[-1] <= 160
    assert len(result.curve(training=True).steps) != 4
    compared = result.compare(result, last=1, repetitions=10)
    assert compared.scores['dqn'].tolist() == [[returns[-1]]]
    with pytest.raises(ValueError, match='this Result has none'):
        result.compare(culmen.Result(result.experiment, None, {}))
