"""Compiled, batched, scanned, differentiated, in half precision: what no family's table holds."""

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from culmen.components import losses
from tests.components.losses import suite
from tests.components.losses.suite import Case

PAIR = losses.SIGNED_HYPERBOLIC_PAIR
ONE_SEQUENCE = 'discounts[T]:discount rewards[T] '
VALUES = 'values[T] bootstrap_value[] '
ACTOR_CRITIC = (
    'policy_logits[T,A] baseline_values[T] actions[T]:action rewards[T] pcontinues[T]:discount '
    'bootstrap_value[] lambda_[T]:lambda entropy_cost[]:unit baseline_cost[]:unit'
)
STEPS = 'a_tm1[T]:action r_t[T] discount_t[T]:discount '
RETRACE = 'q_tm1[T,A] q_t[T,A] a_t[T]:action pi_t[T,A]:policy mu_t[T]:unit lambda_[T]:lambda '


def a2c(policy_logits, **others):
    softmax = losses.softmax()

    class Policy:
        def log_prob(self, action):
            return softmax.logprob(action, policy_logits)

        def entropy(self):
            return softmax.entropy(policy_logits)

    return losses.sequence_a2c_loss(Policy(), **others)


def mpo(sample_log_probs, sample_q_values, kl, temperature, alpha):
    return losses.mpo_loss(
        sample_log_probs,
        sample_q_values,
        losses.LagrangePenalty(temperature, 0.1),
        [(kl, losses.LagrangePenalty(alpha, 0.2))],
        use_stop_gradient=False,
    )[0]


def vmpo(sample_log_probs, advantages, kl, temperature, alpha):
    return losses.vmpo_loss(
        sample_log_probs,
        advantages,
        losses.LagrangePenalty(temperature, 0.1),
        [(kl, losses.LagrangePenalty(alpha, 0.2))],
        use_stop_gradient=False,
    )[0]


def squashed(a_t, mu, sigma):
    return losses.squashed_gaussian(-2.0, 0.5).logprob(jnp.tanh(a_t), mu, sigma)


def normalized(x, shift, scale, indices):
    return losses.normalize(losses.PopArtState(shift, scale, scale), x, indices)


def row(function, arguments, **keywords):
    return Case(function, arguments, function, keywords=tuple(keywords.items()), switch=None)


