"""What updates of a policy and its critics share, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from culmen.components import updates
from culmen.components.networks import CriticParams
from tests.agents import continuous

# q[i] = w[i] o + a, of a policy that acts by half of what it observes.
NETWORKS = continuous.make_networks(lambda slope, features: slope * features, jnp.float32(0.5))


def test_transitions_have_canonical_actions():
    transitions = updates.canonical_transitions(continuous.TWO.steps, 0.9, NETWORKS.box)
    np.testing.assert_allclose(transitions.a_tm1, [[0.5], [-1.0]])
    np.testing.assert_allclose(transitions.discount_t, [0.9, 0.0])


def test_images_are_shifted_before_and_after_by_other_amounts():
    image = np.random.default_rng(0).integers(0, 255, (2, 12, 12, 1), np.uint8)
    transitions = updates.canonical_transitions(continuous.TWO.steps, 0.9, NETWORKS.box)
    transitions = transitions._replace(o_tm1=image, o_t=image)
    keys = jax.random.split(jax.random.key(1), 2)
    assert updates.shift_images(transitions, keys, 0) is transitions
    shifted = updates.shift_images(transitions, keys, 4)
    assert (np.asarray(shifted.o_tm1) != image).any()
    assert (np.asarray(shifted.o_tm1) != np.asarray(shifted.o_t)).any()
    np.testing.assert_array_equal(shifted.a_tm1, transitions.a_tm1)


def test_the_critics_and_their_targets_are_asked():
    transitions = updates.canonical_transitions(continuous.TWO.steps, 0.9, NETWORKS.box)
    online, target = (CriticParams({}, jnp.array(w)) for w in ([1.0, 3.0], [0.0, 10.0]))
    features, q_tm1, q_t = updates.critic_outputs(
        NETWORKS, online, target, jnp.float32(0.5), transitions, lambda a_t: a_t + 0.25
    )
    np.testing.assert_allclose(features, [[1.0], [-1.0]])
    np.testing.assert_allclose(q_tm1, [[1.5, -2.0], [3.5, -4.0]])
    # Observed after are 2 and 5, so the policy acts by 1 and 2.5, and 0.25 more.
    np.testing.assert_allclose(q_t, [[1.25, 2.75], [21.25, 52.75]])


def test_the_loss_of_an_ensemble_is_summed_over_critics():
    loss = updates.ensemble_td_loss(
        jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.ones(2), jnp.array([0.5, 0.0]), jnp.full(2, 4.0)
    )
    # Targets are 3 and 1: errors of 2, -1 and of 3, 1.
    assert loss == (4 + 1) / 4 + (9 + 1) / 4


def test_targets_begin_as_what_they_follow():
    optimizer = updates.make_optimizer(optax.adam(1.0))
    state = updates.initial_state(jax.random.key(0), NETWORKS, optimizer, optimizer)
    assert state.target_policy_params is state.policy_params
    assert state.target_critic_params is state.critic_params
    assert updates.acting_params(state) == ({}, 0.5)
