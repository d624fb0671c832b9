"""One-step and lambda errors: by hand, against their definitions, at the edges."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from culmen.components.losses import value_learning
from tests.components.losses import reference
from tests.components.losses import suite
from tests.components.losses.suite import Case

Q = jnp.array([1.0, 2.0, 4.0])
Q_NEXT = jnp.array([3.0, -1.0, 7.0])


def action_value(args):
    return reference.pick(args['q_tm1'], args['a_tm1'])


def state_value(args):
    return args['v_tm1']


def softly(q, temperature):
    return temperature * np.log(np.sum(np.exp(q / temperature)))


def munchausen(
    q_tm1,
    a_tm1,
    r_t,
    discount_t,
    q_t,
    target_q_tm1,
    temperature=0.03,
    log_policy_clip=-1.0,
    alpha=0.9,
):
    log_pi = (target_q_tm1[a_tm1] - softly(target_q_tm1, temperature)) / temperature
    bonus = alpha * min(max(temperature * log_pi, log_policy_clip), 0.0)
    return r_t + bonus + discount_t * softly(q_t, temperature) - q_tm1[a_tm1]


ONE_STEP = 'q_tm1[A] a_tm1[]:action r_t[] discount_t[]:discount '
MANY_STEPS = 'q_tm1[T,A] a_tm1[T]:action r_t[T] discount_t[T]:discount '
CASES = [
    Case(
        value_learning.td_learning,
        'v_tm1[] r_t[] discount_t[]:discount v_t[]',
        lambda v_tm1, r_t, discount_t, v_t: r_t + discount_t * v_t - v_tm1,
        state_value,
    ),
    Case(
        value_learning.sarsa,
        ONE_STEP + 'q_t[A] a_t[]:action',
        lambda q_tm1, a_tm1, r_t, discount_t, q_t, a_t: r_t + discount_t * q_t[a_t] - q_tm1[a_tm1],
        action_value,
    ),
    Case(
        value_learning.expected_sarsa,
        ONE_STEP + 'q_t[A] probs_a_t[A]:policy',
        lambda q_tm1, a_tm1, r_t, discount_t, q_t, probs_a_t: (
            r_t + discount_t * sum(p * q for p, q in zip(probs_a_t, q_t)) - q_tm1[a_tm1]
        ),
        action_value,
    ),
    Case(
        value_learning.q_learning,
        ONE_STEP + 'q_t[A]',
        lambda q_tm1, a_tm1, r_t, discount_t, q_t: r_t + discount_t * max(q_t) - q_tm1[a_tm1],
        action_value,
    ),
    Case(
        value_learning.double_q_learning,
        ONE_STEP + 'q_t_value[A] q_t_selector[A]',
        lambda q_tm1, a_tm1, r_t, discount_t, q_t_value, q_t_selector: (
            r_t + discount_t * q_t_value[list(q_t_selector).index(max(q_t_selector))] - q_tm1[a_tm1]
        ),
        action_value,
    ),
    Case(
        value_learning.persistent_q_learning,
        ONE_STEP + 'q_t[A] action_gap_scale[]:lambda',
        lambda q_tm1, a_tm1, r_t, discount_t, q_t, action_gap_scale: (
            r_t
            + discount_t * max(q_t)
            - discount_t * action_gap_scale * (max(q_t) - q_t[a_tm1])
            - q_tm1[a_tm1]
        ),
        action_value,
    ),
    Case(
        value_learning.qv_learning,
        ONE_STEP + 'v_t[]',
        lambda q_tm1, a_tm1, r_t, discount_t, v_t: r_t + discount_t * v_t - q_tm1[a_tm1],
        action_value,
    ),
    Case(
        value_learning.qv_max,
        'v_tm1[] r_t[] discount_t[]:discount q_t[A]',
        lambda v_tm1, r_t, discount_t, q_t: r_t + discount_t * max(q_t) - v_tm1,
        state_value,
    ),
    Case(
        value_learning.munchausen_q_learning,
        ONE_STEP + 'q_t[A] target_q_tm1[A] temperature[]:ratio',
        munchausen,
        action_value,
    ),
    Case(
        value_learning.td_lambda,
        'v_tm1[T] r_t[T] discount_t[T]:discount v_t[T] lambda_[T]:lambda',
        lambda v_tm1, r_t, discount_t, v_t, lambda_: (
            reference.lambda_returns(r_t, discount_t, v_t, lambda_) - v_tm1
        ),
        state_value,
    ),
    Case(
        value_learning.sarsa_lambda,
        MANY_STEPS + 'q_t[T,A] a_t[T]:action lambda_[T]:lambda',
        lambda q_tm1, a_tm1, r_t, discount_t, q_t, a_t, lambda_: (
            reference.lambda_returns(r_t, discount_t, reference.pick(q_t, a_t), lambda_)
            - reference.pick(q_tm1, a_tm1)
        ),
        action_value,
    ),
    Case(
        value_learning.q_lambda,
        MANY_STEPS + 'q_t[T,A] lambda_[T]:lambda',
        lambda q_tm1, a_tm1, r_t, discount_t, q_t, lambda_: (
            reference.lambda_returns(r_t, discount_t, q_t.max(-1), lambda_)
            - reference.pick(q_tm1, a_tm1)
        ),
        action_value,
    ),
]
SEQUENCES = CASES[-3:]


@pytest.mark.parametrize(
    ('function', 'args', 'expected'),
    [
        (value_learning.td_learning, (1.0, 0.5, 0.5, 4.0), 0.5 + 0.5 * 4 - 1),
        (value_learning.sarsa, (Q, 2, 0.5, 0.5, Q_NEXT, 0), 0.5 + 0.5 * 3 - 4),
        (
            value_learning.expected_sarsa,
            (Q, 1, 0.5, 0.5, Q_NEXT, jnp.array([0.5, 0.5, 0.0])),
            0.5 + 0.5 * (1.5 - 0.5) - 2,
        ),
        (value_learning.q_learning, (Q, 0, 0.5, 0.5, Q_NEXT), 0.5 + 0.5 * 7 - 1),
        (
            value_learning.double_q_learning,
            (Q, 0, 0.5, 0.5, Q_NEXT, jnp.array([0.0, 5.0, 1.0])),
            0.5 + 0.5 * -1 - 1,
        ),
        (
            value_learning.persistent_q_learning,
            (Q, 0, 0.5, 0.5, Q_NEXT, 0.25),
            0.5 + 0.5 * (0.75 * 7 + 0.25 * 3) - 1,
        ),
        (value_learning.qv_learning, (Q, 2, 0.5, 0.5, 6.0), 0.5 + 0.5 * 6 - 4),
        (value_learning.qv_max, (1.0, 0.5, 0.5, Q_NEXT), 0.5 + 0.5 * 7 - 1),
        # log π = -log 3, times the temperature 2 and clipped at -1; the soft maximum is 3 + 2 log 3.
        (
            value_learning.munchausen_q_learning,
            (Q, 1, 0.5, 0.5, jnp.full(3, 3.0), jnp.zeros(3), 2.0, -1.0, 0.5),
            0.5 + 0.5 * -1 + 0.5 * (3 + 2 * np.log(3)) - 2,
        ),
        (value_learning.munchausen_bonus, (jnp.zeros(3), 0, 0.5, -1.0), -0.5 * np.log(3)),
    ],
)
def test_one_step_by_hand(function, args, expected):
    actual = function(*args)
    assert actual.shape == ()
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_the_defaults_of_munchausen_are_those_of_the_paper():
    q, target = jnp.array([0.0, 0.02]), jnp.array([0.01, 0.0])
    given = value_learning.munchausen_q_learning(q, 0, 0.0, 0.9, q, target, 0.03, -1.0, 0.9)
    assert value_learning.munchausen_q_learning(q, 0, 0.0, 0.9, q, target) == given
    bonus = value_learning.munchausen_bonus(jnp.array([0.0, 9.0]), 0)
    assert bonus == -1.0  # The log-policy is -300, times the temperature -9, clipped at -1.
    unclipped = value_learning.munchausen_bonus(jnp.array([0.0, 0.02]), 0)
    np.testing.assert_allclose(unclipped, -softly(np.array([0.0, 0.02]), 0.03), rtol=1e-5)


def test_many_steps_by_hand():
    r, discount = jnp.array([1.0, 2.0]), jnp.array([0.5, 0.5])
    v_tm1, v_t, lambda_ = jnp.array([1.0, 1.0]), jnp.array([4.0, 8.0]), jnp.array([0.5, 1.0])
    # G[1] = 2 + 8/2 = 6, G[0] = 1 + (4/2 + 6/2)/2 = 3.5.
    returns = np.array([3.5, 6.0])
    errors = value_learning.td_lambda(v_tm1, r, discount, v_t, lambda_)
    np.testing.assert_allclose(errors, returns - 1, rtol=1e-6)
    q_tm1, a_tm1 = jnp.array([[0.0, 1.0], [2.0, 0.0]]), jnp.array([1, 0])
    q_t, a_t = jnp.array([[4.0, -9.0], [7.0, 8.0]]), jnp.array([0, 1])
    errors = value_learning.sarsa_lambda(q_tm1, a_tm1, r, discount, q_t, a_t, lambda_)
    np.testing.assert_allclose(errors, returns - [1, 2], rtol=1e-6)
    errors = value_learning.q_lambda(q_tm1, a_tm1, r, discount, q_t, lambda_)
    np.testing.assert_allclose(errors, returns - [1, 2], rtol=1e-6)


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


@pytest.mark.parametrize('case', SEQUENCES, ids=str)
def test_programs_do_not_grow_with_t(case):
    suite.has_a_program_of_one_size(case)


@pytest.mark.parametrize('case', CASES, ids=str)
def test_refusals(case):
    suite.refuses_by_name(case, suite.SHAPES[0])


@pytest.mark.parametrize('case', CASES, ids=str)
def test_bfloat16(case):
    suite.works_in_bfloat16(case, suite.SHAPES[0])


MASKED = {case: jax.jit(functools.partial(suite.call, case)) for case in SEQUENCES}


@pytest.mark.parametrize('case', SEQUENCES, ids=str)
def test_masked_steps_have_no_error_and_no_influence(case):
    sizes = suite.SHAPES[0]

    @hypothesis.settings(max_examples=15)
    @hypothesis.given(
        suite.inputs(case, sizes),
        suite.values('mask', (sizes['T'],), sizes),
        st.integers(0, sizes['T']),
    )
    def agrees(args, mask, length):
        mask = mask & (np.arange(sizes['T']) < length)
        expected = np.zeros(sizes['T'])
        for run in reference.runs(mask):
            expected[run] = suite.define(case, *(x[run] for x in args))
        spoiled = [
            np.where(mask.reshape((-1,) + (1,) * (x.ndim - 1)), x, np.nan)
            if x.dtype == np.float32 and name != 'lambda_'
            else x
            for x, name in zip(args, (a.name for a in suite.arguments(case)))
        ]
        actual = MASKED[case](*spoiled, mask=mask, sequence_lengths=length)
        suite.assert_close(actual, expected)

    agrees()


@pytest.mark.parametrize('scalar', [0.0, 0.5, 1.0])
def test_a_scalar_lambda_is_that_of_all_steps(scalar):
    case = SEQUENCES[0]
    *args, _ = suite.some_inputs(case, suite.SHAPES[0])
    expected = suite.define(case, *args, np.full(7, scalar))
    suite.assert_close(MASKED[case](*args, scalar), expected)


@pytest.mark.parametrize(
    'function',
    [
        lambda q, q_t: value_learning.q_learning(q, 0, 1.0, 0.5, q_t, False),
        lambda q, q_t: value_learning.double_q_learning(q, 0, 1.0, 0.5, q_t, q_t, False),
        lambda q, q_t: value_learning.persistent_q_learning(q, 1, 1.0, 0.5, q_t, 0.5, False) + 1,
        lambda q, q_t: value_learning.qv_max(q[0], 1.0, 0.5, q_t, False),
        lambda q, q_t: value_learning.expected_sarsa(
            q, 0, 1.0, 0.5, q_t, jnp.array([1.0, 0.0]), False
        ),
        lambda q, q_t: value_learning.q_lambda(
            q[None], jnp.array([0]), jnp.ones(1), jnp.full(1, 0.5), q_t[None], 1.0, False
        )[0],
        lambda q, q_t: value_learning.munchausen_q_learning(
            q, 0, 1.0, 0.5, q_t, q_t, stop_target_gradients=False
        ),
    ],
)
def test_an_illegal_action_is_never_bootstrapped_from(function):
    error, gradients = jax.value_and_grad(function, (0, 1))(
        jnp.array([1.0, 2.0]), jnp.array([4.0, -jnp.inf])
    )
    np.testing.assert_allclose(error, 1 + 0.5 * 4 - 1, rtol=1e-6)
    np.testing.assert_allclose(gradients[0][0] + gradients[0][1], -1)
    np.testing.assert_allclose(gradients[1], [0.5, 0.0])


@pytest.mark.parametrize(
    'function',
    [
        lambda q, q_t: value_learning.q_learning(q, 0, 1.0, 0.5, q_t, False),
        lambda q, q_t: value_learning.double_q_learning(q, 0, 1.0, 0.5, q_t, q_t, False),
        lambda q, q_t: value_learning.munchausen_q_learning(
            q, 0, 1.0, 0.5, q_t, q, 1.0, 0.0, 0.0, stop_target_gradients=False
        ),
    ],
)
def test_a_state_without_legal_actions_has_value_zero(function):
    q, none_legal = jnp.array([3.0, 2.0]), jnp.full(2, -jnp.inf)
    error, gradients = jax.value_and_grad(function, (0, 1))(q, none_legal)
    assert error == -2
    np.testing.assert_array_equal(gradients[0], [-1.0, 0.0])
    np.testing.assert_array_equal(gradients[1], [0.0, 0.0])


def test_a_temperature_has_a_gradient_beside_illegal_actions():
    q_t = jnp.array([1.0, 1.0, -jnp.inf])
    gradient = jax.grad(
        lambda t: value_learning.munchausen_q_learning(
            Q, 0, 0.0, 1.0, q_t, q_t, t, -9.0, 1.0, False
        )
    )(0.5)
    # The soft maximum is 1 + τ log 2 and the bonus -τ log 2: they cancel.
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)
    gradient = jax.grad(lambda t: value_learning.munchausen_bonus(q_t, 0, t, -9.0))(0.5)
    np.testing.assert_allclose(gradient, -np.log(2), rtol=1e-6)


def test_identities():
    r, discount = 0.5, 0.9
    one_hot = jnp.array([0.0, 0.0, 1.0])
    q_learning = value_learning.q_learning(Q, 0, r, discount, Q_NEXT)
    for same in (
        value_learning.expected_sarsa(Q, 0, r, discount, Q_NEXT, one_hot),
        value_learning.sarsa(Q, 0, r, discount, Q_NEXT, 2),
        value_learning.double_q_learning(Q, 0, r, discount, Q_NEXT, Q_NEXT),
        value_learning.persistent_q_learning(Q, 0, r, discount, Q_NEXT, 0.0),
        value_learning.qv_learning(Q, 0, r, discount, 7.0),
        value_learning.qv_max(Q[0], r, discount, Q_NEXT),
        value_learning.munchausen_q_learning(Q, 0, r, discount, Q_NEXT, Q, alpha=0.0),
    ):
        np.testing.assert_allclose(same, q_learning, rtol=1e-6)
