"""Specs, and steps held to them."""

import collections
import pickle
from collections import OrderedDict

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from culmen import core
from culmen.core.specs import conform
from culmen.core.specs import leaf_paths
from culmen.core.specs import validate_timestep
from culmen.core.specs import without_legal_actions


class Environment(dm_env.Environment):
    """Specs alone."""

    def reset(self):
        raise NotImplementedError

    def step(self, action):
        raise NotImplementedError

    def observation_spec(self):
        return {'position': specs.Array((2,), np.float32), 'pixels': specs.Array((3, 3), np.uint8)}

    def action_spec(self):
        return specs.DiscreteArray(3)

    def reward_spec(self):
        return {'a': specs.Array((), np.float64), 'b': specs.Array((), np.float64)}


SPEC = core.make_environment_spec(Environment())


def good():
    observation = {'position': np.zeros(2, np.float32), 'pixels': np.zeros((3, 3), np.uint8)}
    return dm_env.transition({'a': 0.5, 'b': 1}, observation, {'a': 1.0, 'b': 1.0}.get('a'))


def test_rewards_and_discounts_are_float32():
    assert SPEC.reward['a'].dtype == SPEC.discount.dtype == np.float32


def test_a_good_step_passes():
    validate_timestep(SPEC, good())
    validate_timestep(SPEC, dm_env.restart(good().observation))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda t: t._replace(observation={"position": np.zeros(2, np.float32)}),
         "observation must have the leaves"),
        (lambda t: t._replace(observation={**t.observation, 'position': np.zeros(3, np.float32)}),
         r'observation/position must have shape \(2,\), got \(3,\)'),
        (lambda t: t._replace(observation={**t.observation, 'pixels': np.zeros((3, 3))}),
         'observation/pixels must have dtype uint8, got float64'),
        (lambda t: t._replace(reward={'a': np.nan, 'b': 0.0}), 'reward/a must be finite, got nan'),
        (lambda t: t._replace(reward=None), 'reward must be a number after FIRST, got None'),
        (lambda t: t._replace(discount=1.5), r'discount must be in \[0, 1\], got 1.5'),
        (lambda t: t._replace(discount=None), 'discount must be a number after FIRST, got None'),
        (lambda t: t._replace(step_type=7), 'step_type must be FIRST, MID or LAST, got 7'),
        (lambda t: t._replace(step_type=1.5), 'step_type must be FIRST, MID or LAST, got 1.5'),
        (lambda t: t._replace(step_type=None), 'step_type must be FIRST, MID or LAST, got None'),
        (lambda t: t._replace(observation={**t.observation, 'position': np.array([0, np.inf], np.float32)}),
         r'observation/position must be finite, got inf at \[1\]'),
        (lambda t: t._replace(reward={'a': 1e39, 'b': 0.0}), 'reward/a must be within float32'),
        (lambda t: t._replace(reward={'a': 'much', 'b': 0.0}), "reward/a must be a number, got 'much'"),
    ],
)  # fmt: skip
def test_a_step_that_breaks_its_spec_names_the_leaf(change, words):
    with pytest.raises(ValueError, match=words):
        validate_timestep(SPEC, change(good()))


def test_paths_of_leaves():
    assert [path for path, _ in leaf_paths({'b': (1, 2), 'a': 3}, 'x')] == ['x/a', 'x/b/0', 'x/b/1']
    assert [path for path, _ in leaf_paths(5, 'x')] == ['x']


def test_a_stacked_spec_keeps_its_frames():
    spec = core.StackedArray((5, 5, 6), np.uint8, 0, 255, 2, 'pixels')
    for other in (spec.replace(name='other'), pickle.loads(pickle.dumps(spec))):
        assert isinstance(other, core.StackedArray)
        assert other.num_frames == 2
    with pytest.raises(ValueError, match='num_frames must divide'):
        core.StackedArray((5, 5, 6), np.uint8, 0, 255, 4)


def test_legal_actions_are_found_and_taken_out():
    legal = np.array([True, False])
    assert core.legal_actions({'board': 1, 'legal_actions': legal}) is legal
    assert core.legal_actions(np.zeros(3)) is None
    assert without_legal_actions({'board': 1, 'legal_actions': legal}) == 1
    assert without_legal_actions({'a': 1, 'b': 2, 'legal_actions': legal}) == {'a': 1, 'b': 2}


def test_state_starts_anew_where_an_episode_begins():
    timestep = core.TimeStep(jnp.array([0, 1, 2]), None, None, None)
    state = core.where_first(timestep, {'s': jnp.zeros((3, 2))}, {'s': jnp.ones((3, 2))})
    np.testing.assert_array_equal(state['s'], [[0, 0], [1, 1], [1, 1]])


Pair = collections.namedtuple('Pair', ['x', 'y'])


@pytest.mark.parametrize(
    ('spec', 'value', 'wanted'),
    [
        ({'a': 0, 'b': 0}, OrderedDict(b=2, a=1), {'a': 1, 'b': 2}),
        (OrderedDict(b=0, a=0), {'a': 1, 'b': 2}, OrderedDict(b=2, a=1)),
        (OrderedDict(b=0, a=0), OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
        ((0, {'k': 0}), [1, OrderedDict(k=2)], (1, {'k': 2})),
        ([0, 0], (1, 2), [1, 2]),
        (Pair(0, 0), (1, 2), Pair(1, 2)),
        ((0, 0), Pair(1, 2), (1, 2)),
    ],
)
def test_containers_are_compared_by_keys(spec, value, wanted):
    assert conform('x', spec, value) == wanted
    assert jax.tree_util.tree_structure(wanted) == jax.tree_util.tree_structure(spec)
    assert type(conform('x', spec, value)) is type(wanted)


@pytest.mark.parametrize(
    ('spec', 'value', 'words'),
    [
        ({'a': 0, 'b': 0}, {'a': 1}, r"leaves \['x/a', 'x/b'\] of its spec, got \['x/a'\]"),
        ({'a': 0}, {'a': 1, 'b': 2}, r"leaves \['x/a'\] of its spec, got \['x/a', 'x/b'\]"),
        ({'a': {'b': 0}}, {'a/b': 1}, r"\{'a': \{'b': \*\}\}.*\{'a/b': \*\}"),
        ({'0': 0}, [1], r"\{'0': \*\}.* got .*\[\*\]"),
        ((0, 0), (1,), r"\['x/0', 'x/1'\] of its spec, got \['x/0'\]"),
        (0, {'a': 1}, r"leaves \['x'\] of its spec, got \['x/a'\]"),
        (Pair(0, 0), collections.namedtuple('Other', ['y', 'x'])(1, 2), 'x must have'),
    ],
)
def test_other_keys_are_refused_by_name(spec, value, words):
    with pytest.raises(ValueError, match=words):
        conform('x', spec, value)


def test_two_leaves_of_one_path_are_refused():
    class Twice(Environment):
        def observation_spec(self):
            leaf = specs.Array((2,), np.float32)
            return {'a/b': leaf, 'a': {'b': leaf}}

    with pytest.raises(ValueError, match='observation/a/b is the path of two leaves'):
        core.make_environment_spec(Twice())


def test_scalar_floats_take_any_number_and_hold_to_their_own_bounds():
    spec = SPEC._replace(
        observation=specs.Array((), np.float16), reward=specs.Array((), np.float32)
    )
    for number in (1, 0.5, np.float64(2), np.array(3)):
        validate_timestep(spec, dm_env.transition(0.0, number))
    with pytest.raises(ValueError, match='observation must be within float32.* 70000'):
        validate_timestep(spec, dm_env.transition(0.0, 70000.0))
