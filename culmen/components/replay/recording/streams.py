"""Reads a recording back: the files of its lanes in order, and the streams that they hold.

`recorded_streams` is for anyone who wants to look at a recording or to change it. `sources.py` reads the same
files for a Dataset.
"""

import os
import warnings
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from culmen.components import files
from culmen.components.files import DamagedError
from culmen.components.files import OnLostRows
from culmen.components.files import expanded
from culmen.components.replay.in_process.rows import Arrays
from culmen.components.replay.recording.files import SPEC
from culmen.components.replay.recording.files import Shard
from culmen.components.replay.recording.files import read_shard
from culmen.components.replay.recording.files import read_spec
from culmen.components.replay.recording.files import shards
from culmen.core.types import LAST
from culmen.core.types import Nest
from culmen.core.types import Stream
from culmen.core.types import TimeStep

# dtype and shape of a row of each leaf to read, by path
Columns = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
_INT32: tuple[np.dtype[Any], tuple[int, ...]] = (np.dtype(np.int32), ())
_PARTS = ('reward', 'discount', 'observation', 'action', 'extras')


class Piece(NamedTuple):
    """Rows of a lane that are in one file."""

    shard: Shard
    arrays: Arrays  # [T, ...] by path
    begins: bool  # whether no row comes before them: in the lane, or since a gap
    is_end: bool  # whether no row follows


class Lanes:
    """The files of a recording, by lane.

    Rows that a damaged recording lacks leave a gap; the rows before and after it are separate streams.
    """

    def __init__(self, where: str, folder: Path, on_lost_rows: OnLostRows) -> None:
        """Reads what the recording says of itself.

        Args:
            where: names the recording in errors.
            folder: of the recording.
            on_lost_rows: whether damaged files are left out, with a warning ('drop'), or refused.
        Raises: ValueError and DamagedError that name the folder or a file.
        """
        recording = read_spec(folder)
        self.leaves: Mapping[str, Any] = recording['leaves']  # as in spec.json, by path
        self._where, self._folder, self._on_lost_rows = where, folder, on_lost_rows
        self._lanes = [shards(lane) for lane in sorted(folder.glob('lane-*'))]
        for lane in self._lanes:
            _check_shards(folder, lane, recording['rows_of_a_shard'])

    @property
    def num_rows(self) -> int:
        """How many rows the files have by their names."""
        return sum(shard.stop - shard.start for lane in self._lanes for shard in lane)

    def pieces(self, columns: Columns) -> Iterator[Piece]:
        """Reads the rows of one lane after another. Tells at the end which are lost.

        Raises: DamagedError that names the files, if lost rows are refused; ValueError for step types that
            are none.
        """
        losses, lost, read = [], 0, 0
        for lane in self._lanes:
            followed = {shard.start for shard in lane}
            reached, begins = 0, True
            for shard in lane:
                if shard.start > reached:
                    losses.append(f'{shard.path.parent} has no rows [{reached}, {shard.start}).')
                    lost += shard.start - reached
                    begins = True
                reached = shard.stop
                try:
                    arrays = read_shard(shard, columns)
                except DamagedError as error:
                    losses.append(str(error))
                    lost += shard.stop - shard.start
                    begins = True
                    continue
                check_types(self._where, arrays['step_type'])
                read += shard.stop - shard.start
                yield Piece(shard, arrays, begins, is_end=shard.stop not in followed)
                begins = False
        self._tell_losses(losses, lost, read + lost)

    def _tell_losses(self, losses: list[str], lost: int, num_rows: int) -> None:
        if not losses:
            return
        said = f'{self._where}: {" ".join(losses)} {lost} of {num_rows} rows are lost'
        if self._on_lost_rows == 'refuse':
            raise DamagedError(f'{said}.')
        warnings.warn(
            f'{said}, and windows that need them are left out. on_lost_rows refuse '
            f'(--on-lost-rows refuse) refuses such a recording.',
            stacklevel=2,
        )


def _check_shards(folder: Path, lane: list[Shard], most: int) -> None:
    for shard in lane:
        if not 0 < shard.stop - shard.start <= most:
            raise DamagedError(f'{shard.path} must have 1 to {most} rows, as {folder} says.')
    for shard, after in zip(lane, lane[1:]):
        if after.start < shard.stop:
            raise DamagedError(f'{after.path} must begin at row {shard.stop} or after it.')


