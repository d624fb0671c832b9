"""Evaluation: shares of lanes, seeds of its own, and nothing of training touched."""

import pytest

from culmen.core.specs import make_environment_spec
from culmen.environment_loops import Evaluator
from culmen.environment_loops.compiled import CompiledEvaluator
from culmen.environment_loops.compiled import EvaluationRequest
from culmen.environment_loops.evaluation import Interrupted
from tests.environment_loops.fakes import SPEC
from tests.environment_loops.fakes import Counting
from tests.environment_loops.fakes import counting_core
from tests.launchers import echo


def evaluator(episodes, make=None, **kwargs):
    made = []

    def make_environment(seed):
        environment = make(seed) if make else Counting(length=1 + len(made) % 3)
        made.append((seed, environment))
        return environment

    return Evaluator(counting_core(), make_environment, SPEC, 0, episodes, **kwargs), made


@pytest.mark.parametrize(('episodes', 'lanes'), [(1, 1), (5, 5), (16, 16), (20, 16), (33, 16)])
def test_each_lane_plays_a_fixed_share(episodes, lanes):
    each, made = evaluator(episodes)
    result = each.evaluate({}, 0, 0, 0)
    assert len(made) == lanes
    assert result.returns.shape == result.lengths.shape == (episodes,)
    # Lane i has episodes of 1 + i % 3 steps; the share does not depend on how long they are.
    expected = [
        1 + lane % 3
        for lane in range(lanes)
        for _ in range(episodes // lanes + (lane < episodes % lanes))
    ]
    assert result.lengths.tolist() == expected
    assert result.returns.tolist() == [n * (n + 1) / 2 for n in expected]
    assert all(environment.closed for _, environment in made)


def test_seeds_are_of_the_lane_and_of_the_evaluation():
    each, made = evaluator(3)
    each.evaluate({}, 0, 0, 0)
    each.evaluate({}, 1, 0, 0)
    each.evaluate({}, 0, 0, 0)
    seeds = [seed for seed, _ in made]
    assert len(set(seeds[:6])) == 6
    assert seeds[6:] == seeds[:3]


def test_lanes_that_are_done_step_no_more():
    each, made = evaluator(2, make=lambda seed: Counting(length=2 if len(made) == 0 else 50))
    each.evaluate({}, 0, 0, 0)
    assert len(made[0][1].actions) == 2
    assert len(made[1][1].actions) == 50


def test_the_policy_is_compiled_once_over_evaluations():
    each, _ = evaluator(3)
    for number in range(3):
        each.evaluate({}, number, 0, 0)
    assert each.num_compilations == 1


def test_a_stopped_evaluation_says_so_and_closes():
    asked = []
    each, made = evaluator(3, stop=lambda: asked.append(1) or len(asked) > 2)
    with pytest.raises(Interrupted):
        each.evaluate({}, 0, 0, 0)
    assert all(environment.closed for _, environment in made)


def test_episodes_that_do_not_end_are_cut_and_begin_anew():
    made = []

    def plain(seed):
        made.append(echo.Plain(echo.some_end(seed)))
        return made[-1]

    spec = make_environment_spec(echo.some_end(0))
    results = [
        Evaluator(counting_core(), make, spec, 3, 20, max_steps=5).evaluate({}, 1, 0, 0)
        for make in (echo.some_end, plain)
    ]
    program = CompiledEvaluator(counting_core(), echo.SOME_END, 20, max_steps=5)
    results.append(program.of(3).evaluate({}, 1, 0, 0))
    results += program.evaluate_all(
        [EvaluationRequest({}, 2, 0, 0, 3), EvaluationRequest({}, 1, 0, 0, 3)]
    )
    # Steps pay 1, 2, 3, ...: the policy began anew with every episode.
    for result in results:
        assert set(result.lengths.tolist()) == {3, 5}
        assert result.returns.tolist() == [n * (n + 1) / 2 for n in result.lengths]
        assert result.truncated.tolist() == [n == 5 for n in result.lengths]
    assert program.num_compilations == 2
    for result in (*results[1:3], results[4]):
        assert result.lengths.tolist() == results[0].lengths.tolist()


def test_an_episode_that_ends_at_the_limit_is_not_cut():
    spec = make_environment_spec(Counting())
    result = Evaluator(counting_core(), lambda seed: Counting(3), spec, 0, 2, max_steps=3).evaluate(
        {}, 0, 0, 0
    )
    assert result.lengths.tolist() == [3, 3]
    assert not result.truncated.any()
