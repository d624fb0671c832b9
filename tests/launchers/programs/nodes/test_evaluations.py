"""Evaluations that are kept for the evaluator, over a restart of the learner."""

from culmen.launchers.programs.nodes.evaluations import KeptEvaluations
from culmen.launchers.schedule import Counts


def kept(first, *steps):
    evaluations = KeptEvaluations()
    evaluations.set_state([], first, None)
    for each in steps:
        evaluations.keep(Counts(each, each), {})
    return evaluations


def test_those_that_were_played_since_the_checkpoint_are_not_played_again():
    evaluations = kept(2, 10, 20)
    evaluations.skip(3)
    assert (evaluations.first, evaluations.next) == (3, 4)
    assert evaluations.get(3)[0] == 20


def test_more_may_have_been_played_than_the_checkpoint_knows_of():
    evaluations = kept(2, 10)
    evaluations.skip(5)
    assert (evaluations.first, evaluations.next) == (5, 5)
    evaluations.keep(Counts(50, 50), {})
    assert evaluations.get(5)[0] == 50
