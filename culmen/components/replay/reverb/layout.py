"""How the stream lies in Reverb: a row as columns of bytes, an item as slices of them, a batch from items.

Small leaves of a row share one column of bytes, those known before the action and those known after;
a large leaf has a column of its own. Bytes spare Reverb every question of dtypes, and a batch is put
together by one copy a column. Windows that are cut short are stored short and padded here.
"""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.stream.row_spec import Half
from culmen.components.replay.stream.row_spec import Leaf
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.windows import kept_times
from culmen.core.experience import Window
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import Nest
from culmen.core.types import Steps
from culmen.core.types import TimeStep

_SMALL_BYTES = 256  # Leaves up to this size share a column.

Columns = dict[str, NDArray[Any]]  # by name, uint8[B, bytes]: one tick of all lanes


class _Part:
    """The leaves that one half of a tick writes, and their columns."""

    def __init__(self, half: Half, extra: str) -> None:
        """Args: extra: an int32 beside them in the column that small leaves share."""
        self.check, self.tree, self.leaves = half.check, half.tree, half.leaves
        self.record = np.dtype(
            [(extra, np.int32)]
            + [(leaf.path, leaf.dtype, leaf.shape) for leaf in self.leaves if _is_small(leaf)],
            align=True,
        )
        self.large = [leaf for leaf in self.leaves if not _is_small(leaf)]

    def columns(
        self, column: str, extra: Any, nests: tuple[Nest, ...], num_lanes: int
    ) -> tuple[Columns, list[Any]]:
        """(columns of a tick in memory of their own, the values by leaf)."""
        values = self.tree.flatten_up_to(nests)
        record = np.zeros(num_lanes, self.record)
        record[self.record.names[0]] = extra  # type: ignore[index]
        columns = {}
        for leaf, value in zip(self.leaves, values):
            if _is_small(leaf):
                record[leaf.path] = value
            else:
                own = np.array(value, leaf.dtype, order='C').reshape(num_lanes, -1)
                columns[leaf.path] = own.view(np.uint8)
        columns[column] = record.view(np.uint8).reshape(num_lanes, -1)
        return columns, values


class RowLayout:
    """Rows of B lanes as columns of bytes."""

    def __init__(self, row_spec: RowSpec, num_lanes: int) -> None:
        """Args: row_spec: of the stream. num_lanes: B."""
        self._num_lanes = num_lanes
        self.before = _Part(row_spec.timestep, 'step_type')
        self.after = _Part(row_spec.decision, 'version')
        self.paths = list(row_spec.leaves)
        self._stacks = [
            (i, leaf) for i, leaf in enumerate(self.before.leaves) if leaf.num_frames > 1
        ]
        self._newest: dict[str, NDArray[Any]] = {}  # the frames that the next stacks begin with
        self._checked = [False, False]
        self._tick = 0

    def open(self, timestep: TimeStep) -> Columns:
        """The columns known when a row is opened.

        Raises: ValueError that names the leaf that does not fit its spec or is no stack of frames.
        """
        nests = (timestep.reward, timestep.discount, timestep.observation)
        if not self._checked[0]:
            self.before.check(nests, self._num_lanes)
            self._checked[0] = True
        columns, values = self.before.columns('before', timestep.step_type, nests, self._num_lanes)
        for i, leaf in self._stacks:
            self._check_stack(leaf, np.asarray(timestep.step_type) == FIRST, np.asarray(values[i]))
        self._tick += 1
        return columns

    def close(self, action: Nest, extras: Nest, version: int) -> Columns:
        """The columns known when a row is closed.

        Raises: ValueError that names the leaf that does not fit its spec.
        """
        if not self._checked[1]:
            self.after.check((action, extras), self._num_lanes)
            self._checked[1] = True
        return self.after.columns('after', version, (action, extras), self._num_lanes)[0]

    def _check_stack(self, leaf: Leaf, first: NDArray[Any], stack: NDArray[Any]) -> None:
        channels = leaf.shape[-1] // leaf.num_frames
        older, newer = stack[..., :-channels], stack[..., channels:]
        expected = self._newest.get(leaf.path)
        if expected is None:  # After a restart lanes within an episode pass.
            expected = older
        same = first.reshape(-1, *[1] * (stack.ndim - 1))
        if not np.array_equal(older, np.where(same, newer, expected)):
            raise ValueError(
                f'{leaf.path} must be a stack of {leaf.num_frames} frames, as its StackedArray '
                f'spec says: all equal at FIRST, then moved by one each step; at tick '
                f'{self._tick} it is not.'
            )
        self._newest[leaf.path] = newer.copy()


class _Slice(NamedTuple):
    """A column of an item."""

    name: str
    part: str  # 'all', 'start' or 'end' of the rows that it has


