"""Recorded streams, how they are played into a table, and the items that they hold by definition.

The definition is written down twice in this repository: in the tables, and here, slowly, with the
whole stream at hand. Nothing here is used by the tables.
"""

from typing import Any
from typing import NamedTuple

import jax
import numpy as np
from dm_env import specs

from culmen.components.replay import RowSpec
from culmen.core import FIRST
from culmen.core import LAST
from culmen.core import MID
from culmen.core import EnvironmentSpec
from culmen.core import StackedArray
from culmen.core import Window
from culmen.core.specs import leaf_paths
from culmen.core.types import Steps
from culmen.core.types import TimeStep

OBSERVE, ACT = 0, 1

SPEC = EnvironmentSpec(
    observation={
        'image': specs.BoundedArray((3, 2), np.uint8, 0, 255),
        'where': specs.Array((2,), np.int32),  # (tick, lane): names the row in every sample
    },
    action=(specs.DiscreteArray(5), specs.BoundedArray((2,), np.float32, -1, 1)),
    reward={'own': specs.Array((), np.float32), 'other': specs.Array((2,), np.float32)},
    discount=specs.BoundedArray((), np.float32, 0, 1),
)
ACTION = (jax.ShapeDtypeStruct((), np.int32), jax.ShapeDtypeStruct((2,), np.float32))
EXTRAS = {
    'state': (jax.ShapeDtypeStruct((100,), np.float32),),  # more than a table may want to pack
    'value': jax.ShapeDtypeStruct((), np.float32),
}
ROW_SPEC = RowSpec(SPEC, ACTION, EXTRAS)

EPISODES = [[3, 7, 1], [5], [1, 2, 11, 4], [30], [2, 1]]  # lanes that end at different times


class Stream(NamedTuple):
    """All rows of all lanes: leaves [T, B, ...]."""

    timestep: TimeStep
    action: Any
    extras: Any
    version: np.ndarray  # int32[T]

    @property
    def num_ticks(self) -> int:
        return self.timestep.step_type.shape[0]

    @property
    def num_lanes(self) -> int:
        return self.timestep.step_type.shape[1]

    def at(self, tick: int) -> tuple[TimeStep, Any, Any, int]:
        """The row of a tick: arguments of observe and of act."""
        timestep, action, extras = jax.tree_util.tree_map(
            lambda leaf: leaf[tick], (self.timestep, self.action, self.extras)
        )
        return timestep, action, extras, int(self.version[tick])


def step_types(episodes: list[list[int]], num_ticks: int) -> np.ndarray:
    """int32[T, B] of lanes whose episodes have these numbers of transitions, over and over.

    A negative length is an episode of so many rows that is interrupted: no LAST follows.
    """
    lanes = []
    for lengths in episodes:
        lane: list[int] = []
        while len(lane) < num_ticks:
            for length in lengths:
                if length > 0:
                    lane += [FIRST, *[MID] * (length - 1), LAST]
                else:
                    lane += [FIRST, *[MID] * (-length - 1)]
        lanes.append(lane[:num_ticks])
    return np.array(lanes, np.int32).T


def make_stream(types: np.ndarray, seed: int = 0) -> Stream:
    """A stream of random content with these step types int32[T, B]; every leaf of a row differs."""
    rng = np.random.default_rng(seed)
    shape = types.shape
    tick, lane = np.indices(shape)
    # Half of the episodes end in a termination, half are truncated.
    discount = np.where((types == LAST) & (rng.random(shape) < 0.5), 0.0, 0.9)
    reward = {
        'own': rng.normal(size=shape).astype(np.float32),
        'other': rng.normal(size=(*shape, 2)).astype(np.float32),
    }
    for leaf in reward.values():
        leaf[types == FIRST] = 0.0
    observation = {
        'image': rng.integers(0, 256, (*shape, 3, 2), np.uint8),
        'where': np.stack([tick, lane], axis=-1).astype(np.int32),
    }
    return Stream(
        TimeStep(
            types, reward, np.where(types == FIRST, 1.0, discount).astype(np.float32), observation
        ),
        (
            rng.integers(0, 5, shape).astype(np.int32),
            rng.normal(size=(*shape, 2)).astype(np.float32),
        ),
        {
            'state': (rng.normal(size=(*shape, 100)).astype(np.float32),),
            'value': rng.normal(size=shape).astype(np.float32),
        },
        rng.integers(0, 1000, shape[0]).astype(np.int32),
    )


def stacked_stream(num_frames: int, channels: int, seed: int = 0, num_ticks: int = 60) -> Stream:
    """A stream whose images are stacks of the frames that came before, within an episode."""
    types = step_types(EPISODES, num_ticks)
    stream = make_stream(types, seed)
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (*types.shape, 3, 2, channels), np.uint8)
    stacks = np.zeros((*types.shape, 3, 2, num_frames * channels), np.uint8)
    for lane in range(types.shape[1]):
        stack: list[np.ndarray] = []
        for tick in range(types.shape[0]):
            frame = frames[tick, lane]
            stack = [frame] * num_frames if types[tick, lane] == FIRST else [*stack[1:], frame]
            stacks[tick, lane] = np.concatenate(stack, axis=-1)
    observation = {'image': stacks, 'where': stream.timestep.observation['where']}
    return stream._replace(timestep=stream.timestep._replace(observation=observation))


def stacked_spec(num_frames: int, channels: int, stacked: bool) -> EnvironmentSpec:
    shape = (3, 2, num_frames * channels)
    image = (
        StackedArray(shape, np.uint8, 0, 255, num_frames)
        if stacked
        else specs.BoundedArray(shape, np.uint8, 0, 255)
    )
    where = SPEC.observation['where']
    return SPEC._replace(observation={'image': image, 'where': where})


