"""What the learner of a program keeps for its evaluators."""

import numpy as np

from culmen.launchers.programs.nodes.evaluations import KeptEvaluations
from culmen.launchers.schedule import Counts


def kept(*steps, first=0):
    evaluations = KeptEvaluations()
    evaluations.set_state([], first, None)
    for each in steps:
        evaluations.keep(Counts(each, each + 1), {'w': np.float32(each)})
    return evaluations


def test_each_is_kept_until_the_slowest_evaluator_has_played_it():
    evaluations = kept(10, 20)
    assert evaluations.get(1) == (20, 21, {'w': 20})
    assert evaluations.get(0) == (10, 11, {'w': 10})  # a slower one comes later
    evaluations.drop(1)
    assert evaluations.get_state(1) == evaluations.get_state(0)
    assert [each['at'] for each in evaluations.get_state(0)] == [[20, 21]]
    assert evaluations.next == 2
    assert evaluations.get(2) is None
    evaluations.close()
    assert evaluations.get(1) == (20, 21, {'w': 20})
    assert evaluations.get(2) == 'none'


def test_those_of_a_checkpoint_have_the_numbers_of_the_run():
    evaluations = KeptEvaluations()
    evaluations.set_state(kept(10, 20).get_state(0), 3, {'w': np.float32(0)})
    assert evaluations.get(4) == (20, 21, {'w': 20})
    assert evaluations.next == 5
    evaluations.drop(4)
    assert [each['at'] for each in evaluations.get_state(4)] == [[20, 21]]


def test_those_that_were_played_since_the_checkpoint_are_not_played_again():
    evaluations = kept(10, 20, 30, first=2)
    evaluations.skip(3)
    assert evaluations.next == 5
    assert evaluations.get(3)[0] == 20
    assert evaluations.get(2)[0] == 20  # a further evaluator was behind


def test_more_may_have_been_played_than_the_checkpoint_knows_of():
    evaluations = kept(10, first=2)
    evaluations.skip(5)
    assert evaluations.next == 5
    evaluations.keep(Counts(50, 50), {})
    assert evaluations.get(5)[0] == 50
