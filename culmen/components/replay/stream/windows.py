"""Windows over a stream of steps: which pieces become items, and what a learner reads from them.

Every table uses the same `Cutter` to find windows (`starts.py` has one for windows that begin where a row
says so), so all tables give the same items for the same stream. `fold` turns a batch of windows into n-step
transitions inside a compiled update. Nothing here depends on storage, draws or priorities.
"""

import dataclasses
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from culmen.core.experience import Window
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import Nest
from culmen.core.types import Steps
from culmen.core.types import TimeStep


class Items(NamedTuple):
    """Windows of the stream, by lane and then by start."""

    lane: NDArray[Any]  # int64[N]
    start: NDArray[Any]  # int64[N]: tick of the first time step
    length: NDArray[Any]  # int64[N]: transitions up to the last time step; at most Window.length


class Cutter:
    """Cuts the stream of B lanes into windows, one tick at a time.

    Within an episode windows start at rows 0, period, 2 period ... counted from FIRST. A whole window
    appears when its last time step is observed. Windows that LAST cuts short appear when LAST's row is
    closed; each has at least one transition. Windows that cross episodes are counted along the lane's
    stream and are always whole: with length 1, one also starts at LAST.

    A FIRST that does not follow a LAST is an interruption: the lane's open windows are dropped, and its
    count restarts there.

    Example:
        >>> cutter = Cutter(Window(length=2), num_lanes=1)
        >>> for step_type in (FIRST, 1, LAST):
        ...     whole, short = cutter.observe(np.array([step_type])), cutter.act()
        >>> whole.start.tolist(), short.start.tolist(), short.length.tolist()
        ([0], [1], [1])
    """

    def __init__(self, window: Window, num_lanes: int) -> None:
        """Args: window: what to cut. num_lanes: B."""
        self._length = window.length
        self._period = window.period
        self._cross = window.cross_episodes
        self._tick = -1
        self._origin = np.zeros(num_lanes, np.int64)  # the tick at which a lane's count starts
        self._ended = np.zeros(num_lanes, bool)  # whether the newest row is LAST
        self._single = num_lanes == 1
        self._lone = (0, False)  # origin and ended of a single lane, which Python reads faster
        self._no_lane = np.zeros(1, np.int64)
        self._whole = np.full(1, window.length, np.int64)

    def observe(self, step_type: NDArray[Any]) -> Items | None:
        """Opens a row in every lane.

        Args:
            step_type: int[B].
        Returns: the windows that end here, all whole; None if there are none.
        """
        self._tick += 1
        if self._single:
            return self._observe_one(int(step_type[0]))
        first = step_type == FIRST
        restart = first & ~self._ended if self._cross else first | self._ended
        self._origin[restart] = self._tick
        self._ended = step_type == LAST
        count = self._tick - self._length - self._origin
        ready = count >= 0
        if self._period > 1:
            ready &= count % self._period == 0
        lane = ready.nonzero()[0]
        if not lane.size:
            return None
        return Items(
            lane,
            np.full(lane.size, self._tick - self._length, np.int64),
            np.full(lane.size, self._length, np.int64),
        )

    def _observe_one(self, step_type: int) -> Items | None:
        """`observe` for one lane in plain integers, for speed: small loops take millions of steps."""
        origin, ended = self._lone
        if (step_type == FIRST and not ended) if self._cross else (step_type == FIRST or ended):
            self._origin[0] = origin = self._tick
        if ended != (step_type == LAST):
            self._ended[0] = ended = not ended
        self._lone = origin, ended
        start = self._tick - self._length
        count = start - origin
        if count < 0 or count % self._period:
            return None
        return Items(self._no_lane, np.array([start]), self._whole)

    def act(self) -> Items | None:
        """Closes the rows. Returns: the windows that LAST cuts short; None if there are none."""
        if self._cross or not self.has_ended:
            return None
        lanes = self._ended.nonzero()[0]
        steps = self._tick - self._origin[lanes]  # transitions of the episode
        # Start number k is row k * period. Windows from rows up to steps - length are already whole.
        begin = -(-np.maximum(steps - self._length + 1, 0) // self._period)
        end = -(-steps // self._period)
        num = np.maximum(end - begin, 0)
        total = int(num.sum())
        if not total:
            return None
        lane = np.repeat(lanes, num)
        rank = np.arange(total) - np.repeat(np.cumsum(num) - num, num)
        start = self._origin[lane] + (np.repeat(begin, num) + rank) * self._period
        return Items(lane, start, self._tick - start)

    def read_timestep(self, timestep: TimeStep) -> None:
        """Reads the open row. These windows need only its step type."""

    def read_decision(self, action: Nest, extras: Nest) -> None:
        """Reads the decision on the open row. These windows need nothing of it."""

    def may_begin(self) -> NDArray[Any]:
        """bool[B]: in which lanes a window begins at the open row, or may do so if that isn't known yet."""
        begins: NDArray[Any] = (self._tick - self._origin) % self._period == 0
        return begins if self._cross else begins & ~self._ended

    @property
    def has_ended(self) -> bool:
        """Whether an episode ends at the newest row, in any lane."""
        return self._lone[1] if self._single else bool(self._ended.any())

    def skip_before(self, tick: int, reach: int = 0) -> None:
        """Drops open windows that begin before tick + reach, in lanes whose count started before the tick.

        Args: reach: rows that a window needs before its first row.
        """
        early = self._origin < tick
        periods = -(-(tick + reach - self._origin[early]) // self._period)
        self._origin[early] += periods * self._period
        self._lone = int(self._origin[0]), bool(self._ended[0])

    def get_state(self) -> dict[str, Any]:
        """The state that a resumed stream needs."""
        return {'tick': self._tick, 'origin': self._origin.copy(), 'ended': self._ended.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the result of `get_state`."""
        self._tick = int(state['tick'])
        self._origin = np.array(state['origin'], np.int64)
        self._ended = np.array(state['ended'], bool)
        self._lone = int(self._origin[0]), bool(self._ended[0])


def may_be_short(window: Window) -> bool:
    """Whether an episode's end, or the next window's start, can cut a window short."""
    return window.length > 1 and not window.cross_episodes


def meets(
    begin: NDArray[Any], end: NDArray[Any], ranges: Sequence[tuple[int, int]]
) -> NDArray[Any]:
    """bool[N]: whether ticks [begin, end], ends included, overlap any of the ranges [start, stop)."""
    found = np.zeros(len(begin), bool)
    for start, stop in ranges:
        found |= (begin < stop) & (end >= start)
    return found


def kept_paths(window: Window, paths: Sequence[str]) -> list[str]:
    """The leaves that a batch of windows has.

    Args:
        window: its `fields` name leaves or whole subtrees; None: all.
        paths: of the leaves of a row: 'reward', 'observation/pixels', 'extras/core_state' ...
    Returns: these paths, in the order of `paths`.
    Raises: ValueError that names the unknown path and the known ones.
    """
    if window.fields is None:
        return list(paths)
    named = set(_expand('Window.fields', window.fields, paths))
    return [path for path in paths if path in named]


def stored_paths(windows: Iterable[Window], paths: Sequence[str]) -> list[str]:
    """The leaves that batches of any of these windows have. Args and Raises: as `kept_paths`."""
    named = {path for window in windows for path in kept_paths(window, paths)}
    return [path for path in paths if path in named]


def kept_times(window: Window, paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """The leaves that a window keeps only at both ends, and those that it keeps only at the start.

    Args:
        window: its `ends` and `first` name leaves or whole subtrees, within its `fields`.
        paths: of the leaves of a row: 'reward', 'observation/pixels', 'extras/core_state' ...
    Returns: (paths kept at both ends, paths kept at the start).
    Raises: ValueError that names the unknown path and the known ones, or a leaf that is in both.
    """
    paths = kept_paths(window, paths)
    ends = _expand('Window.ends', window.ends, paths)
    first = _expand('Window.first', window.first, paths)
    both = [path for path in ends if path in first]
    if both:
        raise ValueError(f'Window.ends and Window.first must not share leaves, got {both} in both.')
    return ends, first


def moved_under(window: Window, prefix: str, nest: str = 'extras') -> Window:
    """A window of an agent that holds another one's fields of a nest under a prefix.

    Example:
        >>> moved_under(Window(first=('extras/core_state', 'observation')), 'base').first
        ('extras/base/core_state', 'observation')
    """

    def move(path: str) -> str:
        first, slash, rest = path.partition('/')
        return f'{nest}/{prefix}{slash}{rest}' if first == nest else path

    moved: dict[str, Any] = {
        name: tuple(map(move, getattr(window, name)))
        for name in ('ends', 'first', 'fields')
        if getattr(window, name)
    }
    if window.start is not None:
        moved['start'] = move(window.start)
    return dataclasses.replace(window, **moved)


def _expand(where: str, names: Sequence[str], paths: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        matches = [path for path in paths if path == name or path.startswith(f'{name}/')]
        if not matches:
            raise ValueError(f'{where} must name leaves of a row, {list(paths)}, got {name!r}.')
        found += [path for path in matches if path not in found]
    return found


class Transitions(NamedTuple):
    """A batch of n-step transitions."""

    o_tm1: Nest  # [B, ...]
    a_tm1: Nest  # [B, ...]
    r_t: Nest  # float32[B]
    discount_t: Nest  # float32[B]
    o_t: Nest  # [B, ...]


def fold(steps: Steps, discount: Any) -> Transitions:
    """Folds each window into one n-step transition.

    With d[k] = discount * steps.discount[k] and n the transitions before the first False mask:

        r_t = reward[1] + d[1] reward[2] + ... + d[1] ... d[n-1] reward[n]
        discount_t = d[1] ... d[n]
        o_t = observation[n]

    so bootstrapping with `discount_t * v(o_t)` is correct for whole windows, for those that an episode's
    end cuts short, at terminations (discount 0) and at truncations. A window that starts at LAST
    (length 1, crossing episodes) has no transition, r_t 0 and discount_t 1: weight it by
    `steps.mask[:, 0]`.

    Args:
        steps: B windows. `observation` may be kept only at both ends if no window crosses episodes;
            reward and discount must have every time step. If reward is a nest, discount is one array
            or a nest of the same structure.
        discount: gamma; a number, traced or not.
    Returns: Transitions, leaves [B, ...].
    Raises: ValueError that names a leaf whose time axis does not fit, or that `Window.fields` leaves out.
    Reference: Sutton and Barto, Reinforcement Learning, 2nd ed., equation 7.1.
    """
    for name in ('reward', 'discount'):
        if not jax.tree_util.tree_leaves(getattr(steps, name)):
            raise ValueError(f'steps must have {name} to be folded: Window.fields leaves it out.')
    length = steps.mask.shape[1]
    mask = jnp.asarray(steps.mask)
    alive = jnp.cumprod(mask.astype(jnp.int32), axis=1).astype(bool)  # [B, length]
    map_nest = jax.tree_util.tree_map

    def products(leaf: jax.Array) -> jax.Array:  # [B, length + 1, ...]: 1, d[1], d[1] d[2] ...
        _check_times('discount', leaf, length)
        factor = jnp.where(_like(alive, leaf), discount * jnp.asarray(leaf)[:, 1:], 1.0)
        one = jnp.ones_like(factor[:, :1])
        return jnp.concatenate([one, jnp.cumprod(factor, axis=1)], axis=1)

    def fold_reward(leaf: jax.Array, weight: jax.Array) -> jax.Array:
        _check_times('reward', leaf, length)
        weighted = _like(weight[:, :-1], leaf) * jnp.asarray(leaf)[:, 1:]
        return jnp.sum(jnp.where(_like(alive, leaf), weighted, 0.0), axis=1)

    weights = map_nest(products, steps.discount)
    if jax.tree_util.treedef_is_leaf(jax.tree_util.tree_structure(steps.discount)):
        r_t = map_nest(lambda leaf: fold_reward(leaf, weights), steps.reward)
    else:
        r_t = map_nest(fold_reward, steps.reward, weights)

    num = jnp.sum(alive, axis=1)

    def last(leaf: jax.Array) -> jax.Array:
        if leaf.shape[1] not in (2, length + 1):
            raise ValueError(
                f'observation must have {length + 1} time steps, or 2 where Window.ends names it, '
                f'got shape {leaf.shape}.'
            )
        if leaf.shape[1] == 2:
            return leaf[:, 1]
        pick = jax.vmap(lambda x, i: jax.lax.dynamic_index_in_dim(x, i, keepdims=False))
        return pick(jnp.asarray(leaf), num)

    return Transitions(
        o_tm1=map_nest(lambda leaf: leaf[:, 0], steps.observation),
        a_tm1=map_nest(lambda leaf: leaf[:, 0], steps.action),
        r_t=r_t,
        discount_t=map_nest(lambda leaf: leaf[:, -1], weights),
        o_t=map_nest(last, steps.observation),
    )


def _like(array: jax.Array, leaf: jax.Array) -> jax.Array:
    """Reshapes [B, T] to [B, T, 1, ...], to broadcast with a leaf [B, T, ...]."""
    return jnp.reshape(array, array.shape + (1,) * (leaf.ndim - array.ndim))


def _check_times(name: str, leaf: jax.Array, length: int) -> None:
    if leaf.shape[1] != length + 1:
        raise ValueError(
            f'{name} must have {length + 1} time steps to be folded, got shape {leaf.shape}; '
            f'Window.ends and Window.first must not name it.'
        )
