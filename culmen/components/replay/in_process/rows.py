"""Rows: the stream of all lanes, each row stored once.

The in-process table and the recorder write a row of every lane each tick; `Gather` reads windows of rows.
Small leaves share one record per row, so a batch of them is one copy and one argument of a compiled update,
which unpacks it (`stream/batch.py`). Large leaves have a ring of their own. If an observation stacks frames
(`StackedArray`), each frame is stored once. Nothing here depends on items, rates or priorities.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.stream.batch import is_small
from culmen.components.replay.stream.batch import record_type
from culmen.components.replay.stream.row_spec import Half
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.stacks import StackCheck
from culmen.core.types import FIRST
from culmen.core.types import Nest
from culmen.core.types import TimeStep
from culmen.core.types import Version

Arrays = dict[str, NDArray[Any]]


class Rows:
    """Rings of rows by tick, for B lanes.

    A time step opens a tick and an action closes it; both are [B, ...]. `code = tick * B + lane` identifies
    the row of a lane.
    """

    def __init__(
        self,
        row_spec: RowSpec,
        num_lanes: int,
        num_ticks: int,
        paths: Collection[str] | None = None,
        version_shape: tuple[int, ...] = (),
    ) -> None:
        """Allocates the rings. The system provides their memory as rows are written.

        Args:
            row_spec: of the stream.
            num_lanes: B.
            num_ticks: how many the rings hold at first.
            paths: of the leaves that are stored; None: all.
            version_shape: of a version, as of `culmen.core.experience.version_shape`.
        """
        self.num_lanes = num_lanes
        self.num_ticks = num_ticks
        self.next_tick = 0  # the first tick that is not closed
        self.is_open = False
        self._timestep = _Stored(row_spec.timestep, paths)
        self._decision = _Stored(row_spec.decision, paths)
        self.row_spec = row_spec
        self.leaves = {leaf.path: leaf for leaf in self._timestep.leaves + self._decision.leaves}
        self.max_frames = max((leaf.num_frames for leaf in self.leaves.values()), default=1)

        word = np.dtype(np.int32)
        fields: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            'step_type': (word, ()),
            'version': (word, version_shape),
        }
        if self.max_frames > 1:
            # Rows since FIRST, at most as many as a stack reaches back.
            fields['age'] = (word, ())
        for leaf in self.leaves.values():
            if is_small(leaf):
                fields[leaf.path] = (leaf.dtype, leaf.shape)
        self._record_dtype, self.fields = record_type(fields)
        self._age = np.zeros(num_lanes, np.int32)
        self._check_stack = StackCheck()
        self._checked = False  # whether a time step and an action have been checked
        self._decision_checked = False
        self._allocate(num_ticks)

    def _allocate(self, num_ticks: int) -> None:
        lanes = self.num_lanes
        size = self._record_dtype.itemsize + sum(
            int(np.prod(leaf.frame_shape)) * leaf.dtype.itemsize
            for leaf in self.leaves.values()
            if not is_small(leaf)
        )
        try:
            record = np.zeros((num_ticks, lanes), self._record_dtype)  # padding within words is 0
            views = {name: record[name] for name in self._record_dtype.names or ()}
            for leaf in self.leaves.values():
                if not is_small(leaf):
                    views[leaf.path] = np.empty((num_ticks, lanes, *leaf.frame_shape), leaf.dtype)
        except MemoryError as error:
            gib = size * num_ticks * lanes / 2**30
            raise MemoryError(
                f'replay needs {num_ticks} rows of {lanes} lanes, {gib:.1f} GiB: too much here.'
            ) from error
        self.num_ticks = num_ticks
        self.record = record.reshape(-1)
        self.words = self.record.view(np.int32).reshape(len(self.record), -1)
        self._views = views
        # [num_ticks * B, ...], for gathering.
        self.flat = {
            leaf.path: views[leaf.path].reshape(-1, *leaf.frame_shape)
            for leaf in self.leaves.values()
            if not is_small(leaf)
        }
        self._step_type, self._version = views['step_type'], views['version']
        self._timestep_views = [views[leaf.path] for leaf in self._timestep.leaves]
        self._decision_views = [views[leaf.path] for leaf in self._decision.leaves]

    @property
    def nbytes(self) -> int:
        """The size of the rings in bytes."""
        return int(self.record.nbytes + sum(ring.nbytes for ring in self.flat.values()))

    def open(self, timestep: TimeStep) -> None:
        """Opens the row of every lane. If the rings are full, this overwrites the oldest tick.

        Raises: ValueError that names a leaf that does not fit its spec or is not a stack of frames.
        """
        if not self._checked:
            nests = (timestep.reward, timestep.discount, timestep.observation)
            self.row_spec.timestep.check(nests, self.num_lanes)
            self._checked = True
        slot = self.next_tick % self.num_ticks
        leaves = self._timestep.values(timestep[1:])
        self._step_type[slot] = timestep.step_type
        if self.max_frames == 1:
            for view, value in zip(self._timestep_views, leaves):
                view[slot] = value
        else:
            self._open_stacked(slot, leaves)
        self.is_open = True

    def _open_stacked(self, slot: int, values: list[NDArray[Any]]) -> None:
        first = self._step_type[slot] == FIRST
        if self.next_tick == 0:
            first[:] = True
        self._age = np.where(first, 0, np.minimum(self._age + 1, self.max_frames - 1))
        self._views['age'][slot] = self._age
        for leaf, view, value in zip(self._timestep.leaves, self._timestep_views, values):
            if leaf.num_frames == 1:
                view[slot] = value
            else:
                value = np.asarray(value)
                view[slot] = value[..., -leaf.frame_shape[-1] :]
                self._check_stack(leaf, self.next_tick, first, value)

    def close(self, action: Nest, extras: Nest, version: Version) -> None:
        """Closes the rows.

        Raises: ValueError that names the leaf that does not fit its spec.
        """
        if not self._decision_checked:
            self.row_spec.decision.check((action, extras), self.num_lanes)
            self._decision_checked = True
        slot = self.next_tick % self.num_ticks
        leaves = self._decision.values((action, extras))
        for view, value in zip(self._decision_views, leaves):
            view[slot] = value
        self._version[slot] = version
        self.is_open = False
        self.next_tick += 1

    def grow(self, first: int) -> None:
        """Doubles the rings. Keeps the rows from tick `first` on."""
        old_ticks, old_views = self.num_ticks, self._views
        old_record = self.record.reshape(old_ticks, -1)
        self._allocate(2 * old_ticks)
        stop = self.next_tick + int(self.is_open)
        new_record = self.record.reshape(self.num_ticks, -1)
        pairs = [(old_record, new_record)]
        pairs += [(old_views[path], self._views[path]) for path in self.flat]
        for start, end in _runs(first, stop, old_ticks, self.num_ticks):
            source, target = start % old_ticks, start % self.num_ticks
            for old, new in pairs:
                new[target : target + end - start] = old[source : source + end - start]

    def resize_empty(self, num_ticks: int) -> None:
        """Removes all rows and makes room for `num_ticks` ticks."""
        if num_ticks != self.num_ticks:
            self._allocate(num_ticks)

    def paths(self, of_open_row: bool = False) -> list[str]:
        """The paths of what is stored for a row; for an open row, those known before its action."""
        leaves = self._timestep.leaves + ([] if of_open_row else self._decision.leaves)
        names = ['step_type'] + (['age'] if self.max_frames > 1 else [])
        return names + ([] if of_open_row else ['version']) + [leaf.path for leaf in leaves]

    def read(self, start: int, stop: int, of_open_row: bool = False) -> Arrays:
        """Copies rows: [stop - start, B, ...] by path; only the newest frame of a stack."""
        out = {}
        for path in self.paths(of_open_row):
            view = self._views[path]
            array = np.empty((stop - start, *view.shape[1:]), view.dtype)
            for begin, end in _runs(start, stop, self.num_ticks):
                slot = begin % self.num_ticks
                array[begin - start : end - start] = view[slot : slot + end - begin]
            out[path] = array
        return out

    def write(self, start: int, arrays: Arrays, of_open_row: bool = False) -> None:
        """Writes rows as returned by `read`.

        Raises: ValueError that names the field that does not fit.
        """
        paths = self.paths(of_open_row)
        for path in paths:
            where = f'checkpoint field {path!r}'
            if path not in arrays:
                raise ValueError(f'{where} is missing: this experiment stores {paths}.')
            shape, dtype = self._views[path].shape[1:], self._views[path].dtype
            if arrays[path].dtype == f'V{dtype.itemsize}' and dtype.kind == 'V':
                # Files have only NumPy's own dtypes: bfloat16 and the like come back as bytes.
                arrays = {**arrays, path: arrays[path].view(dtype)}
            if arrays[path].shape[1:] != shape or arrays[path].dtype != dtype:
                raise ValueError(
                    f'{where} must be {dtype}{[*shape]} a tick, as this experiment stores it, '
                    f'got {arrays[path].dtype}{[*arrays[path].shape[1:]]}.'
                )
        unknown = sorted(set(arrays) - set(paths))
        if unknown:
            raise ValueError(
                f'checkpoint field {unknown[0]!r} is unknown: this experiment stores {paths}.'
            )
        for path in paths:
            view, array = self._views[path], arrays[path]
            for begin, end in _runs(start, start + len(array), self.num_ticks):
                slot = begin % self.num_ticks
                view[slot : slot + end - begin] = array[begin - start : end - start]

    def ages(self, codes: NDArray[Any]) -> NDArray[Any]:
        """int[N]: how many rows before these their stacks of frames reach back."""
        if self.max_frames == 1:
            return np.zeros(len(codes), np.int64)
        return self.record['age'].take(codes % len(self.record))

    def restart(self, next_tick: int, is_open: bool) -> None:
        """Continues at a tick, once the rows before it (and its own, if open) have been written."""
        self.next_tick = next_tick
        self.is_open = is_open
        self._check_stack.forget()
        if self.max_frames > 1 and next_tick + is_open > 0:
            self._age = self._views['age'][(next_tick + is_open - 1) % self.num_ticks].copy()


class _Stored:
    """The leaves of one half of a row that are stored.

    Attributes: values: gives the values of these leaves from the nests of the half.
    """

    def __init__(self, half: Half, paths: Collection[str] | None) -> None:
        self._tree = half.tree
        self._places = [
            i for i, leaf in enumerate(half.leaves) if paths is None or leaf.path in paths
        ]
        self.leaves = [half.leaves[i] for i in self._places]
        every = len(self.leaves) == len(half.leaves)
        self.values: Callable[[tuple[Nest, ...]], list[Any]]
        self.values = half.tree.flatten_up_to if every else self._some

    def _some(self, nests: tuple[Nest, ...]) -> list[Any]:
        values = self._tree.flatten_up_to(nests)
        return [values[i] for i in self._places]


def _runs(start: int, stop: int, *sizes: int) -> Iterator[tuple[int, int]]:
    """Splits [start, stop) into pieces that do not wrap around in rings of these sizes."""
    while start < stop:
        end = min([stop, *[start + size - start % size for size in sizes]])
        yield start, end
        start = end
