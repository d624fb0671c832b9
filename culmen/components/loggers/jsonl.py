"""Writes rows as lines of JSON."""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from culmen.components.files import check_writable
from culmen.components.files import expanded
from culmen.components.loggers.base import Row
from culmen.components.loggers.base import steps_of


class JsonlLog:
    """Writes each row as a line of JSON, with its label: {"log": "evaluator", "actor_steps": 900, ...}.

    Nothing is written before the first row. A run that resumes drops the lines of later steps. A number that
    is not finite, which JSON has not, is null.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Args: path: of the file. Raises: ValueError if it can't be written."""
        self._path = expanded(path)
        check_writable('the file of a JsonlLog', self._path.parent)
        self._file: Any = None
        self._kept: int | None = None  # steps up to which the lines of an earlier process stay

    def resume(self, steps: int) -> None:
        """Drops the lines of later steps, at the first row."""
        self.close()
        self._kept = steps

    def write(self, label: str, row: Row) -> None:
        """Writes a row of the log `label`."""
        if self._file is None:
            self._file = self._open()
        self._file.write(json.dumps({'log': label, **_plain(row)}, allow_nan=False) + '\n')

    def flush(self) -> None:
        """Writes all rows it still holds."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Writes all rows it still holds, and closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> Any:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        if self._kept is not None and self._path.exists():
            text = self._path.read_text()
            whole = text[: text.rfind('\n') + 1]  # a kill may have cut the last line
            lines = [
                line
                for line in whole.splitlines(keepends=True)
                if steps_of(json.loads(line)) <= self._kept
            ]
        file = open(self._path, 'w', encoding='utf-8')
        file.writelines(lines)
        return file


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    plain = {}
    for name, value in row.items():
        value = value.item() if hasattr(value, 'item') else value
        plain[name] = None if isinstance(value, float) and not math.isfinite(value) else value
    return plain
