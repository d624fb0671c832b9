"""Heads of policies over any action: their distributions, legal values, and actions of their draws."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.components import networks
from tests.agents import registry

pytestmark = pytest.mark.slow

SWITCHES = specs.BoundedArray((2,), np.int8, 0, 1, 'switches')
RAGGED = specs.BoundedArray((2,), np.int32, [1, 0], [3, 1], 'ragged')
BOARD = specs.BoundedArray((2, 2), np.int64, 5, 7, 'board')
BOX = specs.BoundedArray((2, 1), np.float32, [[0], [-1]], [[4], [1]], 'box')
NEST = (specs.DiscreteArray(4), {'box': BOX, 'ragged': RAGGED, 'switches': SWITCHES})


def make_policy(action):
    def forward(features):
        head = networks.make_policy_head(action, lambda size: networks.GaussianHead(size))
        return head(features)

    network = hk.without_apply_rng(hk.transform(forward))
    features = jnp.ones((6, 3))
    return network.apply(network.init(jax.random.key(0), features), features)


@pytest.mark.parametrize(
    ('leaf', 'kind', 'shape'),
    [
        (specs.DiscreteArray(4), networks.Categorical, (6, 4)),
        (specs.DiscreteArray(2), networks.Categorical, (6, 2)),
        (specs.BoundedArray((), np.int32, 3, 5), networks.Categorical, (6, 3)),
        (SWITCHES, networks.Bernoulli, (6, 2)),
        (specs.Array((3,), bool), networks.Bernoulli, (6, 3)),
        (RAGGED, networks.Categoricals, (6, 2, 3)),
        (BOARD, networks.Categoricals, (6, 4, 3)),
        (BOX, networks.DiagonalGaussian, (6, 2)),
    ],
)
def test_the_distribution_of_a_leaf(leaf, kind, shape):
    policy = make_policy(leaf)
    assert type(policy) is kind
    assert policy[0].shape == shape


def test_draws_become_actions_of_the_spec():
    policy = make_policy(NEST)
    drawn = policy.sample(jax.random.key(1))
    action = networks.to_action(NEST, drawn)
    jax.tree_util.tree_map(
        lambda leaf, x: [leaf.validate(np.asarray(each)) for each in x], NEST, action
    )
    np.testing.assert_array_equal(action[1]['ragged'], np.asarray(drawn[1]['ragged']) + [1, 0])
    ends = networks.to_action(BOX, jnp.array([[-1.0, 1.0], [0.0, 9.0]]))
    assert ends.tolist() == [[[0.0], [1.0]], [[2.0], [1.0]]]
    board = networks.to_action(BOARD, jnp.array([[0, 1, 2, 0]]))
    assert board.tolist() == [[[5, 6], [7, 5]]]
    flags = networks.to_action(specs.Array((2,), bool), jnp.array([[0, 1]]))
    assert flags.dtype == bool
    assert flags.tolist() == [[False, True]]


def test_the_second_choice_never_takes_a_value_that_it_lacks():
    drawn = jax.vmap(make_policy(RAGGED).sample)(jax.random.split(jax.random.key(0), 500))
    assert np.unique(drawn[..., 0]).tolist() == [0, 1, 2]
    assert np.unique(drawn[..., 1]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ('action', 'same'),
    [
        (specs.DiscreteArray(3), True),
        ({'a': specs.DiscreteArray(3), 'b': SWITCHES}, True),
        (RAGGED, False),
        (specs.BoundedArray((2, 2), np.int32, 0, 2), False),
        ({'a': specs.DiscreteArray(3), 'b': BOX}, False),
    ],
)
def test_where_draws_are_the_actions_themselves(action, same):
    assert networks.draws_are_actions(action) == same


def test_legal_values_of_each_part():
    policy = make_policy(NEST)
    masks = {
        '0': np.array([False, True, False, True]),
        '1': {
            'ragged': np.array([[False, False, True], [True, False, False]]),
            'switches': np.array([[True, True], [False, True]]),
        },
    }
    legal = jax.tree_util.tree_map(lambda mask: np.broadcast_to(mask, (6, *mask.shape)), masks)
    masked = networks.only_legal(policy, NEST, {'legal_actions': legal})
    move, rest = jax.vmap(masked.sample)(jax.random.split(jax.random.key(0), 200))
    assert np.unique(move).tolist() == [1, 3]
    assert np.unique(rest['ragged'][..., 0]).tolist() == [2]
    assert np.unique(rest['ragged'][..., 1]).tolist() == [0]
    assert np.unique(rest['switches'][..., 0]).tolist() == [0, 1]
    assert np.unique(rest['switches'][..., 1]).tolist() == [1]
    unmasked = networks.only_legal(policy, NEST, {'vector': 0})
    assert unmasked is policy


@pytest.mark.parametrize('action', [{}, {'a': specs.Array((2,), np.int32)}, specs.StringArray(())])
def test_what_no_policy_takes_is_refused(action):
    spec = registry.discrete_spec()._replace(action=action)
    with pytest.raises(ValueError, match='PPO needs actions of choices .* No agent of Culmen'):
        networks.check_actions('PPO', spec)


def test_masks_that_do_not_fit_are_refused():
    spec = registry.hybrid_spec()
    masks = {'aim': specs.Array((2,), bool)}
    wrong = spec._replace(observation={**spec.observation, 'legal_actions': masks})
    with pytest.raises(ValueError, match='legal_actions/aim must have the path of a discrete leaf'):
        networks.check_actions('PPO', wrong)
