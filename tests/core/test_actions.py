"""The choices of an action's leaves, and the masks of their legal values."""

import numpy as np
import pytest
from dm_env import specs

from culmen.core import actions
from tests.agents import registry

SWITCHES = specs.BoundedArray((2,), np.int8, 0, 1, 'switches')
RAGGED = specs.BoundedArray((2,), np.int32, [1, 0], [3, 1], 'ragged')
BOX = specs.BoundedArray((2,), np.float32, -1, 1, 'box')
NEST = {'move': specs.DiscreteArray(3), 'ragged': RAGGED, 'box': BOX}


def mask(*shape):
    return specs.Array(shape, bool)


def with_masks(action, masks):
    spec = registry.discrete_spec()
    observation = {'vector': spec.observation, 'legal_actions': masks}
    return spec._replace(action=action, observation=observation)


@pytest.mark.parametrize(
    ('leaf', 'minimum', 'num_values'),
    [
        (specs.DiscreteArray(3), 0, 3),
        (specs.BoundedArray((), np.int32, -1, 1), -1, 3),
        (SWITCHES, [0, 0], [2, 2]),
        (specs.Array((1, 2), bool), [[0, 0]], [[2, 2]]),
        (RAGGED, [1, 0], [3, 2]),
        (specs.BoundedArray((2,), np.uint64, 2**30, [2**30, 2**30 + 4]), [2**30] * 2, [1, 5]),
    ],
)
def test_the_choices_of_a_leaf(leaf, minimum, num_values):
    found = actions.choices(leaf)
    assert found.minimum.tolist() == minimum
    assert found.num_values.tolist() == num_values
    assert found.largest == np.max(num_values)


@pytest.mark.parametrize(
    'leaf',
    [
        BOX,
        specs.Array((2,), np.int32),
        specs.BoundedArray((), np.int32, 0, actions.MAX_VALUES),
        specs.BoundedArray((), np.uint64, 0, 2**64 - 1),
        specs.BoundedArray((), np.uint64, 2**40, 2**40 + 4),
        specs.BoundedArray((0,), np.int32, 0, 1),
    ],
)
def test_what_is_no_choice(leaf):
    assert actions.choices(leaf) is None


def test_the_most_values_of_a_choice():
    last = specs.BoundedArray((), np.int32, 0, actions.MAX_VALUES - 1)
    assert actions.choices(last).largest == actions.MAX_VALUES


def test_masks_are_those_with_the_paths_of_leaves():
    ragged = np.array([[False, True, False], [False, False, True]])
    observation = {'vector': 0, 'legal_actions': {'ragged': ragged}}
    box, move, legal = actions.allowed_choices(NEST, observation)
    assert box is None and move is None
    # The second entry has two values: its legal third is none, and so both are legal.
    assert legal.tolist() == [[False, True, False], [True, True, False]]
    lone = {'vector': 0, 'legal_actions': np.array([[False, True], [False, False]])}
    [legal] = actions.allowed_choices(specs.DiscreteArray(2), lone)
    assert legal.tolist() == [[False, True], [True, True]]
    assert actions.allowed_choices(NEST, {'vector': 0}) == [None] * 3
    first, second = actions.legal_masks(
        (BOX, specs.DiscreteArray(2)), {'legal_actions': {'1': 'mask'}}
    )
    assert (first, second) == (None, 'mask')


def test_masks_are_checked_by_name():
    for action, masks in (
        (specs.DiscreteArray(3), mask(3)),
        (RAGGED, mask(2, 3)),
        (NEST, {'move': mask(3)}),
        (NEST, {'ragged': mask(2, 3), 'move': mask(3)}),
    ):
        actions.check_legal_actions(with_masks(action, masks))
    actions.check_legal_actions(registry.discrete_spec())
    for action, masks, words in (
        (specs.DiscreteArray(3), mask(4), r'legal_actions must have the shape \(3,\).*got \(4,\)'),
        (RAGGED, mask(3), r'legal_actions must have the shape \(2, 3\)'),
        (NEST, {'box': mask(2)}, r'legal_actions/box must have the path of .*\(move, ragged\)'),
        (NEST, mask(3), r'observation/legal_actions must have the path of .*\(move, ragged\)'),
        (BOX, mask(2), r'legal_actions must have the path of .*\(none\)'),
    ):
        with pytest.raises(ValueError, match=words):
            actions.check_legal_actions(with_masks(action, masks))
