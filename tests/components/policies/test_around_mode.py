"""Acting near the mode of a policy: of lone actions as DQN and TD3 do, of several parts each by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen.components import networks
from culmen.components import policies
from tests.agents import registry
from tests.agents import streams

pytestmark = pytest.mark.slow

LANES = 2_000
RAGGED = specs.BoundedArray((2,), np.int32, [1, 5], [3, 6], 'ragged')
BOX = specs.BoundedArray((2,), np.float32, [0, 10], [2, 30], 'box')
ACTION = {'box': BOX, 'ragged': RAGGED, 'move': specs.DiscreteArray(3)}


def build(action, masks=None):
    spec = registry.discrete_spec()._replace(action=action)
    if masks is not None:
        legal = {name: specs.Array(np.shape(mask), bool) for name, mask in masks.items()}
        observation = {'vector': spec.observation, 'legal_actions': legal}
        spec = spec._replace(observation=observation)
    policy = networks.make_bounded_policy('BC', spec, (8,))
    return spec, policy, policy.network.init(jax.random.key(0))


def act(core, spec, params, masks=None, lanes=LANES, key=0):
    timestep = streams.first_timestep(spec, lanes)
    if masks is not None:
        legal = {
            name: np.broadcast_to(mask, (lanes, *np.shape(mask))) for name, mask in masks.items()
        }
        timestep = timestep._replace(observation={**timestep.observation, 'legal_actions': legal})
    state = core.init(jax.random.key(0), streams.lanes(lanes))
    action, after, extras = core.select_action(params, timestep, state, streams.context(key))
    assert extras == ()
    assert jax.tree_util.tree_structure(after) == jax.tree_util.tree_structure(state)
    return jax.tree_util.tree_map(np.asarray, action)


def test_choices_explore_by_themselves_and_numbers_have_noise():
    spec, policy, params = build(ACTION)
    mode = act(policies.at_mode(policy), spec, params)
    action = act(policies.around_mode(policy, spec, 0.5, 0.1), spec, params)
    for name, shares in (('move', 1 / 3), ('ragged', [1 / 3, 1 / 2])):
        same = (action[name] == mode[name]).mean(axis=0)
        np.testing.assert_allclose(same, 0.5 + 0.5 * np.asarray(shares), atol=0.04)
    moved, ragged = action['move'] != mode['move'], action['ragged'] != mode['ragged']
    together = np.corrcoef(np.stack([moved, *ragged.T]))
    assert np.abs(together - np.eye(3)).max() < 0.1
    # A deviation of 0.1 in canonical units, in which a box is 2 wide.
    np.testing.assert_allclose(action['box'].std(axis=0), [0.1, 1.0], rtol=0.1)
    np.testing.assert_allclose(action['box'].mean(axis=0), mode['box'][0], atol=0.1)


def test_only_legal_values_are_taken():
    masks = {'ragged': np.array([[False, True, True], [False, True, False]])}
    spec, policy, params = build(ACTION, masks)
    for core in (policies.at_mode(policy), policies.around_mode(policy, spec, 1.0, 0.0)):
        action = act(core, spec, params, masks)
        assert set(np.unique(action['ragged'][:, 0])) <= {2, 3}
        assert set(np.unique(action['ragged'][:, 1])) == {6}
    assert set(np.unique(action['ragged'][:, 0])) == {2, 3}


def test_a_lane_depends_on_itself_alone():
    spec, policy, params = build(ACTION)
    core = policies.around_mode(policy, spec, 0.5, 0.1)
    whole = act(core, spec, params, lanes=8)
    part = act(core, spec, params, lanes=3)
    jax.tree_util.tree_map(lambda a, b: np.testing.assert_array_equal(a[:3], b), whole, part)
    other = act(core, spec, params, lanes=8, key=1)
    assert (other['box'] != whole['box']).any()


def test_a_lone_box_of_any_shape():
    spec = registry.box_spec()
    policy = networks.make_bounded_policy('BC', spec, (8,))
    params = policy.network.init(jax.random.key(0))
    action = act(policies.around_mode(policy, spec, 0.0, 0.5), spec, params, lanes=50)
    for each in action:
        spec.action.validate(each)
    assert len(np.unique(action)) > 50


@pytest.mark.parametrize('name', ['box', 'ragged', 'move'])
def test_draws_and_actions_follow_from_each_other(name):
    _, policy, _ = build(ACTION)
    generator = np.random.default_rng(0)
    action = {
        'box': generator.uniform([0, 10], [2, 30], (9, 2)).astype(np.float32),
        'ragged': generator.integers([1, 5], [3, 6], (9, 2), np.int32, endpoint=True),
        'move': generator.integers(0, 3, 9, np.int32),
    }
    drawn = policy.to_draw(action)
    np.testing.assert_allclose(policy.to_action(drawn)[name], action[name], rtol=1e-5)
    assert np.asarray(jnp.abs(drawn['box'])).max() <= 1
    assert np.asarray(drawn['ragged']).min() == 0


def test_a_box_without_bounds_is_refused_with_those_that_take_it():
    spec = registry.discrete_spec()._replace(
        action={'a': specs.Array((2,), np.float32), 'b': specs.DiscreteArray(2)}
    )
    with pytest.raises(
        ValueError, match='BC needs a continuous action .*take it: a2c, impala, ppo'
    ):
        networks.make_bounded_policy('BC', spec, (8,))
