"""Further evaluators of a program: what is refused before anything runs."""

import re

import dm_env
import numpy as np
import pytest
from dm_env import specs

import culmen
from culmen.core.errors import AgentFailure
from culmen.launchers import building
from culmen.launchers.programs.evaluators import FurtherEvaluator
from culmen.launchers.programs.evaluators import check_evaluators
from tests.launchers import echo

ENDLESS = 'tests.launchers.echo:endless'
EXPERIMENT = culmen.Experiment(
    echo.Echo(), ENDLESS, max_actor_steps=30, evaluation=culmen.Evaluation(episodes=1)
)


def check(evaluators):
    built = building.build(EXPERIMENT)
    params = building.trace(built.parts, built.spec, built.lanes).params
    return check_evaluators(evaluators, EXPERIMENT, built.spec, built.parts, params)


class Named(dm_env.Environment):
    """With a named number, and an observation of another shape if asked for."""

    def __init__(self, size):
        self._size = size

    def reset(self):
        return dm_env.restart(np.zeros(self._size, np.float32))

    def step(self, action):
        return dm_env.termination(0.0, np.zeros(self._size, np.float32))

    def observation_spec(self):
        return specs.Array((self._size,), np.float32, 'observation')

    def action_spec(self):
        return echo.ACTION

    def metrics(self):
        return {'cell': 1.0}


def wide(seed):
    return Named(2)


def wrong_policy(parts):
    def act(params, timestep, state, context):
        return np.zeros((len(state), 3), np.float32), state, ()

    return parts.actor._replace(select_action=act)


def broken_policy(parts):
    return parts.none


@pytest.mark.parametrize(
    ('evaluators', 'said'),
    [
        ({'a/b': FurtherEvaluator()}, "named by letters, .* got 'a/b'"),
        ({'': FurtherEvaluator()}, "named by letters, .* got ''"),
        ({'a': ENDLESS}, r"evaluators\['a'\] must be a FurtherEvaluator"),
        ({'a': FurtherEvaluator('nowhere/none')}, 'nowhere'),
        (
            {'a': FurtherEvaluator((ENDLESS, ENDLESS))},
            r"evaluators\['a'\].episodes must be at least 2",
        ),
        (
            {'a': FurtherEvaluator(wide)},
            r"evaluators\['a'\].environment must leave the observation",
        ),
        ({'a': FurtherEvaluator(policy=lambda parts: 3)}, 'policy must give an ActorCore'),
        ({'a': FurtherEvaluator(policy=wrong_policy)}, r"the evaluators\['a'\].policy's action"),
    ],
)
def test_what_can_not_be_played_is_refused_by_name(evaluators, said):
    with pytest.raises(ValueError, match=said):
        check(evaluators)


def test_a_policy_that_raises_is_a_failure_with_its_name():
    said = re.escape("evaluators['a']: AttributeError") + '|FurtherEvaluator.policy raised'
    with pytest.raises(AgentFailure, match=said):
        check({'a': FurtherEvaluator(policy=broken_policy)})


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({'episodes': 0}, 'FurtherEvaluator.episodes'),
        ({'environment': ()}, 'must hold one environment at least'),
        ({'policy': 'greedy'}, 'FurtherEvaluator.policy must be'),
    ],
)
def test_a_field_that_can_not_be_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        FurtherEvaluator(**fields)


def test_the_columns_are_those_of_its_own_environments():
    columns = check(
        {
            'plain': FurtherEvaluator(),
            'two': FurtherEvaluator((ENDLESS, 'tests.launchers.echo:twice'), episodes=2),
        }
    )
    assert list(columns) == ['plain', 'two']
    assert 'environment' in columns['two']
    assert 'environment' not in columns['plain']


def test_only_what_is_said_differs_from_the_experiment():
    evaluation = culmen.Evaluation(every=7, episodes=3, max_steps=9, environment={'a': 1})
    experiment = culmen.Experiment(echo.Echo(), 'a/b', max_actor_steps=1, evaluation=evaluation)
    assert FurtherEvaluator().applied(experiment) == experiment
    other = FurtherEvaluator('c/d', episodes=5).applied(experiment)
    assert (other.environment, other.evaluation.episodes) == ('c/d', 5)
    assert (other.evaluation.every, other.evaluation.max_steps) == (7, 9)
    assert dict(other.evaluation.environment) == {}  # arguments of another environment
