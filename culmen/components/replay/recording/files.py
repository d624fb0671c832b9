"""The files of a recording: what its folder holds, and how they are written and read.

    spec.json                                        the run, its lanes, dtype and shape of each leaf
    lane-0000/000000000000-000000001024.npz          rows [0, 1024) of lane 0, arrays by path

A file gets its name when it is complete.
"""

import json
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from culmen.components import files
from culmen.components.replay.in_process.rows import Arrays
from culmen.components.replay.stream.row_spec import Leaf
from culmen.core.checks import check_range

SPEC = 'spec.json'
FORMAT = 1
ROWS_OF_A_SHARD = 1024
MOST_ROWS_OF_A_SHARD = 2**16
_SHARD = re.compile(r'(\d{12})-(\d{12})\.npz')


class Shard(NamedTuple):
    """A file of rows [start, stop) of a lane."""

    path: Path
    start: int
    stop: int


def spec_data(
    leaves: Mapping[str, Leaf], run: Mapping[str, Any], num_lanes: int, rows_of_a_shard: int
) -> dict[str, Any]:
    """What spec.json of a recording says."""
    return {
        'format': FORMAT,
        'run': dict(run),
        'lanes': num_lanes,
        'rows_of_a_shard': rows_of_a_shard,
        'leaves': {path: leaf_data(leaf) for path, leaf in leaves.items()},
    }


def leaf_data(leaf: Leaf) -> dict[str, Any]:
    """A leaf as data for spec.json."""
    frames = {} if leaf.num_frames == 1 else {'num_frames': leaf.num_frames}
    return {'dtype': leaf.dtype.name, 'shape': list(leaf.shape), **frames}


def read_spec(directory: Path) -> dict[str, Any]:
    """What spec.json of a recording says.

    Raises: ValueError that names the folder, if the file is missing or can't be read.
    """
    path = directory / SPEC
    if not path.exists():
        raise ValueError(f'{directory} holds no recording: there is no {SPEC} in it.')
    with files.reading(path):
        spec = files.read_json(path)
        if spec['format'] != FORMAT or not isinstance(spec['run'], dict):
            raise ValueError(f'format {spec["format"]!r:.40} is not {FORMAT}')
        spec.setdefault('rows_of_a_shard', ROWS_OF_A_SHARD)
        check_range('rows_of_a_shard', int(spec['rows_of_a_shard']), 1, MOST_ROWS_OF_A_SHARD)
        for name, leaf in spec['leaves'].items():
            sizes = [*leaf['shape'], leaf.get('num_frames', 1)]
            if any(type(size) is not int or size < 0 for size in sizes):
                raise ValueError(f'the shape of {name!r:.40} must be of numbers from 0 on')
            if np.dtype(str(leaf['dtype'])).hasobject:
                raise ValueError(f'the dtype of {name!r:.40} must be of numbers')
        return spec


def write_spec(directory: Path, spec: Mapping[str, Any]) -> None:
    """Writes spec.json. Raises: OSError that names the file."""
    with naming_errors(directory):
        _write(directory / SPEC, json.dumps(spec, indent=2).encode() + b'\n')


def lane_folder(directory: Path, lane: int) -> Path:
    """The folder of a lane's rows."""
    return directory / f'lane-{lane:04d}'


def shards(lane: Path) -> list[Shard]:
    """The files of a lane, in order."""
    found = [(_SHARD.fullmatch(path.name), path) for path in lane.glob('[!.]*')]
    return sorted(
        (Shard(path, int(match[1]), int(match[2])) for match, path in found if match),
        key=lambda shard: shard.start,
    )


def write_shard(lane: Path, start: int, arrays: Arrays) -> None:
    """Writes rows of a lane from `start` on. Raises: OSError that names the file."""
    stop = start + len(arrays['step_type'])
    with naming_errors(lane):
        _write(lane / f'{start:012d}-{stop:012d}.npz', arrays)


def read_shard(
    shard: Shard, leaves: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
) -> dict[str, NDArray[Any]]:
    """Reads arrays [stop - start, ...] by path, and takes no more memory than these.

    Args: leaves: dtype and shape of a row of each leaf to read.
    Raises: DamagedError that names the file.
    """
    num_rows, arrays = shard.stop - shard.start, {}
    with files.reading(shard.path), zipfile.ZipFile(shard.path) as archive:
        for path, (dtype, shape) in leaves.items():
            info = archive.getinfo(f'{path}.npy')
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f'{path} must be stored or deflated')
            size = num_rows * int(np.prod(shape, dtype=object)) * dtype.itemsize
            with archive.open(info) as member:
                array = files.read_array(member, size, shape=(num_rows, *shape))  # type: ignore[arg-type]
                if member.read(1):  # reading to the end checks the checksum
                    raise ValueError(f'{path} has more than its {num_rows} rows')
            # NumPy's files have no bfloat16 and the like: their bits come as unnamed bytes.
            unnamed = array.dtype.kind == 'V' and array.dtype.itemsize == dtype.itemsize
            if array.dtype != dtype and not unnamed:
                raise ValueError(f'{path} must be {dtype}, got {array.dtype}')
            arrays[path] = array
    return arrays


class naming_errors:
    """Makes an OSError inside name its file or folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, OSError):
            where = str(error.filename or self._path)
            message = f'could not record: {error.strerror or error}'
            raise OSError(error.errno or 0, message, where) from error


def _write(path: Path, content: bytes | Arrays) -> None:
    temporary = path.with_name(f'.{path.name}-{os.getpid()}')
    try:
        with open(temporary, 'wb') as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                np.savez_compressed(file, **content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
