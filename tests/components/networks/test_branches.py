"""The choices of an action as branches: in a row and back, masked, valued by one network."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.components import networks
from tests.agents import registry

SWITCHES = specs.BoundedArray((2,), np.int8, 0, 1, 'switches')
RAGGED = specs.BoundedArray((1, 2), np.int32, [[1, 0]], [[4, 1]], 'ragged')
ACTION = {'move': specs.DiscreteArray(3), 'ragged': RAGGED, 'switches': SWITCHES}
NUM_VALUES = [3, 4, 2, 2, 2]
LEAST = np.finfo(np.float32).min


def make(action=ACTION):
    return networks.make_branches('DQN', registry.discrete_spec()._replace(action=action))


def test_actions_and_values_follow_from_each_other():
    branches = make()
    assert branches.num_values.tolist() == NUM_VALUES
    values = jnp.array([[2, 3, 1, 0, 1], [0, 0, 0, 1, 0]])
    action = branches.to_action(values)
    assert action['move'].tolist() == [2, 0]
    assert action['ragged'].tolist() == [[[4, 1]], [[1, 0]]]
    assert action['switches'].tolist() == [[0, 1], [1, 0]]
    for lane in range(2):
        for name, leaf in ACTION.items():
            leaf.validate(np.asarray(action[name][lane]).astype(leaf.dtype))
    assert action['switches'].dtype == np.int8
    np.testing.assert_array_equal(branches.to_values(action), values)


def test_a_lone_choice_has_no_branches_but_an_array_of_one_does():
    assert make(specs.DiscreteArray(3)) is None
    assert make(specs.BoundedArray((), np.int32, 1, 3)).num_values.tolist() == [3]
    branches = make(specs.BoundedArray((1,), np.int32, 1, 3))
    assert branches.to_action(jnp.array([[2], [0]])).tolist() == [[3], [1]]


def test_masks_of_its_leaves_in_a_row():
    branches = make()
    values = jnp.arange(40.0).reshape(2, 5, 4)
    exist = np.arange(4) < np.array(NUM_VALUES)[:, None]
    given = np.asarray(branches.mask_illegal(values, {'vector': 0}))
    np.testing.assert_array_equal(given, np.where(exist, values, LEAST))
    assert float(branches.mean(given)) == pytest.approx(np.asarray(values)[:, exist].mean())
    legal = {'ragged': np.array([[[[0, 1, 0, 1], [0, 0, 0, 0]]]] * 2, bool)}
    allowed = np.broadcast_to(exist, (2, 5, 4)).copy()
    allowed[:, 1] = [False, True, False, True]
    seen = {'vector': 0, 'legal_actions': legal}
    np.testing.assert_array_equal(branches.allowed(seen), allowed)
    masked = branches.mask_illegal(values, seen)
    np.testing.assert_array_equal(masked, np.where(allowed, values, LEAST))


@pytest.mark.parametrize('dueling', [False, True])
def test_a_network_of_all_branches(dueling):
    network = networks.make_branching_network(make(), (8,), dueling)
    params = network.init(jax.random.key(0))
    observation = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    values = np.asarray(network.apply(params, observation))
    assert values.shape == (6, 5, 4)
    exist = np.arange(4) < np.array(NUM_VALUES)[:, None]
    assert (values[:, ~exist] == LEAST).all()
    assert np.unique(values[:, exist]).size == 6 * sum(NUM_VALUES)


def test_with_a_dueling_head_branches_share_the_state_value():
    """Equation by equation: the mean over the values of each branch is the state value."""
    head = hk.without_apply_rng(hk.transform(lambda x: networks.BranchingHead([3, 2], 8)(x)))
    features = jax.random.normal(jax.random.key(1), (6, 5))
    params = head.init(jax.random.key(0), features)
    values = np.asarray(head.apply(params, features))
    first, second = values[:, 0].mean(axis=1), values[:, 1, :2].mean(axis=1)
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)
    assert np.unique(first).size == 6
    # A hidden layer of its own for each branch: those of one move no other.
    hidden = params['branching_head/hidden']['w'].at[:, :8].add(1.0)
    changed = {**params, 'branching_head/hidden': {**params['branching_head/hidden'], 'w': hidden}}
    moved = np.asarray(head.apply(changed, features))
    assert (moved[:, 0] != values[:, 0]).any()
    np.testing.assert_array_equal(moved[:, 1], values[:, 1])


def test_what_has_no_branches_is_refused():
    for action in (ACTION | {'aim': specs.BoundedArray((1,), np.float32, 0, 1)}, ()):
        with pytest.raises(ValueError, match='DQN needs a discrete action .* or a nest of them'):
            make(action)
    spec = registry.hybrid_spec()._replace(action=ACTION)
    wrong = {**spec.observation, 'legal_actions': {'jump': specs.Array((3,), bool)}}
    with pytest.raises(ValueError, match='legal_actions/jump must have the path of a discrete'):
        networks.make_branches('DQN', spec._replace(observation=wrong))
