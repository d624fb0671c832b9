"""Early stopping by what evaluations say."""

import pytest

import culmen
from tests.launchers import toys


def ends_at(rule, returns):
    """The number of the evaluation at which a rule ends a run, and why."""
    rule.on_begin(0, 0)
    for number, mean in enumerate(returns, 1):
        reason = rule.on_evaluation(10 * number, number, {'return_mean': mean})
        if reason is not None:
            return number, reason
    return None


def test_a_return_has_to_be_reached_in_a_row():
    rule = culmen.StopWhen(return_at_least=0.5, evaluations=2)
    why = 'the return of 2 evaluations in a row was at least 0.5'
    assert ends_at(rule, [0.0, 0.6, 0.4, 0.5, 0.7]) == (5, why)
    assert ends_at(culmen.StopWhen(return_at_least=0.5), [0.6, 0.4])[0] == 1
    assert ends_at(culmen.StopWhen(return_at_least=0.5), [0.1, 0.4]) is None


def test_patience_counts_evaluations_that_are_not_better():
    rule = culmen.StopWhen(patience=2)
    assert ends_at(rule, [0.0, 1.0, 0.9, 1.1, 1.1, 0.2]) == (
        6, '2 evaluations in a row were not better than 1.1',
    )  # fmt: skip
    assert ends_at(culmen.StopWhen(patience=2, improvement=0.2), [1.0, 1.1, 1.2])[0] == 3


def test_its_counts_go_on_in_a_resumed_run_and_begin_anew_in_another():
    broken, rule = culmen.StopWhen(patience=2), culmen.StopWhen(patience=2)
    assert ends_at(broken, [1.0, 0.5]) is None
    rule.set_state(broken.get_state())
    rule.on_begin(20, 2)
    assert rule.on_evaluation(30, 3, {'return_mean': 0.6}) is not None
    assert ends_at(rule, [0.5, 0.6]) is None


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({}, 'needs return_at_least or patience'),
        ({'patience': 0}, 'StopWhen.patience must be at least 1, got 0'),
        ({'patience': 1, 'evaluations': 2}, 'StopWhen.evaluations is for return_at_least'),
        ({'return_at_least': 1.0, 'improvement': 0.1}, 'StopWhen.improvement is for patience'),
        ({'return_at_least': 'high'}, 'return_at_least must be'),
    ],
)
def test_rules_that_make_no_sense_are_refused(fields, said):
    with pytest.raises((ValueError, TypeError), match=said):
        culmen.StopWhen(**fields)


def test_a_run_that_is_evaluated_at_its_end_alone_is_refused(tmp_path):
    experiment = culmen.Experiment(toys.Toy(), toys.corridor, max_actor_steps=100)
    with pytest.raises(ValueError, match='evaluation.every must be a number of steps for StopWhen'):
        culmen.run(experiment, tmp_path / 'run', observers=[culmen.StopWhen(patience=1)])
    assert not (tmp_path / 'run').exists()
