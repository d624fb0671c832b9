"""Uniformly random actions: within the spec, all of it, of 32 bits whatever an environment counts in."""

import jax
import numpy as np
import pytest
from dm_env import specs

from culmen.components.policies import uniform_actions
from tests.agents import registry

KEYS = jax.random.split(jax.random.key(0), 4_000)


def draw(action, observation=None):
    spec = registry.discrete_spec()._replace(action=action)
    return uniform_actions('WarmedUp', spec, observation, KEYS)


@pytest.mark.parametrize('dtype', [np.int32, np.int64])
def test_several_actions(dtype):
    drawn = draw(specs.DiscreteArray(4, dtype))
    assert drawn.dtype == np.int32
    assert np.abs(np.bincount(drawn, minlength=4) - 1_000).max() < 5 * 750**0.5


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_a_box(dtype):
    drawn = np.asarray(draw(specs.BoundedArray((2,), dtype, [-1, 10], [1, 20])))
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn.min(axis=0), [-1, 10], atol=0.02)
    np.testing.assert_allclose(drawn.max(axis=0), [1, 20], atol=0.02)
    np.testing.assert_allclose(drawn.mean(axis=0), [0, 15], atol=0.3)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.1


def test_a_nest_with_integers_within_bounds():
    box = specs.BoundedArray((3,), np.int64, 2, 4)
    drawn = draw({'a': box, 'b': specs.DiscreteArray(3)})
    assert np.unique(drawn['a']).tolist() == [2, 3, 4]
    assert np.unique(drawn['b']).tolist() == [0, 1, 2]


def test_legal_values_of_several_choices():
    action = {
        'switches': specs.Array((2,), bool),
        'box': specs.BoundedArray((1,), np.float32, 0, 1),
        'ragged': specs.BoundedArray((2,), np.int8, [1, 5], [3, 6]),
    }
    masks = {'ragged': np.array([[True, False, True], [False, False, True]])}
    spec = registry.discrete_spec()
    legal = {name: specs.Array(mask.shape, bool) for name, mask in masks.items()}
    spec = spec._replace(action=action, observation={'vector': 0, 'legal_actions': legal})
    many = {'ragged': np.broadcast_to(masks['ragged'], (len(KEYS), 2, 3))}
    drawn = uniform_actions('WarmedUp', spec, {'vector': 0, 'legal_actions': many}, KEYS)
    first, second = np.asarray(drawn['ragged']).T
    np.testing.assert_allclose(np.bincount(first) / len(KEYS), [0, 0.5, 0, 0.5], atol=0.04)
    np.testing.assert_allclose(np.bincount(second)[5:] / len(KEYS), [0.5, 0.5], atol=0.04)
    together = np.asarray(drawn['switches']) @ [2, 1]
    np.testing.assert_allclose(np.bincount(together) / len(KEYS), [0.25] * 4, atol=0.04)
    wrong = spec.observation | {'legal_actions': {'box': specs.Array((1,), bool)}}
    with pytest.raises(ValueError, match='legal_actions/box must have the path of a discrete leaf'):
        uniform_actions('WarmedUp', spec._replace(observation=wrong), None, KEYS)


def test_no_bounds_are_refused_by_name():
    with pytest.raises(ValueError, match='WarmedUp needs actions within finite bounds'):
        draw(specs.Array((2,), np.float32))