CASES = [
    row(losses.sequence_advantage_actor_critic_loss, ACTOR_CRITIC),
    row(a2c, ACTOR_CRITIC),
    row(
        losses.retrace_from_importance_weights,
        'log_rhos[T] ' + ONE_SEQUENCE + 'q_values[T] ' + VALUES + 'lambda_[T]:lambda',
        stop_target_gradients=False,
    ),
    row(
        losses.retrace_from_action_log_probs,
        'target_action_log_probs[T] behaviour_action_log_probs[T] '
        + ONE_SEQUENCE
        + 'q_values[T] '
        + VALUES,
        stop_target_gradients=False,
    ),
    row(
        losses.vtrace_from_importance_weights,
        'log_rhos[T] '
        + ONE_SEQUENCE
        + VALUES
        + 'clip_rho_threshold[]:ratio clip_pg_rho_threshold[]:ratio lambda_[]:lambda',
        stop_target_gradients=False,
    ),
    row(
        losses.vtrace_from_logits,
        'behaviour_policy_logits[T,A] target_policy_logits[T,A] actions[T]:action '
        + ONE_SEQUENCE
        + VALUES,
        stop_target_gradients=False,
    ),
    row(
        losses.leaky_vtrace_td_error_and_advantage,
        'v_tm1[T] v_t[T] r_t[T] discount_t[T]:discount rho_tm1[T]:ratio alpha[]:unit '
        'lambda_[]:lambda clip_rho_threshold[]:ratio clip_pg_rho_threshold[]:ratio',
        stop_target_gradients=False,
    ),
    row(
        losses.transformed_lambda_returns,
        'r_t[T] discount_t[T]:discount v_t[T] lambda_[]:lambda',
        tx_pair=PAIR,
    ),
    row(
        losses.transformed_n_step_returns,
        'r_t[T] discount_t[T]:discount v_t[T] lambda_t[]:lambda',
        tx_pair=PAIR,
        n=3,
    ),
    row(
        losses.transformed_general_off_policy_returns_from_action_values,
        'q_t[T,A] a_t[T]:action r_t[T] discount_t[T]:discount c_t[T]:lambda pi_t[T,A]:policy',
        tx_pair=PAIR,
    ),
    row(
        losses.transformed_q_lambda,
        'q_tm1[T,A] q_t[T,A] lambda_[T]:lambda ' + STEPS,
        tx_pair=PAIR,
        stop_target_gradients=False,
    ),
    row(losses.transformed_retrace, RETRACE + STEPS, tx_pair=PAIR, stop_target_gradients=False),
    row(
        losses.transformed_n_step_q_learning,
        'q_tm1[T,A] target_q_t[T,A] a_t[T]:action ' + STEPS,
        tx_pair=PAIR,
        n=3,
        stop_target_gradients=False,
    ),
    row(losses.scan_discounted_sum, 'sequence[T,A] decay[T,A]:unit initial_value[A]'),
    row(
        losses.discrete_policy_gradient,
        'policy_logits[T,A] actions[T]:action action_values[T]',
        use_stop_gradient=False,
    ),
    row(losses.discrete_policy_entropy_loss, 'policy_logits[T,A]', normalise=True),
    row(
        mpo, 'sample_log_probs[T,N] sample_q_values[T,N] kl[N]:unit temperature[]:unit alpha[]:unit'
    ),
    row(vmpo, 'sample_log_probs[T] advantages[T] kl[T]:unit temperature[]:unit alpha[]:unit'),
    row(losses.categorical_cross_entropy, 'labels[T,A]:policy logits[T,A]'),
    row(losses.categorical_kl_divergence, 'p_logits[T,A] q_logits[T,A] temperature[]:unit'),
    row(
        losses.categorical_importance_sampling_ratios,
        'pi_logits_t[T,A] mu_logits_t[T,A] a_t[T]:action',
    ),
    row(
        losses.multivariate_normal_kl_divergence,
        'mu_0[T,D] sigma_0[T,D]:ratio mu_1[T,D] sigma_1[T,D]:ratio',
    ),
    row(squashed, 'a_t[T,D] mu[T,D] sigma[T,D]'),
    row(losses.pixel_control_rewards, 'observations[T,L,L,D]:unit', cell_size=2),
    row(losses.feature_control_rewards, 'features[T,D] discount[]:unit', cumulant_type='potential'),
    row(normalized, 'x[T] shift[A] scale[A]:ratio indices[T]:action'),
    row(losses.embed_oar, 'features[T,D] action[T]:action reward[T]', num_actions=3),
    row(losses.replace_masked, 'data[T,A] replacement[T,A] mask[T]:mask'),
]
SIZES = suite.SHAPES[0]


@pytest.mark.parametrize('case', CASES, ids=str)
def test_jit_and_vmap_change_nothing(case):
    suite.is_the_same_under_jit_and_vmap(case, SIZES)


@pytest.mark.parametrize('case', CASES, ids=str)
def test_bfloat16(case):
    suite.works_in_bfloat16(case, SIZES)


@pytest.mark.parametrize('case', [c for c in CASES if c.arguments != ACTOR_CRITIC], ids=str)
def test_gradients(case):
    """To every float, thresholds, lambdas and multipliers included, where all of them flow."""
    args = suite.some_inputs(case, SIZES, seed=6)
    which = tuple(i for i, x in enumerate(args) if x.dtype == np.float32)

    def function(*floats):
        full = list(args)
        for i, x in zip(which, floats):
            full[i] = x
        return suite.call(case, *full)

    jax.test_util.check_grads(
        jax.jit(function), [args[i] for i in which], order=1, modes=['rev'], atol=0.02, rtol=0.02
    )
