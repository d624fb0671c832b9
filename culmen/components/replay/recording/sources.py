"""Reads the rows of a Dataset's source, a Recorder's folder or a callable, into memory.

Rows are checked as a loop checks an environment's steps, and an error names what does not fit. Rows that a
damaged recording lacks leave a gap; the rows before and after it are separate streams.
"""

import dataclasses
import functools
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from dm_env import specs as dm_env_specs
from numpy.typing import NDArray

from culmen.components.files import DamagedError
from culmen.components.files import OnLostRows
from culmen.components.files import expanded
from culmen.components.replay.in_process.rows import Arrays
from culmen.components.replay.in_process.rows import Rows
from culmen.components.replay.recording.files import leaf_data
from culmen.components.replay.recording.streams import Lanes
from culmen.components.replay.recording.streams import check_types
from culmen.components.replay.recording.streams import recorded_streams
from culmen.components.replay.stream.row_spec import RowSpec
from culmen.components.replay.stream.starts import Starts
from culmen.components.replay.stream.windows import kept_paths
from culmen.core.errors import failing_at
from culmen.core.experience import Dataset
from culmen.core.ranges import cast_exactly
from culmen.core.ranges import check_values
from culmen.core.specs import StackedArray
from culmen.core.specs import check_paths
from culmen.core.specs import integer_range
from culmen.core.specs import leaf_paths
from culmen.core.types import LAST
from culmen.core.types import Stream

_NO_VERSION = -1

# For each stream: the index of its first row among all rows, and its step types int32[T].
Streams = list[tuple[int, NDArray[Any]]]


def read_folder(
    where: str, folder: Path, row_spec: RowSpec, paths: Sequence[str], on_lost_rows: OnLostRows
) -> tuple[Rows, Streams]:
    """All lanes of a recording, one after another. Args: paths: of the leaves that are read."""
    wanted = Rows(row_spec, 1, 1, paths)
    lanes = Lanes(where, folder, on_lost_rows)
    stored = lanes.leaves
    _check_leaves(where, row_spec, paths, stored)
    int32: tuple[np.dtype[Any], tuple[int, ...]] = (np.dtype(np.int32), ())
    columns = {
        path: (np.dtype(stored[path]['dtype']), wanted.leaves[path].frame_shape)
        if path in wanted.leaves
        else int32
        for path in wanted.paths()
    }
    try:
        rows = Rows(row_spec, 1, max(lanes.num_rows, 1), paths)
    except MemoryError as error:
        raise DamagedError(f'{where}: {error}') from error
    begin = 0
    streams: list[tuple[int, list[NDArray[Any]]]] = []
    for shard, arrays, begins, is_end in lanes.pieces(columns):
        named = f'{where}: {shard.path.relative_to(folder)}'
        _check_rows(named, row_spec, paths, arrays, is_end)
        if begins:
            streams.append((begin, []))
        streams[-1][1].append(arrays['step_type'])
        begin = _put(rows, begin, arrays)
    rows.restart(begin, is_open=False)
    return rows, [(first, np.concatenate(types)) for first, types in streams]


def read_source(
    dataset: Dataset, row_spec: RowSpec, on_lost_rows: OnLostRows, with_frames: bool = True
) -> tuple[str, Rows, Streams]:
    """All rows of a Dataset, as its `map` gives them.

    Args:
        dataset: of an experience.
        row_spec: of the experiment's stream. A source may have more extras.
        on_lost_rows: whether a recording with damaged files of rows is read without them, or refused.
        with_frames: whether stacks of frames may be kept as single frames.
    Returns: (the name of the source in errors, the rows, the streams in them).
    Raises: as `DatasetReader`.
    """
    source, change = dataset.source, dataset.map
    paths = kept_paths(dataset.window, list(row_spec.leaves))
    start = dataset.window.start
    if start is not None:
        Starts(row_spec, start)  # refuses a path that is none
        paths += [] if start in paths else [start]
    if isinstance(source, str):
        where, folder = f'Dataset.source {source}', expanded(source)
        has_frames = any(leaf.num_frames > 1 for leaf in row_spec.leaves.values())
        if change is None and (with_frames or not has_frames):
            return where, *read_folder(where, folder, row_spec, paths, on_lost_rows)
        given = recorded_streams(folder, on_lost_rows)
    else:
        where = f'Dataset.source {getattr(source, "__qualname__", source)}'
        given = source()
    if change is not None:
        given = map(functools.partial(_changed, change), given)
    return where, *read_callable(where, given, row_spec, paths)


def _changed(change: Callable[[Stream], Stream], stream: Stream) -> Stream:
    name = getattr(change, '__qualname__', change)
    with failing_at(f'Dataset.map {name} raised'):
        changed = change(stream)
    if not isinstance(changed, Stream):
        raise ValueError(f'Dataset.map {name} must give a Stream, got {changed!r:.60}.')
    return changed


def read_callable(
    where: str, source: Any, row_spec: RowSpec, paths: Sequence[str]
) -> tuple[Rows, Streams]:
    """Reads all streams of an iterator, one after another. Stacks of frames are kept as they are.

    Args: paths: of the leaves that are kept.
    """
    observation = jax.tree_util.tree_map(_unstacked, row_spec.environment.observation)
    environment = row_spec.environment._replace(observation=observation)
    row_spec = dataclasses.replace(row_spec, environment=environment)
    given = [_arrays(where, stream, row_spec, paths) for stream in source]
    rows = Rows(row_spec, 1, max(sum(len(each['step_type']) for each in given), 1), paths)
    begin, streams = 0, []
    for arrays in given:
        streams.append((begin, arrays['step_type']))
        begin = _put(rows, begin, arrays)
    rows.restart(begin, is_open=False)
    return rows, streams


