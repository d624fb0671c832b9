"""V-trace: by hand, against the paper's sum, at cuts, masks and thresholds."""

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

STEPS = 'v_tm1[T] v_t[T] r_t[T] discount_t[T]:discount rho_tm1[T]:ratio lambda_[T]:lambda '


def leaky(v_tm1, v_t, r_t, discount_t, rho_tm1, alpha_, lambda_, clip_rho_threshold=1.0):
    return reference.vtrace(
        v_tm1, v_t, r_t, discount_t, rho_tm1, lambda_, clip_rho_threshold, alpha=alpha_
    )


def value(args):
    return args['v_tm1']


ERRORS = [
    *(
        Case(
            losses.vtrace,
            STEPS,
            reference.vtrace,
            value,
            keywords=(('clip_rho_threshold', threshold),),
        )
        for threshold in (1.0, 0.5, None)
    ),
    Case(
        losses.leaky_vtrace,
        STEPS + 'alpha_[]:unit',
        leaky,
        value,
        keywords=(('clip_rho_threshold', 1.5),),
    ),
]
OUTPUTS = [
    *(
        Case(
            losses.vtrace_td_error_and_advantage,
            STEPS,
            reference.vtrace_and_advantage,
            keywords=(('clip_rho_threshold', rho), ('clip_pg_rho_threshold', pg)),
        )
        for rho, pg in ((1.0, 1.0), (0.5, 2.0), (None, None))
    ),
    Case(
        losses.leaky_vtrace_td_error_and_advantage,
        STEPS + 'alpha[]:unit',
        reference.vtrace_and_advantage,
        keywords=(('clip_rho_threshold', 1.5), ('clip_pg_rho_threshold', 0.75)),
    ),
]
CASES = ERRORS + OUTPUTS


def test_by_hand():
    v_tm1, v_t = jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0])
    r, discount, rho = jnp.array([1.0, 2.0]), jnp.full(2, 0.5), jnp.array([0.5, 3.0])
    # δ = [1 + 1 - 1, 2 + 2 - 2] = [1, 2]; E[1] = ρ̄ 2 = 2; E[0] = 1/2 + 1/2 λ 1/2 2.
    np.testing.assert_allclose(losses.vtrace(v_tm1, v_t, r, discount, rho), [1.0, 2.0])
    np.testing.assert_allclose(losses.vtrace(v_tm1, v_t, r, discount, rho, 0.5), [0.75, 2.0])
    unclipped = losses.vtrace(v_tm1, v_t, r, discount, rho, 1.0, None)
    np.testing.assert_allclose(unclipped, [2.0, 6.0])  # E[1] = 3 · 2, E[0] = 1/2 + 1/4 · 6.
    # q = [1 + (2 + 2)/2, 2 + 4/2]; the advantages are ρ̄ (q - v).
    output = losses.vtrace_td_error_and_advantage(v_tm1, v_t, r, discount, rho)
    np.testing.assert_allclose(output.errors, [1.0, 2.0])
    np.testing.assert_allclose(output.q_estimate, [3.0, 4.0])
    np.testing.assert_allclose(output.pg_advantage, [1.0, 2.0])
    output = losses.vtrace_td_error_and_advantage(
        v_tm1, v_t, r, discount, rho, clip_pg_rho_threshold=2.0
    )
    np.testing.assert_allclose(output.pg_advantage, [1.0, 4.0])
    # Leaky: ρ̄ = c = (min(1, ρ) + ρ)/2 = [0.5, 2]; E[1] = 4, E[0] = 1/2 + 1/4 · 4.
    errors = losses.leaky_vtrace(v_tm1, v_t, r, discount, rho, 0.5)
    np.testing.assert_allclose(errors, [1.5, 4.0])
    output = losses.leaky_vtrace_td_error_and_advantage(v_tm1, v_t, r, discount, rho, 0.5)
    np.testing.assert_allclose(output.q_estimate, [1 + 6 / 2, 4.0])
    np.testing.assert_allclose(output.pg_advantage, [1.5, 4.0])


