"""How a server stores the stream: a row is columns of bytes, and an item is slices of these columns.

Small leaves of a row share two columns, one for those known before the action and one for those known
after; a large leaf has a column of its own. As bytes, columns do not depend on dtypes. Short windows are
stored short, and padded in the batch, which is the same as in every other table (`stream/batch.py`).
"""

from collections.abc import Collection
from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from culmen.components.dispatch import Packed
from culmen.components.replay.stream.batch import WORD
from culmen.components.replay.stream.batch import BatchLayout
from culmen.components.replay.stream.batch import LeafPlan
from culmen.components.replay.stream.batch import is_small
from culmen.components.replay.stream.batch import record_type
from culmen.components.replay.stream.row_spec import Half
from culmen.components.replay.stream.row_spec import Leaf
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.stacks import StackCheck
from culmen.components.replay.stream.windows import may_be_short
from culmen.components.replay.stream.windows import stored_paths
from culmen.core.experience import Experience
from culmen.core.experience import Queue
from culmen.core.experience import Replay
from culmen.core.experience import tables
from culmen.core.experience import version_shape
from culmen.core.types import FIRST
from culmen.core.types import Nest
from culmen.core.types import TimeStep
from culmen.core.types import Version

_SHARED_BYTES = 256  # Leaves up to this size share a column.
_STEP_TYPE_BITS = 2  # of an int32; the bits above them hold 1 + the lane, or 0 if it is not known

Columns = dict[str, NDArray[Any]]  # by name, uint8[B, bytes]: one tick of all lanes


class _Part:
    """The leaves of one half of a tick, and their columns."""

    def __init__(
        self, half: Half, extra: str, stored: Collection[str], shape: tuple[int, ...] = ()
    ) -> None:
        """Args: extra, shape: of an int32 that is added to the column of small leaves. stored: paths."""
        self.check, self.tree = half.check, half.tree
        self._places = [i for i, leaf in enumerate(half.leaves) if leaf.path in stored]
        self.leaves = [half.leaves[i] for i in self._places]
        self.record = np.dtype(
            [(extra, np.int32, shape)]
            + [(leaf.path, leaf.dtype, leaf.shape) for leaf in self.leaves if _shares_column(leaf)],
            align=True,
        )
        self.large = [leaf for leaf in self.leaves if not _shares_column(leaf)]

    def columns(
        self, column: str, extra: Any, nests: tuple[Nest, ...], num_lanes: int
    ) -> tuple[Columns, list[Any]]:
        """(columns of a tick in new memory, the values by leaf)."""
        given = self.tree.flatten_up_to(nests)
        values = [given[i] for i in self._places]
        record = np.zeros(num_lanes, self.record)
        record[self.record.names[0]] = extra  # type: ignore[index]
        columns = {}
        for leaf, value in zip(self.leaves, values):
            if _shares_column(leaf):
                record[leaf.path] = value
            else:
                own = np.array(value, leaf.dtype, order='C').reshape(num_lanes, -1)
                columns[leaf.path] = own.view(np.uint8)
        columns[column] = record.view(np.uint8).reshape(num_lanes, -1)
        return columns, values


class RowLayout:
    """Rows of B lanes as columns of bytes."""

    def __init__(self, experience: Experience, row_spec: RowSpec, lanes: NDArray[Any]) -> None:
        """Plans the columns of what the windows of any table have.

        Args:
            experience: of all tables.
            row_spec: of the stream.
            lanes: int[B], counted over all actors of the run.
        Raises: ValueError that names an unknown path in `Window.fields`.
        """
        windows = [table.window for table in tables(experience).values()]
        stored = stored_paths(windows, list(row_spec.leaves))
        self._num_lanes = len(lanes)
        self._lane_bits = (np.asarray(lanes, np.int32) + 1) << _STEP_TYPE_BITS
        self.version_shape = version_shape(experience)
        self.before = _Part(row_spec.timestep, 'step_type', stored)
        self.after = _Part(row_spec.decision, 'version', stored, self.version_shape)
        self.row_spec = row_spec
        self._stacks = [
            (i, leaf) for i, leaf in enumerate(self.before.leaves) if leaf.num_frames > 1
        ]
        self._check_stack = StackCheck()
        self._checked = [False, False]
        self._tick = 0

    def open(self, timestep: TimeStep) -> Columns:
        """The columns that are known when a row is opened.

        Raises: ValueError that names a leaf that does not fit its spec or is not a stack of frames.
        """
        nests = (timestep.reward, timestep.discount, timestep.observation)
        if not self._checked[0]:
            self.before.check(nests, self._num_lanes)
            self._checked[0] = True
        first_word = np.asarray(timestep.step_type) | self._lane_bits
        columns, values = self.before.columns('before', first_word, nests, self._num_lanes)
        for i, leaf in self._stacks:
            first = np.asarray(timestep.step_type) == FIRST
            self._check_stack(leaf, self._tick, first, np.asarray(values[i]))
        self._tick += 1
        return columns

    def close(self, action: Nest, extras: Nest, version: Version) -> Columns:
        """The columns that are known when a row is closed.

        Raises: ValueError that names the leaf that does not fit its spec.
        """
        if not self._checked[1]:
            self.after.check((action, extras), self._num_lanes)
            self._checked[1] = True
        return self.after.columns('after', version, (action, extras), self._num_lanes)[0]


class _Slice(NamedTuple):
    """A column of an item."""

    name: str
    part: Literal['all', 'start', 'end']  # which rows of the item