def _arrays(where: str, stream: Stream, row_spec: RowSpec, paths: Sequence[str]) -> Arrays:
    """A stream's arrays by path, in the dtypes of the row spec."""
    timestep, action, extras, version = stream
    nests = {
        'reward': timestep.reward,
        'discount': timestep.discount,
        'observation': timestep.observation,
        'action': action,
        'extras': extras,
    }
    by_path = [item for name, nest in nests.items() for item in leaf_paths(nest, name)]
    check_paths([path for path, _ in by_path])
    given = {path: np.asarray(leaf) for path, leaf in by_path}
    given['step_type'] = cast_exactly(f'{where}: step_type', timestep.step_type, np.int32)
    given['version'] = np.asarray(version, np.int32)
    num_rows = len(given['step_type'])
    for path, leaf in given.items():
        if leaf.ndim == 0 or len(leaf) != num_rows:
            raise ValueError(
                f'{where}: {path} must have {num_rows} rows, as step_type has, got shape {leaf.shape}.'
            )
    check_types(where, given['step_type'])
    stored = {
        path: {'dtype': leaf.dtype.name, 'shape': list(leaf.shape[1:])}
        for path, leaf in given.items()
        if path not in ('step_type', 'version')
    }
    _check_leaves(where, row_spec, paths, stored)
    _check_rows(where, row_spec, paths, given, is_end=True)
    cast = {
        path: cast_exactly(f'{where}: {path}', given[path], row_spec.leaves[path].dtype)
        for path in paths
    }
    return {'step_type': given['step_type'], 'version': given['version'], **cast}


def _put(rows: Rows, begin: int, arrays: Arrays) -> int:
    """Writes the rows of one stream. Returns: the index of the next row."""
    arrays['version'] = np.full_like(arrays['version'], _NO_VERSION)
    columns = {}
    for path, array in arrays.items():
        leaf = rows.leaves.get(path)
        dtype = array.dtype if leaf is None else leaf.dtype
        # NumPy's files have no bfloat16 and the like: their bits come as unnamed bytes.
        column = array.view(dtype) if array.dtype.kind == 'V' else cast_exactly(path, array, dtype)
        columns[path] = column[:, None]
    rows.write(begin, columns)
    return begin + len(arrays['step_type'])


def _check_rows(
    where: str, row_spec: RowSpec, paths: Sequence[str], arrays: Arrays, is_end: bool
) -> None:
    """Checks rows as a loop checks an environment's steps: values are finite and in range.

    Args:
        paths: of the leaves to check.
        arrays: [T, ...] by path.
        is_end: whether no row follows; the last row has no action.
    Raises: ValueError that names the leaf, the value and its index (row first).
    """
    acted = arrays['step_type'] != LAST
    acted[len(acted) - is_end :] = False
    actions = {
        path: integer_range(leaf)
        for path, leaf in leaf_paths(row_spec.environment.action, 'action')
    }
    for path in paths:
        leaf = row_spec.leaves[path]
        named, array = f'{where}: {path}', arrays[path]
        array = array.view(leaf.dtype) if array.dtype.kind == 'V' else array
        part = path.partition('/')[0]
        if part == 'extras':
            continue
        if part != 'action':
            check_values(named, array, np.float32 if part != 'observation' else None)
            accepted = (0, 1) if part == 'discount' else None
        else:
            accepted = actions.get(path)
            # Values that are never read may be anything.
            array = np.where(acted.reshape(-1, *[1] * (array.ndim - 1)), array, array.dtype.type(0))
            if accepted is None:
                check_values(named, array)
        if accepted is not None:
            low, high = accepted
            bad = (array < low) | (array > high)
            if part == 'action':
                bad[~acted] = False
            if bad.any():
                at = np.argwhere(bad)[0].tolist()
                raise ValueError(
                    f'{named} must be in [{low}, {high}], got {array[tuple(at)]} at {at}.'
                )


def _check_leaves(
    where: str, row_spec: RowSpec, paths: Sequence[str], stored: Mapping[str, Any]
) -> None:
    """Refuses streams whose leaves are not those of the experiment, except for additional extras.

    Args: paths: of the leaves that they must have.
    """
    for path in paths:
        leaf = row_spec.leaves[path]
        ours = leaf_data(leaf)
        if path not in stored:
            raise ValueError(
                f'{where}: {path} is missing; this experiment needs {_describe(ours)}, and it has '
                f'{sorted(stored)}.'
            )
        theirs = stored[path]
        same = {**theirs, 'dtype': ''} == {**ours, 'dtype': ''}
        # The meaning of an observation depends on its dtype: bytes are pixels.
        exact = path.startswith('observation')
        dtype = np.dtype(theirs['dtype'])
        if not same or (
            dtype != leaf.dtype if exact else not np.can_cast(dtype, leaf.dtype, 'same_kind')
        ):
            raise ValueError(
                f'{where}: {path} must be {_describe(ours)}, as this experiment has it, '
                f'got {_describe(theirs)}.'
            )
    for path in stored:
        if path not in row_spec.leaves and not path.startswith('extras'):
            raise ValueError(
                f'{where}: {path} is unknown here; this experiment has {sorted(row_spec.leaves)}.'
            )


def _describe(leaf: Mapping[str, Any]) -> str:
    frames = f' of {leaf["num_frames"]} frames' if 'num_frames' in leaf else ''
    return f'{leaf["dtype"]}{leaf["shape"]}{frames}'


def _unstacked(spec: Any) -> Any:
    if not isinstance(spec, StackedArray):
        return spec
    return dm_env_specs.BoundedArray(spec.shape, spec.dtype, spec.minimum, spec.maximum, spec.name)
