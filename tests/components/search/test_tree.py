"""Tree search over lanes, in a small tree whose best actions and values are known."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from culmen.components import search
from culmen.core.errors import SettingError
from tests.conftest import is_installed

_installed = pytest.mark.skipif(not is_installed('mctx'), reason='mctx comes with the extra search')


def needs_mctx(test):
    """A test that searches: it needs mctx, and seconds to compile it."""
    return pytest.mark.slow(_installed(test))


DEPTH, ACTIONS, DISCOUNT = 3, 3, 0.5
LANES = 3
GUMBEL = search.Gumbel(noise_scale=0.0)
PUCT = search.Puct(noise_fraction=0.0, temperature=0.0)
# In each lane one action leads to 8 at the end, another to 4, and the third earns the most at once.
BEST, SECOND, AT_ONCE = (0, 1, 2), (1, 2, 0), (2, 0, 1)
NONE = ACTIONS  # in a path: no action yet


def _rewards():
    rewards = np.zeros((LANES, *(ACTIONS + 1,) * DEPTH), np.float32)
    for lane in range(LANES):
        rewards[lane, BEST[lane], (NONE, 1, 1), (NONE, NONE, 2)] = 0.4, 1.0, 8.0
        rewards[lane, SECOND[lane], (NONE, 2, 2), (NONE, NONE, 0)] = 0.3, 1.0, 4.0
        rewards[lane, AT_ONCE[lane], NONE, NONE] = 0.5
    return rewards


REWARDS = _rewards()


def model(params, key, state, action):
    """Rewards by the path of actions in a lane's own tree, which ends after the third.

    Args: state: {'lane': [], 'path': [DEPTH]: actions so far, 'time': []}.
    """
    path = state['path'].at[state['time']].set(action)
    time = state['time'] + 1
    reward = params[state['lane'], path[0], path[1], path[2]]
    after = {**state, 'path': path, 'time': jnp.minimum(time, DEPTH - 1)}
    discount = jnp.where(time == DEPTH, 0.0, DISCOUNT)
    return after, search.Prediction(reward, discount, jnp.zeros(ACTIONS), jnp.float32(0))


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def _find(kind, numbers, lanes, key, legal, num_simulations, max_depth):
    num = lanes.shape[0]
    state = {
        'lane': lanes,
        'path': jnp.full((num, DEPTH), NONE),
        'time': jnp.zeros(num, jnp.int32),
    }
    root = search.Root(state, jnp.zeros((num, ACTIONS)), jnp.zeros(num))
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, lanes)
    return search.tree_search(
        jnp.asarray(REWARDS), root, model, keys, num_simulations, kind(**numbers),
        legal=legal, max_depth=max_depth,
    )  # fmt: skip


def find(lanes=range(LANES), rule=GUMBEL, key=0, num_simulations=150, max_depth=None, legal=None):
    """What lanes find. The numbers of a rule are traced, so a kind of search is compiled once."""
    lanes = jnp.asarray(lanes)
    legal = np.ones((len(lanes), ACTIONS), bool) if legal is None else legal
    numbers = {name: value for name, value in vars(rule).items() if name != 'considered'}
    return _find(type(rule), numbers, lanes, jax.random.key(key), legal, num_simulations, max_depth)


@needs_mctx
@pytest.mark.parametrize('rule', [GUMBEL, PUCT], ids=['gumbel', 'puct'])
def test_a_search_finds_what_pays_in_the_end(rule):
    found = find(rule=rule)
    assert found.action.dtype == jnp.int32
    assert tuple(found.action.tolist()) == BEST
    assert tuple(np.argmax(found.weights, axis=1).tolist()) == BEST
    np.testing.assert_allclose(np.sum(found.weights, axis=1), 1.0, rtol=1e-5)
    # The best path is worth 0.4 + 1 / 2 + 8 / 4; the value of the root is a mean over all visits.
    assert ((found.value > 1.0) & (found.value <= 2.9)).all()


@needs_mctx
def test_actions_that_are_not_legal_are_not_chosen():
    legal = np.ones((LANES, ACTIONS), bool)
    legal[np.arange(LANES), BEST] = False
    found = find(legal=legal)
    assert tuple(found.action.tolist()) == SECOND
    np.testing.assert_allclose(found.weights[np.arange(LANES), np.array(BEST)], 0, atol=1e-6)


@needs_mctx
def test_a_tree_is_no_deeper_than_asked():
    assert tuple(find(max_depth=1).action.tolist()) == AT_ONCE


@needs_mctx
@pytest.mark.parametrize('rule', [search.Gumbel(), search.Puct()], ids=['gumbel', 'puct'])
def test_a_lane_searches_the_same_however_lanes_are_batched(rule):
    together = find(rule=rule)
    apart = [find([lane], rule=rule) for lane in range(LANES)]
    for name in search.Found._fields:
        pieces = np.concatenate([getattr(piece, name) for piece in apart])
        np.testing.assert_allclose(pieces, getattr(together, name), rtol=1e-6)


@needs_mctx
def test_noise_is_of_the_key_and_may_be_switched_off():
    noise = search.Gumbel(noise_scale=100.0)
    drawn = [find(rule=noise, key=key).action for key in range(6)]
    assert len({tuple(actions.tolist()) for actions in drawn}) > 1
    still = [find(key=key) for key in range(3)]
    assert all(np.array_equal(still[0].weights, other.weights) for other in still)
    noisy = find(rule=search.Puct(noise_fraction=0.9))
    assert not np.array_equal(noisy.weights, find(rule=PUCT).weights)


@needs_mctx
def test_a_number_of_simulations_below_1_is_refused():
    with pytest.raises(SettingError, match='num_simulations'):
        find(num_simulations=0)


def test_a_missing_package_is_told_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mctx', None)
    with pytest.raises(ImportError, match=r"Mu needs the package mctx.*'culmen\[search\]'"):
        search.require('Mu')
