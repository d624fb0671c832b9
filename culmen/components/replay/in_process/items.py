"""Items: which windows wait in a table, and which of them are drawn.

The in-process table has one `ItemStore` for each table of an experience: `ReplayItems` or `QueueItems`. They
know nothing of what rows hold. An item is named by its number, counted from 0 as items are inserted, and by
the code of its first row (`tick * lanes + lane`).
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from culmen.components.replay.stream.windows import Items

# Which of some items are lost: (codes int64[N], transitions int64[N]) -> bool[N].
AreLost = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


class Drawn(NamedTuple):
    """Items of one draw."""

    numbers: NDArray[Any]  # int64[N]
    codes: NDArray[Any]  # int64[N]
    lengths: NDArray[Any] | None  # int64[N]; None: all are whole
    probability: NDArray[Any] | None  # float32[N]; None: 1 / size
    size: int  # items in the table before the draw


class ItemStore(Protocol):
    """What the in-process table asks of the items of one table."""

    def insert(self, items: Items, priorities: NDArray[Any] | None) -> None:
        """Adds windows in their order, with raw priorities float[N] or as the table has it."""
        ...

    def close_tick(self) -> None:
        """Tells that all windows that end at this tick are in."""
        ...

    def due(self, updates: int) -> bool:
        """Whether so many further draws are due."""
        ...

    def draw(self) -> Drawn:
        """Draws items for one update."""
        ...

    def update_priorities(self, numbers: NDArray[Any], priorities: Any) -> None:
        """Takes raw priorities of items; those that are gone are passed over."""
        ...

    def oldest_end(self) -> int | None:
        """The last tick of the item that leaves next; None where there is none."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Arrays and plain values."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `get_state`."""
        ...

    def drop(self, are_lost: AreLost) -> int:
        """Drops items whose rows are lost. Keys of earlier draws name no item any more.

        Returns: how many.
        """
        ...


def saved_array(
    where: str, state: dict[str, Any], name: str, shape: tuple[int, ...]
) -> NDArray[Any]:
    """An array of a checkpoint. Raises: ValueError that names it where its shape does not fit."""
    array = state.get(name)
    if array is None or np.shape(array) != shape:
        got = 'nothing' if array is None else f'shape {np.shape(array)}'
        raise ValueError(
            f'checkpoint field {name!r} of {where} must have shape {shape}, got {got}.'
        )
    return np.array(array)