class ItemLayout:
    """Windows of one kind: which columns an item has, and how items become a batch."""

    def __init__(self, rows: RowLayout, window: Window) -> None:
        """Args: rows: of the stream. window: which kind; its `ends` and `first` are checked."""
        self._rows = rows
        self._length = window.length
        self._cross = window.cross_episodes
        ends, first = kept_times(window, rows.paths)
        self._ends, self._first = set(ends), set(first)
        self._slices = [_Slice('before', 'all'), _Slice('after', 'all')]
        for leaf in rows.before.large + rows.after.large:
            if leaf.path in self._first:
                self._slices.append(_Slice(leaf.path, 'start'))
            elif leaf.path in self._ends:
                # Reverb stores wrong rows for a column that is not one contiguous slice.
                self._slices += [_Slice(leaf.path, 'start'), _Slice(leaf.path, 'end')]
            else:
                self._slices.append(_Slice(leaf.path, 'all'))
        self._after = {'after'} | {leaf.path for leaf in rows.after.large}

    def columns(self, history: Any, length: int, is_open: bool) -> list[Any]:
        """The slices of an item that ends at the newest row.

        Args:
            history: by column, something to slice by rows; the newest row is the last.
            length: transitions of the item.
            is_open: whether the newest row has no action yet.
        """
        out = []
        for name, part in self._slices:
            begin, end = -(length + 1), -1 if name in self._after and is_open else 0
            if part == 'start':
                end = begin + 1
            elif part == 'end':
                begin = end - 1
            out.append(history[name][begin : end or None])
        return out

    def assemble(
        self, items: Sequence[Sequence[NDArray[Any]]], num: int | None = None
    ) -> tuple[Steps, NDArray[Any]]:
        """A batch of items in memory of its own.

        Args:
            items: of each its columns, uint8[rows, bytes].
            num: of the batch; more than there are items: padding follows, zero but for LAST.
        Returns: (Steps [num, ...], version int32[num] of the first actions).
        """
        length, given = self._length, len(items)
        num = given if num is None else num
        lengths = np.fromiter((len(item[0]) - 1 for item in items), np.int64, given)
        short = given > 0 and int(lengths.min()) < length
        before = self._record(items, 0, length + 1, num, self._rows.before.record)
        after = self._record(items, 1, length, num, self._rows.after.record)
        padding = np.arange(length + 1) > lengths[:, None] if short else None
        values: list[Any] = []
        column = 2
        for part, record, rows in (
            (self._rows.before, before, length + 1),
            (self._rows.after, after, length),
        ):
            leaves = []
            for leaf in part.leaves:
                if _is_small(leaf):
                    leaves.append(self._small(leaf, record, rows, padding))
                else:
                    leaves.append(self._large(leaf, items, column, rows, num))
                    column += 2 if leaf.path in self._ends else 1
            values.append(part.tree.unflatten(leaves))
        (reward, discount, observation), (action, extras) = values
        step_type = before['step_type']
        step_type[given:] = LAST
        if self._cross:
            mask = step_type[:, :-1] != LAST
        else:
            mask = np.zeros((num, length), bool)
            mask[:given] = np.arange(length) < lengths[:, None]
        version = after['version'][:, 0]
        return Steps(step_type, reward, discount, observation, action, extras, mask), version

    def _record(
        self, items: Any, column: int, rows: int, num: int, record: np.dtype[Any]
    ) -> NDArray[Any]:
        """The shared column as records [num, rows]; past its end a window repeats its last row."""
        out = _filled(items, column, rows, num, record.itemsize, repeats=True)
        return out.view(record)[..., 0]

    def _small(
        self, leaf: Leaf, record: NDArray[Any], rows: int, padding: NDArray[Any] | None
    ) -> NDArray[Any]:
        values = record[leaf.path]
        if leaf.path in self._first:
            return values[:, :1]
        if leaf.path in self._ends:
            return values[:, [0, rows - 1]]
        if padding is not None and not _repeats(leaf):
            values[: len(padding)][padding[:, :rows]] = 0
        return values

    def _large(self, leaf: Leaf, items: Any, column: int, rows: int, num: int) -> NDArray[Any]:
        if leaf.path in self._first:
            out = _filled(items, column, 1, num, leaf.nbytes, repeats=False)
        elif leaf.path in self._ends:
            out = np.empty((num, 2, leaf.nbytes), np.uint8)
            for end in (0, 1):
                out[:, end : end + 1] = _filled(
                    items, column + end, 1, num, leaf.nbytes, repeats=False
                )
        else:
            out = _filled(items, column, rows, num, leaf.nbytes, repeats=_repeats(leaf))
        return out.view(leaf.dtype).reshape(num, out.shape[1], *leaf.shape)


def _filled(
    items: Any, column: int, rows: int, num: int, nbytes: int, *, repeats: bool
) -> NDArray[Any]:
    """A column of a batch, uint8[num, rows, nbytes]: padded with the last row or with zeros."""
    out = np.empty((num, rows, nbytes), np.uint8)
    for i, item in enumerate(items):
        data = item[column]
        have = len(data)
        out[i, :have] = data
        if have < rows:
            out[i, have:] = data[-1] if repeats else 0
    out[len(items) :] = 0
    return out


def _is_small(leaf: Leaf) -> bool:
    return leaf.nbytes <= _SMALL_BYTES and leaf.dtype.kind in 'biufc'


def _repeats(leaf: Leaf) -> bool:
    return leaf.path.split('/')[0] == 'observation'
