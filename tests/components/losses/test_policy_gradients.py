"""Policy-gradient losses: by hand, against loops over steps, their masks and their gradients."""

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


def mean(per_step, weights=None, mask=None, normalise_by_weights=False):
    weights = np.ones(len(per_step)) if weights is None else weights
    counted = [t for t in range(len(per_step)) if mask is None or mask[t]]
    total = sum(per_step[t] * weights[t] for t in counted)
    whole = sum(weights[t] for t in counted) if normalise_by_weights else len(per_step)
    return np.asarray(total / whole if whole else 0.0)


def policy_gradient(logits_t, a_t, adv_t, w_t, **keywords):
    return mean(-reference.pick(reference.log_softmax(logits_t), a_t) * adv_t, w_t, **keywords)


def entropy(logits_t, w_t, **keywords):
    log_pi = reference.log_softmax(logits_t)
    return mean(np.sum(np.exp(log_pi) * log_pi, -1), w_t, **keywords)


def advantages(logits_t, q_t):
    pi = np.exp(reference.log_softmax(logits_t))
    return pi, q_t - np.sum(pi * q_t, -1, keepdims=True)


def qpg(logits_t, q_t, **keywords):
    pi, adv = advantages(logits_t, q_t)
    return mean(-np.sum(pi * adv, -1), **keywords)


def rm(logits_t, q_t, **keywords):
    pi, adv = advantages(logits_t, q_t)
    return mean(-np.sum(pi * np.maximum(adv, 0), -1), **keywords)


def rpg(logits_t, q_t, **keywords):
    return mean(np.sum(np.maximum(advantages(logits_t, q_t)[1], 0), -1), **keywords)


def ppo(prob_ratios_t, adv_t, epsilon, **keywords):
    clipped = np.clip(prob_ratios_t, 1 - epsilon, 1 + epsilon)
    return mean(-np.minimum(prob_ratios_t * adv_t, clipped * adv_t), **keywords)


def dpg(a_t, dqda_t, dqda_clipping=None):
    norm = np.sqrt(np.sum(dqda_t**2))
    if dqda_clipping is not None and norm > dqda_clipping:
        dqda_t = dqda_t * dqda_clipping / norm
    return 0.5 * dqda_t**2


MEANS = [
    Case(
        losses.policy_gradient_loss,
        'logits_t[T,A] a_t[T]:action adv_t[T] w_t[T]:unit',
        policy_gradient,
        switch=None,
    ),
    Case(losses.entropy_loss, 'logits_t[T,A] w_t[T]:unit', entropy, switch=None),
    *(
        Case(function, 'logits_t[T,A] q_t[T,A]', definition, switch='use_stop_gradient')
        for function, definition in (
            (losses.qpg_loss, qpg),
            (losses.rm_loss, rm),
            (losses.rpg_loss, rpg),
        )
    ),
    Case(
        losses.clipped_surrogate_pg_loss,
        'prob_ratios_t[T]:ratio adv_t[T]',
        ppo,
        keywords=(('epsilon', 0.25),),
        switch='use_stop_gradient',
    ),
]
CASES = [
    *MEANS,
    *(
        Case(
            losses.dpg_loss,
            'a_t[D] dqda_t[D]',
            dpg,
            keywords=(('dqda_clipping', clip),),
            switch='use_stop_gradient',
        )
        for clip in (None, 0.5, 50.0)
    ),
]


def test_by_hand():
    logits, actions = jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5]])), jnp.array([0, 1])
    adv, w = jnp.array([2.0, -1.0]), jnp.array([1.0, 0.5])
    loss = losses.policy_gradient_loss(logits, actions, adv, w)
    np.testing.assert_allclose(loss, -(2 * np.log(0.25) - 0.5 * np.log(0.5)) / 2, rtol=1e-6)
    by_weight = losses.policy_gradient_loss(logits, actions, adv, w, normalise_by_weights=True)
    np.testing.assert_allclose(by_weight, loss * 2 / 1.5, rtol=1e-6)
    h = -0.25 * np.log(0.25) - 0.75 * np.log(0.75)
    np.testing.assert_allclose(losses.entropy_loss(logits, w), -(h + np.log(2) / 2) / 2, rtol=1e-6)
    # The baseline of the first step is 0.25 · 4 + 0.75 · 0 = 1; of the second 2.
    q = jnp.array([[4.0, 0.0], [1.0, 3.0]])
    np.testing.assert_allclose(losses.qpg_loss(logits, q), 0.0, atol=1e-6)
    np.testing.assert_allclose(losses.rm_loss(logits, q), -(0.25 * 3 + 0.5 * 1) / 2, rtol=1e-6)
    np.testing.assert_allclose(losses.rpg_loss(logits, q), (3 + 1) / 2, rtol=1e-6)
    ratios = jnp.array([2.0, 2.0, 0.5, 0.5])
    surrogate = losses.clipped_surrogate_pg_loss(ratios, jnp.array([1.0, -1.0, 1.0, -1.0]), 0.25)
    np.testing.assert_allclose(surrogate, -(1.25 - 2 + 0.5 - 0.75) / 4)
    np.testing.assert_allclose(losses.dpg_loss(jnp.ones(2), jnp.array([3.0, 4.0])), [4.5, 8.0])
    clipped = losses.dpg_loss(jnp.ones(2), jnp.array([3.0, 4.0]), 2.5)
    np.testing.assert_allclose(clipped, [1.125, 2.0], rtol=1e-6)


