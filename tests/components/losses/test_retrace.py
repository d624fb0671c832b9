"""Retrace in its four forms: by hand, against its definition, and each against the others."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import losses
from tests.components.losses import reference
from tests.components.losses import suite
from tests.components.losses.suite import Case


def retrace(q_tm1, q_t, a_tm1, a_t, r_t, discount_t, pi_t, mu_t, lambda_, eps=1e-8):
    c = np.array(
        [
            lam * min(1, pi[a] / (mu + eps))
            for lam, pi, a, mu in zip(reference.per_step(lambda_, r_t), pi_t, a_t, mu_t)
        ]
    )
    returns = reference.off_policy_from_action_values(q_t, a_t, r_t, discount_t, c, pi_t)
    return returns - reference.pick(q_tm1, a_tm1)


def continuous(q_tm1, q_t, v_t, r_t, discount_t, log_rhos, lambda_):
    c = lambda_ * np.minimum(1, np.exp(log_rhos))
    return reference.off_policy(q_t, v_t, r_t, discount_t, c) - q_tm1


CASES = [
    Case(
        losses.retrace,
        'q_tm1[T,A] q_t[T,A] a_tm1[T]:action a_t[T]:action r_t[T] discount_t[T]:discount '
        'pi_t[T,A]:policy mu_t[T]:unit lambda_[T]:lambda',
        retrace,
        lambda args: reference.pick(args['q_tm1'], args['a_tm1']),
    ),
    Case(
        losses.retrace_continuous,
        'q_tm1[T] q_t[T-1] v_t[T] r_t[T] discount_t[T]:discount log_rhos[T-1] lambda_[T-1]:lambda',
        continuous,
        lambda args: args['q_tm1'],
    ),
]


def test_by_hand():
    q = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    a, half = jnp.array([0, 1, 0]), jnp.full(2, 0.5)
    pi = jnp.array([[0.75, 0.25], [0.5, 0.5]])
    # G[1] = 1/2 + 5.5/2 = 3.25; c[0] = 1/2; G[0] = 1/2 + (3.25 + (3.25 - 4)/2)/2 = 1.9375.
    errors = losses.retrace(q[:-1], q[1:], a[:-1], a[1:], half, half, pi, half, 1.0)
    np.testing.assert_allclose(errors, [0.9375, -0.75], rtol=1e-6)
    # With an epsilon of 1/2, c[0] = 1/4.
    errors = losses.retrace(q[:-1], q[1:], a[:-1], a[1:], half, half, pi, half, 1.0, 0.5)
    np.testing.assert_allclose(errors, [1.03125, -0.75], rtol=1e-6)
    errors = losses.retrace_continuous(
        q[:-1, 0],
        jnp.array([4.0]),
        jnp.array([3.25, 5.5]),
        half,
        half,
        jnp.log(jnp.array([0.5])),
        1.0,
    )
    np.testing.assert_allclose(errors, [0.9375, 0.25], rtol=1e-6)


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
def test_programs_do_not_grow_with_t(case):
    suite.has_a_program_of_one_size(case)


@pytest.mark.parametrize('case', CASES, ids=str)
def test_refusals(case):
    suite.refuses_by_name(case, suite.SHAPES[0])


@pytest.mark.parametrize('case', CASES, ids=str)
def test_bfloat16(case):
    suite.works_in_bfloat16(case, suite.SHAPES[0])


@pytest.mark.parametrize('case', CASES, ids=str)
def test_masked_steps_end_what_came_before(case):
    args = suite.some_inputs(case, suite.SHAPES[0])
    for mask in (np.arange(7) < 4, np.arange(7) != 3):
        expected = np.zeros(7)
        for run in reference.runs(mask):
            between = slice(run.start, run.stop - 1)
            expected[run] = suite.define(
                case,
                *(
                    x[between if a.axes == 'T-1' else run]
                    for x, a in zip(args, suite.arguments(case))
                ),
            )
        suite.assert_close(suite.call(case, *args, mask=mask), expected)
    cut = suite.call(case, *args, sequence_lengths=4)
    suite.assert_close(cut, np.asarray(suite.call(case, *args, mask=np.arange(7) < 4)))


def test_an_illegal_action_is_never_bootstrapped_from():
    q_t = jnp.array([[1.0, -jnp.inf], [2.0, 3.0]])
    pi = jnp.array([[1.0, 0.0], [0.5, 0.5]])

    def total(q_t):
        return jnp.sum(
            losses.retrace(
                jnp.zeros((2, 2)),
                q_t,
                jnp.array([0, 1]),
                jnp.array([0, 1]),
                jnp.ones(2),
                jnp.ones(2),
                pi,
                jnp.ones(2),
                1.0,
                stop_target_gradients=False,
            )
        )

    value, gradient = jax.value_and_grad(total)(q_t)
    # G[1] = 1 + 2.5, G[0] = 1 + 1 + (3.5 - 1).
    np.testing.assert_allclose(value, 3.5 + 4.5)
    assert np.all(np.isfinite(gradient))


def test_at_lambda_zero_it_is_expected_sarsa():
    *args, _ = suite.some_inputs(CASES[0], suite.SHAPES[0])
    q_tm1, q_t, a_tm1, _, r_t, discount_t, pi_t, _ = args
    expected = jax.vmap(losses.expected_sarsa)(q_tm1, a_tm1, r_t, discount_t, q_t, pi_t)
    np.testing.assert_allclose(losses.retrace(*args, 0.0), expected, rtol=1e-5, atol=1e-6)


def along_one_sequence(seed=3):
    rng = np.random.default_rng(seed)
    log_rhos, rewards, q, v = rng.normal(size=(4, 6)).astype(np.float32)
    return log_rhos, rng.uniform(0.5, 1, 6).astype(np.float32), rewards, q, v, np.float32(0.3)


def test_the_forms_agree():
    log_rhos, discounts, rewards, q, v, bootstrap = along_one_sequence()
    v_t = np.append(v[1:], bootstrap)
    errors = losses.retrace_continuous(q, q[1:], v_t, rewards, discounts, log_rhos[1:], 0.8)
    output = losses.retrace_from_importance_weights(
        log_rhos, discounts, rewards, q, v, bootstrap, 0.8
    )
    np.testing.assert_allclose(output.errors, errors, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(output.targets, errors + q, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(output.weights, 0.8 * np.minimum(1, np.exp(log_rhos)), rtol=1e-5)
    np.testing.assert_allclose(output.deltas, rewards + discounts * v_t - q, rtol=1e-4, atol=1e-6)
    by_probs = losses.retrace_from_action_log_probs(
        log_rhos - 1, -np.ones(6, np.float32), discounts, rewards, q, v, bootstrap, 0.8
    )
    suite.assert_close(by_probs, output)
    # Lambda is 1 unless it is given.
    suite.assert_close(
        losses.retrace_from_importance_weights(*along_one_sequence()),
        losses.retrace_from_importance_weights(*along_one_sequence(), 1.0),
    )
    suite.assert_close(
        losses.retrace_from_action_log_probs(log_rhos, 0 * log_rhos, *along_one_sequence()[1:]),
        losses.retrace_from_importance_weights(*along_one_sequence(), 1.0),
    )


def test_along_one_sequence_switch_and_mask_are_kept():
    log_rhos, discounts, rewards, q, v, bootstrap = along_one_sequence()
    for form in (
        losses.retrace_from_importance_weights,
        lambda rhos, *args, **keywords: losses.retrace_from_action_log_probs(
            rhos, 0 * rhos, *args, **keywords
        ),
    ):

        def total(r, form=form, **keywords):
            out = form(log_rhos, discounts, r, q, v, bootstrap, **keywords)
            return jnp.sum(out.errors) + jnp.sum(out.deltas) + jnp.sum(out.targets)

        np.testing.assert_array_equal(jax.grad(total)(rewards), 0.0)
        flowing = jax.grad(functools.partial(total, stop_target_gradients=False))(rewards)
        assert np.all(np.asarray(flowing) != 0)
        short = form(log_rhos, discounts, rewards, q, v, bootstrap, sequence_lengths=4)
        masked = form(log_rhos, discounts, rewards, q, v, bootstrap, mask=np.arange(6) < 4)
        suite.assert_close(short, masked)
        whole = form(log_rhos[:4], discounts[:4], rewards[:4], q[:4], v[:4], v[4])
        suite.assert_close(short.errors[:4], whole.errors)
        for part in (short.errors, short.targets, short.deltas):
            np.testing.assert_array_equal(part[4:], 0.0)


def test_more_refusals():
    args = along_one_sequence()
    with pytest.raises(ValueError, match=r'discounts must have shape \[T\] with T = 5, got'):
        losses.retrace_from_importance_weights(args[0][:5], *args[1:])
    with pytest.raises(ValueError, match=r'behaviour_action_log_probs must have shape \[T\]'):
        losses.retrace_from_action_log_probs(args[0], args[0][:5], *args[1:])
