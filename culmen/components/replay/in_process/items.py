"""Items: which windows wait in a table, and which of them are drawn.

The in-process table has one `ItemStore` for each table of an experience: `ReplayItems` or `QueueItems`. They
do not depend on the content of rows. An item has a number, counted from 0 in the order of insertion, and the
code of its first row (`tick * lanes + lane`).
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.stream.windows import Items

# Says which items are lost: (codes int64[N], transitions int64[N]) -> bool[N].
AreLost = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


class Drawn(NamedTuple):
    """The items of one draw."""

    numbers: NDArray[Any]  # int64[N]
    codes: NDArray[Any]  # int64[N]
    lengths: NDArray[Any] | None  # int64[N]; None: all are whole
    probability: NDArray[Any] | None  # float32[N]; None: 1 / size
    size: int  # items in the table before the draw


class ItemStore(Protocol):
    """The interface of the items of one table."""

    def insert(self, items: Items, priorities: NDArray[Any] | None) -> None:
        """Adds windows in order, with raw priorities float[N] or the table's default."""
        ...

    def close_tick(self, has_ended: bool) -> None:
        """Called when all windows that end at this tick have been inserted.

        Args: has_ended: whether an episode ended at this tick.
        """
        ...

    def due(self, updates: int) -> bool:
        """Whether this many further draws are due."""
        ...

    def draw(self) -> Drawn:
        """Draws items for one update."""
        ...

    def update_priorities(self, numbers: NDArray[Any], priorities: Any) -> None:
        """Sets raw priorities of items. Skips items that are gone."""
        ...

    def oldest_end(self) -> int | None:
        """The last tick of the item that is removed next; None without items."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Arrays and plain values."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the result of `get_state`."""
        ...

    def drop(self, are_lost: AreLost) -> int:
        """Drops items whose rows are lost. Makes the keys of earlier draws invalid.

        Returns: how many items.
        """
        ...


def saved_array(
    where: str, state: dict[str, Any], name: str, shape: tuple[int, ...]
) -> NDArray[Any]:
    """An array of a checkpoint. Raises: ValueError that names it, if its shape does not fit."""
    array = state.get(name)
    if array is None or np.shape(array) != shape:
        got = 'nothing' if array is None else f'shape {np.shape(array)}'
        raise ValueError(
            f'checkpoint field {name!r} of {where} must have shape {shape}, got {got}.'
        )
    return np.array(array)