@pytest.mark.parametrize('sizes', suite.SHAPES, ids=('long', 'short'))
@pytest.mark.parametrize('case', CASES, ids=str)
def test_agrees_with_the_definition(case, sizes):
    @hypothesis.settings(max_examples=15)
    @hypothesis.given(suite.inputs(case, sizes))
    def agrees(args):
        suite.agrees_with_the_definition(case, args)

    agrees()


@pytest.mark.parametrize('case', ERRORS, ids=str)
def test_gradients(case):
    suite.has_the_right_gradients(case, suite.SHAPES[0])


@pytest.mark.parametrize('case', OUTPUTS, ids=str)
def test_errors_stop_at_their_targets_and_advantages_flow(case):
    args = suite.some_inputs(case, suite.SHAPES[0])

    @jax.jit
    def gradients(switch, *args):
        def total(part, v_tm1, r_t):
            full = (v_tm1, args[1], r_t, *args[3:])
            out = suite.call(case, *full, stop_target_gradients=switch)
            return jnp.sum(getattr(out, part))

        return [
            jax.grad(functools.partial(total, part), (0, 1))(args[0], args[2])
            for part in ('errors', 'pg_advantage')
        ]

    stopped, flowing = gradients(True, *args), gradients(False, *args)
    np.testing.assert_allclose(stopped[0][0], -1.0, rtol=1e-6)
    np.testing.assert_array_equal(stopped[0][1], 0.0)
    assert np.all(np.asarray(flowing[0][1]) != 0)
    assert np.all(np.asarray(stopped[1][1]) != 0)  # The advantages' own rewards are not stopped.


@pytest.mark.parametrize('case', [OUTPUTS[0], OUTPUTS[-1]], ids=str)
def test_gradients_of_advantages_and_estimates(case):
    args = suite.some_inputs(case, suite.SHAPES[0], seed=5)
    which = tuple(range(len(args)))
    weights = np.random.default_rng(6).normal(size=(3, 7))

    def total(out):
        return sum(w @ x for w, x in zip(weights, out))

    actual = jax.jit(
        jax.grad(lambda *args: total(suite.call(case, *args, stop_target_gradients=False)), which)
    )(*args)
    expected = suite.differences(lambda *args: total(suite.define(case, *args)), args, which)
    suite.assert_close(actual, expected, 1e-4, 1e-4)


@pytest.mark.parametrize('case', CASES, ids=str)
def test_jit_and_vmap_change_nothing(case):
    suite.is_the_same_under_jit_and_vmap(case, suite.SHAPES[0])


@pytest.mark.parametrize('case', CASES, ids=str)
def test_programs_do_not_grow_with_t(case):
    suite.has_a_program_of_one_size(case)


@pytest.mark.parametrize('case', [ERRORS[0], ERRORS[-1], OUTPUTS[0], OUTPUTS[-1]], ids=str)
def test_refusals(case):
    only_arrays = case._replace(arguments=STEPS)
    suite.refuses_by_name(only_arrays, suite.SHAPES[0])
    args = suite.some_inputs(only_arrays, suite.SHAPES[0])
    with pytest.raises(ValueError, match=r'sample_mask must have shape \[T\] with T = 7, got'):
        suite.call(only_arrays, *args, sample_mask=jnp.ones(6))


@pytest.mark.parametrize('case', CASES, ids=str)
def test_bfloat16(case):
    suite.works_in_bfloat16(case, suite.SHAPES[0])


@functools.cache
def masked(case):
    return jax.jit(functools.partial(suite.call, case))


@pytest.mark.parametrize('case', [ERRORS[0], OUTPUTS[1]], ids=str)
def test_masked_steps_give_nothing_and_leak_nothing(case):
    sizes = suite.SHAPES[0]

    @hypothesis.settings(max_examples=15)
    @hypothesis.given(suite.inputs(case, sizes), suite.values('mask', (sizes['T'],), sizes))
    def agrees(args, mask):
        expected = case.definition(*args, **dict(case.keywords), sample_mask=mask)
        *sequences, lambda_ = args
        spoiled = [np.where(mask, x, np.nan) for x in sequences]
        suite.assert_close(masked(case)(*spoiled, lambda_, sample_mask=mask), expected)

    agrees()