class Item(NamedTuple):
    """A window by definition."""

    tick: int  # at which it appears
    phase: int  # OBSERVE or ACT
    lane: int
    start: int
    length: int


def cut(types: np.ndarray, window: Window, begins: np.ndarray | None = None) -> list[Item]:
    """All items of a stream in the order in which they appear, an episode at a time.

    Args: begins: bool[T, B], the values at `Window.start`.
    """
    if begins is not None:
        return _cut_at(types, window.length, begins)
    items = []
    for lane in range(types.shape[1]):
        for rows in _pieces(types[:, lane].tolist(), window.cross_episodes):
            over = types[rows[-1], lane] == LAST and not window.cross_episodes
            for row in range(0, len(rows), window.period):
                if row + window.length < len(rows):
                    end = rows[row + window.length]
                    items.append(Item(end, OBSERVE, lane, rows[row], window.length))
                elif over and row < len(rows) - 1:
                    items.append(Item(rows[-1], ACT, lane, rows[row], len(rows) - 1 - row))
    return sorted(items)


def _cut_at(types: np.ndarray, length: int, begins: np.ndarray) -> list[Item]:
    """The items that begin where a row says so, in the order in which they appear."""
    items = []
    for lane in range(types.shape[1]):
        for rows in _pieces(types[:, lane].tolist(), cross_episodes=False):
            starts = [tick for tick in rows if begins[tick, lane] and types[tick, lane] != LAST]
            for start, after in zip(starts, [*starts[1:], rows[-1] + 1]):
                end = min(after, start + length)
                if end > rows[-1]:  # no start and no whole length comes before the last row
                    end = rows[-1]
                    if types[end, lane] != LAST:
                        continue
                items.append(Item(end, ACT, lane, start, end - start))
    return sorted(items)


def needs(item: Item, types: np.ndarray, lost: list[tuple[int, int]], num_frames: int = 1) -> bool:
    """Whether an item needs a row of one of these ticks [start, stop), for its stacks of frames too."""
    begin = item.start
    while begin > item.start - (num_frames - 1) and types[begin, item.lane] != FIRST:
        begin -= 1
    ticks = range(begin, item.start + item.length + 1)
    return any(start <= tick < stop for tick in ticks for start, stop in lost)


def _pieces(types: list[int], cross_episodes: bool) -> list[list[int]]:
    """The ticks of a lane in pieces that no window may leave."""
    pieces: list[list[int]] = []
    for tick, kind in enumerate(types):
        interrupted = kind == FIRST and tick > 0 and types[tick - 1] != LAST
        if tick == 0 or interrupted or (kind == FIRST and not cross_episodes):
            pieces.append([])
        pieces[-1].append(tick)
    return pieces


def content(stream: Stream, item: Item, window: Window) -> tuple[dict[str, np.ndarray], int]:
    """(leaves of Steps of one item by path, without a batch axis; version), row by row."""
    names = list(Steps._fields)
    out: dict[str, np.ndarray] = {}
    last_row = item.start + item.length

    def fill(path: str, leaf: np.ndarray, time: int, repeats: bool, pad: int = 0) -> None:
        times = list(range(item.start, item.start + time))
        rows = [leaf[min(t, last_row), item.lane] for t in times]
        if _named(path, window.ends):
            # The start, and the last real time step of those that the leaf has.
            rows = [rows[0], rows[min(item.length, time - 1)]]
        elif _named(path, window.first):
            rows = rows[:1]
        elif not repeats:
            rows = [np.full_like(row, pad) if t > last_row else row for t, row in zip(times, rows)]
        out[path] = np.stack(rows)

    for name in names:
        if name == 'mask':
            continue
        after = name in ('action', 'extras')
        nest = getattr(stream, name) if after else getattr(stream.timestep, name)
        for path, leaf in leaf_paths(nest, name):
            if name != 'step_type' and window.fields and not _named(path, window.fields):
                continue
            fill(path, leaf, window.length + (not after), name in ('observation', 'step_type'))
    types = stream.timestep.step_type[:, item.lane]
    ticks = range(item.start, item.start + window.length)
    out['mask'] = np.array([t < last_row and types[t] != LAST for t in ticks])
    return out, int(stream.version[item.start])


def _named(path: str, names: tuple[str, ...]) -> bool:
    return any(path == name or path.startswith(name + '/') for name in names)


def rows_of(
    sample: Any, recorded: bool = False
) -> list[tuple[tuple[int, int], dict[str, np.ndarray], int]]:
    """[((lane, start), leaves of Steps by path, version)] of a sample's elements, whose lanes it checks."""
    leaves = leaf_paths(sample.steps)
    where = np.asarray(sample.steps.observation['where'])
    out = []
    for i in range(len(where)):
        tick, lane = (int(x) for x in where[i, 0])
        assert int(sample.lane[i]) == (-1 if recorded else lane)
        out.append(
            (
                (lane, tick),
                {path: np.asarray(leaf)[i] for path, leaf in leaves},
                int(sample.version[i]),
            )
        )
    return out


def assert_same_item(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Leaf by leaf, in shape, dtype and every bit."""
    assert sorted(actual) == sorted(expected)
    for path, leaf in expected.items():
        assert actual[path].shape == leaf.shape, path
        assert actual[path].dtype == leaf.dtype, path
        assert actual[path].tobytes() == leaf.tobytes(), f'{path}: {actual[path]} is not {leaf}'
