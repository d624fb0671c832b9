"""Errors of branches of action values: by hand, against their definitions, where nothing is legal."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components.losses import branching
from culmen.components.losses import value_learning
from tests.components.losses import suite
from tests.components.losses.suite import Case

Q = jnp.array([[1.0, 2.0], [3.0, 4.0]])
ACTIONS = jnp.array([0, 1])
Q_NEXT = jnp.array([[4.0, 6.0], [2.0, 0.0]])


def double(q_tm1, a_tm1, r_t, discount_t, q_t_value, q_t_selector):
    best = [
        value[list(selector).index(max(selector))]
        for value, selector in zip(q_t_value, q_t_selector)
    ]
    target = r_t + discount_t * sum(best) / len(best)
    return np.array([target - q[a] for q, a in zip(q_tm1, a_tm1)])


CASES = [
    Case(
        branching.branching_q_learning,
        'q_tm1[D,A] a_tm1[D]:action r_t[] discount_t[]:discount q_t[D,A]',
        lambda q_tm1, a_tm1, r_t, discount_t, q_t: double(q_tm1, a_tm1, r_t, discount_t, q_t, q_t),
        lambda args: np.array([q[a] for q, a in zip(args['q_tm1'], args['a_tm1'])]),
    ),
    Case(
        branching.branching_double_q_learning,
        'q_tm1[D,A] a_tm1[D]:action r_t[] discount_t[]:discount q_t_value[D,A] q_t_selector[D,A]',
        double,
        lambda args: np.array([q[a] for q, a in zip(args['q_tm1'], args['a_tm1'])]),
    ),
]


def test_by_hand():
    errors = branching.branching_q_learning(Q, ACTIONS, 0.5, 0.5, Q_NEXT)
    # The target is 0.5 + 0.5 (6 + 2) / 2 = 2.5.
    np.testing.assert_allclose(errors, [2.5 - 1, 2.5 - 4])
    errors = branching.branching_double_q_learning(Q, ACTIONS, 0.5, 0.5, Q_NEXT, -Q_NEXT)
    # It is 0.5 + 0.5 (4 + 0) / 2 = 1.5.
    np.testing.assert_allclose(errors, [1.5 - 1, 1.5 - 4])


def test_one_branch_is_q_learning():
    one = branching.branching_q_learning(Q[:1], ACTIONS[:1], 0.5, 0.5, Q_NEXT[:1])
    np.testing.assert_allclose(
        one, [value_learning.q_learning(Q[0], ACTIONS[0], 0.5, 0.5, Q_NEXT[0])]
    )


@pytest.mark.parametrize('sizes', suite.SHAPES, ids=('long', 'short'))
@pytest.mark.parametrize('case', CASES, ids=str)
def test_agrees_with_the_definition(case, sizes):
    @hypothesis.settings(max_examples=15)
    @hypothesis.given(suite.inputs(case, sizes))
    def agrees(args):
        suite.agrees_with_the_definition(case, args)

    agrees()


@pytest.mark.parametrize('case', CASES, ids=str)
def test_gradients(case):
    suite.has_the_right_gradients(case, suite.SHAPES[0])


@pytest.mark.parametrize('case', CASES, ids=str)
def test_jit_and_vmap_change_nothing(case):
    suite.is_the_same_under_jit_and_vmap(case, suite.SHAPES[0])


@pytest.mark.parametrize('case', CASES, ids=str)
def test_refusals(case):
    suite.refuses_by_name(case, suite.SHAPES[0])


@pytest.mark.parametrize('case', CASES, ids=str)
def test_bfloat16(case):
    suite.works_in_bfloat16(case, suite.SHAPES[0])


def test_illegal_values_are_never_bootstrapped_from():
    q_t = jnp.array([[4.0, -jnp.inf], [-jnp.inf, -jnp.inf]])

    def total(q, q_t):
        return jnp.sum(branching.branching_q_learning(q, ACTIONS, 1.0, 0.5, q_t, False))

    error, gradients = jax.value_and_grad(total, (0, 1))(Q, q_t)
    np.testing.assert_allclose(error, 2 * (1 + 0.5 * (4 + 0) / 2) - 1 - 4)
    np.testing.assert_allclose(gradients[0], [[-1, 0], [0, -1]])
    np.testing.assert_allclose(gradients[1], [[0.5, 0], [0, 0]])
