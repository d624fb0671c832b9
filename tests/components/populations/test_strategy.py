"""Evolution strategies: they climb, their states are carried by a scan, and what is unknown is refused."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import populations
from culmen.core.specs import check_storable
from tests.conftest import is_installed

needs_evosax = pytest.mark.skipif(
    not is_installed('evosax'), reason='evosax comes with the extra populations'
)
TARGET = {'w': np.array([[1.0, -2.0], [0.5, 3.0]], np.float32), 'b': np.float32(-1.0)}
SIZE = 20


def fitness(member):
    """The larger, the nearer a member is to the target."""
    errors = jax.tree_util.tree_map(lambda a, b: jnp.sum(jnp.square(a - b)), member, TARGET)
    return -sum(jax.tree_util.tree_leaves(errors))


def make(name, **options):
    return populations.make_strategy('Test', name, TARGET, SIZE, **options)


@needs_evosax
@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'options'),
    [('OpenES', {'sigma_init': 0.1, 'lrate_init': 0.1}), ('SNES', {'sigma_init': 0.5})],
)
def test_a_population_climbs(name, options):
    strategy = make(name, **options)
    begin = jax.tree_util.tree_map(lambda leaf: jnp.full_like(leaf, 0.25), TARGET)
    state = strategy.init(jax.random.key(0), begin)
    check_storable('state', state)
    for a, b in zip(*map(jax.tree_util.tree_leaves, (strategy.mean(state), begin)), strict=True):
        np.testing.assert_array_equal(a, b)

    def generation(state, key):
        members, state = strategy.ask(key, state)
        assert jax.tree_util.tree_map(jnp.shape, members) == {'w': (SIZE, 2, 2), 'b': (SIZE,)}
        return strategy.tell(members, jax.vmap(fitness)(members), state), members

    state, members = jax.lax.scan(generation, state, jax.random.split(jax.random.key(1), 150))
    assert fitness(begin) < -14
    assert fitness(strategy.mean(state)) > -1
    # Members differ from each other, and from generation to generation.
    assert len(np.unique(members['b'])) > 100 * SIZE


@needs_evosax
def test_what_is_unknown_is_refused():
    with pytest.raises(ValueError, match=r"strategy must be one of \[.*'CMA_ES'.*got 'Genetic'"):
        make('Genetic')
    with pytest.raises(ValueError, match=r"options of SNES must be among .* got \['rate'\]"):
        make('SNES', rate=1.0)
    with pytest.raises(ValueError, match='population_size'):
        populations.make_strategy('Test', 'SNES', TARGET, 1)


def test_a_missing_package_is_told_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'evosax', None)
    with pytest.raises(
        ImportError, match=r"Test needs the package evosax.*'culmen\[populations\]'"
    ):
        make('SNES')
