"""Losses of whole distributions: by hand, against loops over atoms and quantiles."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import losses
from tests.components.losses import reference
from tests.components.losses import suite
from tests.components.losses.suite import Case


def cross_entropy(labels, logits):
    return -np.sum(labels * reference.log_softmax(logits))


def categorical(atoms_tm1, logits_tm1, r, discount, atoms_t, logits_t):
    target = reference.project(
        r + discount * atoms_t, np.exp(reference.log_softmax(logits_t)), atoms_tm1
    )
    return cross_entropy(target, logits_tm1)


def categorical_q(
    q_atoms_tm1, q_logits_tm1, a_tm1, r_t, discount_t, q_atoms_t, q_logits_t, q_t_selector=None
):
    if q_t_selector is None:
        q_t_selector = np.exp(reference.log_softmax(q_logits_t)) @ q_atoms_t
    best = int(np.argmax(q_t_selector))
    return categorical(
        q_atoms_tm1, q_logits_tm1[a_tm1], r_t, discount_t, q_atoms_t, q_logits_t[best]
    )


def quantile_q(
    dist_q_tm1, tau_q_tm1, a_tm1, r_t, discount_t, dist_q_t_selector, dist_q_t, **keywords
):
    best = int(np.argmax(dist_q_t_selector.mean(0)))
    return reference.quantile_loss(
        dist_q_tm1[:, a_tm1], tau_q_tm1, r_t + discount_t * dist_q_t[:, best], **keywords
    )


def quantile_sarsa(dist_q_tm1, tau_q_tm1, a_tm1, r_t, discount_t, dist_q_t, probs_a_t, **keywords):
    return sum(
        p
        * reference.quantile_loss(
            dist_q_tm1[:, a_tm1], tau_q_tm1, r_t + discount_t * dist_q_t[:, a], **keywords
        )
        for a, p in enumerate(probs_a_t)
    )


def quantile_munchausen(
    dist_q_tm1,
    tau_q_tm1,
    a_tm1,
    r_t,
    discount_t,
    dist_q_t,
    q_t_selector,
    target_q_tm1,
    temperature,
    log_policy_clip,
    alpha,
):
    log_pi_tm1 = reference.log_softmax(target_q_tm1 / temperature)
    log_pi = reference.log_softmax(q_t_selector / temperature)
    bonus = alpha * min(0, max(log_policy_clip, temperature * log_pi_tm1[a_tm1]))
    target = [
        r_t
        + bonus
        + discount_t * sum(np.exp(lp) * (z - temperature * lp) for lp, z in zip(log_pi, row))
        for row in dist_q_t
    ]
    return reference.quantile_loss(dist_q_tm1[:, a_tm1], tau_q_tm1, np.array(target), 1.0)


REWARD = 'r_t[] discount_t[]:discount '
Q_ATOMS = f'q_atoms_tm1[K]:atoms q_logits_tm1[A,K] a_tm1[]:action {REWARD}'
QUANTILES = f'dist_q_tm1[N,A] tau_q_tm1[N]:unit a_tm1[]:action {REWARD}'
EXACT = [
    Case(
        losses.categorical_l2_project,
        'z_p[L] probs[L]:policy z_q[K]:atoms',
        reference.project,
        switch=None,
    ),
    *(
        Case(
            losses.quantile_regression_loss,
            'dist_src[N] tau_src[N]:unit dist_target[M]',
            reference.quantile_loss,
            keywords=keywords,
        )
        for keywords in (
            (),
            (('huber_param', 0.5),),
            (('huber_param', 0.5), ('normalise_by_kappa', True)),
        )
    ),
    Case(
        losses.categorical_td_learning,
        f'v_atoms_tm1[K]:atoms v_logits_tm1[K] {REWARD} v_atoms_t[L]:atoms v_logits_t[L]',
        lambda **args: categorical(*args.values()),
    ),
    Case(
        losses.categorical_q_learning, Q_ATOMS + 'q_atoms_t[L]:atoms q_logits_t[A,L]', categorical_q
    ),
    Case(
        losses.categorical_double_q_learning,
        Q_ATOMS + 'q_atoms_t[L]:atoms q_logits_t[A,L] q_t_selector[A]',
        categorical_q,
    ),
    *(
        Case(
            losses.quantile_q_learning,
            QUANTILES + 'dist_q_t_selector[L,A] dist_q_t[M,A]',
            quantile_q,
            keywords=keywords,
        )
        for keywords in ((), (('huber_param', 0.5), ('normalise_by_kappa', True)))
    ),
    *(
        Case(
            losses.quantile_expected_sarsa,
            QUANTILES + 'dist_q_t[M,A] probs_a_t[A]:policy',
            quantile_sarsa,
            keywords=keywords,
        )
        for keywords in ((), (('huber_param', 0.5), ('normalise_by_kappa', True)))
    ),
    Case(
        losses.quantile_munchausen_q_learning,
        QUANTILES + 'dist_q_t[M,A] q_t_selector[A] target_q_tm1[A] temperature[]:ratio '
        'log_policy_clip[] alpha[]:unit',
        quantile_munchausen,
    ),
]
# Where the best action is chosen by means that round, nearly equal means may choose apart.
DRAWN = [
    case
    for case in EXACT
    if case.function not in (losses.categorical_q_learning, losses.quantile_q_learning)
]
TARGETS = {
    'categorical_td_learning': ('r_t', 'discount_t', 'v_atoms_t', 'v_logits_t', 'v_atoms_tm1'),
    'categorical_q_learning': ('r_t', 'discount_t', 'q_atoms_t', 'q_logits_t', 'q_atoms_tm1'),
    'categorical_double_q_learning': (
        'r_t',
        'discount_t',
        'q_atoms_t',
        'q_logits_t',
        'q_atoms_tm1',
        'q_t_selector',
    ),
    'quantile_regression_loss': ('dist_target',),
    'quantile_q_learning': ('r_t', 'discount_t', 'dist_q_t_selector', 'dist_q_t'),
    'quantile_expected_sarsa': ('r_t', 'discount_t', 'dist_q_t', 'probs_a_t'),
    'quantile_munchausen_q_learning': (
        'r_t',
        'discount_t',
        'dist_q_t',
        'q_t_selector',
        'target_q_tm1',
        'temperature',
        'alpha',
        'log_policy_clip',
    ),
}


def test_projection_by_hand():
    atoms = jnp.array([0.0, 1.0, 3.0])
    # 0.5 is half way to 1; 2.5 is three quarters of the way from 1 to 3; 9 is beyond the end.
    projected = losses.categorical_l2_project(
        jnp.array([0.5, 2.5, 9.0]), jnp.array([0.25, 0.5, 0.25]), atoms
    )
    np.testing.assert_allclose(projected, [0.125, 0.125 + 0.125, 0.375 + 0.25])
    alone = losses.categorical_l2_project(jnp.array([5.0, 6.0]), jnp.array([0.5, 0.5]), atoms[:1])
    np.testing.assert_allclose(alone, [1.0])
    below = losses.categorical_l2_project(jnp.array([-jnp.inf]), jnp.array([1.0]), atoms)
    np.testing.assert_allclose(below, [1.0, 0.0, 0.0])


def test_quantile_losses_by_hand():
    source, taus, target = jnp.array([0.0, 1.0]), jnp.array([0.25, 0.75]), jnp.array([2.0, -1.0])
    # Errors 2, -1 weigh 1/4, 3/4: 1/2 + 3/4 over 2. Errors 1, -2 weigh 3/4, 1/4: 3/4 + 1/2 over 2.
    loss = losses.quantile_regression_loss(source, taus, target)
    np.testing.assert_allclose(loss, 0.625 + 0.625)
    # Huber at 1: 3/2, 1/2 and 1/2, 3/2.
    loss = losses.quantile_regression_loss(source, taus, target, 1.0)
    np.testing.assert_allclose(loss, (1.5 / 4 + 0.5 * 3 / 4 + 0.5 * 3 / 4 + 1.5 / 4) / 2)


def test_two_atoms_have_a_closed_form():
    atoms, logits = jnp.array([0.0, 1.0]), jnp.array([0.3, -0.4])
    p = 1 / (1 + np.exp(0.3 - -0.4))
    target = 0.2 + 0.5 * 0.5  # The mean of the target, which is the mass of the upper atom.
    expected = -target * np.log(p) - (1 - target) * np.log(1 - p)
    loss = losses.categorical_td_learning(atoms, logits, 0.2, 0.5, atoms, jnp.zeros(2))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize('sizes', suite.SHAPES, ids=('long', 'short'))
@pytest.mark.parametrize('case', DRAWN, ids=str)
def test_agrees_with_the_definition(case, sizes):
    @hypothesis.settings(max_examples=15)
    @hypothesis.given(suite.inputs(case, sizes))
    def agrees(args):
        suite.agrees_with_the_definition(case, args)

    agrees()


@pytest.mark.parametrize('sizes', suite.SHAPES, ids=('long', 'short'))
@pytest.mark.parametrize('case', EXACT, ids=str)
def test_agrees_with_the_definition_on_random_inputs(case, sizes):
    for seed in range(10):
        suite.agrees_with_the_definition(case, suite.some_inputs(case, sizes, seed))


@pytest.mark.parametrize('case', EXACT, ids=str)
def test_gradients(case):
    if case.switch is None:
        suite.has_the_right_gradients(case, suite.SHAPES[0])
        return
    args = suite.some_inputs(case, suite.SHAPES[0], seed=5)
    which = tuple(i for i, x in enumerate(args) if x.dtype == np.float32)
    expected = suite.differences(lambda *args: suite.define(case, *args), args, which)
    traced = jax.jit(
        lambda switch, *args: jax.grad(
            lambda *args: suite.call(case, *args, stop_target_gradients=switch), which
        )(*args)
    )
    suite.assert_close(traced(False, *args), expected, 1e-3, 1e-4)
    names = [suite.arguments(case)[i].name for i in which]
    targets = TARGETS[case.function.__name__]
    stopped = [np.zeros_like(x) if name in targets else x for x, name in zip(expected, names)]
    suite.assert_close(traced(True, *args), stopped, 1e-3, 1e-4)
    suite.assert_close(
        jax.grad(lambda *args: suite.call(case, *args), which)(*args), stopped, 1e-3, 1e-4
    )


@pytest.mark.parametrize('case', EXACT, ids=str)
def test_jit_and_vmap_change_nothing(case):
    suite.is_the_same_under_jit_and_vmap(case, suite.SHAPES[0])


@pytest.mark.parametrize('case', EXACT, ids=str)
def test_refusals(case):
    skipped = ('log_policy_clip', 'alpha', 'temperature')
    kept = ' '.join(word for word in case.arguments.split() if not word.startswith(skipped))
    suite.refuses_by_name(case._replace(arguments=kept), suite.SHAPES[0])


@pytest.mark.parametrize('case', EXACT, ids=str)
def test_bfloat16(case):
    suite.works_in_bfloat16(case, suite.SHAPES[0])


def test_kappa_may_be_traced():
    source, taus, target = suite.some_inputs(EXACT[1], suite.SHAPES[0])
    for normalise in (False, True):
        traced = jax.jit(
            lambda kappa, normalise=normalise: losses.quantile_regression_loss(
                source, taus, target, kappa, normalise_by_kappa=normalise
            )
        )
        for kappa in (0.0, 0.5, 2.0):
            expected = reference.quantile_loss(source, taus, target, kappa, normalise)
            np.testing.assert_allclose(traced(kappa), expected, rtol=1e-5)
        assert np.isfinite(jax.grad(traced)(0.0))


def test_only_legal_actions_are_bootstrapped_from():
    legal = jnp.array([True, False])
    q = jnp.array([[0.0, 5.0], [2.0, 7.0]])
    taus = jnp.array([0.25, 0.75])
    masked = losses.quantile_q_learning(q, taus, 0, 1.0, 1.0, q, q, legal_actions_mask=legal)
    forced = losses.quantile_expected_sarsa(q, taus, 0, 1.0, 1.0, q, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(masked, forced)
    free = losses.quantile_q_learning(q, taus, 0, 1.0, 1.0, q, q)
    assert free != masked
    atoms, logits = jnp.array([0.0, 1.0]), jnp.array([[1.0, 0.0], [0.0, 1.0]])
    masked = losses.categorical_q_learning(
        atoms, logits, 0, 0.0, 1.0, atoms, logits, legal_actions_mask=legal
    )
    forced = losses.categorical_td_learning(atoms, logits[0], 0.0, 1.0, atoms, logits[0])
    np.testing.assert_allclose(masked, forced)
    with pytest.raises(ValueError, match='legal_actions_mask must have shape'):
        losses.categorical_q_learning(
            atoms, logits, 0, 0.0, 1.0, atoms, logits, legal_actions_mask=jnp.ones(3)
        )


def test_a_soft_policy_leaves_out_illegal_actions():
    q, taus = jnp.array([[0.0, 1.0, 5.0], [2.0, 0.0, 7.0]]), jnp.array([0.25, 0.75])
    legal_means = jnp.array([1.0, 0.5, -jnp.inf])

    def loss(q, means, temperature):
        return losses.quantile_munchausen_q_learning(
            q[:, : len(means)],
            taus,
            0,
            1.0,
            0.5,
            q[:, : len(means)],
            means,
            means,
            temperature,
            stop_target_gradients=False,
        )

    spoiled = q.at[:, 2].set(-jnp.inf)
    value, gradients = jax.value_and_grad(loss, (1, 2))(spoiled, legal_means, 0.5)
    expected, wanted = jax.value_and_grad(loss, (1, 2))(q, legal_means[:2], 0.5)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradients[0], [*wanted[0], 0.0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradients[1], wanted[1], rtol=1e-5)


def test_a_logit_of_minus_infinity_is_no_nan():
    atoms, logits = jnp.array([0.0, 1.0]), jnp.array([0.0, -jnp.inf])
    loss, gradient = jax.value_and_grad(losses.categorical_td_learning, 1)(
        atoms, logits, 0.0, 0.0, atoms, logits
    )
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0.0)