@pytest.mark.parametrize('sizes', suite.SHAPES, ids=('long', 'short'))
@pytest.mark.parametrize('case', CASES, ids=str)
def test_agrees_with_the_definition(case, sizes):
    @hypothesis.settings(max_examples=15)
    @hypothesis.given(suite.inputs(case, sizes))
    def agrees(args):
        suite.agrees_with_the_definition(case, args)

    agrees()


@pytest.mark.parametrize('normalise', [False, True])
@pytest.mark.parametrize('case', MEANS, ids=str)
def test_masked_steps_count_nothing(case, normalise):
    args = suite.some_inputs(case, suite.SHAPES[0])
    masked = jax.jit(functools.partial(suite.call, case, normalise_by_weights=normalise))
    for mask in (np.arange(7) % 3 > 0, np.ones(7, bool), np.zeros(7, bool)):
        spoiled = [
            np.where(mask.reshape((-1,) + (1,) * (x.ndim - 1)), x, np.nan)
            if x.dtype == np.float32
            else x
            for x in args
        ]
        expected = case.definition(
            *args, **dict(case.keywords), mask=mask, normalise_by_weights=normalise
        )
        np.testing.assert_allclose(masked(*spoiled, mask=mask), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('case', CASES, ids=str)
def test_transformations_and_refusals(case):
    suite.is_the_same_under_jit_and_vmap(case, suite.SHAPES[0])
    suite.refuses_by_name(case, suite.SHAPES[0])
    suite.works_in_bfloat16(case, suite.SHAPES[0])


def gradient(case, stop):
    """Gradients to all floats; with stopped advantages those that remain."""
    args = suite.some_inputs(case, suite.SHAPES[0], seed=5)
    which = tuple(i for i, x in enumerate(args) if x.dtype == np.float32)
    function = jax.jit(
        lambda stop, *args: jax.grad(
            lambda *args: jnp.sum(suite.call(case, *args, use_stop_gradient=stop)), which
        )(*args)
    )
    return args, which, function(stop, *args)


@pytest.mark.parametrize(
    'case', [c for c in MEANS if c.function is not losses.entropy_loss], ids=str
)
def test_gradients_that_are_not_stopped(case):
    args, which, actual = gradient(case, False)
    expected = suite.differences(lambda *args: suite.define(case, *args), args, which)
    suite.assert_close(actual, expected, 1e-4, 1e-4)


def test_gradients_that_are_stopped():
    """What the advantages are made of is a constant."""
    (logits, q), _, actual = gradient(MEANS[2], True)
    _, adv = advantages(logits.astype(float), q)
    expected = suite.differences(
        lambda x: mean(-np.sum(np.exp(reference.log_softmax(x)) * adv, -1)), (logits,), (0,)
    )
    suite.assert_close(actual, [*expected, 0 * q], 1e-4, 1e-4)
    (logits, q), _, actual = gradient(MEANS[3], True)
    regrets = np.maximum(advantages(logits.astype(float), q)[1], 0)
    expected = suite.differences(
        lambda x: mean(-np.sum(np.exp(reference.log_softmax(x)) * regrets, -1)), (logits,), (0,)
    )
    suite.assert_close(actual, [*expected, 0 * q], 1e-4, 1e-4)
    for case, kept in ((MEANS[4], (0,)), (MEANS[5], (0,)), (MEANS[0], (0, 3))):
        args, which, actual = gradient(case, True)
        expected = suite.differences(
            lambda *args, case=case: suite.define(case, *args), args, which
        )
        wanted = [x if i in kept else 0 * x for i, x in zip(which, expected)]
        suite.assert_close(actual, wanted, 1e-4, 1e-4)
        default = jax.grad(lambda *args, case=case: suite.call(case, *args), which)(*args)
        suite.assert_close(default, wanted, 1e-4, 1e-4)


def test_the_deterministic_gradient_climbs_the_critic():
    a, dqda = jnp.array([0.5, -0.5]), jnp.array([3.0, 4.0])
    for clip, expected in ((None, dqda), (2.5, dqda / 2), (50.0, dqda)):
        step = jax.grad(lambda a, clip=clip: jnp.sum(losses.dpg_loss(a, dqda, clip)))(a)
        np.testing.assert_allclose(step, -expected, rtol=1e-6)
    flat = jax.grad(lambda dqda: jnp.sum(losses.dpg_loss(a, dqda, 1.0, False)))(jnp.zeros(2))
    np.testing.assert_array_equal(flat, 0.0)
    np.testing.assert_array_equal(
        jax.grad(lambda a: jnp.sum(losses.dpg_loss(a, dqda, None, False)))(a), 0.0
    )


def test_illegal_actions_are_no_nan():
    logits, q = jnp.array([[0.0, 1.0, -jnp.inf]]), jnp.array([[1.0, 2.0, 9.0]])
    for loss in (
        lambda x: losses.policy_gradient_loss(x, jnp.array([1]), jnp.ones(1), jnp.ones(1)),
        lambda x: losses.entropy_loss(x, jnp.ones(1)),
        lambda x: losses.qpg_loss(x, q),
        lambda x: losses.rm_loss(x, q),
    ):
        value, slope = jax.value_and_grad(loss)(logits)
        expected, wanted = jax.value_and_grad(
            lambda x, loss=loss: loss(jnp.concatenate([x, jnp.full((1, 1), -60.0)], 1))
        )(logits[:, :2])
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(slope[:, :2], wanted, rtol=1e-5, atol=1e-7)
        assert slope[0, 2] == 0


class Coin:
    def __init__(self, logit):
        self.logit = logit

    def log_prob(self, action):
        return -jnp.log1p(jnp.exp(jnp.where(action == 1, -1.0, 1.0) * self.logit))

    def entropy(self):
        p = jax.nn.sigmoid(self.logit)
        return -p * jnp.log(p) - (1 - p) * jnp.log(1 - p)


def test_any_distributions_and_nests_of_them():
    logit, values = jnp.array([0.5, -1.0]), jnp.array([2.0, 3.0])
    actions = jnp.array([1, 0])
    logits = jnp.stack([jnp.zeros(2), logit], -1)
    one = losses.policy_gradient(Coin(logit), actions, values)
    suite.assert_close(one, losses.discrete_policy_gradient(logits, actions, values))
    expected = -values * reference.pick(reference.log_softmax(np.asarray(logits)), actions)
    np.testing.assert_allclose(one, expected, rtol=1e-6)
    nest = losses.policy_gradient(
        {'b': Coin(logit), 'a': (Coin(logit), Coin(logit))},
        {'b': actions, 'a': (actions, actions)},
        values,
    )
    np.testing.assert_allclose(nest, 3 * expected, rtol=1e-6)
    entropies = losses.policy_entropy_loss([Coin(logit), Coin(logit)])
    np.testing.assert_allclose(
        entropies, 2 * losses.discrete_policy_entropy_loss(logits), rtol=1e-6
    )
    scaled = losses.policy_entropy_loss([Coin(logit)], lambda policies: 0.25 * len(policies))
    np.testing.assert_allclose(scaled, entropies / 8, rtol=1e-6)
    normalised = losses.discrete_policy_entropy_loss(
        {'x': jnp.zeros((2, 4)), 'y': logits}, normalise=True
    )
    np.testing.assert_allclose(normalised, (-np.log(4) + entropies / 2) / np.log(8), rtol=1e-6)
    compiled = jax.jit(functools.partial(losses.discrete_policy_entropy_loss, normalise=True))
    np.testing.assert_allclose(compiled([jnp.zeros(2), jnp.zeros(4)]), -1.0, rtol=1e-6)

    def total(values, stop):
        return jnp.sum(losses.policy_gradient(Coin(logit), actions, values, stop))

    np.testing.assert_array_equal(jax.grad(total)(values, True), 0.0)
    np.testing.assert_allclose(jax.grad(total)(values, False), expected / values, rtol=1e-6)
    with pytest.raises(ValueError, match='actions must be a nest like policies, with 2 leaves'):
        losses.policy_gradient([Coin(logit)] * 2, [actions], values)
    with pytest.raises(ValueError, match='action_values must have the shape of the log-prob'):
        losses.policy_gradient(Coin(logit), actions, jnp.zeros(3))
