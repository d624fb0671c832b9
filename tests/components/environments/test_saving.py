"""Capturing objects around what a fresh set of them has by itself."""

import pickle

import numpy as np
import pytest

from culmen.components import environments
from culmen.components.environments import saving


class Inner:
    def __init__(self):
        self.generator = np.random.default_rng(0)
        self.draw = lambda: self.generator.random()
        self.count = 0


class Outer:
    def __init__(self):
        self.inner = Inner()
        self.shared = self.inner.generator
        self.history = []

    def step(self):
        self.inner.count += 1
        self.history.append(self.inner.draw() + self.shared.random())
        return self.history[-1]


def test_references_among_the_objects_are_found_again():
    """A lambda that holds the old object is what a deep copy gets wrong, in silence."""
    outer = Outer()
    for _ in range(3):
        outer.step()
    state = pickle.loads(pickle.dumps(saving.capture([outer, outer.inner])))
    expected = [outer.step() for _ in range(5)]
    fresh = Outer()
    inner = fresh.inner
    saving.restore([fresh, fresh.inner], state)
    assert fresh.inner is inner
    assert fresh.shared is fresh.inner.generator
    assert fresh.inner.count == 3
    assert [fresh.step() for _ in range(5)] == expected


def test_layers_are_the_environments_that_an_environment_holds_wrapped_or_not():
    outer = Outer()
    outer.inner.below = Inner()
    outer.again = outer.inner
    layers = saving.layers_of(outer, Inner)
    assert [layer is each for layer, each in zip(layers, (outer, outer.inner, outer.inner.below))] == [
        True, True, True,
    ]  # fmt: skip
    assert len(layers) == 3


def test_what_can_not_be_copied_raises():
    outer = Outer()
    outer.history.append(lambda: 0)
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        saving.capture([outer, outer.inner])


def test_the_two_methods_make_an_environment_restorable():
    class Two:
        restorable = True

        def get_state(self):
            return None

        def set_state(self, state):
            pass

    assert environments.is_restorable(Two())
    Two.restorable = False
    assert not environments.is_restorable(Two())
    assert not environments.is_restorable(object())
