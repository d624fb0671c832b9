"""The checkpoint of a `CalledServer`: each row once, whichever items have it, and nothing pickled.

`tables.json` holds plain values, `arrays` the arrays and, for each item, which rows it has, and `column-N`
the rows of a column, one after another.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.checkpointing.disk import read_arrays
from culmen.components.checkpointing.disk import write_arrays
from culmen.components.files import read_json
from culmen.components.files import reading
from culmen.components.replay.called.items import Item
from culmen.components.replay.called.items import State

_PLAIN, _ARRAYS = 'tables.json', 'arrays'
_BLOCK = 4096  # rows that are written at once
Columns = Mapping[str, tuple[str, ...]]  # by table: the columns of its slices


def write(folder: Path, tables: Mapping[str, State], columns: Columns) -> None:
    """Writes tables to a new folder. Args: tables: the state of each; columns: of the slices of its items."""
    folder.mkdir(parents=True)
    rows: dict[str, dict[int, int]] = {}  # by column: the place of each row, by its identity
    kept: dict[str, list[bytes]] = {}
    plain: dict[str, Any] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for name, (state, items) in tables.items():
        plain[name] = {key: value for key, value in state.items() if _is_plain(value)}
        arrays |= {
            f'{name}/state/{key}': value for key, value in state.items() if not _is_plain(value)
        }
        for place, column in enumerate(columns.get(name, ())):
            own, of_column = rows.setdefault(column, {}), kept.setdefault(column, [])
            found: list[int] = []
            for item in items:
                for row in item[place]:
                    at = own.setdefault(id(row), len(of_column))
                    if at == len(of_column):
                        of_column.append(row)
                    found.append(at)
            arrays[f'{name}/rows/{place}'] = np.array(found, np.int64)
            arrays[f'{name}/counts/{place}'] = np.array(
                [len(item[place]) for item in items], np.int64
            )
    names = list(kept)
    for number, column in enumerate(names):
        with open(folder / f'column-{number}', 'wb') as file:
            for begin in range(0, len(kept[column]), _BLOCK):
                file.write(b''.join(kept[column][begin : begin + _BLOCK]))
    write_arrays(folder / _ARRAYS, arrays)
    sizes = {column: [len(kept[column]), len(kept[column][0])] for column in names if kept[column]}
    content = {'tables': plain, 'columns': columns, 'files': names, 'sizes': sizes}
    (folder / _PLAIN).write_text(json.dumps(content))


def _is_plain(value: Any) -> bool:
    return not isinstance(value, np.ndarray)


def read(folder: Path) -> tuple[dict[str, State], Columns]:
    """Reads what `write` wrote. Raises: DamagedError that names the file."""
    with reading(folder / _PLAIN):
        content = read_json(folder / _PLAIN)
        columns = {name: tuple(own) for name, own in content['columns'].items()}
        files, sizes, plain = content['files'], content['sizes'], content['tables']
    rows = {}
    for number, column in enumerate(files):
        path = folder / f'column-{number}'
        with reading(path), open(path, 'rb') as file:
            num, nbytes = sizes.get(column, (0, 0))
            rows[column] = [file.read(nbytes) for _ in range(num)]
            if any(len(row) != nbytes for row in rows[column][-1:]) or file.read(1):
                raise ValueError(f'it must have {num} rows of {nbytes} bytes')
    arrays = read_arrays(folder / _ARRAYS)
    tables: dict[str, State] = {}
    with reading(folder / _ARRAYS):
        for name, values in plain.items():
            prefix = f'{name}/state/'
            own = {
                key.removeprefix(prefix): each
                for key, each in arrays.items()
                if key.startswith(prefix)
            }
            tables[name] = ({**values, **own}, _items(name, columns.get(name, ()), arrays, rows))
    return tables, columns


def _items(
    name: str,
    columns: tuple[str, ...],
    arrays: Mapping[str, NDArray[Any]],
    rows: Mapping[str, list[bytes]],
) -> list[Item]:
    slices = []
    for place, column in enumerate(columns):
        of_column = rows[column]
        found = [of_column[at] for at in arrays[f'{name}/rows/{place}'].tolist()]
        ends = np.cumsum(arrays[f'{name}/counts/{place}']).tolist()
        slices.append([found[begin:end] for begin, end in zip([0, *ends], ends)])
    return list(zip(*slices, strict=True))
