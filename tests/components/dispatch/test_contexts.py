"""Contexts of calls."""

import contextlib

import jax
import numpy as np
import pytest

from culmen.components.dispatch import Contexts
from culmen.components.dispatch import plainly
from culmen.components.dispatch import unpack_context
from culmen.core.types import MAX_COUNT


def data(packed):
    return tuple(np.asarray(jax.random.key_data(unpack_context(packed).key)).tolist())


def test_a_call_is_known_by_its_place_alone():
    forth = Contexts(3, 'actor', 1)
    words = [data(forth.pack(count, 0, 0)) for count in range(1020, 1030)]  # across a block
    back = Contexts(3, 'actor', 1)
    assert [data(back.pack(count, 0, 0)) for count in range(1029, 1019, -1)][::-1] == words
    assert len(set(words)) == 10


def test_places_have_keys_of_their_own():
    places = [
        (0, 'actor', 0),
        (0, 'actor', 1),
        (1, 'actor', 0),
        (0, 'learner'),
        (0, 'evaluator', 0),
    ]
    assert len({data(Contexts(*place).pack(0, 0, 0)) for place in places}) == len(places)


@pytest.mark.parametrize('count', [0, 7, MAX_COUNT, MAX_COUNT + 1, 2**40])
def test_counts_saturate(count):
    context = unpack_context(Contexts(0, 'actor').pack(0, count, count))
    steps = context.actor_steps, context.learner_steps, context.rule_steps
    assert steps == (min(count, MAX_COUNT),) * 3


@pytest.mark.parametrize('fast', [True, False])
def test_a_rule_has_a_count_of_its_own(fast):
    with contextlib.nullcontext() if fast else plainly():
        contexts = Contexts(0, 'learner')
        for given, seen in ((3, 3), (MAX_COUNT + 1, MAX_COUNT), (None, 7)):
            context = unpack_context(contexts.pack(0, 5, 7, given))
            assert context[1:] == (5, 7, seen)
