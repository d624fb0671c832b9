"""Raw priorities: what an update may give to the items of a table. One rule for every table.

An item is drawn with a probability of its weight, `priority ** exponent`, over the sum of all weights.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from culmen.core.experience import Queue
from culmen.core.experience import Replay

# Powers of ten that weights and raw priorities reach at most: far enough below infinity to be summed.
_DIGITS_IN_FLOAT64 = (280.0, 38.0)
_DIGITS_IN_FLOAT32 = (30.0, 30.0)


def largest_allowed(exponent: float, in_float32: bool = False) -> float:
    """The largest raw priority that a table takes.

    Args:
        exponent: of the Replay.
        in_float32: whether its weights are summed in that.
    """
    of_weights, of_priorities = _DIGITS_IN_FLOAT32 if in_float32 else _DIGITS_IN_FLOAT64
    return float(10.0 ** min(of_weights / exponent if exponent else of_priorities, of_priorities))


def out_of_range(label: str, exponent: float) -> str:
    """What is wrong with priorities that are not in range, without a full stop."""
    return (
        f'priorities of {label} must be finite and at least 0, and so must their powers '
        f'(priority_exponent {exponent})'
    )


def none_taken(label: str, table: Replay | Queue) -> str:
    """What is wrong with priorities of a table that draws without any."""
    kind = 'is a Queue' if isinstance(table, Queue) else 'is uniform (priority_exponent 0)'
    return f'{label} {kind} and takes no priorities: the update must return None for it.'


class RawPriorities:
    """Checks the raw priorities of a table, and remembers the largest: new items get it.

    Attributes:
        largest: the largest raw priority ever given, at least 1.
        largest_weight: of an item that has it.
    """

    def __init__(self, label: str, replay: Replay) -> None:
        """Args: label: names the table in errors. replay: a prioritised one."""
        self._label = label
        self._exponent = replay.priority_exponent
        self._largest_allowed = largest_allowed(self._exponent)
        self.largest = 1.0
        self.largest_weight = 1.0

    def check(self, priorities: Any, num: int) -> NDArray[Any]:
        """float32[N] of priorities that are what they must be. Raises: ValueError that names them."""
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
        """float64[N] of raw priorities."""
        return raw.astype(np.float64) ** self._exponent

    def see(self, raw: NDArray[Any]) -> None:
        """Remembers the largest of priorities that were given, float32[N]."""
        if len(raw):
            self.see_one(raw.max())

    def see_one(self, priority: float) -> None:
        """Remembers a priority that was given, where it is the largest."""
        if priority > self.largest:
            self.restore(priority)

    def restore(self, largest: float) -> None:
        """Goes on from the largest priority of a checkpoint."""
        self.largest = float(largest)
        self.largest_weight = float(np.float64(self.largest) ** self._exponent)
