"""Six known faults of the libraries before this one, and that they are not here."""

import jax
import jax.numpy as jnp
import numpy as np

from culmen.components import losses

# Two episodes of two steps; the first was cut at its end, where its own value is 1.
VALUES, CUT = jnp.array([1.0, 1.0, 100.0, 100.0]), jnp.array([1.0, 0.0, 1.0, 1.0])
ZEROS, ONES = jnp.zeros(4), jnp.ones(4)


def test_a_truncation_inside_a_sequence_does_not_leak():
    output = losses.vtrace_td_error_and_advantage(VALUES, VALUES, ZEROS, ONES, ONES, CUT)
    np.testing.assert_array_equal(output.pg_advantage, 0.0)
    np.testing.assert_array_equal(output.errors, 0.0)
    leaky = losses.leaky_vtrace_td_error_and_advantage(VALUES, VALUES, ZEROS, ONES, ONES, 0.5, CUT)
    np.testing.assert_array_equal(leaky.pg_advantage, 0.0)
    advantages = losses.truncated_generalized_advantage_estimation(
        ZEROS, ONES, CUT, v_tm1=VALUES, v_t=VALUES
    )
    np.testing.assert_array_equal(advantages, 0.0)


def test_novelty_is_measured_by_distances_that_are_not_negated():
    rewards, _ = losses.episodic_memory_intrinsic_rewards(
        jnp.array([[0.0], [0.01]]), 2, 1.0, max_memory_size=8
    )
    # Distances² 0, 0 and 1e-4, 1e-4 of mean 5e-5: rates 1e-4 / (5e-5 + 1e-3) - 8e-3.
    rate = 1e-4 / (5e-5 + 1e-3) - 8e-3
    far = 1 / (np.sqrt(2 * 1e-4 / (rate + 1e-4)) + 1e-3)
    np.testing.assert_allclose(rewards, [1 / (np.sqrt(2) + 1e-3), far], rtol=1e-3)
    assert 20 < far < 21


def test_the_quantile_loss_is_divided_by_kappa_if_asked():
    one, half = jnp.array([0.0]), jnp.array([0.5])
    target = jnp.array([10.0])
    assert losses.quantile_regression_loss(one, half, target, 2.0) == 9.0
    assert losses.quantile_regression_loss(one, half, target, 2.0, normalise_by_kappa=True) == 4.5


def test_many_steps_make_no_longer_program():
    def size(n):
        x = jnp.ones(500)
        jaxpr = jax.make_jaxpr(lambda x: losses.n_step_bootstrapped_returns(x, x, x, n))(x)
        return str(jaxpr).count(' = ')

    assert size(200) == size(20)


def test_a_certain_prediction_has_a_gradient_and_a_clipped_one_a_forward_mode():
    assert jax.grad(losses.log_loss)(1.0, 1.0) == -1.0
    assert jax.grad(losses.log_loss)(0.0, 0.0) == 1.0
    value, tangent = jax.jvp(lambda x: 3 * losses.clip_gradient(x, -1.0, 1.0), (2.0,), (5.0,))
    assert (value, tangent) == (6.0, 15.0)


def test_means_are_over_steps_or_weights_and_masks_are_everywhere():
    logits, actions = jnp.zeros((4, 2)), jnp.zeros(4, int)
    weights = jnp.array([1.0, 1.0, 0.0, 0.0])
    over_steps = losses.policy_gradient_loss(logits, actions, ONES, weights)
    np.testing.assert_allclose(over_steps, np.log(2) / 2, rtol=1e-6)
    over_weights = losses.policy_gradient_loss(
        logits, actions, ONES, weights, normalise_by_weights=True
    )
    np.testing.assert_allclose(over_weights, np.log(2), rtol=1e-6)
    masked = losses.policy_gradient_loss(
        logits, actions, jnp.array([1.0, 1.0, jnp.nan, jnp.nan]), ONES, mask=weights
    )
    np.testing.assert_allclose(masked, over_steps, rtol=1e-6)
