"""Networks of a policy and a critic of several actions: memory, what the critic takes, what is legal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components.networks import make_policy_and_critic
from culmen.core.types import FIRST
from culmen.core.types import MID
from tests.agents import registry

SPEC = registry.continuous_spec()


def test_memory_is_carried_as_it_is_unrolled():
    networks = make_policy_and_critic('tests', SPEC, (4,), core='gru', core_size=3)
    _, critic = networks.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    observation = rng.normal(size=(2, 4, 4)).astype(np.float32)
    step_type = np.array([[MID, MID, FIRST, MID], [FIRST, MID, MID, MID]], np.int32)
    entered = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)
    features = networks.unroll(critic.encoder, observation, step_type, entered)
    state = entered
    for t in range(4):
        first = (step_type[:, t] == FIRST)[:, None]
        state = jnp.where(first, networks.initial_state(2), state)
        stepped, state = networks.step(critic.encoder, observation[:, t], state)
        np.testing.assert_allclose(features[:, t], stepped, rtol=1e-5, atol=1e-6)


def test_the_critic_sees_draws_clipped_and_choices_one_hot():
    boxed = make_policy_and_critic('tests', SPEC)
    np.testing.assert_array_equal(boxed.to_input(jnp.array([[-3.0, 0.5]])), [[-1.0, 0.5]])
    chosen = make_policy_and_critic('tests', registry.discrete_spec(3))
    np.testing.assert_array_equal(chosen.to_input(jnp.array([2, 0])), [[0, 0, 1], [1, 0, 0]])


def test_the_policy_has_rows_for_any_leading_axes_and_keeps_to_what_is_legal():
    spec = registry.legal_spec(3)
    networks = make_policy_and_critic('tests', spec, (4,), num_outputs=2)
    policy, critic = networks.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    legal = rng.uniform(size=(2, 5, 3)) < 0.5
    legal[..., 1] = True
    seen = {'vector': rng.normal(size=(2, 5, 4)).astype(np.float32), 'legal_actions': legal}
    features = networks.unroll(critic.encoder, seen, np.full((2, 5), MID), ())
    chances = jax.nn.softmax(networks.policy(policy, features, seen).logits)
    assert (np.asarray(chances > 0) == legal).all()
    row = jax.tree_util.tree_map(lambda leaf: leaf[1], seen)
    np.testing.assert_allclose(
        jax.nn.softmax(networks.policy(policy, features[1], row).logits), chances[1], rtol=1e-5
    )
    every = jnp.broadcast_to(jnp.arange(3)[:, None, None], (3, 2, 5))
    repeated = jnp.broadcast_to(features[None], (3, *features.shape))
    outputs = networks.critic(critic.head, repeated, networks.to_input(every))
    assert outputs.shape == (3, 2, 5, 2)
    one = networks.critic(critic.head, features[1, 2][None], networks.to_input(jnp.array([2])))
    np.testing.assert_allclose(outputs[2, 1, 2][None], one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('scale', [0.2, 1.5])
def test_the_first_policy_is_near_the_middle_with_the_deviation_that_is_asked_for(scale):
    networks = make_policy_and_critic('tests', SPEC, (8,), initial_scale=scale)
    policy, _ = networks.init(jax.random.key(0))
    features = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
    found = networks.policy(policy, features, features)
    np.testing.assert_allclose(found.mean, np.zeros((6, 2)), atol=0.05)
    np.testing.assert_allclose(jnp.exp(found.log_scale), np.full((6, 2), scale), rtol=0.05)


@pytest.mark.parametrize('layer_norm', [False, True])
def test_the_first_layer_is_normalised_or_not(layer_norm):
    networks = make_policy_and_critic('tests', SPEC, (8,), layer_norm=layer_norm)
    names = [name for each in networks.init(jax.random.key(0)) for name in str(each).split("'")]
    assert any('layer_norm' in name for name in names) == layer_norm


@pytest.mark.parametrize(
    ('spec', 'takes_choices', 'words'),
    [
        (registry.multi_binary_spec(), True, 'tests needs one choice'),
        (registry.hybrid_spec(), True, 'tests needs one choice'),
        (registry.discrete_spec(), False, 'tests needs a continuous action'),
    ],
)
def test_other_actions_are_refused(spec, takes_choices, words):
    with pytest.raises(ValueError, match=words):
        make_policy_and_critic('tests', spec, takes_choices=takes_choices)
