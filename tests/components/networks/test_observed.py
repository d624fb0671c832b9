"""Fields of an observation that only critics see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.components import networks
from culmen.core.types import MID
from tests.agents import registry
from tests.agents import streams

SECRET = specs.BoundedArray((3,), np.float32, -1, 1, 'secret')


def with_fields(spec, **fields):
    """A spec that observes these fields beside its own vector."""
    return spec._replace(observation={'vector': spec.observation, **fields})


def test_parts():
    spec = with_fields(registry.discrete_spec(), secret=SECRET, legal_actions=SECRET)
    parts = networks.observed(spec.observation, ('secret',))
    given = {'vector': 1, 'secret': 2, 'legal_actions': 3}
    assert parts.by_actor(given) == 1
    assert parts.by_critic_alone(given) == 2
    assert networks.observed(spec.observation).by_actor(given) == {'vector': 1, 'secret': 2}
    several = networks.observed({**spec.observation, 'more': SECRET}, ('more', 'secret', 'more'))
    assert several.by_critic_alone({**given, 'more': 4}) == {'more': 4, 'secret': 2}


@pytest.mark.parametrize(
    ('observation', 'names', 'words'),
    [
        (
            SECRET,
            ('a',),
            r"critic_observation must be \(\) where no dict is observed, got \('a',\)",
        ),
        ({'ab': SECRET}, ('ac',), "critic_observation: unknown field 'ac'; the nearest .*: ab"),
        (
            {'a': SECRET, 'legal_actions': SECRET},
            ('legal_actions',),
            "unknown field 'legal_actions'",
        ),
        (
            {'a': SECRET, 'b': SECRET, 'legal_actions': SECRET},
            ('a', 'b'),
            r"critic_observation must leave the policy something to see, got \('a', 'b'\)",
        ),
        ({'legal_actions': SECRET}, (), 'the policy needs something to observe, got'),
    ],
)
def test_what_can_not_be_split_is_refused_by_name(observation, names, words):
    with pytest.raises(ValueError, match=words):
        networks.observed(observation, names)


def moved(observation, field):
    return {**observation, field: observation[field] + 0.5}


def check_seen(output, observation):
    """Of (what acts, values) the first is not made from the secret, and both from the vector."""
    first, secret, vector = map(
        output, (observation, moved(observation, 'secret'), moved(observation, 'vector'))
    )
    np.testing.assert_array_equal(first[0], secret[0])
    assert (first[1] != secret[1]).all()
    assert (first[0] != vector[0]).any()
    assert (first[1] != vector[1]).any()
    return first


@pytest.mark.slow
@pytest.mark.parametrize('options', [{}, {'shared_torso': True}, {'core': 'gru', 'core_size': 5}])
def test_a_value_is_made_from_all_fields_and_its_policy_from_the_others(options):
    spec = with_fields(registry.discrete_spec(), secret=SECRET)
    network = networks.make_actor_critic_network(
        '', spec, (8,), critic_observation=('secret',), **options
    )
    params = jax.jit(network.init)(jax.random.key(0))
    observation = streams.random_observation(spec.observation, (2, 4), np.random.default_rng(0))
    step_type = np.full((2, 4), MID, np.int32)
    unroll = jax.jit(network.unroll)

    def output(observation):
        return unroll(params, observation, step_type, network.initial_state(2))

    first, secret, vector = map(
        output, (observation, moved(observation, 'secret'), moved(observation, 'vector'))
    )
    np.testing.assert_array_equal(first.policy.logits, secret.policy.logits)
    assert (first.value != secret.value).all()
    assert (first.policy.logits != vector.policy.logits).any()
    assert (first.value != vector.value).all()
    at_first = jax.tree_util.tree_map(lambda x: x[:, 0], observation)
    one, _ = jax.jit(network.step)(params, at_first, network.initial_state(2))
    np.testing.assert_allclose(one.value, first.value[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('shape', [(4,), (8, 8, 1)], ids=['vector', 'image'])
def test_critics_see_all_fields_and_their_policy_the_others(shape):
    vector = specs.BoundedArray(shape, np.float32, -1, 1, 'vector')
    spec = with_fields(registry.continuous_spec()._replace(observation=vector), secret=SECRET)
    box = networks.action_box('', spec)
    nets = networks.make_continuous_networks(
        spec,
        lambda: networks.DeterministicHead(box.size),
        box,
        (8,),
        encoder_channels=(2,),
        critic_observation=('secret',),
    )
    policy, critics = jax.jit(nets.init)(jax.random.key(0))
    has_image = any(leaf.ndim == 4 for leaf in jax.tree_util.tree_leaves(critics.encoder))
    assert has_image == (len(shape) == 3)
    observation = streams.random_observation(spec.observation, (2,), np.random.default_rng(0))

    @jax.jit
    def output(observation):
        features = nets.encode(critics.encoder, observation)
        action = nets.act((critics.encoder, policy), observation)
        return action, nets.critics(critics.ensemble, features, jnp.zeros((2, box.size)))

    check_seen(output, observation)


@pytest.mark.slow
@pytest.mark.parametrize('core', ['none', 'gru'])
@pytest.mark.parametrize('shape', [(3,), (8, 8, 1)], ids=['vector', 'image'])
def test_a_critic_of_many_actions_sees_all_fields_and_its_policy_the_others(shape, core):
    secret = specs.BoundedArray(shape, np.float32, -1, 1, 'secret')
    spec = with_fields(registry.continuous_spec(), secret=secret)
    nets = networks.make_policy_and_critic(
        '',
        spec,
        (8,),
        core=core,
        core_size=5,
        encoder_channels=(2,),
        critic_observation=('secret',),
    )
    policy, critic = jax.jit(nets.init)(jax.random.key(0))
    observation = streams.random_observation(spec.observation, (2, 4), np.random.default_rng(0))
    step_type = np.full((2, 4), MID, np.int32)

    @jax.jit
    def output(observation):
        features = nets.unroll(critic.encoder, observation, step_type, nets.initial_state(2))
        mean = nets.policy(policy, features, observation).mean
        return mean, nets.critic(critic.head, features, jnp.zeros((2, 4, 2)))

    first = check_seen(output, observation)
    at_first = jax.tree_util.tree_map(lambda x: x[:, 0], observation)
    features, _ = jax.jit(nets.step)(critic.encoder, at_first, nets.initial_state(2))
    value = jax.jit(nets.critic)(critic.head, features, jnp.zeros((2, 2)))
    np.testing.assert_allclose(value, first[1][:, 0], rtol=1e-4, atol=1e-5)
