"""The variables that a learner gives to actors, over its restarts."""

import jax.numpy as jnp
import numpy as np

from culmen.launchers.programs.nodes.variables import Published


def published(life, version, value):
    each = Published(life)
    each.publish((version, {'w': jnp.full(2, value)}), {'': 3.0})
    return each


def test_who_has_the_newest_gets_nothing_and_arrays_are_made_once():
    each = published(0, 4, 1.0)
    version, params, largest, life = each.get(3, 0)
    assert (version, largest, life) == (4, {'': 3.0}, 0)
    assert isinstance(params['w'], np.ndarray)
    assert each.get(-1, 0)[1] is params
    assert each.get(4, 0) is None
    each.publish(None, {'': 5.0})
    assert each.get(4, 0) is None
    assert each.get(3, 0)[2] == {'': 5.0}


def test_the_same_number_of_another_life_is_other_variables():
    assert published(1, 4, 2.0).get(4, 0)[1]['w'].tolist() == [2.0, 2.0]


def test_an_actor_that_has_later_variables_takes_the_older_ones():
    version, *_, life = published(2, 4, 2.0).get(9, 1)
    assert (version, life) == (4, 2)