def sequence(length=8, seed=0):
    rng = np.random.default_rng(seed)
    v_tm1, v_t, r = rng.normal(size=(3, length)).astype(np.float32)
    discount, rho = rng.uniform(0.5, 2.0, (2, length)).astype(np.float32)
    return v_tm1, v_t, r, np.minimum(discount, 1), rho


@pytest.mark.parametrize('scalar', [0.0, 0.25, 1.0])
def test_a_scalar_lambda_is_that_of_all_steps(scalar):
    steps = sequence()
    expected = reference.vtrace_and_advantage(*steps, np.full(8, scalar))
    suite.assert_close(losses.vtrace_td_error_and_advantage(*steps, scalar), expected)
    suite.assert_close(losses.vtrace(*steps, scalar), expected[0])
    suite.assert_close(losses.leaky_vtrace(*steps, 1.0, scalar), expected[0])


def test_on_policy_it_is_the_lambda_return():
    _, v_t, r, discount, _ = sequence()
    v_tm1 = np.append(np.float32(0.5), v_t[:-1])
    ones = jnp.ones(8)
    output = losses.vtrace_td_error_and_advantage(v_tm1, v_t, r, discount, ones, 0.7)
    returns = losses.lambda_returns(r, discount, v_t, 0.7)
    np.testing.assert_allclose(output.errors, returns - v_tm1, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(output.pg_advantage, output.errors, rtol=1e-4, atol=1e-5)


def test_a_leak_of_nothing_is_vtrace_and_of_all_is_importance_sampling():
    steps = sequence()
    np.testing.assert_allclose(
        losses.leaky_vtrace(*steps, 1.0, 0.9, 0.5), losses.vtrace(*steps, 0.9, 0.5), rtol=1e-6
    )
    whole = losses.leaky_vtrace(*steps, 0.0, 0.9, 0.5)
    v_tm1, v_t, r, discount, rho = steps
    expected = reference.decayed_sums(rho * (r + discount * v_t - v_tm1), discount * 0.9 * rho)
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-5)
    traced = jax.jit(lambda alpha: losses.leaky_vtrace(*steps, alpha, 0.9, 0.5))
    np.testing.assert_allclose(traced(1.0), losses.vtrace(*steps, 0.9, 0.5), rtol=1e-5)


def test_the_defaults():
    steps = sequence()
    assert_same = functools.partial(jax.tree_util.tree_map, np.testing.assert_array_equal)
    assert_same(losses.vtrace(*steps), losses.vtrace(*steps, 1.0, 1.0))
    assert_same(losses.leaky_vtrace(*steps), losses.vtrace(*steps))
    output = losses.vtrace_td_error_and_advantage(*steps)
    assert_same(output, losses.vtrace_td_error_and_advantage(*steps, 1.0, 1.0, 1.0))
    assert_same(output, losses.leaky_vtrace_td_error_and_advantage(*steps))
    for function, part in (
        (losses.vtrace, lambda out: out),
        (losses.leaky_vtrace, lambda out: out),
        (losses.vtrace_td_error_and_advantage, lambda out: out.errors),
        (losses.leaky_vtrace_td_error_and_advantage, lambda out: out.errors),
    ):
        gradient = jax.grad(lambda v, f=function, p=part: jnp.sum(p(f(v, *steps[1:]))))
        np.testing.assert_allclose(gradient(steps[0]), -1.0, rtol=1e-6)


def test_from_importance_weights_and_from_logits():
    v_tm1, _, r, discount, rho = sequence()
    bootstrap = np.float32(0.7)
    v_t = np.append(v_tm1[1:], bootstrap)
    for keywords in (
        {},
        {'lambda_': 0.8, 'clip_rho_threshold': 0.9, 'clip_pg_rho_threshold': None},
    ):
        expected = losses.vtrace_td_error_and_advantage(v_tm1, v_t, r, discount, rho, **keywords)
        actual = losses.vtrace_from_importance_weights(
            np.log(rho), discount, r, v_tm1, bootstrap, **keywords
        )
        suite.assert_close(actual, expected)
    rng = np.random.default_rng(1)
    behaviour, target = rng.normal(size=(2, 8, 3)).astype(np.float32)
    actions = rng.integers(0, 3, 8)
    output = losses.vtrace_from_logits(
        behaviour, target, actions, discount, r, v_tm1, bootstrap, 0.9, None, 0.8
    )
    log_mu = reference.pick(reference.log_softmax(behaviour), actions)
    log_pi = reference.pick(reference.log_softmax(target), actions)
    suite.assert_close(output[3:], (log_pi - log_mu, log_mu, log_pi))
    expected = reference.vtrace_and_advantage(
        v_tm1, v_t, r, discount, np.exp(log_pi - log_mu), 0.8, 0.9, None
    )
    suite.assert_close(output[:3], expected)