def check_types(where: str, step_type: NDArray[Any]) -> None:
    """Refuses step types that are none. Raises: ValueError."""
    if step_type.ndim != 1 or (
        len(step_type) and not 0 <= step_type.min() <= step_type.max() <= LAST
    ):
        raise ValueError(f'{where}: step_type must be FIRST, MID or LAST, int32[T].')


def recorded_streams(
    folder: str | os.PathLike[str], on_lost_rows: OnLostRows = 'drop'
) -> Iterator[Stream]:
    """Reads the streams of a recording, one lane after another.

    A file has paths and no types of nests: mappings and named tuples come back as dicts, sequences as tuples.
    Stacks of frames come back whole. The last row of a run that ended has an action of zeros and version -1.

    Args:
        folder: that a run recorded (`--record`).
        on_lost_rows: whether rows that are damaged or missing are left out, with a warning ('drop'), or the
            recording is refused. The rows before and after a gap are separate streams.
    Yields: a Stream of each lane, NumPy leaves [T, ...].
    Raises: ValueError that names the folder, if it holds no recording; DamagedError that names a file.
    Example: mean reward of a step
        >>> for stream in recorded_streams('runs/recording'):  # doctest: +SKIP
        ...     print(stream.timestep.reward.mean())
    """
    folder = expanded(folder)
    lanes = Lanes(str(folder), folder, on_lost_rows)
    frames = {path: leaf.get('num_frames', 1) for path, leaf in lanes.leaves.items()}
    with files.reading(folder / SPEC):
        _nests(dict.fromkeys(lanes.leaves))  # refuses paths that are no nest, before rows are read
        columns = {path: _column(leaf) for path, leaf in lanes.leaves.items()}
    columns |= {'step_type': _INT32, 'version': _INT32}
    if max(frames.values(), default=1) > 1:
        columns['age'] = _INT32
    pieces: list[Arrays] = []
    for piece in lanes.pieces(columns):
        if piece.begins and pieces:
            yield _stream(pieces, frames)
            pieces = []
        pieces.append(piece.arrays)
    if pieces:
        yield _stream(pieces, frames)


def _column(leaf: Mapping[str, Any]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """dtype and shape of what is stored of a leaf: of a stack, one frame."""
    shape, frames = tuple(leaf['shape']), leaf.get('num_frames', 1)
    if frames > 1:
        shape = (*shape[:-1], shape[-1] // frames)
    return np.dtype(str(leaf['dtype'])), shape


def _stream(pieces: list[Arrays], frames: Mapping[str, int]) -> Stream:
    arrays = {path: np.concatenate([each[path] for each in pieces]) for path in pieces[0]}
    step_type, version = arrays.pop('step_type'), arrays.pop('version')
    age = arrays.pop('age', np.zeros(len(step_type), np.int32))
    row = np.arange(len(age))
    # After a gap, the first stacks need frames that are lost.
    begin = int(np.argmax(age <= row)) if (age <= row).any() else len(row)
    for path, num_frames in frames.items():
        if num_frames > 1:
            back = np.minimum(np.arange(num_frames - 1, -1, -1), age[:, None])
            stacks = np.moveaxis(arrays[path][np.maximum(row[:, None] - back, 0)], 1, -2)
            arrays[path] = stacks.reshape(*stacks.shape[:-2], -1)
    nests = _nests({path: array[begin:] for path, array in arrays.items()})
    timestep = TimeStep(step_type[begin:], nests['reward'], nests['discount'], nests['observation'])
    return Stream(timestep, nests['action'], nests['extras'], version[begin:])


def _nests(leaves: Mapping[str, Any]) -> dict[str, Nest]:
    """The parts of a row by name, from leaves by path. Raises: ValueError for paths that are no nest."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, last = path.split('/')
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f'{path!r:.60} is below another leaf')
        if last in node:
            raise ValueError(f'{path!r:.60} is the path of two leaves')
        node[last] = leaf
    unknown = sorted(set(tree) - set(_PARTS))
    if unknown:
        raise ValueError(f'{unknown[0]!r:.60} is no part of a row: {", ".join(_PARTS)}')
    return {name: _as_nest(tree.get(name, {})) for name in _PARTS}


def _as_nest(node: Any) -> Nest:
    if not isinstance(node, dict):
        return node
    inner = {key: _as_nest(each) for key, each in node.items()}
    return tuple(inner.values()) if _are_indices(inner) else inner


def _are_indices(keys: Iterable[str]) -> bool:
    """Whether keys are 0, 1, 2 ... in order; of no keys, True."""
    return all(key == str(index) for index, key in enumerate(keys))
