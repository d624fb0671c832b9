"""Checks of raw priorities, which updates give to items; the same for every table.

An item is drawn with a probability of its weight, `priority ** exponent`, over the sum of all weights.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.core.experience import Dataset
from culmen.core.experience import Queue
from culmen.core.experience import Replay

# The largest powers of ten of weights and raw priorities: far enough below infinity to be summed.
_DIGITS_IN_FLOAT64 = (280.0, 38.0)
_DIGITS_IN_FLOAT32 = (30.0, 30.0)


def largest_allowed(exponent: float, in_float32: bool = False) -> float:
    """The largest raw priority that a table accepts.

    Args:
        exponent: of the Replay.
        in_float32: whether weights are summed in float32.
    """
    of_weights, of_priorities = _DIGITS_IN_FLOAT32 if in_float32 else _DIGITS_IN_FLOAT64
    return float(10.0 ** min(of_weights / exponent if exponent else of_priorities, of_priorities))


def out_of_range(label: str, exponent: float) -> str:
    """The message for priorities out of range, without a full stop."""
    return (
        f'priorities of {label} must be finite and at least 0, and so must their powers '
        f'(priority_exponent {exponent})'
    )


def none_taken(label: str, table: Replay | Queue | Dataset) -> str:
    """The message for priorities of a table that draws without priorities."""
    kind = 'is a Queue' if isinstance(table, Queue) else 'is uniform (priority_exponent 0)'
    kind = 'is a Dataset with priority_exponent 0' if isinstance(table, Dataset) else kind
    return f'{label} {kind} and takes no priorities: the update must return None for it.'


class RawPriorities:
    """Checks the raw priorities of a table, and keeps the largest, which new items get.

    Attributes:
        largest: the largest raw priority so far, at least 1.
        largest_weight: the weight of an item with this priority.
    """

    def __init__(self, label: str, replay: Replay | Dataset) -> None:
        """Args: label: name of the table in errors. replay: a prioritised one."""
        self._label = label
        self._exponent = replay.priority_exponent
        self._largest_allowed = largest_allowed(self._exponent)
        self.largest = 1.0
        self.largest_weight = 1.0

    def check(self, priorities: Any, num: int) -> NDArray[Any]:
        """Valid priorities as float32[N]. Raises: ValueError for others."""
        raw = np.asarray(priorities, np.float32)
        if raw.shape != (num,):
            raise ValueError(
                f'priorities of {self._label} must have shape {(num,)}, got {raw.shape}.'
            )
        # A NaN fails both comparisons.
        if num and not (raw.min() >= 0.0 and raw.max() <= self._largest_allowed):
            raise ValueError(f'{out_of_range(self._label, self._exponent)}, got {raw}.')
        return raw

    def weights(self, raw: NDArray[Any]) -> NDArray[Any]:
        """The weights of raw priorities, float64[N]."""
        return raw.astype(np.float64) ** self._exponent

    def see(self, raw: NDArray[Any]) -> None:
        """Updates `largest` from new priorities, float32[N]."""
        if len(raw):
            self.see_one(raw.max())

    def see_one(self, priority: float) -> None:
        """Updates `largest` from one new priority."""
        if priority > self.largest:
            self.restore(priority)

    def restore(self, largest: float) -> None:
        """Restores the largest priority of a checkpoint."""
        self.largest = float(largest)
        self.largest_weight = float(np.float64(self.largest) ** self._exponent)
