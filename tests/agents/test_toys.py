"""The environment of the shared suites gives what its spec says."""

import jax
import numpy as np
import pytest

from tests.agents import streams
from tests.agents import toys


@pytest.mark.parametrize('make', toys.MAKERS)
def test_it_is_of_its_spec(make):
    toy = make(0).functions
    _, timestep = toy.reset(jax.random.key(0))
    spec = toy.spec()
    jax.tree_util.tree_map(
        lambda spec, x: spec.validate(np.asarray(x)), spec.observation, timestep.observation
    )
    first = streams.first_timestep(spec, 1)
    assert jax.tree_util.tree_structure(first) == jax.tree_util.tree_structure(timestep)