class ItemLayout:
    """The columns of an item for windows of one kind, and how items become a batch."""

    def __init__(self, rows: RowLayout, table: Replay | Queue, rule: int = 0) -> None:
        """Args: rows: of the stream. table: its window's paths are checked. rule: the place of its rule."""
        self._rows = rows
        self._steps = table.window.length + 1
        all_drawn = isinstance(table, Replay) and table.draw == 'all'
        self._with_lengths = may_be_short(table.window) or all_drawn
        leaves = {leaf.path: leaf for leaf in rows.before.leaves + rows.after.leaves}
        word = np.dtype(np.int32)
        small: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            'step_type': (word, ()),
            'version': (word, rows.version_shape),
        }
        small |= {path: (leaf.dtype, leaf.shape) for path, leaf in leaves.items() if is_small(leaf)}
        self._record, fields = record_type(small)
        self._layout = BatchLayout(
            rows.row_spec,
            fields,
            table.window,
            with_lengths=self._with_lengths,
            with_probability=True,
            rule=rule,
        )
        self._columns: dict[str, int] = {}  # by leaf with columns of its own: the first one's index
        self._slices = [_Slice('before', 'all'), _Slice('after', 'all')]
        for plan in self._layout.large:
            if _shares_column(leaves[plan.path]):
                continue
            self._columns[plan.path] = len(self._slices)
            if plan.kept == 'first':
                self._slices.append(_Slice(plan.path, 'start'))
            elif plan.kept == 'ends':
                # Reverb stores wrong rows if a column is not one contiguous slice.
                self._slices += [_Slice(plan.path, 'start'), _Slice(plan.path, 'end')]
            else:
                self._slices.append(_Slice(plan.path, 'all'))
        self._after = {'after'} | {leaf.path for leaf in rows.after.large}

    def columns(self, history: Any, length: int, is_open: bool) -> list[Any]:
        """The slices of an item that ends at the newest row.

        Args:
            history: by column, an object that can be sliced by rows; the newest row is the last.
            length: transitions of the item.
            is_open: whether the newest row has no action yet.
        """
        out = []
        # The last time step of a whole window has no action in a batch, whether or not it was acted on.
        without_last = is_open or length + 1 == self._steps
        for name, part in self._slices:
            begin, end = -(length + 1), -1 if name in self._after and without_last else 0
            if part == 'start':
                end = begin + 1
            elif part == 'end':
                begin = end - 1
            out.append(history[name][begin : end or None])
        return out

    def assemble(
        self, items: Sequence[Sequence[NDArray[Any]]], probability: NDArray[Any], size: int
    ) -> Packed:
        """Makes a batch of items in new memory.

        Args:
            items: N items, each a list of columns uint8[rows, bytes].
            probability: float32[N].
            size: items in the table.
        Returns: a Sample, packed.
        """
        num = len(items)
        words = np.zeros((num, self._steps), self._record)
        shared: dict[str, NDArray[Any]] = {}
        for i, part in enumerate((self._rows.before, self._rows.after)):
            record = _stacked(items, i, self._steps, part.record.itemsize).view(part.record)[..., 0]
            shared |= {name: record[name] for name in part.record.names or ()}
        lanes = (shared['step_type'][:, 0] >> _STEP_TYPE_BITS) - 1
        shared['step_type'] = shared['step_type'] & ((1 << _STEP_TYPE_BITS) - 1)
        for name in self._record.names or ():
            words[name] = shared[name]
        arrays = [
            words.view(np.int32).reshape(num, self._steps, self._record.itemsize // WORD),
            np.array(size, np.int32),
        ]
        self._layout.set_lanes(arrays[0], lanes)
        if self._with_lengths:
            arrays.append(np.fromiter((len(item[0]) - 1 for item in items), np.int32, num))
        arrays.append(probability)
        for plan in self._layout.large:
            arrays.append(self._large(plan, items, shared))
        return Packed(arrays, self._layout)

    def _large(
        self,
        plan: LeafPlan,
        items: Sequence[Sequence[NDArray[Any]]],
        shared: dict[str, NDArray[Any]],
    ) -> NDArray[Any]:
        """A leaf [N, T, ...] that has no field in the record of a batch."""
        if plan.path in shared:
            values = shared[plan.path]
            return values.copy() if plan.times is None else values[:, plan.times].copy()
        leaf = self._rows.row_spec.leaves[plan.path]
        column, nbytes = self._columns[plan.path], leaf.nbytes
        if plan.kept == 'ends':
            ends = [_stacked(items, column + end, 1, nbytes) for end in (0, 1)]
            data = np.concatenate(ends, axis=1)
        else:
            steps = np.arange(self._steps)
            steps = steps if plan.times is None else steps[plan.times]
            data = _stacked(items, column, len(steps), nbytes)
        return data.view(leaf.dtype).reshape(*data.shape[:2], *leaf.shape)


def _stacked(items: Sequence[Any], column: int, rows: int, nbytes: int) -> NDArray[Any]:
    """A column of all items, uint8[N, rows, nbytes]. Beyond its end an item repeats its last row."""
    out = np.empty((len(items), rows, nbytes), np.uint8)
    for i, item in enumerate(items):
        data = item[column]
        have = len(data)
        out[i, :have] = data
        if have < rows:
            out[i, have:] = data[-1]
    return out


def _shares_column(leaf: Leaf) -> bool:
    """Whether a leaf is in the shared column of its half. Checkpoints depend on this."""
    return leaf.nbytes <= _SHARED_BYTES and leaf.dtype.kind in 'biufc'
