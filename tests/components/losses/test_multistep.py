"""Returns over many steps: by hand, against sums of what lies ahead, at cuts and masks."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from culmen.components.losses import multistep
from tests.components.losses import reference
from tests.components.losses import suite
from tests.components.losses.suite import Case

STEPS = 'r_t[T] discount_t[T]:discount '
CASES = [
    Case(multistep.lambda_returns, STEPS + 'v_t[T] lambda_[T]:lambda', reference.lambda_returns),
    Case(multistep.discounted_returns, STEPS + 'v_t[T]', reference.discounted_returns),
    *(
        Case(
            multistep.n_step_bootstrapped_returns,
            STEPS + 'v_t[T] lambda_t[T]:lambda',
            reference.n_step,
            keywords=(('n', n),),
        )
        for n in (1, 2, 3, 6, 9, 11)
    ),
    Case(
        multistep.truncated_generalized_advantage_estimation,
        STEPS + 'lambda_[T]:lambda values[T+1]',
        reference.gae,
    ),
    Case(
        multistep.truncated_generalized_advantage_estimation,
        STEPS + 'lambda_[T]:lambda v_tm1[T] v_t[T]',
        reference.gae,
    ),
    Case(
        multistep.importance_corrected_td_errors,
        STEPS + 'rho_tm1[T]:ratio lambda_[T]:lambda values[T+1]',
        reference.importance_corrected,
        prediction=lambda args: args['values'][:-1],
    ),
    Case(
        multistep.importance_corrected_td_errors,
        STEPS + 'rho_tm1[T]:ratio lambda_[T]:lambda v_tm1[T] v_t[T]',
        reference.importance_corrected,
        prediction=lambda args: args['v_tm1'],
    ),
    Case(
        multistep.general_off_policy_returns_from_action_values,
        'q_t[T,A] a_t[T]:action r_t[T] discount_t[T]:discount c_t[T]:lambda pi_t[T,A]:policy',
        reference.off_policy_from_action_values,
    ),
    Case(
        multistep.general_off_policy_returns_from_q_and_v,
        'v_t[T] r_t[T] discount_t[T]:discount q_t[T-1] c_t[T-1]:lambda',
        reference.off_policy,
    ),
]
CASES = [case._replace(stops_by_default=False) for case in CASES]  # Returns are plain numbers.
MASKED = [
    case
    for case in CASES
    if 'values' not in case.arguments and case.function is not multistep.discounted_returns
]


def test_lambda_returns_by_hand():
    r, discount, v = jnp.array([1.0, 2.0]), jnp.array([0.5, 0.25]), jnp.array([4.0, 8.0])
    # G[1] = 2 + 8/4 = 4; G[0] = 1 + (λ G[1] + (1 - λ) 4)/2, and G[1] = v[0] makes it 3.
    np.testing.assert_allclose(multistep.lambda_returns(r, discount, v, 0.3), [3.0, 4.0])
    np.testing.assert_allclose(multistep.lambda_returns(r, discount, v + 1, 0.5), [3.3125, 4.25])
    np.testing.assert_allclose(multistep.lambda_returns(r, discount, v + 1), [3.125, 4.25])
    np.testing.assert_allclose(multistep.discounted_returns(r, discount, 9.0), [3.125, 4.25])


def test_n_step_returns_by_hand():
    r, discount = jnp.array([1.0, 2.0, 3.0]), jnp.full(3, 0.5)
    v = jnp.array([10.0, 20.0, 40.0])
    # 1 + 2/2 + 20/4; 2 + 3/2 + 40/4; 3 + 40/2, for want of a second step.
    returns = multistep.n_step_bootstrapped_returns(r, discount, v, 2)
    np.testing.assert_allclose(returns, [7.0, 13.5, 23.0])
    one_step = multistep.n_step_bootstrapped_returns(r, discount, v, 1)
    np.testing.assert_allclose(one_step, [6.0, 12.0, 23.0])


def test_advantages_by_hand():
    r, discount, values = jnp.array([1.0, 2.0]), jnp.full(2, 0.5), jnp.array([3.0, 4.0, 6.0])
    # δ = [1 + 2 - 3, 2 + 3 - 4] = [0, 1]; A[0] = 0 + λ/2.
    advantages = multistep.truncated_generalized_advantage_estimation(r, discount, 0.5, values)
    np.testing.assert_allclose(advantages, [0.25, 1.0])
    # D[0] = 0 + λ/2 ρ[1], times ρ[0].
    errors = multistep.importance_corrected_td_errors(
        r, discount, jnp.array([2.0, 3.0]), 0.5, values
    )
    np.testing.assert_allclose(errors, [1.5, 3.0])


def test_off_policy_returns_by_hand():
    # G[1] = 2 + 8/2 = 6; G[0] = 1 + (4 + (6 - 3)/4)/2.
    returns = multistep.general_off_policy_returns_from_q_and_v(
        jnp.array([3.0]),
        jnp.array([4.0, 8.0]),
        jnp.array([1.0, 2.0]),
        jnp.full(2, 0.5),
        jnp.array([0.25]),
    )
    np.testing.assert_allclose(returns, [3.375, 6.0])


def test_an_illegal_action_is_never_bootstrapped_from():
    q = jnp.array([[1.0, -jnp.inf], [2.0, 3.0]])
    pi, ones = jnp.array([[1.0, 0.0], [0.5, 0.5]]), jnp.ones(2)

    def returns(q):
        return multistep.general_off_policy_returns_from_action_values(
            q, jnp.array([0, 1]), ones, ones, ones, pi
        )

    # G[1] = 1 + 2.5; G[0] = 1 + 1 + (3.5 - 1).
    np.testing.assert_allclose(returns(q), [4.5, 3.5])
    gradient = jax.grad(lambda q: jnp.sum(returns(q)))(q)
    np.testing.assert_allclose(gradient, [[0.0, 0.0], [1.0, 1.0]], atol=1e-6)


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
def test_gradients_flow_unless_they_are_stopped(case):
    args = suite.some_inputs(case, suite.SHAPES[0])
    gradient = jax.grad(
        lambda r: jnp.sum(
            suite.call(
                case, *(r if a.name == 'r_t' else x for a, x in zip(suite.arguments(case), args))
            )
        )
    )
    reward = next(x for a, x in zip(suite.arguments(case), args) if a.name == 'r_t')
    assert np.all(np.asarray(gradient(reward)) > 0)


@pytest.mark.parametrize('case', CASES, ids=str)
def test_jit_and_vmap_change_nothing(case):
    suite.is_the_same_under_jit_and_vmap(case, suite.SHAPES[0])


@pytest.mark.parametrize('case', CASES, ids=str)
def test_refusals(case):
    suite.refuses_by_name(case, suite.SHAPES[0])


@pytest.mark.parametrize('case', CASES, ids=str)
def test_bfloat16(case):
    suite.works_in_bfloat16(case, suite.SHAPES[0])


@functools.cache
def masked(case):
    return jax.jit(functools.partial(suite.call, case))


@pytest.mark.parametrize('case', MASKED, ids=str)
def test_masked_steps_return_nothing_and_leak_nothing(case):
    sizes = suite.SHAPES[0]

    @hypothesis.settings(max_examples=15)
    @hypothesis.given(suite.inputs(case, sizes), suite.values('mask', (sizes['T'],), sizes))
    def agrees(args, mask):
        expected = case.definition(
            **dict(zip((a.name for a in suite.arguments(case)), args)),
            **dict(case.keywords),
            mask=mask,
        )
        spoiled = list(args)
        for i, argument in enumerate(suite.arguments(case)):
            if argument.name in ('r_t', 'v_t', 'v_tm1', 'discount_t', 'rho_tm1'):
                spoiled[i] = np.where(mask, args[i], np.nan)
        suite.assert_close(masked(case)(*spoiled, mask=mask), expected)

    agrees()


@pytest.mark.parametrize('case', CASES, ids=str)
def test_sequence_lengths_cut_off_the_padding(case):
    args = suite.some_inputs(case, suite.SHAPES[0])
    for length in (0, 1, 4, 7):
        by_length = suite.call(case, *args, sequence_lengths=length)
        by_mask = suite.call(case, *args, mask=jnp.arange(7) < length)
        np.testing.assert_array_equal(by_length, by_mask)
        np.testing.assert_array_equal(by_length[length:], 0)
        assert np.all(np.asarray(by_length[:length]) != 0)


@pytest.mark.parametrize('scalar', [0.0, 0.25, 1.0])
@pytest.mark.parametrize(
    'case', [c for c in CASES if ':lambda' in c.arguments and 'c_t' not in c.arguments], ids=str
)
def test_a_scalar_lambda_is_that_of_all_steps(case, scalar):
    args = suite.some_inputs(case, suite.SHAPES[0])
    spread = [
        np.full(7, scalar, np.float32) if 'lambda' in a.name else x
        for a, x in zip(suite.arguments(case), args)
    ]
    alone = [
        np.float32(scalar) if 'lambda' in a.name else x for a, x in zip(suite.arguments(case), args)
    ]
    suite.assert_close(suite.compiled(case)(*alone), suite.define(case, *spread))


def sequence(length, seed=0):
    rng = np.random.default_rng(seed)
    r, v = rng.normal(size=(2, length)).astype(np.float32)
    return r, rng.uniform(0.5, 1.0, length).astype(np.float32), v


@pytest.mark.parametrize('n', [1, 7, 8, 9, 16, 31, 32, 33, 100])
def test_many_steps_are_composed_as_few_are(n):
    r, discount, v = sequence(33)
    lambda_ = np.where(np.arange(33) % 11 == 10, 0.0, 0.9).astype(np.float32)
    expected = reference.n_step(r, discount, v, n, lambda_)
    suite.assert_close(multistep.n_step_bootstrapped_returns(r, discount, v, n, lambda_), expected)


def test_n_steps_as_long_as_the_sequence_are_discounted_returns():
    r, discount, v = sequence(12)
    expected = multistep.lambda_returns(r, discount, v, 1.0)
    for n in (12, 13, 1000):
        actual = multistep.n_step_bootstrapped_returns(r, discount, v, n)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize('differentiated', [False, True], ids=('values', 'gradients'))
def test_the_program_does_not_grow_with_n_or_t(differentiated):
    def size(n, length):
        def total(*args):
            return jnp.sum(multistep.n_step_bootstrapped_returns(*args, n))

        return suite.program_size(
            jax.grad(total, (0, 1, 2)) if differentiated else total, *sequence(length)
        )

    assert len({size(n, length) for n in (1, 2, 5, 19) for length in (20, 2000)}) == 1
    assert size(200, 2000) == size(1999, 2000) == size(1, 20)
    assert size(20, 20) == size(2000, 2000) == size(5000, 2000) < 2 * size(1, 20)


@pytest.mark.parametrize('case', CASES, ids=str)
def test_programs_do_not_grow_with_t(case):
    suite.has_a_program_of_one_size(case)


def test_a_truncation_separates_two_episodes():
    r, discount, v = sequence(8)
    lambda_ = np.ones(8, np.float32)
    lambda_[3] = 0
    whole = multistep.lambda_returns(r, discount, v, lambda_)
    for part in (slice(0, 4), slice(4, 8)):
        alone = multistep.lambda_returns(r[part], discount[part], v[part])
        assert alone.shape == (4,)
        np.testing.assert_allclose(whole[part], alone, rtol=1e-6)


def test_identities():
    r, discount, v = sequence(9)
    v_tm1 = sequence(9, seed=1)[2]
    advantages = multistep.truncated_generalized_advantage_estimation(
        r, discount, 0.8, v_tm1=v_tm1, v_t=v
    )
    errors = multistep.importance_corrected_td_errors(
        r, discount, jnp.ones(9), 0.8, v_tm1=v_tm1, v_t=v
    )
    np.testing.assert_allclose(errors, advantages, rtol=1e-5)
    values = np.append(v_tm1[:1], v)
    advantages = multistep.truncated_generalized_advantage_estimation(r, discount, 0.8, values)
    returns = multistep.lambda_returns(r, discount, v, 0.8)
    np.testing.assert_allclose(advantages, returns - values[:-1], rtol=1e-4, atol=1e-5)
    traced = multistep.general_off_policy_returns_from_q_and_v(
        v[:-1], v, r, discount, jnp.full(8, 0.8)
    )
    np.testing.assert_allclose(traced, returns, rtol=1e-4, atol=1e-5)


def test_values_are_given_in_one_way():
    r, discount, v = sequence(3)
    gae = functools.partial(multistep.truncated_generalized_advantage_estimation, r, discount, 1.0)
    with pytest.raises(ValueError, match='values, or v_tm1 and v_t, must be given'):
        gae()
    with pytest.raises(ValueError, match='values, or v_tm1 and v_t, must be given'):
        gae(v_tm1=v)
    with pytest.raises(ValueError, match='values, or v_tm1 and v_t, must be given'):
        gae(v_t=v)
    for extra in ({'v_tm1': v}, {'v_t': v}):
        with pytest.raises(ValueError, match='values must be None where v_tm1 and v_t are given'):
            gae(jnp.zeros(4), **extra)
    with pytest.raises(ValueError, match=r'values must .*\[T\+1\] with T = 3, got shape \(3,\)'):
        gae(v)
    with pytest.raises(ValueError, match=r'v_tm1 must .*\[T\] with T = 3, got shape \(4,\)'):
        gae(v_tm1=jnp.zeros(4), v_t=jnp.zeros(4))
    with pytest.raises(ValueError, match=r'v_t must .*\[T\] with T = 3, got shape \(4,\)'):
        gae(v_tm1=v, v_t=jnp.zeros(4))


def test_masks_lengths_and_steps_are_refused_by_name():
    r, discount, v = sequence(3)
    with pytest.raises(ValueError, match=r'mask must have shape \[T\] with T = 3, got shape \(2,'):
        multistep.lambda_returns(r, discount, v, mask=jnp.ones(2))
    with pytest.raises(ValueError, match=r'sequence_lengths must have rank 0 .*got shape \(1,\)'):
        multistep.lambda_returns(r, discount, v, sequence_lengths=jnp.array([2]))
    with pytest.raises(ValueError, match='sequence_lengths must be an integer, got float32'):
        multistep.lambda_returns(r, discount, v, sequence_lengths=2.0)
    for n in (0, -1):
        with pytest.raises(ValueError, match=f'n must be at least 1, got {n}'):
            multistep.n_step_bootstrapped_returns(r, discount, v, n)
    for wrong in (jnp.ones(2), jnp.ones((3, 1))):
        with pytest.raises(ValueError, match='lambda_ must have'):
            multistep.lambda_returns(r, discount, v, wrong)


# The running sum.

SUMS = jax.jit(multistep.scan_discounted_sum, static_argnames='reverse')


@pytest.mark.parametrize('reverse', [False, True])
@hypothesis.settings(max_examples=15)
@hypothesis.given(st.data())
def test_running_sums_agree_with_the_definition(reverse, data):
    draw = functools.partial(suite.values, shape=(4, 2), sizes={})
    terms, decay = data.draw(draw('float')), data.draw(draw('discount'))
    initial = data.draw(suite.values('float', (2,), {}))
    lengths = data.draw(st.tuples(st.integers(0, 4), st.integers(0, 4)).map(np.array))
    expected = np.zeros((4, 2))
    for b in range(2):
        order = range(lengths[b])
        total = float(initial[b])
        for t in reversed(order) if reverse else order:
            total = terms[t, b] + decay[t, b] * total
            expected[t, b] = total
    suite.assert_close(SUMS(terms, decay, initial, reverse, lengths), expected)
    if np.all(lengths == 4):
        suite.assert_close(SUMS(terms, decay, initial, reverse), expected)


def test_running_sums_by_hand():
    terms, decay = jnp.array([1.0, 2.0, 4.0]), jnp.array([0.5, 0.25, 0.5])
    forward = multistep.scan_discounted_sum(terms, decay, jnp.array(8.0))
    np.testing.assert_allclose(forward, [5.0, 3.25, 5.625])
    backward = multistep.scan_discounted_sum(terms, decay, jnp.array(8.0), reverse=True)
    np.testing.assert_allclose(backward, [3.0, 4.0, 8.0])
    short = multistep.scan_discounted_sum(terms, decay, jnp.array(8.0), True, jnp.array(2))
    np.testing.assert_allclose(short, [3.0, 4.0, 0.0])


def test_running_sums_stop_gradients_where_asked():
    def total(x, back_prop):
        return jnp.sum(
            multistep.scan_discounted_sum(x, jnp.ones(2), jnp.array(0.0), back_prop=back_prop)
        )

    flowing = jax.grad(
        lambda x: jnp.sum(multistep.scan_discounted_sum(x, jnp.ones(2), jnp.array(0.0)))
    )(jnp.ones(2))
    np.testing.assert_allclose(flowing, [2.0, 1.0])
    np.testing.assert_allclose(jax.grad(total)(jnp.ones(2), True), [2.0, 1.0])
    np.testing.assert_allclose(jax.grad(total)(jnp.ones(2), False), 0.0)
    np.testing.assert_allclose(jax.jit(jax.grad(total))(jnp.ones(2), True), [2.0, 1.0])
    np.testing.assert_allclose(jax.jit(jax.grad(total))(jnp.ones(2), False), 0.0)


def test_running_sums_refuse_by_name():
    terms = jnp.zeros((3, 2))
    with pytest.raises(ValueError, match=r'decay must have shape \(3, 2\), got shape \(3,\)'):
        multistep.scan_discounted_sum(terms, jnp.zeros(3), jnp.zeros(2))
    with pytest.raises(ValueError, match=r'initial_value must have shape \(2,\), got shape \(\)'):
        multistep.scan_discounted_sum(terms, terms, jnp.zeros(()))
    with pytest.raises(ValueError, match=r'sequence_lengths must have .*\(2,\), got shape \(3,\)'):
        multistep.scan_discounted_sum(terms, terms, jnp.zeros(2), False, jnp.ones(3, int))
