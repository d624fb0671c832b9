"""The cutter of streams, and the fold of a window into an n-step transition."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from culmen.components.replay import Cutter
from culmen.components.replay import fold
from culmen.components.replay import kept_times
from culmen.components.replay.stream.windows import moved_under
from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import MID
from culmen.core import Steps
from culmen.core import Window
from tests.components.replay import streams

lengths = st.lists(st.integers(-6, 12).filter(bool), min_size=1, max_size=4)


def cut(cutter: Cutter, types: np.ndarray, first_tick: int = 0) -> list[streams.Item]:
    """Items of a stream as the cutter gives them, in its order."""
    found = []
    for tick, row in enumerate(types, first_tick):
        for phase, items in enumerate((cutter.observe(row), cutter.act())):
            if items is not None:
                assert len(items.lane) > 0
                found += [
                    streams.Item(tick, phase, int(lane), int(start), int(length))
                    for lane, start, length in zip(*items)
                ]
    return found


@given(
    episodes=st.lists(lengths, min_size=1, max_size=4),
    length=st.integers(1, 9),
    period=st.integers(1, 9),
    cross=st.booleans(),
    saved_at=st.integers(0, 50),
)
def test_agrees_with_the_definition_also_when_saved_in_the_middle(
    episodes: Any, length: int, period: int, cross: bool, saved_at: int
) -> None:
    window = Window(length, period, cross)
    types = streams.step_types(episodes, 50)
    cutter = Cutter(window, len(episodes))
    found = cut(cutter, types[:saved_at])
    state = cutter.get_state()
    cut(cutter, types[saved_at:])  # what is saved does not follow
    restored = Cutter(window, len(episodes))
    restored.set_state(state)
    found += cut(restored, types[saved_at:], saved_at)
    assert found == streams.cut(types, window)


def test_by_hand() -> None:
    # Two lanes. What LAST cuts short appears when its row is closed.
    types = np.array([[FIRST, FIRST], [MID, MID], [MID, LAST], [LAST, FIRST]])
    assert cut(Cutter(Window(length=2), 2), types) == [
        (2, streams.OBSERVE, 0, 0, 2),
        (2, streams.OBSERVE, 1, 0, 2),
        (2, streams.ACT, 1, 1, 1),
        (3, streams.OBSERVE, 0, 1, 2),
        (3, streams.ACT, 0, 2, 1),
    ]


def test_an_interruption_drops_the_open_windows_of_its_lane_alone() -> None:
    types = np.array([[FIRST, FIRST], [MID, MID], [MID, FIRST], [MID, MID], [LAST, MID]])
    for cross in (False, True):
        window = Window(length=2, period=2, cross_episodes=cross)
        lanes = [(item.lane, item.start) for item in cut(Cutter(window, 2), types)]
        assert lanes == [(0, 0), (0, 2), (1, 2)]


def test_paths_name_leaves_or_subtrees() -> None:
    paths = ['reward', 'observation/a', 'observation/b', 'extras']
    window = Window(ends=('observation', 'reward'), first=('extras',))
    assert kept_times(window, paths) == (['observation/a', 'observation/b', 'reward'], ['extras'])
    with pytest.raises(ValueError, match=r"Window.ends must name .*'observation/a'.* got 'obs'"):
        kept_times(Window(ends=('obs',)), paths)


# fold.


def slow_fold(steps: Any, discount: float, i: int) -> tuple[Any, Any, Any]:
    """(r_t, discount_t, number of transitions) of element i, in a loop."""
    r_t, weight, num = 0.0, 1.0, 0
    for t in range(steps.mask.shape[1]):
        if not steps.mask[i, t]:
            break
        r_t += weight * float(steps.reward[i, t + 1])
        weight *= discount * float(steps.discount[i, t + 1])
        num += 1
    return r_t, weight, num


def make_steps(seed: int, length: int, crossing: bool = False, batch: int = 16) -> Any:
    """Windows of every number of transitions, some of which end in a termination."""
    rng = np.random.default_rng(seed)
    num = rng.integers(1, length + 1, batch)
    times = np.arange(length + 1)
    discount = rng.choice([0.5, 1.0], (batch, length + 1))
    discount[np.arange(batch), num] = rng.choice([0.0, 1.0], batch)
    reward = rng.normal(size=(batch, length + 1))
    observation = rng.normal(size=(batch, length + 1, 3))
    mask = times[:-1] < num[:, None]
    if crossing:
        mask[:, length // 2 + 1 :] = True  # the next episode, which must not reach this one
        mask[:, length // 2] = False
    else:
        past = times > num[:, None]
        reward[past], discount[past] = 0.0, 0.0
        for i in range(batch):
            observation[i, num[i] :] = observation[i, num[i]]
    action = rng.integers(0, 4, (batch, length))
    return Steps(
        step_type=np.full((batch, length + 1), MID, np.int32),
        reward=reward.astype(np.float32),
        discount=discount.astype(np.float32),
        observation=observation.astype(np.float32),
        action=action.astype(np.int32),
        extras=(),
        mask=mask,
    )


@pytest.mark.parametrize('length', [1, 2, 5])
@pytest.mark.parametrize('crossing', [False, True])
@pytest.mark.parametrize('jit', [False, True])
def test_fold_agrees_with_the_definition(length: int, crossing: bool, jit: bool) -> None:
    steps = make_steps(length, length, crossing)
    function = jax.jit(fold) if jit else fold  # under jit, the discount is traced
    o_tm1, a_tm1, r_t, discount_t, o_t = function(steps, 0.9)
    assert r_t.dtype == discount_t.dtype == jnp.float32
    for i in range(16):
        expected_r, expected_discount, num = slow_fold(steps, 0.9, i)
        np.testing.assert_allclose(r_t[i], expected_r, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(discount_t[i], expected_discount, rtol=1e-5)
        np.testing.assert_array_equal(o_tm1[i], steps.observation[i, 0])
        np.testing.assert_array_equal(a_tm1[i], steps.action[i, 0])
        if num > 0:  # otherwise it started at LAST: no transition
            np.testing.assert_array_equal(o_t[i], steps.observation[i, num])


def test_fold_by_hand() -> None:
    # Two transitions and a termination, then padding; discount 0.5:
    # r_t = 1 + 0.5 * 2 = 2, discount_t = 0.5 * (0.5 * 0) = 0.
    steps = Steps(
        step_type=np.array([[FIRST, MID, LAST, LAST]]),
        reward=np.array([[0.0, 1.0, 2.0, 0.0]], np.float32),
        discount=np.array([[1.0, 1.0, 0.0, 0.0]], np.float32),
        observation=np.array([[5, 6, 7, 7]], np.int32),
        action=np.array([[3, 4, 0]], np.int32),
        extras=(),
        mask=np.array([[True, True, False]]),
    )
    assert [np.asarray(x).tolist() for x in fold(steps, 0.5)] == [[5], [3], [2.0], [0.0], [7]]
    # The same, truncated: the bootstrap is there, discounted twice.
    truncated = steps._replace(discount=np.array([[1.0, 1.0, 1.0, 0.0]], np.float32))
    assert fold(truncated, 0.5).discount_t.tolist() == [0.25]


def test_fold_reads_both_ends_alone_where_no_more_is_kept() -> None:
    steps = make_steps(0, 5)
    both = steps._replace(observation=steps.observation[:, [0, -1]], action=steps.action[:, :1])
    for whole, ends in zip(fold(steps, 0.9), fold(both, 0.9)):
        np.testing.assert_array_equal(whole, ends)


def test_fold_of_nested_rewards_and_observations() -> None:
    steps, other = make_steps(1, 3), make_steps(2, 3)
    pair = np.stack([steps.reward, other.reward], axis=-1)
    nested = steps._replace(
        reward={'a': steps.reward, 'b': pair}, observation=(steps.observation, steps.reward)
    )
    out, alone = fold(nested, 0.9), fold(steps, 0.9)
    np.testing.assert_array_equal(out.r_t['a'], alone.r_t)
    np.testing.assert_allclose(out.r_t['b'][:, 0], alone.r_t, rtol=1e-6)
    b = fold(steps._replace(reward=other.reward), 0.9).r_t
    np.testing.assert_allclose(out.r_t['b'][:, 1], b, rtol=1e-6)
    np.testing.assert_array_equal(out.o_t[0], alone.o_t)
    discounts = {'a': steps.discount, 'b': np.zeros_like(pair)}
    out = fold(nested._replace(discount=discounts), 0.9)
    np.testing.assert_array_equal(out.r_t['a'], alone.r_t)
    np.testing.assert_allclose(out.r_t['b'], pair[:, 1], rtol=1e-6)  # all discounts 0: one reward
    assert out.discount_t['b'].shape == (16, 2)


def test_rewards_kept_in_part_are_refused() -> None:
    steps = make_steps(0, 5)
    with pytest.raises(
        ValueError, match=r'reward must have 6 time steps to be folded, got .*16, 2'
    ):
        fold(steps._replace(reward=steps.reward[:, :2]), 0.9)
    with pytest.raises(ValueError, match='discount must have 6 time steps'):
        fold(steps._replace(discount=steps.discount[:, :1]), 0.9)
    with pytest.raises(ValueError, match='observation must have 6 time steps'):
        fold(steps._replace(observation=steps.observation[:, :1]), 0.9)


def test_the_paths_of_a_nest_move_under_a_prefix():
    window = Window(
        length=3,
        ends=('observation/a', 'extras/seen'),
        first=('extras/core_state/hidden',),
        fields=('observation', 'action', 'extras'),
        start='extras/option/ended',
    )
    base = moved_under(window, 'base')
    assert base == Window(
        length=3,
        ends=('observation/a', 'extras/base/seen'),
        first=('extras/base/core_state/hidden',),
        fields=('observation', 'action', 'extras/base'),
        start='extras/base/option/ended',
    )
    of_player = moved_under(
        Window(ends=('observation',), first=('observations/x',)), 'one', 'observation'
    )
    assert of_player == Window(ends=('observation/one',), first=('observations/x',))
    assert moved_under(Window(), 'base') == Window()