def test_from_logits_no_gradient_reaches_the_policies_unless_asked():
    v_tm1, _, r, discount, _ = sequence()
    logits = np.random.default_rng(2).normal(size=(8, 3)).astype(np.float32)
    actions = np.arange(8) % 3

    def total(target, **keywords):
        out = losses.vtrace_from_logits(
            logits, target, actions, discount, r, v_tm1, 0.5, **keywords
        )
        return jnp.sum(out.pg_advantage) + jnp.sum(out.errors)

    np.testing.assert_array_equal(jax.grad(total)(logits[::-1].copy()), 0.0)
    flowing = jax.grad(functools.partial(total, stop_target_gradients=False))
    assert np.any(np.asarray(flowing(logits[::-1].copy())) != 0)
    masked_all = losses.vtrace_from_logits(
        logits, logits, actions, discount, r, v_tm1, 0.5, sample_mask=jnp.zeros(8)
    )
    np.testing.assert_array_equal(masked_all.pg_advantage, 0.0)


def test_from_importance_weights_keeps_its_switch_and_mask():
    v_tm1, _, r, discount, rho = sequence()

    def total(r, **keywords):
        return jnp.sum(
            losses.vtrace_from_importance_weights(
                np.log(rho), discount, r, v_tm1, 0.5, **keywords
            ).errors
        )

    np.testing.assert_array_equal(jax.grad(total)(r), 0.0)
    assert np.all(
        np.asarray(jax.grad(functools.partial(total, stop_target_gradients=False))(r)) > 0
    )
    assert total(r, sample_mask=jnp.zeros(8)) == 0


def test_more_refusals():
    v_tm1, _, r, discount, rho = sequence()
    with pytest.raises(ValueError, match=r'bootstrap_value must have rank 0 .*got shape \(1,\)'):
        losses.vtrace_from_importance_weights(rho, discount, r, v_tm1, jnp.ones(1))
    with pytest.raises(ValueError, match=r'target_policy_logits must have shape \[T,A\]'):
        losses.vtrace_from_logits(
            jnp.zeros((8, 3)), jnp.zeros((8, 2)), jnp.zeros(8, int), discount, r, v_tm1, 0.0
        )
    with pytest.raises(ValueError, match='actions must be an integer'):
        losses.vtrace_from_logits(
            jnp.zeros((8, 3)), jnp.zeros((8, 3)), jnp.zeros(8), discount, r, v_tm1, 0.0
        )
    log_probs = losses.log_probs_from_logits_and_actions(jnp.zeros((2, 4)), jnp.array([0, 3]))
    np.testing.assert_allclose(log_probs, -np.log([4.0, 4.0]), rtol=1e-6)


def test_the_defaults_along_one_sequence():
    """Ratios far above and below 1 tell every threshold apart."""
    v_tm1, _, r, discount, _ = sequence()
    log_rhos = np.linspace(-2, 2, 8).astype(np.float32)
    rest = (discount, r, v_tm1, np.float32(0.5))
    suite.assert_close(
        losses.vtrace_from_importance_weights(log_rhos, *rest),
        losses.vtrace_from_importance_weights(log_rhos, *rest, 1.0, 1.0, 1.0, True),
    )
    behaviour = np.zeros((8, 2), np.float32)
    target = np.stack([np.linspace(-3, 3, 8), np.zeros(8)], -1).astype(np.float32)
    actions = np.zeros(8, int)
    suite.assert_close(
        losses.vtrace_from_logits(behaviour, target, actions, *rest),
        losses.vtrace_from_logits(behaviour, target, actions, *rest, 1.0, 1.0, 1.0, True),
    )
