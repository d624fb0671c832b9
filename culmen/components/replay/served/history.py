"""The newest rows of a lane, as a writer keeps them to compute priorities of new items."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.served.layout import Columns


class History:
    """The newest rows of one lane, with the slicing of a trajectory writer's history."""

    def __init__(self, rows: Any, lane: int) -> None:
        self._rows = list(rows)
        self._lane = lane

    def __getitem__(self, name: str) -> '_Column':
        return _Column(self._rows, name, self._lane)


class _Column:
    def __init__(self, rows: list[Columns], name: str, lane: int) -> None:
        self._rows, self._name, self._lane = rows, name, lane

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return np.stack([row[self._name][self._lane] for row in self._rows[rows]])
